use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Files that are made up.
#[derive(Default)]
struct Made(BTreeMap<&'static str, Vec<u8>>);

impl Files for Made {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match path {
            "/secret.conf" => Err(io::ErrorKind::PermissionDenied.into()),
            "/folder" => Err(io::ErrorKind::IsADirectory.into()),
            path => self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let start = pattern.trim_end_matches("*.conf");
        self.0.keys().filter(|path| path.starts_with(start)).map(|path| (*path).to_owned()).collect()
    }

    fn is_missing(&self, path: &str) -> bool {
        path.contains("missing")
    }
}

fn made(files: &[(&'static str, &str)]) -> Made {
    Made(files.iter().map(|(path, text)| (*path, text.as_bytes().to_vec())).collect())
}

fn read(text: &str, files: &[(&'static str, &str)]) -> Parsed {
    parse("/etc/redis/redis.conf", text.as_bytes(), None, &made(files))
}

/// The settings as `file:line name values`, without the folder.
fn settings(parsed: &Parsed) -> Vec<String> {
    let file = |setting: &Setting| setting.file.rsplit('/').next().unwrap_or_default().to_owned();
    let say = |setting: &Setting| {
        format!("{}:{} {} {}", file(setting), setting.line, setting.name, setting.values.join(" ")).trim().to_owned()
    };
    parsed.settings.iter().map(say).collect()
}

fn faults(parsed: &Parsed) -> Vec<(u32, &str, bool)> {
    parsed.errors.iter().map(|fault| (fault.line, fault.says.as_str(), fault.sure)).collect()
}

#[test]
fn what_keeps_it_from_listening_is_a_fault() {
    let sure = |text: &str| read(text, &[]).errors.first().map(|fault| fault.sure);
    assert_eq!(sure("bind 127.0.0.1 0.0.0.0\n"), Some(true));
    assert_eq!(sure("port 0\nunixsocket /r.sock\nbind 127.0.0.1 0.0.0.0\n"), None);
    assert_eq!(sure("bind \"\"\n"), Some(true));
    assert_eq!(sure("bind \"\"\nunixsocket /run/r.sock\n"), None);
    assert_eq!(sure("unixsocket /missing/r.sock\n"), Some(true));
    assert_eq!(sure("unixsocket /run/missing/r.sock\n"), None);
}

#[test]
fn reads_settings_with_their_lines() {
    let parsed = read("# x\r\n\r\nPORT 6380\r\n  Bind 127.0.0.1 \t::1\nport 6381", &[]);
    let want = ["redis.conf:3 port 6380", "redis.conf:4 bind 127.0.0.1 ::1", "redis.conf:5 port 6381"];
    assert_eq!(settings(&parsed), want);
    assert_eq!(parsed.last("port").map(Setting::place).as_deref(), Some("/etc/redis/redis.conf:5"));
    assert_eq!((faults(&parsed), parsed.unread.len()), (vec![], 0));
    assert_eq!(parsed.settings[1].text, "Bind 127.0.0.1 \\t::1");
    let aliased = read("replica-priority 1\nslave-priority 2\n", &[]);
    assert_eq!(aliased.last("replica-priority").unwrap().values, ["2"]);
    assert_eq!(aliased.last("slave-priority").unwrap().line, 2);
}

#[test]
fn reads_includes_where_they_stand() {
    let files = [("/a/1.conf", "port 1\nhz 1"), ("/a/2.conf", "0\nport 2\n"), ("/etc/redis/b.conf", "port 3\n")];
    let parsed = read("port 0\ninclude /a/*.conf\nport 9\n", &files);
    let want = [
        "redis.conf:1 port 0",
        "redis.conf:2 include /a/*.conf",
        "1.conf:1 port 1",
        "1.conf:2 hz 10",
        "2.conf:2 port 2",
    ];
    assert_eq!(settings(&parsed)[..5], want);
    assert_eq!(parsed.files, ["/etc/redis/redis.conf", "/a/1.conf", "/a/2.conf"]);
    assert_eq!(parsed.last("port").unwrap().values, ["9"]);
    // Relative: a guess, so that nothing missing is a fault.
    let parsed = read("include b.conf\ninclude c.conf\n", &files);
    assert_eq!((parsed.last("port").unwrap().values[0].as_str(), faults(&parsed)), ("3", vec![]));
    assert_eq!(parsed.unread, ["/etc/redis/c.conf"]);
    // Redis changes into `dir` at once.
    let parsed = read("dir /a\ninclude 1.conf\ninclude 3.conf\n", &files);
    let says = "Fatal error, can't open config file '/a/3.conf': No such file or directory";
    assert_eq!(faults(&parsed), [(3, says, true)]);
    let parsed = parse("/x", b"include 1.conf", Some("/a"), &made(&files));
    assert_eq!(parsed.last("port").unwrap().place(), "/a/1.conf:1");
}

#[test]
fn says_what_it_could_not_read() {
    let parsed = read("include /secret.conf\ninclude /folder\ninclude /none*.conf\n", &[]);
    assert_eq!((faults(&parsed), parsed.unread.as_slice()), (vec![], ["/secret.conf".to_owned()].as_slice()));
    let parsed = read("include /a\n", &[("/a", "include /b"), ("/b", "port 1\ninclude /a\n")]);
    assert_eq!(faults(&parsed), [(2, "the file includes itself, without end", true)]);
}

#[test]
fn finds_what_redis_does_not_start_with() {
    let bad = "Bad directive or wrong number of arguments";
    let parsed = read("\u{feff}# x\nport 1\nprot 2\nport tcp://1\nlogfile \"x\nport 6379 # x\n", &[]);
    let want = [
        (1, bad, true),
        (3, bad, false),
        (4, "argument couldn't be parsed into an integer", false),
        (5, "Unbalanced quotes in configuration line", true),
        (6, "wrong number of arguments", true),
    ];
    assert_eq!(faults(&parsed), want);
    assert_eq!(parsed.last("port").unwrap().line, 4);
    let gone = "No such file or directory";
    assert_eq!(faults(&read("dir /missing\n", &[])), [(1, gone, true)]);
    assert_eq!(faults(&read("dir /var/lib/missing\n", &[])), [(1, gone, false)]);
    assert_eq!(faults(&read("dir missing\n", &[])), []);
    let log = "Can't open the log file: No such file or directory";
    assert_eq!(faults(&read("logfile /missing/x.log\nport 1\n", &[])), [(1, log, true)]);
    assert_eq!(faults(&read("logfile /missing/x.log\nlogfile \"\"\n", &[])), []);
    let cluster = "cluster-enabled yes\nslaveof 10.0.0.1 6379\n";
    assert_eq!(faults(&read(cluster, &[])), [(2, "replicaof directive not allowed in cluster mode", true)]);
    assert_eq!(faults(&read(&format!("{cluster}replicaof no one\n"), &[])), []);
    let comment = "Could not create server TCP listening socket #: Name or service not known";
    assert_eq!(faults(&read("bind ::1 # local only\n", &[])), [(1, comment, true)]);
    assert_eq!(faults(&read("bind ::1 # local only\nbind ::1\n", &[])), []);
    let module = faults(&read("loadmodule /missing.so hunter2\n", &[])).len();
    assert_eq!(module, 1);
}

#[test]
fn keeps_no_secret_anywhere() {
    let text = "requirepass hunter2\nrequirepas hunter2\nmasterauth \"hunter2\nuser al on >hunter2\nuser al on hunter2\nbind ::1 # hunter2\n\
                x.token hunter2\nrequirepass=hunter2\nloadmodule /missing.so hunter2\nrename-command CONFIG hunter2\n\
                protected-mode maybe requirepass hunter2\ntls-key-file-pass hunter2 # x\n";
    let parsed = read(text, &[]);
    assert_eq!(parsed.errors.len(), 8, "{:?}", parsed.errors);
    assert!(!serde_json::to_string(&parsed).unwrap().contains("hunter"), "{parsed:?}");
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in "((port|include|dir|requirepass|user|save|bind|[ \\n\"'#\\\\x0-9a/*])|\\PC)*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for text in [text.as_bytes(), &bytes] {
            let parsed = parse("/redis.conf", text, None, &made(&[("/a", "include /a\n"), ("/a0", "port 1")]));
            prop_assert!(parsed.errors.len() <= MOST_FAULTS);
            prop_assert!(parsed.errors.iter().all(|fault| fault.text.chars().count() <= 210));
            prop_assert!(parsed.settings.iter().all(|setting| setting.text.chars().count() <= 810));
        }
    }
}

#[test]
fn output_is_bounded() {
    let parsed = parse("/redis.conf", "port 1\nx\n".repeat(6000).as_bytes(), None, &made(&[]));
    assert_eq!((parsed.settings.len(), parsed.errors.len()), (MOST_SETTINGS, MOST_FAULTS));
    assert_eq!(parsed.unread, ["/redis.conf"]);
}

#[test]
fn a_fault_says_whether_its_line_is_whole() {
    let whole = |text: &str| read(text, &[]).errors[0].is_whole();
    assert!(whole("maxclients many\n") && whole("maxclients 1 2\n"));
    for cut in ["maxclients 1 S3CRET", "maxclients 1 # mine", "maxclients S3CRET of mine", "slaveof redis://:x@h:1"] {
        assert!(!whole(cut), "{cut}");
    }
}

#[test]
fn without_time_nothing_more_is_read() {
    /// A disk that is too slow.
    struct Slow;
    impl Files for Slow {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            panic!("{path} is read")
        }

        fn glob(&self, pattern: &str) -> Vec<String> {
            panic!("{pattern} is looked for")
        }

        fn is_missing(&self, _: &str) -> bool {
            false
        }

        fn is_over(&self) -> bool {
            true
        }
    }
    let parsed = parse("/r.conf", b"include /etc/*/*/*\ninclude /x.conf\nport 6380\n", None, &Slow);
    assert_eq!(parsed.unread, ["/etc/*/*/*", "/x.conf"]);
    assert_eq!((parsed.port(), parsed.errors.len()), (Some(6380), 0));
}
