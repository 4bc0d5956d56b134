//! What may start a Redis server besides services: programs of supervisord, runit and s6, of monit, a user's own units, cron,
//! rc.local. What it says is not followed: that it names a server is enough to be unsure that there is no other.

use super::PROGRAMS;
use super::command::Command;
use crate::model::escape;
use crate::sys::files;

/// Files whose every line counts.
const LINES: [&str; 12] = [
    "/etc/supervisor/supervisord.conf",
    "/etc/supervisor/conf.d/*.conf",
    "/etc/supervisord.conf",
    "/etc/supervisord.d/*",
    "/etc/service/*/run",
    "/etc/sv/*/run",
    "/opt/gitlab/sv/*/run",
    "/etc/s6-overlay/s6-rc.d/*/run",
    "/etc/systemd/user/*.service",
    "/home/*/.config/systemd/user/*.service",
    "/root/.config/systemd/user/*.service",
    "/etc/rc.local",
];
/// Files of which only what is done at boot counts.
const AT_BOOT: [&str; 4] = ["/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/var/spool/cron/*"];
/// Files of monit, of which only what it starts itself counts: most watch a service that something else starts.
const MONIT: [&str; 6] = [
    "/etc/monitrc",
    "/etc/monit/monitrc",
    "/etc/monit/conf.d/*",
    "/etc/monit/conf-enabled/*",
    "/etc/monit/monitrc.d/*",
    "/etc/monit.d/*",
];
/// The most files of a kind.
const MOST: usize = 256;

/// The files that name a server as something to be started.
pub(super) fn gather(root: &str) -> Vec<String> {
    let found = |patterns: &[&str], names: fn(&str) -> bool| -> Vec<String> {
        let paths = patterns.iter().flat_map(|pattern| files::matching(&format!("{root}{pattern}"), MOST));
        let is_trace = |path: &String| {
            let text = files::read_text(path).unwrap_or_default();
            text.lines().map(str::trim).any(names)
        };
        paths.filter(is_trace).map(|path| escape(path.as_bytes())).collect()
    };
    let at_boot = found(&AT_BOOT, |line| line.starts_with("@reboot") && names_a_server(line));
    [found(&LINES, names_a_server), at_boot, found(&MONIT, monit_starts_a_server)].concat()
}

/// `start program = "/usr/bin/redis-server /etc/redis.conf" as uid redis`; not where that asks an init script, or systemd.
fn monit_starts_a_server(line: &str) -> bool {
    let rest = ["start", "restart"].iter().find_map(|word| line.strip_prefix(word)).unwrap_or_default();
    let rest = rest.trim_start().strip_prefix("program").unwrap_or(rest).trim_start_matches([' ', '\t', '=']);
    let command = ['"', '\''].into_iter().find_map(|quote| rest.strip_prefix(quote)?.split(quote).next());
    command.is_some_and(|command| !command.starts_with("/etc/") && Command::parse(command).starts_a_server())
}

fn names_a_server(line: &str) -> bool {
    let words = line.split(|c: char| c.is_whitespace() || "='\";".contains(c));
    let is_comment = line.starts_with(['#', ';']);
    !is_comment && words.into_iter().any(|word| PROGRAMS.contains(&word.rsplit('/').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_started_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            use std::io::Write as _;
            let path = format!("{}{path}", root.path().display());
            std::fs::create_dir_all(path.rsplit_once('/').unwrap().0).unwrap();
            std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        put("/etc/supervisor/conf.d/r2.conf", "[program:r2]\ncommand=/usr/bin/redis-server --port 7000\n");
        put("/etc/supervisor/conf.d/no.conf", "[program:app]\n; command=redis-server\ncommand=/x redis-server-hook\n");
        put("/etc/sv/redis2/run", "#!/bin/sh\nexec redis-server --port 6379\n");
        put("/home/al/.config/systemd/user/r.service", "[Service]\nExecStart=redis-server\n");
        put("/etc/cron.d/r", "@reboot root redis-server --port 7000\n");
        put("/etc/cron.d/watch", "* * * * * root pgrep redis-server || reboot\n");
        put(
            "/etc/monit/conf.d/r3",
            "check process r3 matching r3\n  start program = \"/usr/bin/redis-server /r3.conf\"\n",
        );
        put("/etc/monit.d/sh", "check process r4 matching r4\n  start = '/bin/sh -c \"redis-server --port 1\"'\n");
        for (name, start) in [("a", "/usr/bin/systemctl start redis-server"), ("b", "/etc/init.d/redis-server start")] {
            let text = format!("check process redis-server with pidfile /run/r\n  start program = \"{start}\"\n");
            put(&format!("/etc/monit/conf-enabled/{name}"), &text);
        }
        let root = root.path().to_str().unwrap();
        let found: Vec<String> = gather(root).iter().map(|path| path.replace(root, "")).collect();
        assert_eq!(
            found,
            [
                "/etc/supervisor/conf.d/r2.conf",
                "/etc/sv/redis2/run",
                "/home/al/.config/systemd/user/r.service",
                "/etc/cron.d/r",
                "/etc/monit/conf.d/r3",
                "/etc/monit.d/sh"
            ]
        );
    }
}
