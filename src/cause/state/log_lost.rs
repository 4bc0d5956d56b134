//! Redis cannot write its log.

use super::process;
use crate::cause::{Case, Cause, redis_host};
use crate::check::disk;
use crate::model::text::shell_quote;
use crate::model::{Confidence, Risk, Step, Support};
use crate::probe::Facts;
use crate::probe::host::disk::Disk;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "log-lost",
    title: "Redis cannot write its log",
    explain: "\
The folder of 'logfile' is gone, is on a read-only file system, or has no room. Redis opens its log for every line \
and says nothing where it cannot: it serves on, and whatever it has to say is lost. When it is started again it \
ends at once: \"Can't open the log file\".

stat(2) and statvfs(3) of the folder show it, so this is certain.

Repair: make the folder for Redis' user, make room, or mount it for writing; the next line is written then, \
without a restart.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&disk::LOG)?;
    // Where it does not run, whatever keeps it from starting comes first.
    process(case.facts)?;
    let summary = "it serves on, and what it has to say is lost; it will not start again";
    Some(Support::new(Confidence::Certain, &[&disk::LOG], summary).on(finding))
}

fn folder(facts: &Facts) -> Option<&Disk> {
    facts.instance()?.disks().ok()?.into_iter().find(|disk| disk.purpose == "log")
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(disk) = folder(facts) else { return Vec::new() };
    let on = redis_host(facts);
    let within = disk.within.map(|pid| format!("/proc/{pid}/root")).unwrap_or_default();
    let path = shell_quote(&format!("{within}{}", disk.path));
    if disk.errno.as_deref() == Some("ENOENT") {
        let user = process(facts).map(|process| process.user.clone().unwrap_or_else(|| process.uid.to_string()));
        let user = shell_quote(&user.unwrap_or_else(|| "redis".to_owned()));
        let command = format!("sudo mkdir -p {path} && sudo chown {user} {path} && sudo chmod 750 {path}");
        return vec![Step::run(on, Risk::Safe, format!("make the folder, and give it to {user}"), command)];
    }
    vec![
        Step::look(
            on.clone(),
            format!("df -h {path}; findmnt -T {path}"),
            "its room, and whether it is mounted read-only",
        ),
        Step::tell(on, "make room there, or mount it for writing"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::probe::healthy_host::seen;

    #[test]
    fn a_lost_folder_is_certain() {
        let missing = Facts::at_home().host(|host| {
            let disk = &mut seen(&mut host.disks)[1];
            (disk.meta, disk.room, disk.errno) = (None, None, Some("ENOENT".to_owned()));
        });
        check_cause(&CAUSE, &missing, Some(Confidence::Certain));
        let Step::Run { command, .. } = &remedy(&missing)[0] else { panic!("a command") };
        assert!(command.starts_with("sudo mkdir -p /var/log/redis && sudo chown redis /var/log/redis"));
        check_cause(&CAUSE, &missing.not_running(), None);
        check_cause(&CAUSE, &Facts::at_home(), None);
    }

    #[test]
    fn a_full_disk_is_looked_at() {
        let full = Facts::at_home().host(|host| seen(&mut host.disks)[1].room.as_mut().unwrap().available = 0);
        check_cause(&CAUSE, &full, Some(Confidence::Certain));
        assert!(matches!(&remedy(&full)[0], Step::Look { .. }));
    }
}
