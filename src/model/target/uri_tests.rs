//! Tables and properties of reading URIs.

use proptest::prelude::*;

use super::super::layer::Giver;
use super::*;

fn reading(uri: &str) -> Layer {
    let mut layer = Layer::new(Giver::CommandLine, "uri", "flag -u");
    read(&mut layer, uri);
    layer
}

fn place_of(layer: &Layer) -> (Option<&str>, Option<u16>) {
    match &layer.place {
        Some(Place::Host(place) | Place::Socket(place)) => (Some(place), layer.port),
        None => (None, layer.port),
    }
}

#[track_caller]
fn good(uri: &str, place: &str, port: Option<u16>) -> Layer {
    let layer = reading(uri);
    assert_eq!(place_of(&layer), (Some(place), port), "{uri}");
    assert_eq!(layer.complaints, [], "{uri}");
    layer
}

#[track_caller]
fn complains(uri: &str, kind: ComplaintKind, says: &str, meant: Option<&str>) {
    let complaints = reading(uri).complaints;
    let found = complaints.iter().find(|(_, complaint)| complaint.kind == kind && complaint.says.contains(says));
    let (_, complaint) = found.unwrap_or_else(|| panic!("{uri}: {complaints:?}"));
    assert_eq!(complaint.meant.as_deref(), meant, "{uri}");
    assert_eq!(complaint.origin, "flag -u");
    let all = format!("{complaints:?}");
    assert!(!all.contains("marker"), "{uri}: {all}");
}

#[test]
fn reads_sound_uris() {
    good("redis://db", "db", None);
    good("redis://db:", "db", None);
    good("redis://db:7000/", "db", Some(7000));
    assert_eq!(good("redis://db/3", "db", None).db, Some(3));
    assert_eq!(good("redis://db?db=3", "db", None).db, Some(3));
    assert_eq!(good("redis://db/3?db=3", "db", None).db, Some(3));
    assert_eq!(good("REDISS://db", "db", None).tls, Some(true));
    assert_eq!(good("valkeys://db", "db", None).tls, Some(true));
    assert_eq!(good("valkey://db", "db", None).tls, Some(false));
    assert_eq!(good("redis://db?protocol=resp3", "db", None).resp3, Some(true));
    assert_eq!(good("redis://db?protocol=2&family=6", "db", None).family, Some(Family::V6));
    good("redis://[::1]:7000/0", "::1", Some(7000));
    good("redis://[fe80::1%25eth0]", "fe80::1%eth0", None);
    good("redis://[fe80::1%eth0]", "fe80::1%eth0", None);
}

#[test]
fn reads_credentials() {
    let layer = good("redis://alice:p%40ss%2Fw@db:7000/1", "db", Some(7000));
    assert_eq!((layer.user.as_deref(), layer.password.unwrap().expose()), (Some("alice"), "p@ss/w"));
    let layer = good("redis://:pw@db", "db", None);
    assert_eq!((layer.user, layer.password.unwrap().expose()), (None, "pw"));
    let layer = good("redis://pw@db", "db", None);
    assert_eq!((layer.user.as_deref(), layer.password), (Some("pw"), None));
    let layer = good("redis://:@db", "db", None);
    assert_eq!((layer.user, layer.password), (None, None));
    let layer = good("redis://u:a+b@db", "db", None);
    assert_eq!(layer.password.unwrap().expose(), "a+b", "a plus is a plus");
    let layer = good("redis://db?password=p@ss", "db", None);
    assert_eq!(layer.password.unwrap().expose(), "p@ss");
}

#[test]
fn reads_sockets() {
    good("unix:///run/redis.sock", "/run/redis.sock", None);
    good("unix:/run/redis.sock", "/run/redis.sock", None);
    good("unix:///run/redis@1.sock", "/run/redis@1.sock", None);
    assert_eq!(good("redis+socket:///run/r.sock?db=2", "/run/r.sock", None).db, Some(2));
    let layer = good("unix://u:p%2Fw@/run/r.sock", "/run/r.sock", None);
    assert_eq!((layer.user.as_deref(), layer.password.unwrap().expose()), (Some("u"), "p/w"));
    let layer = good("unix:///run/r.sock?db=1&user=u&pass=pw", "/run/r.sock", None);
    assert_eq!((layer.user.as_deref(), layer.password.unwrap().expose()), (Some("u"), "pw"));
}

#[test]
fn names_the_character_that_is_not_encoded() {
    let meant = |tail: &str| Some(format!("redis://:<password, percent-encoded>@{tail}"));
    for (uri, says) in [
        ("redis://:ma@marker@db:7000/1", "'@' stands raw in the password"),
        ("redis://:marker/x@db:7000/1", "'/' stands raw"),
        ("redis://:marker?x=y@db:7000/1", "'?' stands raw"),
        ("redis://:12?marker=y@db:7000/1", "'?' stands raw"),
        ("redis://:marker#@db:7000/1", "'#' stands raw"),
        ("redis://:marker%@db:7000/1", "'%' without two hex digits"),
        ("redis://:marker%ZZ@db:7000/1", "'%' without two hex digits"),
        ("redis://:marker\"@db:7000/1", "'\"' stands raw"),
        ("redis://:ma rker@db:7000/1", "a blank stands raw"),
        ("redis://:märker@db:7000/1", "outside ASCII"),
        ("redis://:/marker@@db:7000/1", "'/' and '@' stand raw"),
    ] {
        complains(uri, NotEncoded, says, meant("db:7000/1").as_deref());
    }
    complains("redis://12:34/marker@db", NotEncoded, "'/'", Some("redis://12:<password, percent-encoded>@db"));
    complains(
        "redis://mar@ker:marker@db",
        NotEncoded,
        "raw in the user",
        Some("redis://<user, percent-encoded>:<password, percent-encoded>@db"),
    );
    complains("redis://u:a:marker@db", Ignored, "':' stands raw", Some("redis://u:<password, percent-encoded>@db"));
    complains("redis://:${PASSWORD}@db", BadValue, "never expanded", None);
    complains("redis://:%ff@db", BadValue, "UTF-8", None);
}

#[test]
fn says_what_is_wrong_with_the_place() {
    complains("redis://", BadHost, "empty", None);
    complains("redis://:marker@", BadHost, "empty", None);
    complains("redis://:marker", BadHost, "empty", None);
    complains("redis://user:marker", BadValue, "port", None);
    complains("redis://db:0", BadValue, "port", None);
    complains("redis://db:99999", BadValue, "port", None);
    complains("redis://db:${PORT}", BadValue, "never expanded", None);
    complains("redis://${HOST}:6379", BadHost, "never expanded", None);
    complains("redis://a:1,b:2", BadHost, "list", Some("redis://a:1"));
    complains("redis://::1", BadHost, "brackets", Some("redis://[::1]"));
    complains("redis://[db]", BadHost, "IPv6", None);
    complains("redis://[::1]x", BadHost, "brackets", None);
    complains("redis://redis:tcp://10.0.0.1:6379", InjectedPort, "tcp://", Some("redis://redis:6379"));
    complains("redis://db/x", BadValue, "database", None);
    complains("redis://db/4294967296", BadValue, "database", None);
    complains("redis://db?db=x", BadValue, "database", None);
    complains("redis://db?protocol=9", BadValue, "protocol", None);
    complains("redis://db/1?db=2", Ignored, "clients differ", Some("/1 alone"));
    complains("redis://db?ssl_cert_reqs=none", NotRead, "ssl_cert_reqs", None);
    complains("redis://db#x", Ignored, "fragment", None);
    complains(" redis://db", BadValue, "blank", None);
    complains("redis://db\n", BadValue, "line end", None);
    complains("redis://d b", BadHost, "blank", None);
}

#[test]
fn says_what_is_wrong_with_the_scheme() {
    complains("http://db:6379/", BadValue, "`http` is no scheme", Some("redis://db:6379"));
    complains("https://u:marker@db", BadValue, "`https` is no scheme", None);
    complains("db:6379", BadValue, "no scheme", Some("redis://db:6379"));
    complains(":marker@db", BadValue, "no scheme", None);
    complains("redis:db", BadValue, "slashes", None);
    complains("", BadValue, "no scheme", None);
    complains("unix:run/redis.sock", BadValue, "absolute", Some("unix:///run/redis.sock"));
    complains("unix://run/redis.sock", BadValue, "absolute", Some("unix:///run/redis.sock"));
    complains("unix:///run/a%00b", BadValue, "NUL", None);
    complains(&format!("unix:///{}", "x".repeat(107)), BadValue, "107", None);
}

fn encode(text: &str) -> String {
    text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).map(char::from).collect()
}

#[test]
fn a_password_that_looks_like_an_address_with_a_zone_is_not_repeated() {
    assert!(!format!("{:?}", reading("redis://::%MARKER")).contains("MARKER"));
    assert!(format!("{:?}", reading("redis://::1")).contains("[::1]"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_string_panics(uri in ".*", scheme in "(redis|rediss|unix|valkey|http)(:|://|:///)") {
        reading(&uri);
        reading(&format!("{scheme}{uri}"));
    }

    #[test]
    fn encoded_credentials_come_back(user in ".{1,20}", password in ".{1,40}") {
        let layer = good(&format!("redis://{}:{}@db:7000/1", encode(&user), encode(&password)), "db", Some(7000));
        prop_assert_eq!(layer.user.as_ref(), Some(&user));
        prop_assert_eq!(layer.password.as_ref().map(Secret::expose), Some(password.as_str()));
    }

    #[test]
    fn no_complaint_repeats_the_password(before in ".{0,8}", after in ".{0,8}", tail in "(@|@db|@db:x/y|@db,b)") {
        let layer = reading(&format!("redis://:{before}MARKER{after}{tail}"));
        let shown = format!("{layer:?}");
        prop_assert!(!shown.contains("MARKER"), "{}", shown);
    }

    #[test]
    fn no_complaint_repeats_what_lacks_its_host(before in "[^@]{0,8}", after in "[^@]{0,8}") {
        let layer = reading(&format!("redis://:{before}MARKER{after}"));
        let shown = format!("{layer:?}");
        prop_assert!(!shown.contains("MARKER"), "{}", shown);
    }
}
