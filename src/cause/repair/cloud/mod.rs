//! The remedy where the target is a provider's service: what lets this client in, in the provider's own words. Nobody
//! can type commands on such a machine.

use std::net::IpAddr;

use crate::cause::Case;
use crate::model::cloud::{self, Provider};
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::vantage::is_this_machine;

/// The provider whose service the target's name is; `None` where the name leads to this machine: a tunnel.
pub fn provider(facts: &Facts) -> Option<&'static Provider> {
    let here = |ip: &IpAddr| {
        is_this_machine(*ip) || facts.vantage.seen().is_some_and(|vantage| vantage.own_addresses.contains(ip))
    };
    if facts.asked_addresses().iter().any(here) {
        return None;
    }
    cloud::provider(facts.ask.target.host()?)
}

/// What a cause that explains why no connection came about is worth where the target is a provider's service: its steps
/// without those on the server's own machine, after what the provider offers. `None` where nothing but such a step
/// would settle and mend it: that is the provider's business, and see `cloud-perimeter`.
pub fn instead(case: &Case, support: &mut Support, steps: Vec<Step>) -> Option<Vec<Step>> {
    let facts = case.facts;
    let no_connection = support.explains.iter().all(|code| code.id.starts_with("tcp/"));
    if !no_connection || provider(facts).is_none() {
        return Some(steps);
    }
    let all = steps.len();
    let mut kept: Vec<Step> = steps.into_iter().filter(|step| !is_there(step)).collect();
    if kept.is_empty() && support.confidence == Confidence::Possible {
        return None;
    }
    if kept.len() < all {
        kept.splice(0..0, lets_in(facts));
    }
    if support.settled_by.as_ref().is_some_and(is_there) {
        support.settled_by = settle(facts);
    }
    Some(kept)
}

/// What lets this client in.
pub fn lets_in(facts: &Facts) -> Option<Step> {
    let (provider, port) = (provider(facts)?, facts.ask.target.port()?);
    let client = client(facts);
    Some(Step::tell(Where::Network, format!("at {}: {}", provider.name, provider.lets_in(&client, port))))
}

/// What tells whether it is the provider's perimeter.
pub fn settle(facts: &Facts) -> Option<Step> {
    let provider = provider(facts)?;
    Some(Step::tell(
        Where::Network,
        format!(
            "run the same check from a machine that {} lets in for sure: an answer there means that this machine is \
             kept out; silence there, that the service is off or its name is old",
            provider.name
        ),
    ))
}

/// This machine's address as the provider sees it.
fn client(facts: &Facts) -> String {
    let to = facts.asked_addresses().first().copied();
    let way = facts.ways.seen().and_then(|ways| ways.iter().find(|way| Some(way.to) == to)?.source);
    let own = facts.vantage.seen().map(|vantage| vantage.own_addresses.as_slice()).unwrap_or_default();
    let mut likely = own.iter().filter(|ip| !ip.is_loopback() && to.is_some_and(|to| to.is_ipv4() == ip.is_ipv4()));
    let source = way.or_else(|| likely.next().copied().filter(|_| likely.next().is_none()));
    let outside = to.is_some_and(|to| !cloud::is_private(to));
    match source {
        Some(ip) if outside && cloud::is_private(ip) => {
            format!("this machine's public address (what {ip} is translated to on its way out)")
        }
        Some(ip) => ip.to_string(),
        None => "this machine's address".to_owned(),
    }
}

fn is_there(step: &Step) -> bool {
    let (Step::Look { on, .. } | Step::Run { on, .. } | Step::Edit { on, .. } | Step::Tell { on, .. }) = step;
    *on == Where::RedisHost
}
