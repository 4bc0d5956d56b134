//! The packet filter of this machine: what `nft`, `iptables` and `iptables-legacy` list, in one form. What `arptables-legacy`
//! and `ebtables-legacy` keep is only known to be there.
//!
//! `list.rs` runs the tools, `nft.rs` and `iptables/` read what they print, `join.rs` makes one of it where two tools list
//! the same table. Without a tool, or the right, to list what may be there, it is unread: never "no firewall".

pub mod discovery;
mod ipset;
pub mod iptables;
mod join;
mod list;
pub mod nft;
pub mod passage;
mod protocols;
pub mod rules;
pub mod walk;

pub use rules::Firewall;

use std::time::Duration;

use crate::model::{BlockerKind, Observed};
use crate::sys::{Clock, clock};
use list::{Failure, Listed};
use rules::{Family, Source, Unread};

/// How long all tools together may take: the whole of a check is to be had in seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lists the rules of this network namespace.
pub async fn gather(clock: &Clock) -> Observed<Firewall> {
    if !list::may_list() {
        return Observed::hidden(
            BlockerKind::Permission,
            "it takes root (CAP_NET_ADMIN) to list the rules of the packet filter: run redisdoc with sudo",
        );
    }
    let deadline = clock.step_end().min(clock::now() + PATIENCE);
    let (nft, v4, v6) =
        tokio::join!(list::nft(deadline), list::iptables(Family::Ip, deadline), list::iptables(Family::Ip6, deadline));
    put_together(nft, [v4, v6], list::beside())
}

/// One packet filter of what the tools list.
fn put_together(
    nft: Result<Vec<rules::Table>, Failure>,
    others: [Listed; 2],
    beside: Vec<Unread>,
) -> Observed<Firewall> {
    let nothing_runs = nft.is_err() && others.iter().all(|listed| listed.over_nft.is_err() && listed.legacy.is_none());
    let none_installed = |failure: &Failure| *failure == Failure::Missing;
    if nothing_runs && nft.as_ref().is_err_and(none_installed) && others.iter().all(Listed::is_missing) {
        let says = "no tool to list the rules (nft, iptables) is installed here";
        return Observed::hidden(BlockerKind::Missing, says);
    }
    let mut unread = Vec::new();
    let mut tables = Vec::new();
    let nft_listed = nft.is_ok();
    match nft {
        Ok(listed) => tables = listed,
        Err(failure) => unread.push(Unread { source: Source::Nft, says: failure.says("nft") }),
    }
    for listed in others {
        match listed.over_nft {
            Ok(listing) => join::over_nft(&mut tables, &mut unread, nft_listed, listing),
            // What iptables keeps over nftables is in what nft lists as well, only less legible.
            Err(Failure::Missing) => {}
            Err(failure) => unread.push(Unread { source: Source::Iptables, says: failure.says("iptables-save") }),
        }
        match listed.legacy {
            Some(Ok(legacy)) => tables.extend(legacy),
            Some(Err(says)) => unread.push(Unread { source: Source::IptablesLegacy, says }),
            None => {}
        }
    }
    unread.extend(beside);
    unread.dedup();
    match unread.first() {
        Some(first) if nothing_runs && tables.is_empty() => Observed::hidden(BlockerKind::Failed, first.says.clone()),
        _ => Observed::Seen(Firewall { tables, unread }),
    }
}
