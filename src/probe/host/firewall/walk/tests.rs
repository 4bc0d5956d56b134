use super::*;
use crate::probe::host::firewall::rules::{
    AddressKind, Base, Chain, Field, Kind, Match, Part, Table, Test, Values, Verdict,
};

fn ports(port: u64) -> Part {
    is(Test::Is(Field::ToPort, Values::Numbers(vec![(port, port)])))
}

fn is(test: Test) -> Part {
    Part::Match(Match { negated: false, test })
}

fn perhaps() -> Part {
    is(Test::Unknown("perhaps".to_owned()))
}

fn state(state: State) -> Part {
    is(Test::Is(Field::State, Values::States(vec![state])))
}

fn marked(mark: u64) -> Part {
    is(Test::Is(Field::Mark, Values::Numbers(vec![(mark, mark)])))
}

fn ends(verdict: Verdict) -> Part {
    Part::Verdict(verdict)
}

fn jump(to: &str) -> Part {
    ends(Verdict::Jump(to.to_owned()))
}

fn chain(name: &str, rules: &[&[Part]]) -> Chain {
    let rule = |(number, parts): (usize, &&[Part])| Rule {
        handle: None,
        number: u32::try_from(number).unwrap() + 1,
        packets: None,
        text: format!("{name} {number}"),
        parts: parts.to_vec(),
    };
    Chain { name: name.to_owned(), base: None, rules: rules.iter().enumerate().map(rule).collect() }
}

fn base(hook: Hook, priority: i32, kind: Kind, rules: &[&[Part]]) -> Chain {
    let base = Base { hook, priority, kind, drops: false, devices: Vec::new(), packets: None };
    Chain { base: Some(base), ..chain(&format!("{hook:?} {priority}"), rules) }
}

fn filter(hook: Hook, priority: i32, rules: &[&[Part]]) -> Chain {
    base(hook, priority, Kind::Filter, rules)
}

fn input(rules: &[&[Part]]) -> Chain {
    filter(Hook::Input, 0, rules)
}

fn dropping(mut chain: Chain) -> Chain {
    chain.base.as_mut().unwrap().drops = true;
    chain
}

fn firewall(chains: &[Chain]) -> Firewall {
    let table = Table {
        source: Source::Nft,
        family: Family::Inet,
        name: "t".to_owned(),
        chains: chains.to_vec(),
        sets: Vec::new(),
    };
    Firewall { tables: vec![table], unread: Vec::new() }
}

fn own() -> [IpAddr; 1] {
    ["10.0.0.1".parse().unwrap()]
}

fn syn() -> Packet {
    Packet::syn_in(Some("10.0.0.9".parse().unwrap()), "10.0.0.1:6379".parse().unwrap(), Some("eth0".to_owned()))
}

#[track_caller]
fn arrives(chains: &[Chain], want: Outcome) -> Walk {
    let walk = incoming(&firewall(chains), syn(), &own());
    assert_eq!(walk.outcome(), want, "{walk:#?}");
    walk
}

const DROPPED: Outcome = Outcome::Stopped(How::Dropped);
const RESET: Outcome = Outcome::Stopped(How::Rejected(Rejection::Reset));

#[test]
fn rules_and_policies() {
    let (accept, drop) = (ends(Verdict::Accept), ends(Verdict::Drop));
    let reset = ends(Verdict::Reject(Rejection::Reset));
    let goto = ends(Verdict::Goto("a".to_owned()));
    let back = ends(Verdict::Return);
    for (rules, a, policy, want) in [
        (vec![], vec![], false, Outcome::Passes),
        (vec![], vec![], true, DROPPED),
        (vec![vec![ports(6379), accept.clone()]], vec![], true, Outcome::Passes),
        (vec![vec![ports(22), accept.clone()]], vec![], true, DROPPED),
        (vec![vec![reset.clone()], vec![accept.clone()]], vec![], false, RESET),
        (vec![vec![jump("a")], vec![drop.clone()]], vec![vec![accept.clone()]], false, Outcome::Passes),
        (vec![vec![jump("a")], vec![drop.clone()]], vec![vec![back.clone()], vec![accept.clone()]], false, DROPPED),
        (vec![vec![goto.clone()], vec![accept.clone()]], vec![], true, DROPPED),
        (vec![vec![back.clone()], vec![accept.clone()]], vec![], true, DROPPED),
        (vec![vec![jump("gone")]], vec![], false, Outcome::Open),
        // What may or may not be: only what all the ways come to is certain.
        (vec![vec![perhaps(), drop.clone()]], vec![], false, Outcome::Open),
        (vec![vec![perhaps(), drop.clone()]], vec![], true, DROPPED),
        (vec![vec![perhaps(), reset.clone()]], vec![], true, Outcome::Open),
        (vec![vec![perhaps(), accept.clone()]], vec![], false, Outcome::Passes),
        (vec![vec![perhaps(), accept.clone()]], vec![], true, Outcome::Open),
        (vec![vec![perhaps(), jump("a")], vec![drop.clone()]], vec![vec![accept.clone()]], false, Outcome::Open),
        (
            vec![vec![jump("a")], vec![accept.clone()]],
            vec![vec![perhaps(), back], vec![drop.clone()]],
            false,
            Outcome::Open,
        ),
        (vec![vec![perhaps(), goto]], vec![vec![drop]], true, DROPPED),
    ] {
        let rules: Vec<&[Part]> = rules.iter().map(Vec::as_slice).collect();
        let a: Vec<&[Part]> = a.iter().map(Vec::as_slice).collect();
        let base = if policy { dropping(input(&rules)) } else { input(&rules) };
        arrives(&[base, chain("a", &a)], want);
    }
}

#[test]
fn every_chain_that_stops_is_told_and_the_first_counts() {
    let (drop, reset) = ([ends(Verdict::Drop)], [ends(Verdict::Reject(Rejection::Reset))]);
    let walk = arrives(&[filter(Hook::Input, 10, &[&drop]), filter(Hook::Input, -10, &[&reset])], RESET);
    assert_eq!(walk.stops.len(), 2);
    // Of two with the same priority the one that was made last is asked first.
    arrives(&[input(&[&drop]), filter(Hook::Input, 0, &[&reset])], RESET);
    // An accept ends only its own chain.
    arrives(&[filter(Hook::Input, -10, &[&[ends(Verdict::Accept)]]), input(&[&drop])], DROPPED);
    let walk = arrives(&[filter(Hook::Input, -1, &[&drop]), input(&[&[perhaps(), reset[0].clone()]])], DROPPED);
    assert!(walk.doubts.iter().all(|doubt| doubt.behind) && walk.doubts.len() == 1);
}

#[test]
fn marks_count_where_they_are_sure() {
    let (mark, drop) = (Part::Mark(Some(1)), ends(Verdict::Drop));
    let tests = input(&[&[marked(1), drop]]);
    arrives(&[filter(Hook::Prerouting, 0, &[std::slice::from_ref(&mark)]), tests.clone()], DROPPED);
    arrives(&[filter(Hook::Prerouting, 0, &[&[ports(22), mark.clone()]]), tests.clone()], Outcome::Passes);
    arrives(&[filter(Hook::Prerouting, 0, &[&[perhaps(), mark.clone()]]), tests.clone()], Outcome::Open);
    let after_an_exit: [&[Part]; 2] = [&[perhaps(), ends(Verdict::Accept)], std::slice::from_ref(&mark)];
    arrives(&[filter(Hook::Prerouting, 0, &after_an_exit), tests.clone()], Outcome::Open);
    let jumps = filter(Hook::Prerouting, 0, &[&[perhaps(), jump("a")]]);
    arrives(&[jumps, chain("a", &[&[mark]]), tests], Outcome::Open);
}

#[test]
fn connections_are_tracked_from_a_priority_on() {
    let drop = ends(Verdict::Drop);
    let drops = |of| [state(of), drop.clone()];
    arrives(&[filter(Hook::Prerouting, -300, &[&drops(State::New)])], Outcome::Passes);
    arrives(&[filter(Hook::Prerouting, -300, &[&drops(State::Invalid)])], DROPPED);
    arrives(&[filter(Hook::Prerouting, -150, &[&drops(State::New)])], DROPPED);
    let untrack = |priority| filter(Hook::Prerouting, priority, &[&[Part::NoTrack]]);
    arrives(&[untrack(-300), input(&[&drops(State::Untracked)])], DROPPED);
    arrives(&[untrack(-150), input(&[&drops(State::Untracked)])], Outcome::Passes);
    let over_loopback = Packet { in_interface: Some("lo".to_owned()), ..syn() };
    let raw = firewall(&[filter(Hook::Prerouting, -300, &[&drops(State::New)])]);
    assert_eq!(incoming(&raw, over_loopback, &own()).outcome(), DROPPED);
}

#[test]
fn an_answer_to_what_is_not_tracked_has_no_state() {
    let raw = |rule: &[Part]| filter(Hook::Prerouting, -300, &[rule]);
    let answered = |chains: &[Chain]| {
        let walk = incoming(&firewall(chains), syn(), &own());
        syn().answered().unwrap().to(&walk).state
    };
    assert_eq!(answered(&[]), Some(State::Established));
    assert_eq!(answered(&[raw(&[ports(6379), Part::NoTrack])]), None);
    assert_eq!(answered(&[raw(&[perhaps(), Part::NoTrack])]), None);
    assert_eq!(answered(&[raw(&[ports(7000), Part::NoTrack])]), Some(State::Established));
    // Nor does anybody know whether it is found in the zone that it is looked up in.
    assert_eq!(answered(&[raw(&[Part::Zone])]), None);
    assert_eq!(answered(&[raw(&[ports(7000), Part::Zone])]), Some(State::Established));
}

#[test]
fn what_is_marked_may_be_routed_another_way() {
    let goes = |kind, parts: &[Part]| {
        let syn = Packet::syn_out(None, "10.0.0.9:6379".parse().unwrap(), Some("eth0".to_owned()));
        outgoing(&firewall(&[base(Hook::Output, -150, kind, &[parts])]), syn, &own()).rerouted_by.is_some()
    };
    assert!(goes(Kind::Route, &[Part::Mark(Some(7))]));
    assert!(goes(Kind::Route, &[perhaps(), Part::Mark(Some(7))]));
    assert!(!goes(Kind::Route, &[ports(22), Part::Mark(Some(7))]));
    assert!(!goes(Kind::Filter, &[Part::Mark(Some(7))]));
}

#[test]
fn translations() {
    let elsewhere = |ip: &str, port| ends(Verdict::Destination(Some(ip.parse().unwrap()), port));
    let nat = |priority, parts: &[Part]| base(Hook::Prerouting, priority, Kind::Nat, &[parts]);
    let drops = |port| [ports(port), ends(Verdict::Drop)];
    let port = ends(Verdict::Destination(None, Some(7000)));
    let walk = arrives(&[nat(-100, std::slice::from_ref(&port)), input(&[&drops(7000)])], DROPPED);
    assert_eq!((walk.to.1, walk.translated_by.is_some()), (Some(7000), true));
    // Whatever its priority, a chain of nat is asked where destinations are translated.
    arrives(&[nat(50, std::slice::from_ref(&port)), filter(Hook::Prerouting, 0, &[&drops(7000)])], DROPPED);
    arrives(
        &[nat(-100, std::slice::from_ref(&port)), filter(Hook::Prerouting, -150, &[&drops(7000)])],
        Outcome::Passes,
    );
    // Once translated, it is not asked about again.
    let second = nat(-90, &[ends(Verdict::Destination(None, Some(8000)))]);
    let walk = arrives(&[nat(-100, std::slice::from_ref(&port)), second], Outcome::Passes);
    assert_eq!(walk.to.1, Some(7000));
    // To another machine it does not come in.
    let to_another = nat(-100, &[elsewhere("10.9.9.9", None)]);
    let all = ends(Verdict::Drop);
    arrives(&[to_another.clone(), input(&[std::slice::from_ref(&all)])], Outcome::Passes);
    arrives(&[to_another, filter(Hook::Forward, 0, &[std::slice::from_ref(&all)])], DROPPED);
    // Where it may be translated, nothing after that is certain.
    let walk = arrives(&[nat(-100, &[perhaps(), port]), input(&[std::slice::from_ref(&all)])], Outcome::Open);
    assert!(walk.stops.is_empty());
    let unknown = nat(-100, &[ends(Verdict::Unknown("send it elsewhere".to_owned()))]);
    arrives(&[unknown, input(&[&[all]])], Outcome::Open);
}

#[test]
fn a_redirection_goes_to_one_of_our_addresses() {
    let redirect = base(Hook::Prerouting, -100, Kind::Nat, &[&[ends(Verdict::Redirect(Some(7000)))]]);
    let to = |ip: &str| {
        let ip = ip.parse().unwrap();
        [is(Test::Is(Field::To, Values::Addresses(vec![(ip, ip)]))), ends(Verdict::Drop)]
    };
    let local = [is(Test::Is(Field::ToKind, Values::Kinds(vec![AddressKind::Local]))), ends(Verdict::Drop)];
    arrives(&[redirect.clone(), input(&[&to("10.0.0.1")])], DROPPED);
    let several = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
    let walk = |chain| incoming(&firewall(&[redirect.clone(), chain]), syn(), &several).outcome();
    assert_eq!(walk(input(&[&to("10.0.0.1")])), Outcome::Open);
    assert_eq!(walk(input(&[&local])), DROPPED);
}

#[test]
fn what_leaves_meets_output_and_postrouting() {
    let drop = ends(Verdict::Drop);
    let syn =
        Packet::syn_out(Some("10.0.0.1".parse().unwrap()), "10.0.0.9:6379".parse().unwrap(), Some("eth0".to_owned()));
    for (chain, want) in [
        (filter(Hook::Output, 0, &[&[ports(6379), drop.clone()]]), DROPPED),
        (filter(Hook::Postrouting, 0, &[std::slice::from_ref(&drop)]), DROPPED),
        (input(&[std::slice::from_ref(&drop)]), Outcome::Passes),
        (filter(Hook::Egress, 0, &[std::slice::from_ref(&drop)]), Outcome::Open),
    ] {
        assert_eq!(outgoing(&firewall(&[chain]), syn.clone(), &own()).outcome(), want);
    }
    // The source is not known any more once it is translated.
    let from =
        |ip: &str| is(Test::Is(Field::From, Values::Addresses(vec![(ip.parse().unwrap(), ip.parse().unwrap())])));
    let masquerade = base(Hook::Postrouting, 100, Kind::Nat, &[&[ends(Verdict::Source)]]);
    let late = filter(Hook::Postrouting, 150, &[&[from("10.0.0.1"), drop]]);
    assert_eq!(outgoing(&firewall(&[masquerade, late]), syn, &own()).outcome(), Outcome::Open);
}

#[test]
fn what_is_not_known_of_the_packet_decides_nothing() {
    let client: IpAddr = "10.0.0.9".parse().unwrap();
    let allowed = dropping(input(&[&[
        is(Test::Is(Field::From, Values::Addresses(vec![(client, client)]))),
        ends(Verdict::Accept),
    ]]));
    let firewall = firewall(&[allowed]);
    assert_eq!(incoming(&firewall, syn(), &own()).outcome(), Outcome::Passes);
    let blind = Packet { from: None, ..syn() };
    assert_eq!(incoming(&firewall, blind, &own()).outcome(), Outcome::Open);
}
