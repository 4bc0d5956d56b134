//! Packets over a certain size are lost on the way, and nobody says so.

use crate::cause::{Case, Cause, redis_host};
use crate::check::{ping, state, tls};
use crate::model::{Confidence, Risk, Step, Support, Where};
use crate::probe::Facts;
use crate::probe::path::sizes::{Hole, Sizes};

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "mtu-black-hole",
    title: "large packets are lost on the way",
    explain: "\
The connection is made and PING is answered, but INFO, a long value, or TLS' certificates never come. A link on the way (a VPN, \
an overlay network, PPPoE) takes smaller packets than the ends send, and the ICMP error by which its router asks for \
smaller ones (IPv4: fragmentation needed, 3/4; IPv6: packet too big, 2/0) is dropped by a firewall or never sent. So the \
sender sends the same packet again and again, until it gives up.

redisdoc then asks the same long question over several connections at the same time, each with a limit of its own on the \
size of packets, which the peer keeps to. It is certain, when every small size passes, every large one is lost, and no packet \
of the small questions was: the server, its load and its limits are the same for all of them. A slow server, a full output \
buffer or a way that loses packets by chance does not look at the size.

Repair: let those ICMP errors through; or make the ends send smaller packets: clamp the MSS on the router or tunnel \
(nft: tcp option maxseg size set rt mtu), or lower the MTU of the interface. net.ipv4.tcp_mtu_probing=1 on the sending side \
finds a size that passes by itself, after some seconds.",
    infer,
    remedy,
};

/// What fits no link that IP runs over: RFC 791 has every host take 576 bytes, RFC 8200 every link 1,280.
const NARROW: u16 = 576;

fn infer(case: &Case) -> Option<Support> {
    by_size(case).or_else(|| unmeasured(case)).or_else(|| by_handshake(case))
}

/// A handshake of TLS that is completed in small packets, and silent in those of full size.
fn by_handshake(case: &Case) -> Option<Support> {
    let finding = case.raised(&tls::SILENT)?;
    let small = case.facts.counter.seen()?.small.as_ref().filter(|small| small.is_done())?;
    let port = case.facts.ask.target.port()?;
    let summary =
        "the handshake of TLS is completed in small packets; in those of full size the certificates never come";
    let says = format!("with segments of 512 bytes: {} after {:.1} ms", small.version.as_deref()?, small.elapsed_ms);
    let tells =
        "a retransmission timer (on:) that counts up, while the client waits: the certificates were sent, and are lost";
    Some(
        Support::new(Confidence::Likely, &[&tls::SILENT], summary)
            .on(finding)
            .because("TCP_MAXSEG", says)
            .not("tls-to-plaintext-port", "TLS is spoken there")
            .settled_by(Step::look(redis_host(case.facts), format!("ss -tnoi 'sport = :{port}'"), tells)),
    )
}

/// A large answer is lost, and no size is known to pass.
fn unmeasured(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::INFO_SILENT)?;
    let port = case.facts.ask.target.port()?;
    let summary = "small answers come and a large one does not: packets of its size may be lost on the way";
    let support = Support::new(Confidence::Possible, &[&state::INFO_SILENT], summary).on(finding);
    let support = match case.facts.sizes.seen().filter(|sizes| sizes.is_stuck()) {
        Some(_) => support.because("TCP_MAXSEG", "a long answer comes with no size of packets"),
        None => support,
    };
    let tells = "a retransmission timer (on:) that counts up, while the client waits: the answer was sent, and is lost";
    Some(support.settled_by(Step::look(redis_host(case.facts), format!("ss -tnoi 'sport = :{port}'"), tells)))
}

/// Some sizes pass and larger ones do not.
fn by_size(case: &Case) -> Option<Support> {
    let finding = case.raised(&ping::LARGE_LOST)?;
    let sizes = case.facts.sizes.seen()?;
    let hole = sizes.hole()?;
    let is_link = hole.passes > NARROW;
    let confidence = if hole.is_clear && is_link { Confidence::Certain } else { Confidence::Likely };
    let codes = [&ping::LARGE_LOST, &state::INFO_SILENT];
    let support = Support::new(confidence, &codes, summary(sizes, hole)).on(finding);
    if !is_link {
        return Some(support.settled_by(Step::look(
            redis_host(case.facts),
            "sudo nft -a list ruleset; sudo iptables-legacy-save",
            "there, and on every router between: a rule that looks at the length of packets (meta length, -m length) drops \
             them; no link is so narrow",
        )));
    }
    let support = match sizes.mtu {
        Some(mtu) => support.because("IP_MTU", format!("this machine's kernel takes {mtu} bytes to fit")),
        None => support,
    };
    let why = "the same question was answered at the same time where packets were small";
    let support = support.not("event-loop-blocked", why).not("output-buffer-limit", why);
    Some(if hole.is_clear { support } else { support.settled_by(look(case.facts, hole)) })
}

fn summary(sizes: &Sizes, hole: Hole) -> String {
    let whose = if hole.outward { "our packets to" } else { "packets from" };
    let lost = hole.lost.map_or_else(|| "of the full size".to_owned(), |lost| format!("of {lost}"));
    format!("{whose} {} get through up to {} bytes, and those {lost} are lost", sizes.address, hole.passes)
}

fn look(facts: &Facts, hole: Hole) -> Step {
    let (on, host) = if hole.outward {
        (Where::Here, facts.ask.target.host().unwrap_or_default().to_owned())
    } else {
        (redis_host(facts), "CLIENT-ADDRESS".to_owned())
    };
    let size = hole.lost.unwrap_or(1_500).saturating_sub(28);
    Step::look(
        on,
        format!("ping -M do -c 3 -s {size} {}", crate::model::text::shell_quote(&host)),
        format!("no answer, while -s {} is answered: packets are lost for their size", hole.passes.saturating_sub(28)),
    )
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let Some(Hole { passes, .. }) = facts.sizes.seen().and_then(Sizes::hole).filter(|hole| hole.passes > NARROW) else {
        let text = "let large packets of the connection through: take the rule away that drops them for their length; on a \
                    link that is too narrow, let the ICMP errors 3/4 and ICMPv6 2/0 through";
        return vec![Step::tell(Where::Network, text)];
    };
    let clamp = "sudo nft 'add table inet mss_clamp; \
                 add chain inet mss_clamp forward { type filter hook forward priority mangle; }; \
                 add rule inet mss_clamp forward tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu'";
    vec![
        Step::run(
            Where::Network,
            Risk::Safe,
            "on the router before the narrow link: make both ends agree on segments that fit it, from the next connection on",
            clamp,
        ),
        Step::tell(
            Where::Network,
            "keep that rule (in /etc/nftables.conf or the VPN's own setting, often called MSS clamping), and let the ICMP \
             errors 'fragmentation needed' (3/4) and 'packet too big' (ICMPv6 2/0) through every firewall on the way",
        ),
        Step::tell(
            Where::Here,
            format!("where no router can be changed: an MTU of {passes} on the interface or tunnel that leads there"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    use crate::model::Observed;
    use crate::probe::path::sizes::tests::up_to;

    fn holed(sizes: Sizes) -> Facts {
        Facts::healthy().with(|facts| facts.sizes = Observed::Seen(sizes))
    }

    #[test]
    fn a_clear_limit_is_certain() {
        check_cause(&CAUSE, &holed(up_to(1_400)), Some(Confidence::Certain));
        check_cause(&CAUSE, &holed(up_to(1_280)), Some(Confidence::Certain));
        check_cause(&CAUSE, &holed(up_to(100)), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }

    #[test]
    fn a_handshake_that_passes_in_small_packets_is_likely() {
        use crate::probe::path::counter::Counter;
        use crate::probe::path::tls::{Ended, Hello};
        let silent = |small: Option<Ended>| {
            let facts = Facts::encrypted().hello(|hello| (hello.end, hello.elapsed_ms) = (Ended::Silent, 5_000.0));
            facts.with(|facts| {
                let small = small.map(|end| Hello { end, ..Hello::healthy("10.0.0.9:6379") });
                facts.counter = Observed::Seen(Counter { small, ..Counter::default() });
            })
        };
        check_cause(&CAUSE, &silent(Some(Ended::Done)), Some(Confidence::Likely));
        check_cause(&CAUSE, &silent(Some(Ended::Silent)), None);
        check_cause(&CAUSE, &silent(None), None);
    }

    #[test]
    fn where_chance_is_not_ruled_out_it_is_only_likely() {
        let mut lossy = up_to(1_400);
        lossy.tries[1].small_ms = Some(204.0);
        check_cause(&CAUSE, &holed(lossy), Some(Confidence::Likely));
        check_cause(&CAUSE, &holed(up_to(1_500)), Some(Confidence::Likely));
        // No link is as narrow: that is a filter's rule.
        check_cause(&CAUSE, &holed(up_to(576)), Some(Confidence::Likely));
        check_cause(&CAUSE, &holed(up_to(296)), None);
    }
}
