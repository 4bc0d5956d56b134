//! What the client asks for: settings that were not loaded, ports that the platform injected, URIs and hosts that are
//! not written as they have to be; and the same rewritten, which is healthy.

use std::time::Duration;

use crate::world::diagnose::Diagnosis;
use crate::world::{Confidence, Lab};

const SERVER: &str = "10.77.1.2";
/// Every character that means something in a URI, and a few more.
const PASSWORD: &str = "p@ss/w#r?d%41:x+y z&=;[]";

/// Percent-encodes everything but letters and digits.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The target cannot be used: exit code 2, nothing is connected to, and the first cause is certain.
#[track_caller]
fn unusable(diagnosis: &Diagnosis, cause: &str) {
    diagnosis.exit(2).first_cause(cause, Confidence::Certain).within(Duration::from_secs(1));
    for check in ["dns", "tcp", "ping"] {
        diagnosis.check(check, "skipped");
    }
    assert_eq!(diagnosis.report["reached"], "nothing", "{diagnosis}");
}

/// What the report tells to write instead, of the first cause's first step that says so.
#[track_caller]
fn told(diagnosis: &Diagnosis, before: &str) -> String {
    let steps = diagnosis.report["causes"][0]["remedy"].as_array().into_iter().flatten();
    let mut texts = steps.filter_map(|step| step["text"].as_str());
    let text = texts.find_map(|text| text.split_once(before)).unwrap_or_else(|| panic!("no {before:?}\n{diagnosis}"));
    text.1.to_owned()
}

#[test]
fn settings_that_name_no_host() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let lost = client.diagnose(&["--env"]);
    lost.exit(1).first_cause("target-defaulted", Confidence::Likely).nothing_certain().finding("tcp/refused");
    client.file("/app/.env", "# ours\nREDIS_PREFIX=app:\nexport DATABASE_URL=postgres://db/x\n");
    let lost = client.diagnose(&["--env-file", "/app/.env"]);
    lost.exit(1).first_cause("target-defaulted", Confidence::Likely).nothing_certain().finding("target/defaulted");
    assert!(lost.report.to_string().contains("/app/.env"), "{lost}");
    // The repair: what the application reads is set.
    client.doctor(&["--env"]).env("REDIS_HOST", SERVER).diagnose().healthy();
    client.doctor(&["--env"]).env("REDIS_URL", "redis://10.77.1.2").diagnose().healthy();
    client.file("/app/.env", "REDIS_HOST=10.77.1.2\nREDIS_PORT='6379'\n");
    client.diagnose(&["--env-file", "/app/.env"]).healthy();
}

#[test]
fn a_default_that_answers_is_a_warning() {
    let Some(lab) = Lab::enter() else { return };
    let one = lab.host("solo");
    let _redis = one.redis(&[]);
    let defaulted = one.diagnose(&["--env"]);
    defaulted.exit(0).first_cause("target-defaulted", Confidence::Likely).check("target", "warn");
    one.diagnose(&[]).healthy();
    one.doctor(&[]).env("REDIS_URL", "redis://elsewhere").diagnose().healthy();
}

#[test]
fn settings_that_go_unused_are_a_candidate() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let unused = client.doctor(&[]).env("REDIS_URL", "redis://10.77.1.2:6379").diagnose();
    unused.exit(1).cause("target-defaulted", Confidence::Possible);
    client.doctor(&["--env"]).env("REDIS_URL", "redis://10.77.1.2:6379").diagnose().healthy();
}

#[test]
fn a_port_that_the_platform_injected() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    let with_port = |port: &str| client.doctor(&["--env"]).env("REDIS_HOST", SERVER).env("REDIS_PORT", port).diagnose();
    let injected = with_port("tcp://10.0.0.1:6379");
    unusable(&injected, "injected-port-variable");
    let (name, value) =
        told(&injected, "set it explicitly: ").split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
    assert_eq!(name, "REDIS_PORT");
    with_port(&value).healthy();
    client.file("/app/.env", "REDIS_HOST=10.77.1.2\nREDIS_PORT=tcp://10.0.0.1:6379\n");
    unusable(&client.diagnose(&["--env-file", "/app/.env"]), "injected-port-variable");
    unusable(&client.diagnose(&["-h", SERVER, "-p", "tcp://10.0.0.1:6379"]), "injected-port-variable");
    unusable(&client.diagnose(&["-u", "redis://10.77.1.2:tcp://10.0.0.1:6379"]), "injected-port-variable");
    // An injected variable that something better overrides does no harm.
    let overridden = client.doctor(&["--env", "-p", "6379"]).env("REDIS_HOST", SERVER);
    overridden.env("REDIS_PORT", "tcp://10.0.0.1:6379").diagnose().healthy();
}

#[test]
fn a_password_that_stands_raw_in_a_uri() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--requirepass", PASSWORD]);
    for raw in ["p@ss", "p/ss", "p#ss", "p?ss", "p%ss", "p ss", "p%4", PASSWORD] {
        let uri = format!("redis://:{raw}@10.77.1.2:6379");
        unusable(&client.diagnose(&["-u", &uri]), "url-not-encoded");
        unusable(&client.diagnose(&[&uri]), "url-not-encoded");
        let in_env = client.doctor(&["--env"]).env("REDIS_URL", &uri).diagnose();
        unusable(&in_env, "url-not-encoded");
        assert!(!in_env.report.to_string().contains(&raw[..4.min(raw.len())].to_owned()), "{in_env}");
    }
    let right = format!("redis://:{}@10.77.1.2:6379/0", encoded(PASSWORD));
    client.diagnose(&["-u", &right]).healthy();
    client.diagnose(&[&right]).healthy();
    client.doctor(&["--env"]).env("REDIS_URL", &right).diagnose().healthy();
    client.file("/app/.env", format!("REDIS_URL=\"{right}\"\n"));
    client.diagnose(&["--env-file", "/app/.env"]).healthy();
    // The other repair: apart from the URI.
    client.doctor(&["-u", "redis://10.77.1.2"]).env("REDISCLI_AUTH", PASSWORD).diagnose().healthy();
    client.doctor(&["-h", SERVER, "--pass-file", "-"]).stdin(format!("{PASSWORD}\n")).diagnose().healthy();
    client.diagnose(&["-h", SERVER, "-a", PASSWORD]).healthy();
    client.doctor(&["--env"]).env("REDIS_HOST", SERVER).env("REDIS_PASSWORD", PASSWORD).diagnose().healthy();
}

#[test]
fn a_host_that_is_none() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--protected-mode", "no"]);
    for host in [
        "redis://10.77.1.2",
        "http://10.77.1.2",
        "10.77.1.2:6379",
        "[fd77:1::2]",
        "[fd77:1::2]:6379",
        " 10.77.1.2",
        "10.77.1.2 ",
        "",
        "10.77.1.2/0",
        "10.77.1.2,10.77.1.3",
        "${REDIS_HOST}",
        "user:pw@10.77.1.2",
    ] {
        unusable(&client.diagnose(&["-h", host]), "bad-host-syntax");
        unusable(&client.doctor(&["--env"]).env("REDIS_HOST", host).diagnose(), "bad-host-syntax");
    }
    for (flag, value) in [("-p", "0"), ("-p", "65536"), ("-p", "redis"), ("-n", "x"), ("-u", "http://10.77.1.2")] {
        unusable(&client.diagnose(&["-h", SERVER, flag, value]), "bad-host-syntax");
    }
    // What it says was meant is healthy.
    for host in ["redis://10.77.1.2", "10.77.1.2:6379", "[fd77:1::2]:6379", "[fd77:1::2]", " 10.77.1.2"] {
        let meant = told(&client.diagnose(&["-h", host]), "flag -h: write ");
        let words: Vec<&str> = meant.split_whitespace().collect();
        client.diagnose(&words).healthy();
    }
    // Where a port belongs, it is taken.
    client.diagnose(&["10.77.1.2:6379"]).healthy();
    client.diagnose(&["[fd77:1::2]:6379"]).healthy();
    client.diagnose(&["redis://[fd77:1::2]:6379"]).healthy();
}
