//! The nouns: what is asked, what was observed, what it means, why, and how to repair it.
//!
//! Everything here is pure data with the few functions that keep its rules. Nothing here touches the machine.

pub mod ask;
pub mod cloud;
pub mod diagnosis;
pub mod finding;
pub mod observed;
pub mod remedy;
pub mod report;
pub mod secret;
pub mod target;
pub mod text;
pub mod verdict;

pub use ask::{Ask, FailOn};
pub use diagnosis::{Confidence, Diagnosis, RuledOut, Support, Supported};
pub use finding::{Code, Evidence, Finding, Severity};
pub use observed::{Blocker, BlockerKind, Gap, Observed, Skip};
pub use remedy::{Risk, Step, Where};
pub use secret::Secret;
pub use target::{Endpoint, Family, Level, Target};
pub use text::escape;
pub use verdict::{Judgement, Status, Verdict};
