//! What may start a Redis server besides services: programs of supervisord, runit and s6, a user's own units, cron, rc.local. What it says
//! is not followed: that it names a server is enough to be unsure that there is no other.

use super::PROGRAMS;
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
/// The most files of a kind.
const MOST: usize = 256;

/// The files that name a server as something to be started.
pub(super) fn gather(root: &str) -> Vec<String> {
    let found = |patterns: &[&str], wanted: fn(&str) -> bool| -> Vec<String> {
        let paths = patterns.iter().flat_map(|pattern| files::matching(&format!("{root}{pattern}"), MOST));
        let names = |path: &String| {
            let text = files::read_text(path).unwrap_or_default();
            text.lines().map(str::trim).any(|line| wanted(line) && names_a_server(line))
        };
        paths.filter(names).map(|path| escape(path.as_bytes())).collect()
    };
    [found(&LINES, |_| true), found(&AT_BOOT, |line| line.starts_with("@reboot"))].concat()
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
        let root = root.path().to_str().unwrap();
        let found: Vec<String> = gather(root).iter().map(|path| path.replace(root, "")).collect();
        assert_eq!(
            found,
            [
                "/etc/supervisor/conf.d/r2.conf",
                "/etc/sv/redis2/run",
                "/home/al/.config/systemd/user/r.service",
                "/etc/cron.d/r"
            ]
        );
    }
}
