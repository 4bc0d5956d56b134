//! Steps that several remedies share: start and restart the server on its machine, give it a password, open it no further
//! than to the clients. They name the unit, the file and the line where these are known, and only tell where they are not.

pub mod cloud;
pub mod firewall;
pub mod front;
mod peers;
pub mod refused;
mod start;

use crate::cause::{check_again, local_cli, redis_host};
use crate::model::text::shell_quote;
use crate::model::{Gap, Risk, Step, Where};
use crate::probe::Facts;
use crate::probe::host::conf::Setting;
use crate::probe::host::instance::{Instance, Known};
use crate::probe::path::command::Command;
use crate::probe::path::redis::{Dialogue, Redis};
use crate::probe::path::reply::ErrorKind;
pub use start::{SENTINEL_PORT, asks_for_sentinel, is_masked, is_unclear, own_port, reread, restart, start};

/// The file that a made password is kept in.
const PASSWORD_FILE: &str = "redis-password";

/// Where the password of a server is kept from one start to the next.
enum Place<'a> {
    /// In the ACL file, which overrides `requirepass` when the server starts.
    AclFile,
    /// In these lines of its redis.conf that say `nopass` of the default user, and override `requirepass`, too.
    Rules(Vec<(&'a Setting, &'a str)>),
    /// In the `requirepass` of the redis.conf at this path.
    Conf(&'a str),
    /// Nobody knows: it has no redis.conf, or its arguments override it.
    Unknown,
}

fn place<'a>(instance: Option<&Instance<'a>>) -> Place<'a> {
    let Some(instance) = instance else { return Place::Unknown };
    if instance.setting("aclfile").is_some_and(|known| known.values.iter().any(|path| !path.is_empty())) {
        return Place::AclFile;
    }
    let Some(conf) = instance.read_conf().filter(|_| instance.from_arguments("requirepass").is_none()) else {
        return Place::Unknown;
    };
    let settings = conf.parsed.seen().map_or(&[][..], |parsed| &parsed.settings);
    let open = |setting: &'a Setting| {
        let is_default = setting.name == "user" && setting.values.first().is_some_and(|name| name == "default");
        let word = setting.values.iter().find(|rule| rule.eq_ignore_ascii_case("nopass"))?;
        is_default.then_some((setting, word.as_str()))
    };
    match settings.iter().filter_map(open).collect::<Vec<_>>() {
        rules if rules.is_empty() => Place::Conf(&conf.path),
        rules => Place::Rules(rules),
    }
}

/// Gives a server that has none a password, where it is kept, so that it counts after the next start; nothing where it has
/// one already.
pub fn password_first(facts: &Facts, instance: Option<Instance>) -> Vec<Step> {
    let on = redis_host(facts);
    let has_one = instance.and_then(|instance| instance.has_password());
    if has_one == Some(true) {
        return Vec::new();
    }
    if let Some(line) = instance.and_then(|instance| instance.unread_password()) {
        let text = format!(
            "it has a password at {} already, which counts with its next start: give that one to the application, and to \
             whatever else uses this Redis",
            line.place()
        );
        return vec![Step::tell(on, text)];
    }
    let alive = instance.is_some_and(|instance| instance.is_alive());
    let command = match place(instance.as_ref()) {
        Place::Conf(path) if has_one == Some(false) => append_password(&shell_quote(path)),
        Place::Conf(path) => append_to_silent(&shell_quote(path)),
        Place::Rules(rules) => replace_rules(&rules),
        // An ACL file is the server's to write.
        Place::AclFile if alive => return password_for_all(facts, instance),
        Place::AclFile => return vec![Step::tell(on, "first give the default user of its ACL file a password")],
        Place::Unknown => {
            return vec![Step::tell(on, "first set a password: 'requirepass' in redis.conf, or an ACL user")];
        }
    };
    let text = format!("first make a password, kept in the file {PASSWORD_FILE}, and put it into redis.conf");
    let put = Step::run(on, Risk::Restarts, text, format!("{MAKE_PASSWORD} && {command}"));
    peers::first(facts, instance).into_iter().chain([put]).collect()
}

/// Gives a running server a password at once, and keeps it where the next start finds it; where CONFIG is renamed, the other
/// way round.
pub fn password_now(facts: &Facts, instance: Option<Instance>) -> [Step; 2] {
    let on = redis_host(facts);
    if let Some((instance, line)) = instance.and_then(|it| Some((it, it.unread_password()?))) {
        let text = format!("its password is that of {} from then on", line.place());
        return [reread(facts, instance), Step::tell(on, text)];
    }
    let mut without = facts.clone();
    without.ask.target.password = false;
    let cli = local_cli(&without);
    let place = place(instance.as_ref());
    if lacks(facts, instance, if matches!(place, Place::AclFile) { "ACL" } else { "CONFIG" }) {
        return [password_by_file(on, &place), restart(facts, instance)];
    }
    let set = match place {
        // What stands behind -x comes last, and from no argument that others could see.
        Place::AclFile => {
            format!("{{ printf '>'; cat {PASSWORD_FILE}; }} | {cli} -x ACL SETUSER default resetpass")
        }
        _ => format!("{cli} -x CONFIG SET requirepass <{PASSWORD_FILE}"),
    };
    let text = format!(
        "set a password, and keep it in the file {PASSWORD_FILE} (in a container: inside it, with docker exec)"
    );
    let lasting = match place {
        Place::Conf(path) => Some(("put it into redis.conf, too", append_password(&shell_quote(path)))),
        Place::Rules(rules) => Some(("put it into the rule of redis.conf that overrides it", replace_rules(&rules))),
        Place::AclFile => {
            Some(("save it in the ACL file, too", format!("REDISCLI_AUTH=\"$(cat {PASSWORD_FILE})\" {cli} ACL SAVE")))
        }
        Place::Unknown => None,
    };
    let keep = match lasting {
        Some((text, command)) => {
            Step::run(on.clone(), Risk::Safe, format!("{text}, or it is gone with the next start"), command)
        }
        None => Step::tell(
            on.clone(),
            "put it into redis.conf as 'requirepass …' too (or CONFIG REWRITE), or it is gone with the next start",
        ),
    };
    [Step::run(on, Risk::Restarts, text, format!("{MAKE_PASSWORD} && {set} {ONLY_OK}")), keep]
}

/// The same, after those who log in at the server have it: a replica or a Sentinel without it breaks more than is mended.
pub fn password_for_all(facts: &Facts, instance: Option<Instance>) -> Vec<Step> {
    peers::first(facts, instance).into_iter().chain(password_now(facts, instance)).collect()
}

/// Who needs a password that was made.
pub const HAND_OUT: &str = "give the password to the application, and to whatever else uses this Redis: replicas (masterauth) \
                            and Sentinels (auth-pass), too";

/// The end of a remedy that makes a password: who needs it, and a check with it.
pub fn hand_out_password(facts: &Facts) -> [Step; 2] {
    let mut target = facts.ask.target.clone();
    target.password = true;
    [Step::tell(redis_host(facts), HAND_OUT), check_again(&target)]
}

/// Keeps the server's answer from being seen: the error for a command that is renamed, or that the user may not run, repeats
/// its arguments, the password among them; and redis-cli ends well all the same. Where it asks for a password by now, this
/// was done before.
const ONLY_OK: &str = "| grep -qE '^(OK|NOAUTH)' || { echo 'the server did not take it' >&2; false; }";

/// Shows the server's answer, and ends well only where that is OK: redis-cli before 7.0 knows no `-e`, and without it ends
/// well whatever the answer is.
const SHOW_OK: &str = "| { read -r said; echo \"$said\"; [ \"$said\" = OK ]; }";

/// The command that gives the running server a setting, and fails where the server refuses it.
pub fn config_set(facts: &Facts, setting: &str) -> String {
    format!("{} CONFIG SET {setting} {SHOW_OK}", local_cli(facts))
}

/// Makes a password, and puts it where the next start finds it.
fn password_by_file(on: Where, place: &Place) -> Step {
    let command = match place {
        Place::Conf(path) => append_password(&shell_quote(path)),
        Place::Rules(rules) => replace_rules(rules),
        Place::AclFile | Place::Unknown => {
            let text = "set a password where it is started: 'requirepass' in redis.conf, or the default user in its ACL file; \
                        the running server takes none, because the command for that is renamed";
            return Step::tell(on, text);
        }
    };
    let text = format!("make a password, kept in the file {PASSWORD_FILE}, and put it into redis.conf");
    Step::run(on, Risk::Safe, text, format!("{MAKE_PASSWORD} && {command}"))
}

/// True if the server said over loopback that it knows no CONFIG.
fn hides_config(instance: Option<Instance>) -> bool {
    let pid = instance.and_then(|instance| Some(instance.process?.pid));
    let said = instance.and_then(|it| it.host.running.iter().find(|running| pid.is_some() && running.pid == pid));
    let Some(Err(Gap::Hidden(why))) = said.map(|running| running.settings.known()) else { return false };
    why.says.contains("unknown command")
}

/// True if the server does not know a command by that name: its redis.conf renames it, or it said so.
fn lacks(facts: &Facts, instance: Option<Instance>, command: &str) -> bool {
    let parsed = instance.and_then(|instance| instance.conf?.parsed.seen());
    let renames = parsed.map_or(&[][..], |parsed| &parsed.settings).iter().any(|setting| {
        setting.name == "rename-command" && setting.values.first().is_some_and(|it| it.eq_ignore_ascii_case(command))
    });
    let is_unknown = |error: &str| ErrorKind::of(error) == ErrorKind::UnknownCommand;
    let said = || {
        let dialogue = facts.redis.seen().and_then(Redis::preferred)?;
        dialogue.reply(Command::ConfigGet)?.error().map(|error| is_unknown(&error.text))
    };
    renames || (command == "CONFIG" && (said() == Some(true) || hides_config(instance)))
}

/// True for the step that makes the password.
pub fn makes_password(step: &Step) -> bool {
    matches!(step, Step::Run { command, .. } if command.starts_with(MAKE_PASSWORD))
}

/// The command that makes a password, kept in [`PASSWORD_FILE`].
const MAKE_PASSWORD: &str =
    "(umask 077; [ -s redis-password ] || tr -dc a-f0-9 </dev/urandom | head -c 48 >redis-password)";

/// The command that puts the password that was made into a redis.conf, whose path is quoted: as its last line, which is
/// the one that counts.
fn append_password(file: &str) -> String {
    format!("printf 'requirepass %s\\n' \"$(cat {PASSWORD_FILE})\" | sudo grep -qsxFf - {file} || {}", append(file))
}

/// The same, where a line of that name may hold a password.
fn append_to_silent(file: &str) -> String {
    format!("sudo grep -qs '^requirepass' {file} || {}", append(file))
}

fn append(file: &str) -> String {
    let line = format!("printf '\\nrequirepass %s\\n' \"$(cat {PASSWORD_FILE})\"");
    // Where the password is kept in another folder, a line without one would keep Redis from starting.
    format!("{{ [ -s {PASSWORD_FILE} ] && {line} | sudo tee -a {file} >/dev/null; }}")
}

/// The commands that put the hash of the password that was made where these lines say `nopass`.
fn replace_rules(rules: &[(&Setting, &str)]) -> String {
    let replace = |(rule, word): &(&Setting, &str)| {
        let hash = format!("#$(sha256sum <{PASSWORD_FILE} | cut -d' ' -f1)");
        format!("sudo sed -i \"{}s/{word}/{hash}/\" {}", rule.line, shell_quote(&rule.file))
    };
    let made = std::iter::once(format!("[ -s {PASSWORD_FILE} ]"));
    made.chain(rules.iter().map(replace)).collect::<Vec<_>>().join(" && ")
}

/// True if the running server takes another `bind` at once, as servers since Redis 6.2 do.
pub fn rebinds_at_once(instance: &Instance) -> bool {
    version(instance).is_some_and(|version| version >= (6, 2))
}

/// Major and minor version of the running server, where it tells.
fn version(instance: &Instance) -> Option<(u32, u32)> {
    let own = instance.facts().redis.seen().and_then(Redis::preferred).and_then(Dialogue::info);
    let pid = instance.process?.pid;
    let running = || instance.host.running.iter().find(|running| running.pid == Some(pid)).map(|running| &running.info);
    let mut parts = own.or_else(running)?.get("redis_version")?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Gives the running server a `bind` of these addresses: in redis.conf where its line is known, with the restart that
/// makes it count; else at once, where its version takes that.
pub fn rebind(facts: &Facts, instance: Instance, bind: &Known, to: &str, text: &str, risk: Risk) -> Vec<Step> {
    let on = redis_host(facts);
    // The password that was made just before is asked for by now.
    let is_new = instance.has_password() != Some(true);
    let auth = if is_new { format!("REDISCLI_AUTH=\"$(cat {PASSWORD_FILE})\" ") } else { String::new() };
    let own = |file: &String| instance.conf.is_some_and(|conf| conf.path == *file);
    match &bind.line {
        Some((file, ..)) if !own(file) => vec![
            Step::tell(
                on,
                format!(
                    "{text}: the line stands in {file}, which other servers may include; write 'bind {to}' as the last line of its own redis.conf"
                ),
            ),
            restart(facts, Some(instance)),
        ],
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
        // What opens at once would stand open until the password is read.
        None if instance.unread_password().is_some() => {
            vec![Step::tell(on, format!("{text}: write 'bind {to}' into its redis.conf")), reread(facts, instance)]
        }
        None if !rebinds_at_once(&instance) => vec![Step::tell(
            on,
            format!(
                "{text}: '--bind {to}' where it is started, and start it again (since Redis 6.2, CONFIG SET bind changes it at once)"
            ),
        )],
        None => vec![
            Step::run(
                on.clone(),
                risk,
                text,
                format!("{auth}{}", config_set(facts, &format!("bind {}", shell_quote(to)))),
            ),
            Step::tell(
                on,
                "change it where the server is started, too ('bind' in redis.conf or '--bind'), or it is gone with the next start",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::healthy_host::seen;
    use crate::probe::path::reply::Reply;

    fn open() -> Facts {
        Facts::at_home().running_with("protected-mode", "no").listening(&["0.0.0.0:6379"])
    }

    #[track_caller]
    fn keeps(facts: &Facts, expected: &[&str]) {
        let steps = password_now(facts, facts.instance());
        let commands = steps.map(|step| match step {
            Step::Run { command, .. } => command,
            _ => String::new(),
        });
        for (command, part) in commands.iter().zip(expected) {
            assert!(command.contains(part), "{command}");
        }
    }

    #[test]
    fn a_password_is_kept_where_the_next_start_finds_it() {
        keeps(&open(), &["CONFIG SET requirepass", "tee -a /etc/redis/redis.conf"]);
        let by_rule = open().conf("user default on NoPass ~* +@all");
        keeps(&by_rule, &["CONFIG SET requirepass", "s/NoPass/#$(sha256sum"]);
        keeps(&open().conf("user app on nopass"), &["CONFIG SET requirepass", "tee -a"]);
        keeps(
            &open().running_with("aclfile", "/etc/redis/users.acl"),
            &["-x ACL SETUSER default resetpass", "ACL SAVE"],
        );
        let bare = open().host(|host| host.confs.clear());
        assert!(matches!(password_now(&bare, bare.instance()), [Step::Run { .. }, Step::Tell { .. }]));
    }

    #[test]
    fn where_config_is_renamed_the_file_comes_first() {
        let renamed = open().conf("rename-command CONFIG \"\"");
        keeps(&renamed, &["tee -a /etc/redis/redis.conf", "systemctl restart redis-server"]);
        let [first, _] = password_now(&renamed, renamed.instance());
        assert!(matches!(first, Step::Run { command, .. } if !command.contains("redis-cli")));
        keeps(&open().conf("rename-command DEBUG \"\""), &["CONFIG SET requirepass"]);
        // An error would repeat the password.
        keeps(&open(), &["-x CONFIG SET requirepass <redis-password | grep -qE '^(OK|NOAUTH)'"]);
    }

    #[test]
    fn a_password_that_was_not_read_yet_is_not_replaced() {
        let unread = open().conf("requirepass s").host(|host| {
            for setting in &mut seen(&mut host.confs[0].parsed).settings {
                setting.secret = setting.name == "requirepass";
            }
        });
        let [first, second] = password_now(&unread, unread.instance());
        assert!(matches!(first, Step::Run { command, .. } if command == "sudo systemctl restart redis-server"));
        assert!(matches!(second, Step::Tell { text, .. } if text.contains("/etc/redis/redis.conf:2300")));
        let steps = password_first(&unread, unread.instance());
        assert!(matches!(&steps[..], [Step::Tell { text, .. }] if text.contains("already")));
    }

    #[test]
    fn an_old_server_is_not_opened_at_once() {
        let facts = Facts::at_home();
        assert!(facts.instance().is_some_and(|instance| rebinds_at_once(&instance)));
        for version in ["5.0.10", "6.0.9", "six", ""] {
            let old = Facts::at_home().with(|facts| {
                for exchange in &mut seen(&mut facts.redis).dialogues[0].first.exchanges {
                    if let Some(Reply::Info(info)) = &mut exchange.reply {
                        info.fields.insert("redis_version".to_owned(), version.to_owned());
                    }
                }
            });
            assert!(old.instance().is_some_and(|instance| !rebinds_at_once(&instance)), "{version}");
        }
    }
}
