//! Causes that a packet filter or the kernel's policy is behind.

mod cloud_perimeter;
mod conntrack_full;
mod data_dropped;
mod data_reset;
mod docker_chains_flushed;
mod firewall_drop;
mod firewall_reject;
mod local_firewall;
mod selinux_denied;

pub use selinux_denied::kept_from_listening;

use std::net::IpAddr;

use super::{Case, Cause, repair};
use crate::cause::repair::firewall::Flow;
use crate::check;
use crate::model::{Code, Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::host::firewall::passage::{Fate, Passage};
use crate::probe::host::firewall::rules::Hook;
use crate::probe::host::firewall::walk::Stop;
use crate::probe::host::instance::Instance;
use crate::probe::host::network::Published;
use crate::probe::path::tcp::Attempt;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &selinux_denied::CAUSE,
    &conntrack_full::CAUSE,
    &docker_chains_flushed::CAUSE,
    &local_firewall::CAUSE,
    &cloud_perimeter::CAUSE,
    &firewall_reject::CAUSE,
    &firewall_drop::CAUSE,
    &data_dropped::CAUSE,
    &data_reset::CAUSE,
];

/// An attempt that the rules of a packet filter stop.
pub struct Stopped<'a> {
    /// The attempt.
    pub attempt: &'a Attempt,
    /// Its way through that filter.
    pub passage: Passage<'a>,
    /// What becomes of the packet that is stopped.
    pub fate: Fate,
    /// True if it is the answer that is stopped.
    pub answer: bool,
}

impl Stopped<'_> {
    /// What stops it first.
    pub fn stop(&self) -> Option<&Stop> {
        self.fate.stops.first()
    }

    /// How sure it is that this is why the attempt failed.
    pub fn confidence(&self, facts: &Facts) -> Confidence {
        let sure = self.fate.open.is_empty() && !is_flushed(facts);
        let fits = self.stop().is_some_and(|stop| check::firewall::explains(stop.how, self.attempt));
        if sure && fits { Confidence::Certain } else { Confidence::Likely }
    }

    /// The cause with the rule as evidence, and what leaves it open.
    pub fn support(&self, facts: &Facts, code: &'static Code, summary: String) -> Option<Support> {
        let codes = [check::tcp::code_of(self.attempt), code];
        let confidence = self.confidence(facts);
        let rule = check::firewall::evidence(self.passage.host, self.stop()?);
        let support = Support::new(confidence, &codes, summary)
            .because("connect(2)", self.attempt.says())
            .because(rule.source, rule.says);
        Some(match self.fate.open.first() {
            Some(open) if confidence < Confidence::Certain => {
                let on = if self.passage.host.is_some() { super::redis_host(facts) } else { Where::Here };
                let tells = format!("the rule's counter grows with each attempt: this is it; left open: {open}");
                support.settled_by(Step::look(on, self.stop()?.at.source.shown(), tells))
            }
            _ => support,
        })
    }

    /// The steps that let it through.
    pub fn steps(&self, on: &Where) -> Vec<Step> {
        let port = self.passage.to.port();
        let theirs = self.passage.host.is_some();
        let Some(peer) = (if theirs { self.passage.client } else { Some(self.passage.to.ip()) }) else {
            return vec![Step::tell(
                on.clone(),
                format!("let CLIENT-ADDRESS (not everybody) reach TCP port {port}, in the tool that owns the rule"),
            )];
        };
        let steps = self.opened(peer, on);
        if !theirs || self.passage.as_it_is {
            return steps;
        }
        let look = format!(
            "the address that it arrives from may be another than {peer}: see it there while the client tries (sudo tcpdump \
             -ni any 'tcp dst port {port}'), then allow that one"
        );
        let advised = |step| match step {
            Step::Run { on, command, .. } => Step::tell(on, format!("if it is {peer}: {command}")),
            step => step,
        };
        std::iter::once(Step::tell(on.clone(), look)).chain(steps.into_iter().map(advised)).collect()
    }

    /// The steps that open the way there, and the way of the answer.
    fn opened(&self, peer: IpAddr, on: &Where) -> Vec<Step> {
        let Passage { there, usually_back, over_loopback, .. } = &self.passage;
        let asked = self.passage.to.port();
        let mut steps: Vec<Step> = Vec::new();
        let mut opened: Vec<&Stop> = Vec::new();
        let back = usually_back.iter().flat_map(|back| &back.stops).map(|stop| (stop, true));
        let ways = there.stops.iter().map(|stop| (stop, false)).chain(back);
        for (stop, answers) in ways {
            // What lets all of loopback pass lets pass what comes later in that chain, too.
            if *over_loopback && opened.iter().any(|before| is_behind(stop, before)) {
                continue;
            }
            let port = if answers || is_before_translation(stop) { asked } else { there.to.1.unwrap_or(asked) };
            let leaves = matches!(stop.at.hook, Hook::Output | Hook::Postrouting | Hook::Egress);
            let flow = Flow { peer, port, leaves, answers, over_loopback: *over_loopback };
            for step in repair::firewall::open(self.passage.firewall, std::slice::from_ref(stop), flow, on) {
                if !steps.contains(&step) {
                    steps.push(step);
                }
            }
            opened.push(stop);
        }
        steps
    }
}

/// True if it is in the same chain, and not before.
fn is_behind(stop: &Stop, before: &Stop) -> bool {
    let chain = |stop: &Stop| {
        let at = &stop.at;
        (at.source, at.family, at.table.clone(), at.chain.clone(), at.hook)
    };
    let number = |stop: &Stop| stop.at.rule.as_ref().map_or(u32::MAX, |rule| rule.number);
    chain(stop) == chain(before) && number(before) <= number(stop)
}

/// True if the packet still has the port there that the client asked for.
fn is_before_translation(stop: &Stop) -> bool {
    matches!(stop.at.hook, Hook::Ingress | Hook::Prerouting | Hook::Output)
}

/// The failed attempt of those that are `wanted` that the server's packet filter stops on its way in, or whose `answer` it
/// stops.
pub fn stopped_there(facts: &Facts, answer: bool, wanted: fn(&Attempt) -> bool) -> Option<Stopped<'_>> {
    stopped(facts, answer, |attempt| if wanted(attempt) { facts.arrival(attempt.ip?).ok() } else { None })
}

/// What to do where a rule of the server's packet filter may have stopped the attempt: one that asks for more than the packet
/// (how many came before it, a mark, the time), and has stopped some. A limit on new connections is the usual one. Whether it
/// was this attempt, only its counter tells.
pub fn doubted_there(facts: &Facts, attempt: &Attempt) -> Vec<Step> {
    let passage = attempt.ip.and_then(|ip| facts.arrival(ip).ok()).filter(|passage| passage.there.stops.is_empty());
    let Some(passage) = passage else { return Vec::new() };
    let doubts = passage.there.doubts.iter().filter(|doubt| doubt.at.packets.is_some_and(|count| count > 0));
    let mut stops = doubts.filter_map(|doubt| Some(Stop { at: doubt.at.clone(), how: doubt.how? }));
    let Some(stop) = stops.find(|stop| check::firewall::explains(stop.how, attempt)) else { return Vec::new() };
    let on = super::redis_host(facts);
    let tells = format!("if its counter grows with each attempt, this rule stops it: {}", stop.at.name());
    let look = Step::look(on.clone(), stop.at.source.shown(), tells);
    let there = Fate { stops: vec![stop], ..passage.there.clone() };
    let passage = Passage { there: there.clone(), ..passage };
    let stopped = Stopped { attempt, passage, fate: there, answer: false };
    let advised = stopped.steps(&on).into_iter().map(|step| match step {
        Step::Run { on, command, .. } => Step::tell(on, format!("if it is that rule: {command}")),
        step => step,
    });
    std::iter::once(look).chain(advised).collect()
}

/// The failed attempt that our own packet filter stops.
pub fn stopped_here(facts: &Facts) -> Option<Stopped<'_>> {
    let departure = |attempt: &Attempt| facts.departure(attempt.ip?).ok();
    stopped(facts, false, departure).or_else(|| stopped(facts, true, departure))
}

fn stopped<'a>(
    facts: &'a Facts,
    answer: bool,
    passage: impl Fn(&Attempt) -> Option<Passage<'a>>,
) -> Option<Stopped<'a>> {
    // A connection that is accepted beats any reading of rules.
    let tcp = facts.tcp.seen().filter(|tcp| tcp.connected().is_none())?;
    let found = |attempt: &'a Attempt| {
        let passage = passage(attempt)?;
        let fate = if answer { passage.back.clone()? } else { passage.there.clone() };
        fate.stops.first()?;
        Some(Stopped { attempt, passage, fate, answer })
    };
    // One whose rules fit how it ended tells more than one whose rules do not.
    let mut all: Vec<Stopped> = tcp.attempts.iter().filter_map(found).collect();
    all.sort_by_key(|stopped| std::cmp::Reverse(stopped.confidence(facts)));
    all.into_iter().next()
}

/// A port that is published for a container, and that no rule sends there any more.
pub fn flushed(facts: &Facts) -> Option<&Published> {
    let host = facts.server_host().ok()?;
    let port = facts.ask.target.port()?;
    let asked = facts.asked_addresses();
    let published = host
        .network
        .seen()?
        .published
        .iter()
        .find(|it| it.port == port && (it.ip.is_unspecified() || asked.contains(&it.ip)))?;
    let sent = |passage: Passage| {
        let elsewhere = passage.there.translated_by.is_some() || passage.there.may_go_elsewhere;
        elsewhere || passage.firewall.unread.iter().any(|unread| !unread.source.is_beside())
    };
    let mut ways = asked.into_iter().filter(|ip| !ip.is_loopback()).filter_map(|ip| facts.arrival(ip).ok()).peekable();
    ways.peek()?;
    (!ways.any(sent)).then_some(published)
}

fn is_flushed(facts: &Facts) -> bool {
    flushed(facts).is_some()
}

/// A password first where the server is known to have none, then the steps that let one more client in. Its own machine is
/// no stranger to it.
pub fn opening(facts: &Facts, steps: Vec<Step>) -> Vec<Step> {
    let on = super::redis_host(facts);
    if on == Where::Here {
        return steps;
    }
    let instance = facts.instance().filter(Instance::is_alive);
    if instance.and_then(|instance| instance.has_password()) != Some(false) {
        return steps;
    }
    let mut all = repair::password_for_all(facts, facts.instance());
    all.push(Step::tell(on, repair::HAND_OUT));
    all.extend(steps);
    let mut target = facts.ask.target.clone();
    target.password = true;
    all.push(super::check_again(&target));
    all
}

/// Says of a candidate what the server's own rules, and ours, have to do with it: nothing, or what leaves it open.
pub fn not_by_rules(case: &Case, attempt: &Attempt, mut support: Support) -> Support {
    let Some(ip) = attempt.ip else { return support };
    let passes = |passage: &Passage| passage.there.passes() && passage.back.as_ref().is_none_or(Fate::passes);
    if let Some((theirs, host)) = case.facts.arrival(ip).ok().zip(case.host()) {
        let who = theirs.client.map_or_else(|| "the client".to_owned(), |ip| ip.to_string());
        let open = theirs.there.open.first().or_else(|| theirs.back.as_ref()?.open.first());
        let says = match (open, theirs.moved()) {
            (Some(open), _) => Some(format!("left open: {open}")),
            (None, Some((to, place))) => Some(format!("it sends it on to {to}: {}", place.says())),
            (None, None) => passes(&theirs)
                .then(|| format!("its rules let {who} reach port {}: they are not what stops it", theirs.to.port())),
        };
        if let Some(says) = says {
            support = support.because(host.source("the packet filter"), says);
        }
    }
    let Ok(ours) = case.facts.departure(ip) else { return support };
    if let Some((to, place)) = ours.moved() {
        return support.because("the packet filter here", format!("it sends it on to {to}: {}", place.says()));
    }
    if let Some(doubt) = ours.there.doubts.first() {
        let says = format!("left open: {} may {}", doubt.at.name(), doubt.may);
        return support.because("the packet filter here", says);
    }
    if passes(&ours) {
        let says = format!("this machine's own rules let packets to {} out", attempt.address);
        support = support.not("local-firewall", says);
    }
    support
}
