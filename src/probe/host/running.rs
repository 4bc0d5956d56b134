//! What the servers of this machine say when they are asked over loopback: that they live, who they are, and the settings
//! they run with, which are not always those of the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::instance::reached;
use super::process::{Process, Processes};
use crate::model::{BlockerKind, Observed};
use crate::probe::path::command::Command;
use crate::probe::path::redis::{Conversation, End, ask_briefly};
use crate::probe::path::reply::{Info, Reply};
use crate::probe::path::tcp::Dialled;
use crate::sys::tls::Client;
use crate::sys::{Clock, clock};

/// The most servers that are asked.
const MOST: usize = 16;
/// How long each may take to answer, all at once. A server that lives answers over loopback in less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(500);

/// What one server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Where it was asked: an address with port, or the path of a unix socket.
    pub address: String,
    /// The process that listens there, where that is known.
    pub pid: Option<u32>,
    /// What it answered to PING without a password: `PONG`, or the error; `None` for silence.
    pub ping: Option<String>,
    /// What INFO tells.
    pub info: Info,
    /// The settings it runs with.
    pub settings: Observed<BTreeMap<String, String>>,
}

/// Asks every server of this network namespace, apart from the one at `known`, which has been asked already.
pub async fn gather(processes: &Observed<Processes>, known: Option<&str>, clock: &Clock) -> Vec<Running> {
    let servers = processes.seen().map_or(&[][..], |processes| &processes.servers);
    let deadline = clock.end().min(clock::now() + PATIENCE);
    let mut asked = tokio::task::JoinSet::new();
    for server in servers.iter().filter(|server| server.same_network != Some(false)).take(MOST) {
        let (pid, places) = (server.pid, places(server));
        let Some(address) = places.first().map(name) else { continue };
        if known != Some(address.as_str()) {
            asked.spawn(async move { one(pid, places, deadline).await });
        }
    }
    let mut all = asked.join_all().await;
    all.sort_by(|a, b| a.address.cmp(&b.address));
    all
}

/// Asks one server, at the next place where the one before says nothing.
async fn one(pid: u32, places: Vec<Dialled>, deadline: Instant) -> Running {
    let mut places = places.into_iter().peekable();
    loop {
        // There is one at least.
        let Some(place) = places.next() else { return of(String::new(), pid, &Conversation::not_made()) };
        let said = ask_briefly(&place, deadline).await;
        if said.said_something() || places.peek().is_none() {
            return of(name(&place), pid, &said);
        }
    }
}

/// Where a server of this machine can be asked: over loopback, if it listens there, else its own address, without TLS and with it;
/// else its socket.
fn places(server: &Process) -> Vec<Dialled> {
    let nearest = server.listens.iter().map(|at| reached(*at)).min_by_key(|at| !at.ip().is_loopback());
    let within = |at: SocketAddr| Some(Dialled::Tcp(at).within(Client::blind(&at.ip().to_string()).ok()?));
    let socket = server.listens_unix.first().cloned().map(Dialled::Unix);
    [nearest.map(Dialled::Tcp), nearest.and_then(within), socket].into_iter().flatten().collect()
}

fn name(place: &Dialled) -> String {
    match place {
        Dialled::Tcp(address) | Dialled::Tls(address, _) => address.to_string(),
        Dialled::Unix(path) => path.clone(),
    }
}

fn of(address: String, pid: u32, said: &Conversation) -> Running {
    let ping = match (said.reply(Command::Ping), &said.unasked) {
        (Some(Reply::Status(status)), _) => Some(status.clone()),
        (Some(Reply::Error(error)), _) | (None, Some(Reply::Error(error))) => Some(error.text.clone()),
        _ => None,
    };
    let settings = said.settings().map_or_else(|| unsaid(said), Observed::Seen);
    Running { address, pid: Some(pid), ping, info: said.info().cloned().unwrap_or_default(), settings }
}

/// Why a server told no settings.
fn unsaid(said: &Conversation) -> Observed<BTreeMap<String, String>> {
    match said.reply(Command::ConfigGet).and_then(Reply::error) {
        Some(error) => Observed::hidden(BlockerKind::Permission, format!("redis replied {}", error.text)),
        None if said.end == End::NotMade => Observed::hidden(BlockerKind::Failed, "it could not be connected to"),
        None => Observed::hidden(BlockerKind::Failed, "it did not answer CONFIG GET"),
    }
}
