//! The packet filter of this machine: what `nft`, `iptables` and `iptables-legacy` list, in one form.

pub mod nft;
pub mod rules;
pub mod walk;

pub use rules::Firewall;

use crate::model::Observed;
use crate::sys::Clock;

/// Lists the rules of this network namespace.
pub async fn gather(_clock: &Clock) -> Observed<Firewall> {
    std::future::ready(Observed::skipped("not looked at")).await
}
