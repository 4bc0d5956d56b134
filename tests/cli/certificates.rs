//! Files with certificates and keys: what is wrong with them is said, and the exit code is 2.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use crate::world::{check, closed_port};

/// A folder with a certificate, its key, another key, and what is neither.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["app".to_owned()]).unwrap().self_signed(&key).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    put("app.crt", certificate.pem().as_bytes());
    put("app.der", certificate.der());
    put("app.key", key.serialize_pem().as_bytes());
    put("other.key", other.serialize_pem().as_bytes());
    put("garbage", b"\xff\xfe\x1b[2Jgarbage");
    put("empty", b"");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    put("locked.key", locked.as_bytes());
    std::fs::create_dir(folder.path().join("none")).unwrap();
    folder
}

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn two_for_files_that_are_not_what_they_should_be() {
    let folder = folder();
    for (args, words) in [
        (vec!["--cert", "app.crt"], "--key"),
        (vec!["--key", "app.key"], "--cert"),
        (vec!["--cacert", "nonexistent"], "nonexistent"),
        (vec!["--cacert", "app.key"], "it holds no certificate"),
        (vec!["--cacert", "garbage"], "it holds no certificate"),
        (vec!["--cacert", "empty"], "it holds no certificate"),
        (vec!["--cacert", "none"], "directory"),
        (vec!["--cacertdir", "none"], "openssl rehash"),
        (vec!["--cacertdir", "nonexistent"], "nonexistent"),
        (vec!["--cert", "app.key", "--key", "app.key"], "it holds no certificate"),
        (vec!["--cert", "app.crt", "--key", "app.crt"], "it holds no private key"),
        (vec!["--cert", "app.crt", "--key", "garbage"], "UTF-8"),
        (vec!["--cert", "app.crt", "--key", "other.key"], "with"),
        (vec!["--cert", "app.crt", "--key", "locked.key"], "passphrase"),
    ] {
        let path = |arg: &&str| if arg.starts_with("--") { (*arg).to_owned() } else { at(folder.path(), arg) };
        let paths: Vec<String> = args.iter().map(path).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let ran = check(&[&["--tls", "--json"], &paths[..]].concat()).run().exit(2);
        let error = ran.json()["error"].as_str().unwrap_or_default().to_owned() + &ran.stderr;
        assert!(error.contains(words) && !error.contains('\x1b') && !error.contains("KEY-----\n"), "{args:?}: {ran}");
    }
}

#[test]
fn certificates_may_be_der() {
    let (folder, port) = (folder(), closed_port());
    for file in ["app.crt", "app.der"] {
        let (file, key) = (at(folder.path(), file), at(folder.path(), "app.key"));
        check(&["-p", &port, "--tls", "--cacert", &file]).run().exit(1).says("refused");
        check(&["-p", &port, "--tls", "--cert", &file, "--key", &key]).run().exit(1).says("refused");
    }
}
