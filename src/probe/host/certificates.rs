//! The certificates in the files that the server was told to use: what it serves, or would after its next start. The files with
//! keys are not opened.

use std::collections::BTreeMap;
use std::io;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::conf::Conf;
use super::process::Process;
use crate::model::{BlockerKind, Observed, escape};
use crate::probe::path::tls::certificate::Certificate;
use crate::sys::files;

/// The settings that name such files, and the one with the key.
const SETTINGS: [&str; 3] = ["tls-cert-file", "tls-ca-cert-file", KEY];
/// The setting that names the file with the key, of which only the time is looked at.
const KEY: &str = "tls-key-file";
/// The most certificates that are kept of one file.
const MOST: usize = 10;

/// A file that a setting names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The setting: `tls-cert-file`, `tls-ca-cert-file` or `tls-key-file`.
    pub setting: String,
    /// Its path.
    pub path: String,
    /// The process that was told so, if it runs.
    pub pid: Option<u32>,
    /// When it was last changed (RFC 3339, UTC).
    pub changed_at: Option<String>,
    /// What it holds, in its order.
    pub certificates: Observed<Vec<Certificate>>,
}

/// Reads the files that a server was told of: by what it says itself, its arguments, or its redis.conf.
pub fn gather(told: Option<&BTreeMap<String, String>>, process: Option<&Process>, conf: Option<&Conf>) -> Vec<File> {
    let contained = process.is_some_and(|process| process.container.is_some() || process.same_pids == Some(false));
    if contained {
        // Its files are not those of this machine.
        return Vec::new();
    }
    let file = |setting: &str| {
        let path = path(setting, told, process, conf).filter(|path| path.starts_with('/'))?;
        let certificates = if setting == KEY { Observed::skipped("it holds a key") } else { read(&path) };
        let changed_at = files::changed_at(&path);
        let pid = process.map(|process| process.pid);
        Some(File { setting: setting.to_owned(), path: escape(path.as_bytes()), pid, changed_at, certificates })
    };
    SETTINGS.iter().filter_map(|setting| file(setting)).collect()
}

fn path(
    setting: &str,
    told: Option<&BTreeMap<String, String>>,
    process: Option<&Process>,
    conf: Option<&Conf>,
) -> Option<String> {
    let argument = || {
        let args = &process?.args;
        let at = args.iter().rposition(|arg| arg.strip_prefix("--") == Some(setting))?;
        args.get(at + 1).cloned()
    };
    let line = || conf?.parsed.seen()?.last(setting)?.values.first().cloned();
    let said = told.and_then(|told| told.get(setting)).filter(|path| !path.is_empty()).cloned();
    said.or_else(argument).or_else(line)
}

fn read(path: &str) -> Observed<Vec<Certificate>> {
    match files::read(path) {
        Ok(bytes) => Observed::Seen(certificates(&bytes)),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => BlockerKind::Missing,
                io::ErrorKind::PermissionDenied => BlockerKind::Permission,
                _ => BlockerKind::Failed,
            };
            Observed::hidden(kind, error.to_string())
        }
    }
}

fn certificates(pem: &[u8]) -> Vec<Certificate> {
    let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    found.take(MOST).filter_map(|der| Certificate::parse(&der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(files: Vec<File>) -> Vec<String> {
        files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_the_server_says_counts_before_its_arguments_and_its_file() {
        let mut process = Process::healthy();
        let conf = Conf::healthy();
        let told: BTreeMap<String, String> = [("tls-cert-file".to_owned(), "/said.crt".to_owned())].into();
        process.args = ["redis-server", "--tls-cert-file", "/argued.crt", "--tls-ca-cert-file", "ca.crt"]
            .map(str::to_owned)
            .into();
        assert_eq!(paths(gather(Some(&told), Some(&process), Some(&conf))), ["/said.crt"]);
        assert_eq!(paths(gather(None, Some(&process), Some(&conf))), ["/argued.crt"]);
        assert_eq!(paths(gather(None, None, Some(&conf))), [""; 0]);
        process.container = Some("c".to_owned());
        assert_eq!(paths(gather(Some(&told), Some(&process), None)), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_there_is_hidden() {
        let told: BTreeMap<String, String> = [("tls-cert-file".to_owned(), "/nonexistent.crt".to_owned())].into();
        let files = gather(Some(&told), None, None);
        assert!(matches!(&files[0].certificates, Observed::Hidden(why) if why.kind == BlockerKind::Missing));
    }

    proptest::proptest! {
        #[test]
        fn garbage_holds_no_certificate(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = certificates(&bytes);
            let der = CertificateDer::from(bytes);
            let _ = Certificate::parse(&der);
            let _ = crate::probe::path::tls::certificate::distinguished_name(&der);
        }
    }
}
