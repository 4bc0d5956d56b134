//! Steps that several remedies share: start and restart the server on its machine, give it a password, open it no further
//! than to the clients. They name the unit, the file and the line where these are known, and only tell where they are not.

use crate::cause::{local_cli, redis_host};
use crate::model::text::shell_quote;
use crate::model::{Risk, Step};
use crate::probe::Facts;
use crate::probe::host::instance::{Instance, Known};
use crate::probe::host::system::{Init, System};

/// The file that a made password is kept in.
const PASSWORD_FILE: &str = "redis-password";

/// Starts the server; where a living one may have read the same file, two of them would write to one folder.
pub fn start(facts: &Facts) -> Step {
    let instance = facts.instance();
    let conf = instance.and_then(|instance| instance.conf);
    let twin =
        conf.zip(instance).is_some_and(|(conf, instance)| !instance.is_alive() && instance.host.may_be_read(conf));
    if twin {
        let text = "a server runs there that may have been started with that very redis.conf, before it was changed: restart \
                    that one; start another only if it has another 'dir'";
        return Step::tell(redis_host(facts), text);
    }
    step(facts, facts.instance(), "start", "start it")
}

/// Starts the server again, so that it reads its redis.conf.
pub fn restart(facts: &Facts, instance: Option<Instance>) -> Step {
    step(facts, instance, "restart", "restart it")
}

fn step(facts: &Facts, instance: Option<Instance>, verb: &str, text: &str) -> Step {
    let on = redis_host(facts);
    let risk = if verb == "start" { Risk::Safe } else { Risk::Restarts };
    let system = instance.and_then(|instance| instance.host.system.seen());
    let command = instance.and_then(|instance| instance.unit()).and_then(|unit| service(system, verb, unit));
    let bare = || instance.filter(|_| verb == "start").and_then(|instance| by_hand(instance, system?));
    match command.or_else(bare) {
        Some(command) => Step::run(on, risk, text, command),
        None => {
            Step::tell(on, format!("{text} the way it was started: its service or container is not known from here"))
        }
    }
}

/// The command that does `verb` to a service.
fn service(system: Option<&System>, verb: &str, name: &str) -> Option<String> {
    let unit = shell_quote(name);
    match system.map(|system| system.init) {
        // The unit of a control group is systemd's, whatever else was not looked at.
        Some(Init::Systemd) | None => {
            let masked =
                system.is_some_and(|system| system.units.iter().any(|known| known.masked && known.name == name));
            let unmask = if masked { format!("sudo systemctl unmask {unit} && ") } else { String::new() };
            Some(format!("{unmask}sudo systemctl {verb} {unit}"))
        }
        Some(Init::OpenRc) => Some(format!("sudo rc-service {unit} {verb}")),
        Some(Init::SysV) => Some(format!("sudo service {unit} {verb}")),
        Some(Init::Launchd | Init::None) => None,
    }
}

/// The command that starts an installed server where no service does.
fn by_hand(instance: Instance, system: &System) -> Option<String> {
    let program = system.programs.first().filter(|_| system.init == Init::None)?;
    let file = instance.read_conf().map(|conf| format!(" {}", shell_quote(&conf.path))).unwrap_or_default();
    Some(format!("{}{file} --daemonize yes", shell_quote(program)))
}

/// Gives a server that has none a password, in its redis.conf, so that it counts after the next start; nothing where it
/// has one already.
pub fn password_first(facts: &Facts, instance: Option<Instance>) -> Vec<Step> {
    let on = redis_host(facts);
    if instance.and_then(|instance| instance.has_password()) == Some(true) {
        return Vec::new();
    }
    let Some(file) = instance.and_then(|instance| instance.read_conf()).map(|conf| shell_quote(&conf.path)) else {
        return vec![Step::tell(on, "first set a password: 'requirepass' in redis.conf, or an ACL user")];
    };
    let text = format!("first make a password, kept in the file {PASSWORD_FILE}, and put it into redis.conf");
    let command = format!("{MAKE_PASSWORD} && {}", append_password(&file));
    vec![Step::run(on, Risk::Restarts, text, command)]
}

/// Gives a running server a password at once, and keeps it in its redis.conf.
pub fn password_now(facts: &Facts) -> [Step; 2] {
    let on = redis_host(facts);
    let mut without = facts.clone();
    without.ask.target.password = false;
    let set = format!("{MAKE_PASSWORD} && {} -x CONFIG SET requirepass <{PASSWORD_FILE}", local_cli(&without));
    let text = format!(
        "set a password, and keep it in the file {PASSWORD_FILE} (in a container: inside it, with docker exec)"
    );
    let keep = match facts.instance().and_then(|instance| instance.read_conf()) {
        Some(conf) => {
            let text = "put it into redis.conf, too, or it is gone with the next start";
            Step::run(on.clone(), Risk::Safe, text, append_password(&shell_quote(&conf.path)))
        }
        None => Step::tell(
            on.clone(),
            "put it into redis.conf as 'requirepass …' too (or CONFIG REWRITE), or it is gone with the next start",
        ),
    };
    [Step::run(on, Risk::Restarts, text, set), keep]
}

/// The command that makes a password, kept in [`PASSWORD_FILE`].
const MAKE_PASSWORD: &str =
    "(umask 077; [ -s redis-password ] || tr -dc a-f0-9 </dev/urandom | head -c 48 >redis-password)";

/// The command that puts the password that was made into a redis.conf, whose path is quoted.
fn append_password(file: &str) -> String {
    format!(
        "sudo grep -qs '^requirepass' {file} || printf '\\nrequirepass %s\\n' \"$(cat {PASSWORD_FILE})\" | sudo tee -a {file} >/dev/null"
    )
}

/// Gives the running server a `bind` of these addresses: in redis.conf where its line is known, with the restart that
/// makes it count; else at once (CONFIG SET bind, Redis 6.2 and later).
pub fn rebind(facts: &Facts, instance: Instance, bind: &Known, to: &str, text: &str, risk: Risk) -> Vec<Step> {
    let on = redis_host(facts);
    // The password that was made just before is asked for by now.
    let is_new = instance.has_password() != Some(true);
    let auth = if is_new { format!("REDISCLI_AUTH=\"$(cat {PASSWORD_FILE})\" ") } else { String::new() };
    match &bind.line {
        Some((file, line, from)) => vec![
            Step::Edit {
                text: text.to_owned(),
                file: file.clone(),
                line: Some(*line),
                from: from.clone(),
                to: format!("bind {to}"),
                on,
                risk,
            },
            restart(facts, Some(instance)),
        ],
        None => vec![
            Step::run(
                on.clone(),
                risk,
                text,
                format!("{auth}{} CONFIG SET bind {}", local_cli(facts), shell_quote(to)),
            ),
            Step::tell(
                on,
                "change it where the server is started, too ('bind' in redis.conf or '--bind'), or it is gone with the next start",
            ),
        ],
    }
}
