//! Tables of merging what was said.

use proptest::prelude::*;

use super::super::dotenv;
use super::*;

fn env(file: &str, text: &str) -> Settings {
    let (mut found, complaints) = dotenv::parse(file, text, &settings::is_name);
    if file == "environment" {
        for setting in &mut found {
            setting.origin = format!("env {}", setting.name);
        }
    }
    Settings { place: file.to_owned(), found, complaints }
}

fn argument(text: &str) -> Said {
    Said { argument: Some(Secret::new(text)), ..Said::default() }
}

fn with_uri(text: &str) -> Said {
    Said { uri: Some(Secret::new(text)), ..Said::default() }
}

fn with_host(text: &str) -> Said {
    Said { host: Some(text.to_owned()), ..Said::default() }
}

fn with_env(text: &str) -> Said {
    Said { settings: vec![env("environment", text)], ..Said::default() }
}

fn password(by: &str, password: &str) -> (String, Secret) {
    (by.to_owned(), Secret::new(password))
}

#[track_caller]
fn gives(said: &Said, place: &str, given_by: &[(Part, &str)], complaints: &[(&str, &str)]) -> Target {
    let (target, _) = resolve(said);
    assert_eq!(target.place(), place);
    let by: Vec<_> = target.given_by.iter().map(|(part, by)| (*part, by.as_str())).collect();
    assert_eq!(by, given_by);
    let found = &target.complaints;
    assert_eq!(found.len(), complaints.len(), "{found:?}");
    for (complaint, (origin, says)) in found.iter().zip(complaints) {
        assert_eq!((complaint.origin.as_str(), complaint.says.contains(says)), (*origin, true), "{complaint:?}");
    }
    target
}

#[test]
fn defaults_as_redis_cli_has_them() {
    let by = [(Part::Host, "default"), (Part::Port, "default")];
    let target = gives(&Said::default(), "127.0.0.1:6379", &by, &[]);
    assert!(target.host_is_default() && target.searched.is_empty());
}

#[test]
fn the_command_line_names_a_place() {
    gives(&argument("db"), "db:6379", &[(Part::Host, "argument"), (Part::Port, "default")], &[]);
    gives(&argument("[::1]:7000"), "[::1]:7000", &[(Part::Host, "argument"), (Part::Port, "argument")], &[]);
    gives(&argument("unix:///r.sock"), "/r.sock", &[(Part::Socket, "uri")], &[]);
    let said = Said { port: Some("7000".to_owned()), ..with_host("db") };
    gives(&said, "db:7000", &[(Part::Host, "flag"), (Part::Port, "flag")], &[]);
    let said = Said { port: Some("7000".to_owned()), ..argument("redis://db") };
    gives(&said, "db:7000", &[(Part::Host, "uri"), (Part::Port, "flag"), (Part::Tls, "uri")], &[]);
}

#[test]
fn disagreements_on_the_command_line_are_told() {
    let said = Said { uri: Some(Secret::new("redis://b:1/2")), db: Some("3".to_owned()), ..with_host("a") };
    let by = [(Part::Host, "flag"), (Part::Port, "uri"), (Part::Tls, "uri"), (Part::Db, "flag")];
    gives(&said, "a:1", &by, &[("flag -u", "its place"), ("flag -u", "its database")]);
    let said = Said { socket: Some("/s".to_owned()), port: Some("1".to_owned()), tls: true, ..with_host("a") };
    let complaints = [("flag -h", "its place"), ("flag -p", "no port"), ("flag --tls", "without TLS")];
    gives(&said, "/s", &[(Part::Socket, "flag")], &complaints);
    let said = Said { sni: Some("x".to_owned()), ..with_host("a") };
    gives(&said, "a:6379", &[(Part::Host, "flag"), (Part::Port, "default")], &[("flag --sni", "TLS")]);
}

#[test]
fn tls_may_be_asked_for_beside_a_uri() {
    let said = Said { tls: true, sni: Some("x".to_owned()), ..with_uri("redis://db") };
    let by = [(Part::Host, "uri"), (Part::Port, "default"), (Part::Tls, "flag")];
    let target = gives(&said, "db:6379", &by, &[]);
    assert_eq!((target.tls, target.sni.as_deref()), (true, Some("x")));
}

#[test]
fn the_command_line_overrides_settings_in_silence() {
    let said = Said { settings: with_env("REDIS_HOST=b\nREDIS_PORT=7000").settings, ..with_host("a") };
    gives(&said, "a:7000", &[(Part::Host, "flag"), (Part::Port, "env REDIS_PORT")], &[]);
    let said = Said { settings: with_env("REDIS_HOST=$X\nREDIS_PORT=tcp://x").settings, ..argument("redis://a") };
    let by = [(Part::Host, "uri"), (Part::Port, "default"), (Part::Tls, "uri")];
    let target = gives(&said, "a:6379", &by, &[("environment:1 REDIS_HOST", "'$'")]);
    assert!(target.is_usable());
}

#[test]
fn settings_that_disagree_are_told() {
    let said = with_env("REDIS_URL=redis://a\nREDIS_HOST=b\nREDIS_PORT=tcp://10.0.0.1:6379");
    let by = [(Part::Host, "env REDIS_URL"), (Part::Port, "default"), (Part::Tls, "env REDIS_URL")];
    gives(&said, "a:6379", &by, &[("env REDIS_HOST", "that of env REDIS_URL counts")]);
    let mut said = with_env("REDIS_HOST=a");
    said.settings.push(env(".env", "# ours\nREDIS_HOST=b\n"));
    let by = [(Part::Host, "env REDIS_HOST"), (Part::Port, "default")];
    gives(&said, "a:6379", &by, &[(".env:2 REDIS_HOST", "has no effect")]);
}

#[test]
fn says_where_settings_were_looked_for_in_vain() {
    let mut said = with_env("REDIS_PASSWORD=x");
    said.settings.push(env(".env", ""));
    let by = [(Part::Host, "default"), (Part::Port, "default"), (Part::Password, "env REDIS_PASSWORD")];
    assert_eq!(gives(&said, "127.0.0.1:6379", &by, &[]).searched, ["environment", ".env"]);
    assert!(resolve(&Said { host: Some("a".to_owned()), ..said }).0.searched.is_empty());
    assert!(resolve(&with_env("REDIS_HOST=")).0.searched.is_empty(), "it is there, but malformed");
}

#[test]
fn the_password_has_an_order() {
    let mut said = with_uri("redis://u:from-uri@db");
    said.rediscli_auth = Some(Secret::new("from-env"));
    said.settings = with_env("REDIS_PASSWORD=from-setting").settings;
    said.passwords = vec![password("askpass", "asked"), password("flag -a", "typed")];
    let winner = |said: &Said| resolve(said).1.map(|password| password.expose().to_owned());
    assert_eq!(winner(&said).as_deref(), Some("asked"));
    let ignored = resolve(&said).0.complaints.iter().filter(|c| c.says.contains("that of askpass")).count();
    assert_eq!(ignored, 2, "-a and the URI");
    said.passwords.clear();
    assert_eq!(winner(&said).as_deref(), Some("from-uri"));
    said.uri = None;
    assert_eq!(winner(&said).as_deref(), Some("from-setting"));
    said.settings.clear();
    assert_eq!(winner(&said).as_deref(), Some("from-env"));
    said.passwords = vec![password("flag -a", "")];
    assert_eq!(winner(&said).as_deref(), Some("from-env"));
}

#[test]
fn a_user_alone_may_be_a_password_and_is_dropped() {
    let (target, _) = resolve(&with_uri("redis://marker@db"));
    assert!(!format!("{target:?}").contains("marker"));
    assert_eq!(target.complaints[0].meant.as_deref(), Some("redis://:<password, percent-encoded>@db:6379"));
    assert!(target.is_usable());
    let said = Said { rediscli_auth: Some(Secret::new("pw")), ..with_uri("redis://alice@db") };
    let (target, _) = resolve(&said);
    assert_eq!((target.user.as_deref(), target.complaints.len()), (Some("alice"), 0));
}

#[test]
fn every_bad_source_is_reported() {
    let said = Said {
        port: Some("0".to_owned()),
        db: Some("-1".to_owned()),
        uri: Some(Secret::new("redis://:p@marker@b")),
        settings: with_env("REDIS_TLS=maybe").settings,
        ..with_host("redis://a:7000/")
    };
    let (target, _) = resolve(&said);
    let meant: Vec<_> = target.complaints.iter().filter(|c| c.is_fatal()).map(|c| c.meant.as_deref()).collect();
    let uri = Some("redis://:<password, percent-encoded>@b");
    assert_eq!(meant, [Some("-h a -p 7000"), None, None, uri]);
    assert_eq!(target.place(), "a:7000");
    assert!(!target.is_usable() && !format!("{target:?}").contains("marker"));
}

#[test]
fn what_was_meant_is_shown_as_the_place() {
    let place = |said: &Said| resolve(said).0.place();
    assert_eq!(place(&with_host("db:7000")), "db:7000");
    assert_eq!(place(&argument("http://db:7000")), "db:7000");
    assert_eq!(place(&with_uri("redis://${HOST}")), "${HOST}:6379");
    assert_eq!(place(&with_host("/run/r.sock")), "/run/r.sock");
    assert_eq!(place(&with_host("u:p@$X")), "127.0.0.1:6379", "what may hold a password is not shown");
    assert_eq!(resolve(&with_host("/run/r.sock")).0.complaints[0].meant.as_deref(), Some("-s /run/r.sock"));
    let injected = Said { port: Some("tcp://10.0.0.1:7000".to_owned()), ..with_host("redis") };
    assert_eq!(place(&injected), "redis:7000");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_string_panics(a in ".*", b in ".*", c in "(?s).*") {
        let said = Said { port: Some(a.clone()), db: Some(a), settings: vec![env(".env", &c)], ..with_host(&b) };
        resolve(&said);
        resolve(&argument(&b));
    }

    #[test]
    fn the_target_never_holds_the_password(before in ".{0,6}", after in ".{0,6}") {
        let uri = format!("redis://u:{before}MARKER{after}@db");
        let file = format!("REDIS_URL={uri}\nREDIS_PASSWORD={before}MARKER{after}\n");
        for said in [with_uri(&uri), argument(&uri), with_host(&uri), with_env(&file)] {
            let shown = format!("{:?} {said:?}", resolve(&said));
            let leaks = shown.replace(&format!("host: Some({uri:?})"), "").contains("MARKER");
            prop_assert!(!leaks, "{}", shown);
        }
    }
}
