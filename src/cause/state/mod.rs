//! Causes in a server that is there and does not serve, and in the resources of either side.

mod accept_queue_full;
mod busy_script;
mod client_fds_exhausted;
mod clients_paused;
mod ephemeral_ports_exhausted;
mod event_loop_blocked;
mod loading;
mod log_lost;
mod memory_exhausted;
mod memory_full;
mod persistence_failing;
mod process_stopped;
mod server_fds_exhausted;

pub use server_fds_exhausted::raise;

use super::{Cause, redis_host};
use crate::model::text::shell_quote;
use crate::model::{Risk, Step};
use crate::probe::Facts;
use crate::probe::host::instance::Instance;
use crate::probe::host::process::{Process, State};
use crate::probe::host::queue::Queue;
use crate::probe::host::system::Init;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &client_fds_exhausted::CAUSE,
    &ephemeral_ports_exhausted::CAUSE,
    &loading::CAUSE,
    &busy_script::CAUSE,
    &persistence_failing::CAUSE,
    &memory_full::CAUSE,
    &memory_exhausted::CAUSE,
    &log_lost::CAUSE,
    &clients_paused::CAUSE,
    &event_loop_blocked::CAUSE,
    &process_stopped::CAUSE,
    &server_fds_exhausted::CAUSE,
    &accept_queue_full::CAUSE,
];

/// The process of the target's server, where its machine shows it.
pub fn process(facts: &Facts) -> Option<&Process> {
    facts.instance()?.process
}

/// The queue of the target's listener, where its machine shows it.
pub fn queue(facts: &Facts) -> Option<Queue> {
    facts.instance()?.queue(&facts.ask.target)
}

/// What a process is doing, as evidence.
pub fn doing(process: &Process) -> String {
    let state = match process.state {
        State::Alive => "runs or waits for something to do (state R or S)",
        State::InKernel => "waits in the kernel (state D)",
        State::Stopped => "is stopped by a signal (state T)",
        State::Traced => "is stopped by a debugger (state t)",
        State::Zombie => "is dead (state Z)",
        State::Other => "is in a state of its own",
    };
    format!("pid {} {state}", process.pid)
}

/// Where the state of a process is from.
pub fn stat_of(process: &Process) -> String {
    format!("/proc/{}/stat", process.pid)
}

/// The systemd unit that starts the server, if one is known to.
pub fn systemd_unit<'a>(instance: &Instance<'a>) -> Option<&'a str> {
    if instance.process.is_some_and(|process| process.container.is_some()) {
        return None;
    }
    let unit = instance.running_unit().or_else(|| instance.unit_of_conf())?.trim_end_matches(".service");
    let system = instance.host.system.seen();
    let booted = system.is_none_or(|system| system.init == Init::Systemd);
    booted.then_some(unit)
}

/// Adds a setting to a unit, for its next start.
pub fn drop_in(facts: &Facts, unit: &str, setting: &str, text: &str) -> Step {
    let folder = shell_quote(&format!("/etc/systemd/system/{unit}.service.d"));
    let file = shell_quote(&format!("/etc/systemd/system/{unit}.service.d/redisdoc.conf"));
    let lines = shell_quote(&format!("[Service]\\n{setting}\\n"));
    let command = format!(
        "sudo mkdir -p {folder} && printf {lines} | sudo tee -a {file} >/dev/null && sudo systemctl daemon-reload"
    );
    Step::run(redis_host(facts), Risk::Safe, text, command)
}
