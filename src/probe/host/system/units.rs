//! The services that start a Redis server, as their files define them: systemd's units with drop-ins, and init scripts.

use super::command::{Command, is_named};
use super::{Init, Unit, hints};
use crate::model::text::head;
use crate::probe::host::conf::{join, open_arguments};
use crate::sys::files;

/// Where units are, the first that counts first (systemd.unit(5)).
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// What distributions call the service; where one name is a link to another, the first is kept.
const NAMES: [&str; 7] = ["redis-server", "valkey-server", "valkey", "keydb-server", "keydb", "redict", "redis"];

/// Templates, of which only the instances are services.
const TEMPLATES: [&str; 6] = ["redis-server", "valkey-server", "valkey", "keydb-server", "redict", "redis"];

const INIT_SCRIPTS: &str = "/etc/init.d";
const MASK: &str = "/dev/null";

/// The most units, drop-ins of one, and words of a command line.
const MOST: usize = 64;
/// The most folders in a place of units that are looked through for instances.
const MOST_FOLDERS: usize = 4096;
/// The longest value that is kept.
const LONGEST: usize = 4096;

/// What starts a Redis server.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// The services that do.
    pub units: Vec<Unit>,
    /// What may do, too.
    pub hints: Vec<String>,
}

/// Every service that starts a Redis server, and whatever else may.
pub(super) fn gather(init: Init) -> Services {
    let Services { mut units, hints } = systemd("");
    // systemd makes units of the scripts for which there is none (systemd-sysv-generator(8)).
    units.extend(scripts(&units));
    let hints = match init {
        Init::Systemd => hints,
        _ => Vec::new(),
    };
    Services { units, hints: hints.into_iter().chain(hints::gather("")).take(MOST).collect() }
}

/// Init scripts, also those of `OpenRC`: what they do is not to be read off them.
fn scripts(units: &[Unit]) -> Vec<Unit> {
    let ours =
        |name: &String| is_named(name) && !name.contains("sentinel") && !units.iter().any(|unit| unit.name == *name);
    let names = files::list(INIT_SCRIPTS, MOST_FOLDERS).into_iter().filter(ours).take(MOST);
    let script = |name: String| {
        // Links of runlevels, which have a number for the order, and OpenRC's.
        let levels = [format!("/etc/rc[2-5].d/S[0-9][0-9]{name}"), format!("/etc/runlevels/*/{name}")];
        let enabled = levels.iter().any(|pattern| !files::matching(pattern, 1).is_empty());
        Unit { file: format!("{INIT_SCRIPTS}/{name}"), enabled, ..Service::default().unit(&name) }
    };
    names.map(script).collect()
}

/// The units below a root (none but in tests).
fn systemd(root: &str) -> Services {
    let folders = FOLDERS.map(|folder| format!("{root}{folder}"));
    let (others, hints) = others(&folders);
    let wanted = wanted(&folders);
    let instances = TEMPLATES.iter().flat_map(|name| instances(&folders, name));
    let names = NAMES.iter().map(|name| (*name).to_owned()).chain(instances).chain(others);
    let mut units: Vec<Unit> = Vec::new();
    let mut seen: Vec<(String, Option<String>)> = Vec::new();
    for name in names.take(MOST) {
        let Some(file) = find(&folders, &name) else { continue };
        let real = files::real(&file).unwrap_or_else(|| file.clone());
        let masked = real == MASK || files::link(&file).as_deref() == Some(MASK);
        let instance = name.split_once('@').map(|(_, instance)| instance.to_owned());
        // `redis.service` is a link to `redis-server.service` on Debian: one service.
        let is_alias = alias(&file).is_some_and(|target| units.iter().any(|unit| unit.name == target));
        if !masked && (is_alias || seen.contains(&(real.clone(), instance.clone()))) {
            continue;
        }
        let service = if masked { Service::default() } else { service(&folders, &name, &file) };
        let enabled = !masked && wanted.contains(&format!("{name}.service"));
        units.push(Unit { file, enabled, masked, ..service.unit(&name) });
        seen.push((real, instance));
    }
    Services { units, hints }
}

/// Services of other names that start a server of the family, and those that may.
fn others(folders: &[String]) -> (Vec<String>, Vec<String>) {
    let named = |file: String| file.strip_suffix(".service").map(str::to_owned);
    let (mut found, mut hints, mut looked_at): (Vec<String>, Vec<String>, Vec<String>) = Default::default();
    for folder in folders {
        for name in files::list(folder, MOST_FOLDERS).into_iter().filter_map(named) {
            let template = name.split_once('@').map(|(prefix, _)| prefix);
            let known = NAMES.contains(&name.as_str()) || template.is_some_and(|name| TEMPLATES.contains(&name));
            if known || name.contains("sentinel") || looked_at.contains(&name) {
                continue;
            }
            let path = format!("{folder}/{name}.service");
            let lines = assignments(&files::read_text(&path).unwrap_or_default());
            let commands =
                || lines.iter().filter(|(key, _)| key == "ExecStart").map(|(_, value)| Command::parse(value));
            let starts = commands().any(|command| command.starts_a_server());
            // Another name of a service is that service.
            let may_be = (is_named(&name) && alias(&path).is_none()) || commands().any(|command| command.is_named());
            match template {
                // An instance is found by its template.
                Some(prefix) if starts && name.ends_with('@') => found.extend(instances(folders, prefix)),
                None if starts => found.push(name.clone()),
                None if may_be && files::link(&path).as_deref() != Some(MASK) => hints.push(format!("{name}.service")),
                _ => {}
            }
            looked_at.push(name);
        }
    }
    (found, hints)
}

/// The unit that the link at `path` is another name of: systemd goes by the name of what it leads to, not by the folder.
fn alias(path: &str) -> Option<String> {
    let target = files::link(path)?;
    target.rsplit('/').next()?.strip_suffix(".service").map(str::to_owned)
}

/// The file of a unit: its own, or that of its template.
fn find(folders: &[String], name: &str) -> Option<String> {
    let own = format!("{name}.service");
    let template = name.split_once('@').map(|(prefix, _)| format!("{prefix}@.service"));
    std::iter::once(own)
        .chain(template)
        .find_map(|file| folders.iter().map(|folder| format!("{folder}/{file}")).find(|path| files::exists(path)))
}

/// The units that a target wants, as `systemctl enable` links them.
fn wanted(folders: &[String]) -> Vec<String> {
    let list = |folder: &String| files::list(folder, MOST_FOLDERS);
    let targets = |folder: &String| {
        let wants = list(folder).into_iter().filter(|name| has_ending(name, "wants") || has_ending(name, "requires"));
        wants.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    folders.iter().flat_map(targets).flat_map(|folder| list(&folder)).collect()
}

/// The instances of a template: those that are enabled, and those for which there is a redis.conf.
fn instances(folders: &[String], prefix: &str) -> Vec<String> {
    let Some(template) = find(folders, &format!("{prefix}@")) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for name in wanted(folders) {
        let instance = name.strip_prefix(prefix).and_then(|name| name.strip_prefix('@'));
        found.extend(instance.and_then(|name| name.strip_suffix(".service")).map(str::to_owned));
    }
    let conf = service(folders, &format!("{prefix}@%i"), &template).conf;
    if let Some((before, after)) = conf.as_deref().and_then(|conf| conf.split_once("%i")) {
        for path in files::matching(&format!("{before}*{after}"), MOST) {
            let instance = path.strip_prefix(before).and_then(|path| path.strip_suffix(after));
            found.extend(instance.map(str::to_owned));
        }
    }
    found.retain(|instance| !instance.is_empty() && !instance.contains("sentinel"));
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|instance| format!("{prefix}@{instance}")).collect()
}

/// What a unit and its drop-ins say.
fn service(folders: &[String], name: &str, file: &str) -> Service {
    let mut lines = assignments(&files::read_text(file).unwrap_or_default());
    for path in drop_ins(folders, name) {
        lines.extend(assignments(&files::read_text(&path).unwrap_or_default()));
    }
    Service::of(&lines, name)
}

/// The drop-ins of a unit, in the order of their names; of those with the same name, the one that counts.
fn drop_ins(folders: &[String], name: &str) -> Vec<String> {
    let template = name.split_once('@').map(|(prefix, _)| format!("{prefix}@.service.d"));
    let kinds = [Some(format!("{name}.service.d")), template, Some("service.d".to_owned())];
    let mut found: Vec<(String, String)> = Vec::new();
    for kind in kinds.into_iter().flatten() {
        for folder in folders.iter().map(|folder| format!("{folder}/{kind}")) {
            for file in files::list(&folder, MOST).into_iter().filter(|file| has_ending(file, "conf")) {
                if !found.iter().any(|(known, _)| *known == file) {
                    found.push((file.clone(), format!("{folder}/{file}")));
                }
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).take(MOST).collect()
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, found)| found == ending)
}

/// The assignments in the section `[Service]` (systemd.syntax(7)).
fn assignments(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut in_service = false;
    let mut lines = text.lines().map(str::trim);
    while let Some(first) = lines.next() {
        if first.starts_with(['#', ';']) || first.is_empty() {
            continue;
        }
        let mut line = first.to_owned();
        while let Some(continued) = line.strip_suffix('\\') {
            // Comments may stand between the parts of a line.
            let next = lines.by_ref().find(|line| !line.starts_with(['#', ';']));
            line = format!("{continued} {}", next.unwrap_or_default());
        }
        if line.starts_with('[') {
            in_service = line == "[Service]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| in_service) {
            found.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// What matters of a service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Service {
    conf: Option<String>,
    args: Vec<String>,
    user: Option<String>,
    open_files_limit: Option<String>,
    /// The server's program, where it is started by its path.
    program: Option<String>,
}

impl Service {
    fn of(lines: &[(String, String)], name: &str) -> Self {
        let mut commands: Vec<&str> = Vec::new();
        for (_, value) in lines.iter().filter(|(key, _)| key == "ExecStart") {
            // An empty assignment forgets the ones before.
            if value.is_empty() { commands.clear() } else { commands.push(value) }
        }
        let last = |key: &str| {
            let value = lines.iter().rev().find(|(known, _)| known == key).map(|(_, value)| specified(value, name));
            value.filter(|value| !value.is_empty()).map(|value| head(value.as_bytes(), 100))
        };
        let commands: Vec<Command> = commands.into_iter().map(Command::parse).collect();
        let args = commands.iter().find_map(Command::arguments).unwrap_or_default();
        let is_apart = ["RootDirectory", "RootImage"].iter().any(|key| last(key).is_some());
        let program = commands.iter().find_map(Command::program).filter(|path| !is_apart && !path.contains(['%', '$']));
        let mut args: Vec<String> = args.iter().map(|arg| specified(arg, name)).collect();
        // What is only known when the service starts leads to no file.
        let is_conf = args.first().is_some_and(|arg| !arg.starts_with('-') && !arg.contains('$'));
        let conf = is_conf.then(|| join(&last("WorkingDirectory").unwrap_or("/".to_owned()), &args.remove(0)));
        Self {
            conf: conf.filter(|conf| conf.starts_with('/')).map(|conf| head(conf.as_bytes(), LONGEST)),
            args: open_arguments(&args),
            user: last("User"),
            open_files_limit: last("LimitNOFILE"),
            program: program.map(str::to_owned),
        }
    }

    fn unit(self, name: &str) -> Unit {
        Unit {
            name: head(name.as_bytes(), 256),
            file: String::new(),
            conf: self.conf,
            args: self.args,
            user: self.user,
            open_files_limit: self.open_files_limit,
            enabled: false,
            masked: false,
            gone: self.program.is_some_and(|path| files::is_missing(&path)),
        }
    }
}

/// The specifiers that distributions use (systemd.unit(5)).
fn specified(value: &str, name: &str) -> String {
    let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let c = after.chars().next();
        out.push_str(match c {
            Some('i' | 'I') => instance,
            Some('n' | 'N') => name,
            Some('p' | 'P') => prefix,
            Some('t') => "/run",
            Some('S') => "/var/lib",
            Some('E') => "/etc",
            Some('L') => "/var/log",
            Some('%') => "%",
            _ => "",
        });
        rest = &after[c.map_or(0, char::len_utf8)..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str, name: &str) -> Service {
        Service::of(&assignments(text), name)
    }

    #[test]
    fn reads_units() {
        let debian = "[Unit]\nUser=no\n[Service]\nType=notify\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf \
                      --supervised systemd --daemonize no\nUser=redis\nLimitNOFILE=65535\n[Install]\nUser=x\n";
        let service = of(debian, "redis-server");
        assert_eq!(service.conf.as_deref(), Some("/etc/redis/redis.conf"));
        assert_eq!(service.args, ["--supervised", "systemd", "--daemonize", "no"]);
        assert_eq!((service.user.as_deref(), service.open_files_limit.as_deref()), (Some("redis"), Some("65535")));
        let reset =
            of(&format!("{debian}[Service]\nExecStart=\nExecStart=-/opt/redis-server \\\n# x\n /x.conf\nUser="), "r");
        assert_eq!((reset.conf.as_deref(), reset.args.len(), reset.user), (Some("/x.conf"), 0, None));
        for (command, conf, args) in [
            ("/usr/bin/redis-server /etc/redis/redis-%i.conf", Some("/etc/redis/redis-prod.conf"), ""),
            (
                "/usr/bin/redis-server --port 6380 --requirepass hunter2 --save 900 1",
                None,
                "--port 6380 --requirepass --save 900 1",
            ),
            ("@/usr/bin/valkey-server v \"/etc/my valkey.conf\" $OPTS", Some("/etc/my valkey.conf"), "$OPTS"),
            ("/bin/sh -c 'exec /usr/bin/redis-server redis.conf'", Some("/redis.conf"), ""),
            ("/usr/bin/redis-server $CONF", None, "$CONF"),
            ("/usr/bin/redis-sentinel /etc/redis/sentinel.conf", None, ""),
        ] {
            let service = of(&format!("[Service]\nExecStart={command}\n"), "redis@prod");
            assert_eq!((service.conf.as_deref(), service.args.join(" ").as_str()), (conf, args), "{command}");
        }
    }

    #[test]
    fn finds_units_where_systemd_does() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| format!("{}{path}", root.path().display());
        let put = |path: &str, text: &str| {
            use std::io::Write as _;
            std::fs::create_dir_all(at(path).rsplit_once('/').unwrap().0).unwrap();
            std::fs::File::create(at(path)).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let start = |conf: &str| format!("[Service]\nExecStart=/usr/bin/redis-server {conf}\n");
        put("/lib/systemd/system/redis-server.service", &start("/lib.conf"));
        put("/lib/systemd/system/valkey.service", &start("/v.conf"));
        put("/etc/systemd/system/cache.service", &start("/cache.conf"));
        put("/etc/systemd/system/app.service", "[Service]\nExecStart=/usr/bin/app\nAfter=redis-server.service\n");
        put("/lib/systemd/system/redis@.service", &start(&at("/etc/redis/redis-%i.conf")));
        put("/etc/redis/redis-one.conf", "");
        put("/etc/systemd/system/multi-user.target.wants/redis@two.service", "");
        put("/etc/systemd/system/redis-server.service.d/b.conf", "[Service]\nLimitNOFILE=2\n");
        put("/lib/systemd/system/redis-server.service.d/a.conf", "[Service]\nLimitNOFILE=1\nUser=a\n");
        put("/lib/systemd/system/redis-server.service.d/b.conf", "[Service]\nUser=b\n");
        let link = |to: &str, path: &str| std::os::unix::fs::symlink(to, at(path)).unwrap();
        link(&at("/lib/systemd/system/redis-server.service"), "/etc/systemd/system/redis.service");
        link("/dev/null", "/etc/systemd/system/valkey.service");
        put("/etc/systemd/system/cache@.service", "[Service]\nExecStart=/usr/bin/redis-server --port %i\n");
        put("/etc/systemd/system/multi-user.target.wants/cache@7000.service", "");
        put("/lib/systemd/system/env.service", "[Service]\nExecStart=/usr/bin/env LANG=C \\\n  redis-server\n");
        put("/lib/systemd/system/pre.service", "[Service]\nExecStartPre=/usr/bin/pgrep redis-server\nExecStart=/x\n");
        put("/lib/systemd/system/my-redis.service", "[Service]\nExecStart=/opt/run.sh\n");
        put("/lib/systemd/system/redis_exporter.service", "[Service]\nExecStart=/opt/redis_exporter\n");
        put("/lib/systemd/system/script.service", "[Service]\nExecStart=/bin/sh /opt/start-redis.sh\n");
        let Services { units, hints } = systemd(root.path().to_str().unwrap());
        let names: Vec<(&str, bool)> = units.iter().map(|unit| (unit.name.as_str(), unit.masked)).collect();
        assert_eq!(
            names,
            [
                ("redis-server", false),
                ("valkey", true),
                ("redis@one", false),
                ("redis@two", false),
                ("cache", false),
                ("cache@7000", false),
                ("env", false)
            ]
        );
        assert_eq!(units[5].port(), Some(7000));
        let enabled: Vec<bool> = units.iter().map(|unit| unit.enabled).collect();
        assert_eq!(enabled, [false, false, false, true, false, true, false]);
        assert_eq!(hints, ["my-redis.service", "script.service"]);
        assert_eq!((units[0].open_files_limit.as_deref(), units[0].user.as_deref()), (Some("2"), Some("a")));
        assert_eq!(units[2].conf, Some(at("/etc/redis/redis-one.conf")));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(\\[Service\\]\n|ExecStart=|redis-server |%i|[\"'\\\\\n@#% -]|\\PC)*") {
            let service = of(&text, "redis@x");
            prop_assert!(service.args.len() <= MOST);
        }
    }
}
