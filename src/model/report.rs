//! The report: the JSON contract of redisdoc, as plain data. `redisdoc schema` prints its JSON Schema.
//!
//! Field names and values are a contract with scripts; a breaking change raises [`SCHEMA_VERSION`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::diagnosis::{Confidence, RuledOut};
use super::finding::{Evidence, Severity};
use super::remedy::{Risk, Where};
use super::verdict::Status;

/// The version of the report's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this document's shape.
    pub schema_version: u32,
    /// The version of redisdoc.
    pub redisdoc: String,
    /// When the run began (RFC 3339, UTC).
    pub started_at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// What was checked; absent when the command line named nothing that could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetReport>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vantage: Option<VantageReport>,
    /// The verdict in a word.
    pub status: Overall,
    /// How far we got.
    pub reached: Reached,
    /// The exit code of this run.
    pub exit_code: u8,
    /// What stopped the tool itself (bad usage, an unreadable file), if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Every planned check, in order.
    pub checks: Vec<CheckReport>,
    /// What explains the findings; the first is the root cause.
    pub causes: Vec<CauseReport>,
    /// Codes of findings that no cause explains.
    pub unexplained: Vec<String>,
}

/// The target as the report shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TargetReport {
    /// The host, unless a unix socket is the target.
    pub host: Option<String>,
    /// The port, unless a unix socket is the target.
    pub port: Option<u16>,
    /// The unix socket.
    pub socket: Option<String>,
    /// Whether TLS is asked for.
    pub tls: bool,
    /// The server name for TLS.
    pub sni: Option<String>,
    /// The database index.
    pub db: u32,
    /// The user.
    pub user: Option<String>,
    /// Whether there is a password. Never the password.
    pub password: bool,
    /// Where each part came from.
    pub given_by: BTreeMap<String, String>,
}

/// Where redisdoc ran.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VantageReport {
    /// The name of the machine.
    pub hostname: Option<String>,
    /// The operating system.
    pub os: String,
    /// The kind of container we run in, if any.
    pub container: Option<String>,
    /// Whether the target is this machine, as seen from its addresses; null when that cannot be told.
    pub same_host: Option<bool>,
    /// Whether our network namespace is another than the machine's own; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_namespace: Option<bool>,
    /// How packets leave to each address that could not be connected to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<WayReport>,
}

/// How packets leave to one address.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WayReport {
    /// The address of the target.
    pub to: String,
    /// The address that packets to it come from; null where there is no route.
    pub source: Option<String>,
    /// The interface that has that address.
    pub interface: Option<String>,
    /// The kind of tunnel that it is, if it is one.
    pub tunnel: Option<String>,
    /// The next hop, where that can be told.
    pub gateway: Option<String>,
}

/// The verdict on the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Usable as required, and nothing to say.
    Healthy,
    /// Usable as required, with warnings.
    Degraded,
    /// Not usable as required.
    Unhealthy,
    /// Could not tell.
    Inconclusive,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Nothing.
    Nothing,
    /// The name has an address (or needs none).
    Resolved,
    /// A connection was accepted.
    Connected,
    /// TLS was set up.
    Encrypted,
    /// A Redis answered.
    Answered,
    /// It accepted the credentials or asked for none.
    Authenticated,
    /// It serves commands.
    Ready,
}

/// One check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckReport {
    /// The check id.
    pub id: String,
    /// Its verdict.
    pub status: Status,
    /// Why it is `unknown` or `skipped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The check that stands in the way; present (perhaps null) on `unknown` and `skipped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Option<String>>,
    /// One line.
    pub summary: String,
    /// How long the observation took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// What was found.
    pub findings: Vec<FindingReport>,
    /// What was observed.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub observed: serde_json::Value,
}

/// One finding.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FindingReport {
    /// Its code, `check/what`.
    pub code: String,
    /// How much it matters in this run.
    pub severity: Severity,
    /// What it is.
    pub title: String,
    /// Why we say so.
    pub evidence: Vec<Evidence>,
}

/// One cause.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CauseReport {
    /// The cause id of the fault catalogue.
    pub id: String,
    /// What it is.
    pub title: String,
    /// How sure we are.
    pub confidence: Confidence,
    /// The cause in a sentence about this case.
    pub summary: String,
    /// The codes it explains.
    pub explains: Vec<String>,
    /// Why we say so.
    pub evidence: Vec<Evidence>,
    /// The look-alikes that an observation rules out.
    pub ruled_out: Vec<RuledOut>,
    /// Where we are not certain: the observation that would settle it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<StepReport>,
    /// What to do, in order; the last step verifies it.
    pub remedy: Vec<StepReport>,
}

/// The kinds of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Look; changes nothing.
    Look,
    /// Run a command.
    Run,
    /// Change a line of a file.
    Edit,
    /// Something without a command.
    Tell,
}

/// One step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepReport {
    /// Its kind.
    pub kind: StepKind,
    /// What it does or tells.
    pub text: String,
    /// The command to type (look, run).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The file to change (edit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line of it, from 1 (edit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What stands there (edit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What should stand there (edit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where to do it: `here`, `redis-host`, `network`, `cluster`, or `{"container": name}`.
    pub on: Where,
    /// What it risks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}
