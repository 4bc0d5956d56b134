//! From facts, verdicts and diagnosis to the report: the one place that decides status and exit code.

use crate::check;
use crate::check::Judged;
use crate::exit;
use crate::model::ask::FailOn;
use crate::model::report::{
    CauseReport, CheckReport, FindingReport, Overall, Reached, Report, SCHEMA_VERSION, StepKind, StepReport,
    TargetReport, VantageReport, WayReport,
};
use crate::model::{Diagnosis, Endpoint, Finding, Level, Severity, Status, Step, Supported, Target, Verdict};
use crate::probe::Facts;
use crate::probe::path::redis::Dialogue;
use crate::probe::path::reply::{Command, Reply};
use crate::probe::path::tls::{Hello, Tls};
use crate::probe::path::vantage::Vantage;
use crate::probe::path::way::Way;

/// Puts the report together.
pub fn assemble(facts: &Facts, judged: Vec<Judged>, diagnosis: &Diagnosis) -> Report {
    let level = facts.ask.require;
    let status = overall(facts, &judged);
    Report {
        schema_version: SCHEMA_VERSION,
        redisdoc: facts.redisdoc.clone(),
        started_at: facts.taken_at.clone(),
        duration_ms: facts.took_ms,
        target: Some(target(&facts.ask.target)),
        vantage: facts.vantage.seen().map(|seen| vantage(seen, facts.ways.seen())),
        status,
        reached: reached(facts),
        exit_code: exit_code(facts, status),
        error: None,
        checks: judged.into_iter().map(|judged| check_report(judged, level)).collect(),
        causes: diagnosis.causes.iter().map(cause_report).collect(),
        unexplained: diagnosis.unexplained.iter().map(|code| code.id.to_owned()).collect(),
    }
}

fn overall(facts: &Facts, judged: &[Judged]) -> Overall {
    let level = facts.ask.require;
    let status = |wanted| judged.iter().any(|judged| judged.verdict.status(level) == wanted);
    let matters = |judged: &Judged| judged.check.level.is_some_and(|needed| needed <= level);
    let unknown = |judged: &Judged| matters(judged) && matches!(judged.verdict, Verdict::Unknown(_));
    if !facts.ask.target.is_usable() {
        Overall::Inconclusive
    } else if status(Status::Fail) {
        Overall::Unhealthy
    } else if judged.iter().any(unknown) || fell_short(facts, judged) {
        Overall::Inconclusive
    } else if status(Status::Warn) {
        Overall::Degraded
    } else {
        Overall::Healthy
    }
}

/// True if we did not get as far as required although no check says why: no run may end as healthy by omission. Deselected
/// checks and a user that may not PING (a warning) leave it open on purpose.
fn fell_short(facts: &Facts, judged: &[Judged]) -> bool {
    let needed = match facts.ask.require {
        Level::Reachable => Reached::Answered,
        Level::Authenticated => Reached::Authenticated,
        Level::Ready | Level::Writable => Reached::Ready,
    };
    let all_asked = judged.iter().all(|judged| facts.ask.wants(judged.check.id));
    let ping_denied =
        judged.iter().flat_map(|judged| judged.verdict.findings()).any(|f| f.code.id == check::auth::PING_DENIED.id);
    // A check that was asked for by itself and could not be made, because of one that was not.
    let is_blocked = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(skip) if skip.blocked_by.is_some());
    let blocked = |judged: &Judged| facts.ask.wants(judged.check.id) && is_blocked(&judged.verdict);
    judged.iter().any(|judged| judged.check.level.is_some_and(|level| level <= facts.ask.require) && blocked(judged))
        || all_asked && !ping_denied && reached(facts) < needed
}

fn exit_code(facts: &Facts, status: Overall) -> u8 {
    match (status, facts.ask.fail_on) {
        _ if !facts.ask.target.is_usable() => exit::USAGE,
        (Overall::Inconclusive, _) => exit::UNKNOWN,
        (Overall::Unhealthy, FailOn::Error | FailOn::Warning) | (Overall::Degraded, FailOn::Warning) => exit::PROBLEM,
        _ => exit::USABLE,
    }
}

/// How far we got, by what was observed, whatever was asked for.
pub fn reached(facts: &Facts) -> Reached {
    let dialogue = facts.redis.seen().and_then(|redis| redis.preferred());
    if let Some(dialogue) = dialogue.filter(|dialogue| check::ping::failure(dialogue).is_none()) {
        return within(dialogue, facts);
    }
    if facts.tls.seen().and_then(Tls::preferred).is_some_and(Hello::is_done) {
        return Reached::Encrypted;
    }
    let connected = facts.tcp.seen().is_some_and(|tcp| tcp.connected().is_some());
    let is_unix = matches!(facts.ask.target.endpoint, Endpoint::Unix { .. });
    let resolved = is_unix || facts.dns.seen().is_some_and(|dns| !dns.addresses().is_empty());
    match (facts.ask.target.is_usable(), connected, resolved) {
        (true, true, _) => Reached::Connected,
        (true, false, true) => Reached::Resolved,
        _ => Reached::Nothing,
    }
}

/// How far we got with a Redis that answers.
fn within(dialogue: &Dialogue, facts: &Facts) -> Reached {
    let refused = |command| dialogue.reply(command).is_some_and(|reply| reply.error().is_some());
    let pong = matches!(dialogue.reply(Command::Ping), Some(Reply::Status(_)));
    if refused(Command::Auth) || breaks(&check::auth::CHECK, facts, Level::Authenticated) {
        Reached::Answered
    } else if pong
        && !breaks(&check::auth::CHECK, facts, Level::Ready)
        && !breaks(&check::state::CHECK, facts, Level::Ready)
    {
        Reached::Ready
    } else {
        Reached::Authenticated
    }
}

/// True if the check, selected or not, finds a failure of this level.
fn breaks(check: &check::Check, facts: &Facts, level: Level) -> bool {
    let findings = (check.judge)(facts).map(|judgement| judgement.findings).unwrap_or_default();
    findings.iter().any(|finding| finding.code.breaks == level && finding.code.severity == Severity::Fail)
}

fn target(target: &Target) -> TargetReport {
    let socket = match &target.endpoint {
        Endpoint::Unix { path } => Some(path.clone()),
        Endpoint::Tcp { .. } => None,
    };
    let name =
        |part| serde_json::to_value(part).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    TargetReport {
        host: target.host().map(str::to_owned),
        port: target.port(),
        socket,
        tls: target.tls,
        sni: target.sni.clone(),
        db: target.db,
        user: target.user.clone(),
        password: target.password,
        given_by: target.given_by.iter().map(|(part, by)| (name(part), by.clone())).collect(),
    }
}

fn vantage(vantage: &Vantage, ways: Option<&Vec<Way>>) -> VantageReport {
    VantageReport {
        hostname: vantage.hostname.clone(),
        os: vantage.os.clone(),
        container: vantage.container.clone(),
        same_host: vantage.same_host,
        own_namespace: vantage.own_namespace,
        ways: ways.into_iter().flatten().map(way).collect(),
    }
}

fn way(way: &Way) -> WayReport {
    WayReport {
        to: way.to.to_string(),
        source: way.source.map(|ip| ip.to_string()),
        interface: way.interface.clone(),
        tunnel: way.tunnel.clone(),
        gateway: way.gateway.map(|ip| ip.to_string()),
    }
}

fn check_report(judged: Judged, level: Level) -> CheckReport {
    let status = judged.verdict.status(level);
    let findings = judged.verdict.findings().iter().map(|finding| finding_report(finding, level)).collect();
    let (reason, blocked_by, summary, duration_ms, observed) = match judged.verdict {
        Verdict::Judged(judgement) => (None, None, judgement.summary, judgement.took_ms, judgement.observed),
        Verdict::Unknown(blocker) => {
            let summary = format!("could not tell: {}", blocker.says);
            (Some(blocker.says), Some(None), summary, None, serde_json::Value::Null)
        }
        Verdict::Skipped(skip) => {
            (Some(skip.reason.clone()), Some(skip.blocked_by), skip.reason, None, serde_json::Value::Null)
        }
    };
    CheckReport { id: judged.check.id.to_owned(), status, reason, blocked_by, summary, duration_ms, findings, observed }
}

fn finding_report(finding: &Finding, level: Level) -> FindingReport {
    FindingReport {
        code: finding.code.id.to_owned(),
        severity: finding.code.severity_for(level),
        title: finding.code.title.to_owned(),
        evidence: finding.evidence.clone(),
    }
}

fn cause_report(cause: &Supported) -> CauseReport {
    let support = &cause.support;
    CauseReport {
        id: cause.id.to_owned(),
        title: cause.title.to_owned(),
        confidence: support.confidence,
        summary: support.summary.clone(),
        explains: support.explains.iter().map(|code| code.id.to_owned()).collect(),
        evidence: support.evidence.clone(),
        ruled_out: support.ruled_out.clone(),
        settled_by: support.settled_by.as_ref().map(step_report),
        remedy: cause.remedy.iter().map(step_report).collect(),
    }
}

fn step_report(step: &Step) -> StepReport {
    let blank = |kind, text: &str, on: &crate::model::Where| StepReport {
        kind,
        text: text.to_owned(),
        command: None,
        file: None,
        line: None,
        from: None,
        to: None,
        on: on.clone(),
        risk: None,
    };
    match step {
        Step::Look { command, tells, on } => {
            StepReport { command: Some(command.clone()), ..blank(StepKind::Look, tells, on) }
        }
        Step::Run { text, command, on, risk } => {
            StepReport { command: Some(command.clone()), risk: Some(*risk), ..blank(StepKind::Run, text, on) }
        }
        Step::Edit { text, file, line, from, to, on, risk } => StepReport {
            file: Some(file.clone()),
            line: *line,
            from: Some(from.clone()),
            to: Some(to.clone()),
            risk: Some(*risk),
            ..blank(StepKind::Edit, text, on)
        },
        Step::Tell { text, on } => blank(StepKind::Tell, text, on),
    }
}
