//! What the arguments of a proxy say of its way, and no more of them: any other word of theirs may be a password.

use std::net::IpAddr;

use super::Lead;

/// The options of ssh(1) that take a value.
const TAKING: &str = "BbcDEeFIiJLlmOopPQRSWw";
/// The flags of docker-proxy.
const DOCKER: [&str; 5] = ["-proto", "-host-ip", "-host-port", "-container-ip", "-container-port"];
/// After this word haproxy(1) takes more names of files.
const MORE: &str = "--";
/// The flag of haproxy(1) for a socket of the master process, over which servers are given other addresses.
const MASTER: &str = "-S";
/// What stands in the place of an argument that is not kept.
const UNTOLD: &str = "[untold]";
/// The options of socat(1) that change nothing of where it connects to, nor from where.
const HARMLESS: [&str; 11] = [
    "connect-timeout",
    "fork",
    "forever",
    "interval",
    "keepalive",
    "keepcnt",
    "keepidle",
    "keepintvl",
    "nodelay",
    "retry",
    "reuseaddr",
];
/// The longest name of a file or a place.
const LONGEST: usize = 255;

/// Of the arguments of a proxy, the program's own name left out, those that say where it leads.
pub fn kept(name: &str, args: &[String]) -> Vec<String> {
    match name {
        "docker-proxy" => pairs(args, |flag, value| DOCKER.contains(&flag) && is_docker(value)),
        "ssh" | "autossh" => {
            let plain = forwardings(args).into_iter().map(|spec| ["-L".to_owned(), spec.to_owned()]);
            let dynamic = dynamic(args).into_iter().map(|spec| ["-D".to_owned(), spec.to_owned()]);
            plain.chain(dynamic).flatten().collect()
        }
        "socat" => args.iter().filter_map(|arg| address(arg)).collect(),
        "systemd-socket-" => args.iter().filter(|arg| place(arg)).cloned().collect(),
        "kubectl" => kubectl(args),
        "haproxy" | "nginx" => {
            let more = args.iter().filter(|arg| [MORE, MASTER].contains(&arg.as_str())).cloned();
            pairs(args, |flag, value| ["-f", "-c"].contains(&flag) && is_path(value)).into_iter().chain(more).collect()
        }
        "nutcracker" | "envoy" => {
            pairs(args, |flag, value| ["-c", "--conf-file", "--config-path"].contains(&flag) && is_path(value))
        }
        // That there is something to say which file it reads is kept too.
        "stunnel" | "stunnel4" => {
            args.iter().map(|arg| if is_path(arg) { arg.clone() } else { UNTOLD.to_owned() }).collect()
        }
        _ => Vec::new(),
    }
}

/// Where a proxy leads by those.
pub fn leads(name: &str, args: &[String]) -> Vec<Lead> {
    let value = |flag: &str| args.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].as_str());
    let lead = |port: Option<&str>, place: String| Lead::new(port.and_then(|it| it.parse().ok()), None, place, None);
    match name {
        "docker-proxy" => {
            let (Some(ip), Some(port)) = (value("-container-ip"), value("-container-port")) else { return Vec::new() };
            let place = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
            let at = value("-host-ip").and_then(|ip| ip.parse().ok()).filter(|ip: &IpAddr| !ip.is_unspecified());
            vec![Lead { at, ..lead(value("-host-port"), place) }]
        }
        "ssh" | "autossh" => forwardings(args).into_iter().filter_map(forwarding).collect(),
        "socat" => {
            let port = args.iter().find_map(|arg| listening(arg));
            let to = args.iter().filter(|arg| listening(arg).is_none()).filter_map(|arg| arg.split_once(':'));
            let place = |told: &str| told.split(',').next().unwrap_or_default().to_owned();
            to.map(|(_, told)| lead(port, place(told))).collect()
        }
        "systemd-socket-" => args.iter().filter(|arg| place(arg)).map(|arg| lead(None, arg.clone())).collect(),
        _ => Vec::new(),
    }
}

/// True if those leave nothing out that may say from where a proxy connects, or to where.
pub fn are_whole(args: &[String]) -> bool {
    !args.iter().any(|arg| arg.ends_with(UNTOLD))
}

/// True if `HAProxy` has a socket over which its places are changed.
pub fn has_master_socket(name: &str, args: &[String]) -> bool {
    name == "haproxy" && args.iter().any(|arg| arg == MASTER)
}

/// The file that says where a proxy leads, by its own name and those arguments.
pub fn file(name: &str, args: &[String]) -> Option<String> {
    let names = |pair: &&[String]| pair[0].starts_with('-') && ![MORE, MASTER].contains(&pair[0].as_str());
    let value = args.windows(2).find(names).map(|pair| pair[1].clone());
    match name {
        "haproxy" | "nutcracker" | "envoy" => value,
        "nginx" => Some(value.unwrap_or_else(|| "/etc/nginx/nginx.conf".to_owned())),
        "stunnel" | "stunnel4" => match args.get(1) {
            None => Some("/etc/stunnel/stunnel.conf".to_owned()),
            // `-fd 3`: a file that somebody else has opened.
            Some(given) => Some(given.clone()).filter(|given| !given.starts_with('-') && given != UNTOLD),
        },
        _ => None,
    }
}

/// True if those name more than one file.
pub fn names_more(args: &[String]) -> bool {
    args.iter().filter(|arg| arg.as_str() == "-f").count() > 1 || args.iter().any(|arg| arg == MORE)
}

fn pairs(args: &[String], fits: impl Fn(&str, &str) -> bool) -> Vec<String> {
    args.windows(2).filter(|pair| fits(&pair[0], &pair[1])).flatten().cloned().collect()
}

/// Whether a word is an address, a port, or the name of a protocol.
fn is_docker(word: &str) -> bool {
    ["tcp", "udp", "sctp"].contains(&word) || word.parse::<u16>().is_ok() || word.parse::<IpAddr>().is_ok()
}

fn is_path(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-@".contains(&byte);
    !word.is_empty() && word.len() <= LONGEST && word.bytes().all(fits)
}

/// Whether a word is a host with a port: `10.0.0.5:6379`, `db:6379`, `[fd00::5]:6379`.
fn place(word: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

fn is_host(word: &str) -> bool {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    match bare {
        Some(bare) => bare.parse::<IpAddr>().is_ok(),
        None => !word.is_empty() && word.len() <= LONGEST && word.bytes().all(is_name),
    }
}

/// True if ssh(1) has this port for its own SOCKS (`-D`).
pub fn is_socks(args: &[String], port: u16) -> bool {
    dynamic(args).iter().any(|spec| spec.rsplit(':').next() == Some(port.to_string().as_str()))
}

/// The values of `-L` (ssh(1)), which may stand in one word with other flags: `-fNL 6379:db:6379`.
fn forwardings(args: &[String]) -> Vec<&str> {
    values(args, 'L').into_iter().filter(|spec| forwarding(spec).is_some()).collect()
}

/// The values of `-D`, and of `-o DynamicForward=`: `[bind_address:]port`.
fn dynamic(args: &[String]) -> Vec<&str> {
    let fits = |spec: &&str| spec.parse::<u16>().is_ok() || place(spec);
    let set = values(args, 'o').into_iter().filter_map(|word| {
        let (name, spec) = word.split_once(['=', ' '])?;
        name.eq_ignore_ascii_case("DynamicForward").then(|| spec.trim())
    });
    values(args, 'D').into_iter().chain(set).filter(fits).collect()
}

/// The values of an option of ssh(1), each in a word of its own or the end of the word with the option, after options that
/// take none: `-fND 1080`, `-fND1080`.
fn values(args: &[String], name: char) -> Vec<&str> {
    let mut found = Vec::new();
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let Some(options) = word.strip_prefix('-').filter(|options| !options.starts_with('-')) else { continue };
        let Some(at) = options.find(|option| TAKING.contains(option)) else { continue };
        let rest = &options[at + 1..];
        let value = if rest.is_empty() { words.next() } else { Some(rest) };
        found.extend(value.filter(|_| options[at..].starts_with(name)));
    }
    found
}

/// `[bind_address:]port:host:hostport`.
fn forwarding(spec: &str) -> Option<Lead> {
    let (rest, port) = spec.rsplit_once(':')?;
    let to_port: u16 = port.parse().ok()?;
    let (rest, host) = if let Some(open) = rest.rfind('[').filter(|_| rest.ends_with(']')) {
        (rest[..open].strip_suffix(':')?, &rest[open..])
    } else {
        rest.rsplit_once(':')?
    };
    let own = rest.rsplit_once(':').map_or(rest, |(_, port)| port).parse().ok()?;
    let bind = rest.rsplit_once(':').map_or("*", |(bind, _)| bind);
    let fits = (bind == "*" || bind.is_empty() || is_host(bind)) && is_host(host);
    let at = bind.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
    fits.then(|| Lead::new(Some(own), at, format!("{host}:{to_port}"), None))
}

/// `TCP4-LISTEN:6379,fork` and `TCP:10.0.0.5:6379` of socat(1), without their options; that the second has some which may
/// lead elsewhere (`bind`) is kept.
fn address(arg: &str) -> Option<String> {
    let mut words = arg.split(',');
    let bare = words.next().unwrap_or_default();
    let (kind, to) = bare.split_once(':')?;
    let is_tcp = kind.to_ascii_uppercase().starts_with("TCP");
    let is_harmless = |option: &str| HARMLESS.contains(&option.split('=').next().unwrap_or_default());
    let is_plain = listening(bare).is_some() || words.all(is_harmless);
    let told = if is_plain { bare.to_owned() } else { format!("{bare},{UNTOLD}") };
    (is_tcp && (to.parse::<u16>().is_ok() || place(to))).then_some(told)
}

/// The port that an address of socat listens on.
fn listening(arg: &str) -> Option<&str> {
    let (kind, to) = arg.split_once(':')?;
    let kind = kind.to_ascii_uppercase();
    (kind.ends_with("-LISTEN") || kind.ends_with("-L")).then_some(to)
}

/// `port-forward svc/redis 6379:6379`.
fn kubectl(args: &[String]) -> Vec<String> {
    const KINDS: [&str; 8] =
        ["pod/", "pods/", "svc/", "service/", "services/", "deploy/", "deployment/", "statefulset/"];
    let is_ports = |word: &str| word.split(':').all(|port| port.parse::<u16>().is_ok());
    let is_object = |word: &str| KINDS.iter().find_map(|kind| word.strip_prefix(kind)).is_some_and(is_host);
    let fits = |word: &&String| *word == "port-forward" || is_ports(word) || is_object(word);
    args.iter().filter(fits).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, line: &str, kept_as: &str, to: &[&str]) {
        let args: Vec<String> = line.split('|').map(str::to_owned).collect();
        let kept = kept(name, &args);
        assert_eq!(kept.join("|"), kept_as);
        let shown =
            |lead: Lead| format!("{}>{}", lead.port.map_or_else(String::new, |port| port.to_string()), lead.place);
        assert_eq!(leads(name, &kept).into_iter().map(shown).collect::<Vec<_>>(), to, "{line}");
    }

    #[test]
    fn arguments_say_where_a_proxy_leads() {
        let docker = "-proto|tcp|-host-ip|::|-host-port|6379|-container-ip|172.17.0.2|-container-port|6380";
        check("docker-proxy", docker, docker, &["6379>172.17.0.2:6380"]);
        check("docker-proxy", "-host-port|hunter2|-x|1|-host-ip", "", &[]);
        check("ssh", "-N|-L|6380:db:6379|me@bastion", "-L|6380:db:6379", &["6380>db:6379"]);
        check("ssh", "-fNL|127.0.0.1:6380:10.0.0.5:6379|x", "-L|127.0.0.1:6380:10.0.0.5:6379", &["6380>10.0.0.5:6379"]);
        check("ssh", "-L6380:[fd00::5]:6379|x", "-L|6380:[fd00::5]:6379", &["6380>[fd00::5]:6379"]);
        check("ssh", "-fND|127.0.0.1:1080|-Dhunter2|x", "-D|127.0.0.1:1080", &[]);
        check("ssh", "-fND7645|x", "-D|7645", &[]);
        check("ssh", "-o|dynamicforward 127.0.0.1:7645|x", "-D|127.0.0.1:7645", &[]);
        check("ssh", "-fNL6380:db:6379|x", "-L|6380:db:6379", &["6380>db:6379"]);
        check("ssh", "-i|-L|-fN|x|-L|6380:db:6379", "-L|6380:db:6379", &["6380>db:6379"]);
        check("ssh", "-oProxyCommand=-L6380:db:6379|-L", "", &[]);
        check("ssh", "-L|hunter2|-o|ProxyCommand=hunter2", "", &[]);
        check(
            "socat",
            "TCP-LISTEN:6379,fork,reuseaddr|TCP:10.0.0.5:6380,connect-timeout=5",
            "TCP-LISTEN:6379|TCP:10.0.0.5:6380",
            &["6379>10.0.0.5:6380"],
        );
        let bound = "TCP-LISTEN:6379,bind=10.0.0.1|TCP:10.0.0.5:6380,bind=10.0.0.9";
        check("socat", bound, "TCP-LISTEN:6379|TCP:10.0.0.5:6380,[untold]", &["6379>10.0.0.5:6380"]);
        check("socat", "TCP-LISTEN:6379|PROXY:hunter2:db:6379,proxyauth=u:hunter2", "TCP-LISTEN:6379", &[]);
        check("systemd-socket-", "--connections-max=9|127.0.0.1:6380", "127.0.0.1:6380", &[">127.0.0.1:6380"]);
        check("kubectl", "--token|hunter2|port-forward|svc/redis|6379", "port-forward|svc/redis|6379", &[]);
        check("haproxy", "-Ws|-f|/etc/haproxy/haproxy.cfg|-p|/run/h.pid", "-f|/etc/haproxy/haproxy.cfg", &[]);
        check("haproxy", "-S|/run/m.sock|-f|/etc/h.cfg", "-f|/etc/h.cfg|-S", &[]);
        check("mysqld", "-phunter2", "", &[]);
    }

    #[test]
    fn a_socks_proxy_is_known_by_its_flag() {
        let is_socks = |line: &str| is_socks(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), 1080);
        for (line, expected) in
            [("-D 1080", true), ("-D localhost:1080", true), ("-D 1081", false), ("-L 1080:x:1080", false)]
        {
            assert_eq!(is_socks(line), expected, "{line}");
        }
    }

    #[test]
    fn a_file_is_named_or_usual() {
        let of = |name: &str, line: &str| {
            let args: Vec<String> = line.split('|').filter(|arg| !arg.is_empty()).map(str::to_owned).collect();
            file(name, &[vec![format!("/usr/bin/{name}")], kept(name, &args)].concat())
        };
        assert_eq!(of("haproxy", "-f|/etc/h.cfg").as_deref(), Some("/etc/h.cfg"));
        assert_eq!(of("haproxy", "-S|/run/m.sock|-f|/etc/h.cfg").as_deref(), Some("/etc/h.cfg"));
        assert_eq!(of("haproxy", "-S|/run/m.sock"), None);
        assert_eq!(of("nutcracker", "-d|-c|n.yml").as_deref(), Some("n.yml"));
        assert_eq!(of("stunnel4", "/etc/stunnel/redis.conf").as_deref(), Some("/etc/stunnel/redis.conf"));
        assert_eq!(of("stunnel4", "r2.conf").as_deref(), Some("r2.conf"));
        assert_eq!(of("stunnel4", "").as_deref(), Some("/etc/stunnel/stunnel.conf"));
        assert_eq!(of("stunnel4", "-fd|3"), None);
        assert_eq!(of("stunnel4", "my file"), None);
        assert_eq!(of("socat", "TCP-LISTEN:1"), None);
    }

    #[test]
    fn more_files_than_one_are_known_of() {
        for (line, expected) in [("-f|a", false), ("-f|a|-f|b", true), ("-f|a|--|b", true)] {
            let args: Vec<String> = line.split('|').map(str::to_owned).collect();
            assert_eq!(names_more(&kept("haproxy", &args)), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_panic(name in "(ssh|socat|docker-proxy|kubectl|stunnel4|systemd-socket-)", args in proptest::collection::vec("(-L)?[a-z0-9:,.\\[\\]/-]{0,24}", 0..6)) {
            let _ = (leads(&name, &kept(&name, &args)), file(&name, &args));
        }
    }
}
