//! The few things that stop the tool. Nothing that a broken Redis or a hostile host does is among them: that is an
//! observation.

/// What stops the tool: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag, a value or an id that does not exist or does not fit.
    #[error("{0}")]
    Usage(String),
    /// A file that was named could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that was named could not be written.
    #[error("cannot write {path}: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file of saved facts that is none.
    #[error("{path} holds no facts that this version understands: {says}")]
    NotFacts {
        /// The file.
        path: String,
        /// Why.
        says: String,
    },
}
