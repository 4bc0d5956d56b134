//! Tables of the check.

use super::*;
use crate::model::Observed;
use crate::probe::path::tls::oldhello::Answer;

#[track_caller]
fn check(facts: &Facts, codes: &[&str]) {
    let judgement = judge(facts).unwrap();
    let found: Vec<_> = judgement.findings.iter().map(|finding| finding.code.id).collect();
    assert_eq!(found, codes, "{}", judgement.summary);
}

fn ends(end: Ended) -> Facts {
    Facts::encrypted().hello(|hello| hello.end = end)
}

#[test]
fn each_end_has_its_code() {
    check(&Facts::encrypted(), &[]);
    check(&ends(Ended::NotTls), &["tls/not-tls"]);
    check(&ends(Ended::Alert(70)), &["tls/alert"]);
    check(&ends(Ended::Incompatible("NoCipherSuitesInCommon".to_owned())), &["tls/incompatible"]);
    check(&ends(Ended::Misbehaved("x".to_owned())), &["tls/failed"]);
    check(&ends(Ended::TooMuch), &["tls/failed"]);
    check(&ends(Ended::Closed), &["tls/closed"]);
    check(&ends(Ended::Broken("ECONNRESET".to_owned())), &["tls/closed"]);
    check(&ends(Ended::Silent).hello(|hello| hello.elapsed_ms = 5_000.0), &["tls/silent"]);
    assert!(judge(&ends(Ended::Silent).hello(|hello| hello.elapsed_ms = 9.0)).is_err(), "not waited out");
}

#[test]
fn each_flaw_has_its_code_and_all_are_told() {
    let flawed = |flaws: &[Flaw]| {
        Facts::encrypted().hello(|hello| {
            (hello.end, hello.flaws) = (Ended::Untrusted, flaws.to_vec());
        })
    };
    check(&flawed(&[Flaw::UnknownIssuer]), &["tls/untrusted"]);
    check(&flawed(&[Flaw::Expired, Flaw::UnknownIssuer]), &["tls/expired", "tls/untrusted"]);
    check(&flawed(&[Flaw::NotYetValid, Flaw::WrongName]), &["tls/not-yet-valid", "tls/wrong-name"]);
    check(&flawed(&[Flaw::WrongPurpose, Flaw::AuthorityAsServer]), &["tls/untrusted"]);
    let overlook = |facts: Facts| facts.with(|facts| facts.ask.target.certificates.insecure = true);
    let insecure = overlook(flawed(&[Flaw::Expired]).hello(|hello| hello.end = Ended::Done));
    check(&insecure, &["tls/overlooked"]);
    assert_eq!(judge(&insecure).unwrap().findings[0].evidence[0].says, "its time is over");
    // A handshake that did not succeed is no success, whatever is overlooked.
    check(&overlook(flawed(&[Flaw::BadSignature])), &["tls/failed", "tls/overlooked"]);
    check(&flawed(&[]), &["tls/failed"]);
}

#[test]
fn an_authority_out_of_its_time_is_named() {
    let facts = Facts::encrypted().hello(|hello| {
        (hello.end, hello.flaws) = (Ended::Untrusted, vec![Flaw::Expired]);
        hello.lapsed = Some(Certificate { subject: "CN=Old Root".to_owned(), ..Certificate::healthy() });
    });
    check(&facts, &["tls/expired"]);
    let evidence = format!("{:?}", judge(&facts).unwrap().findings[0].evidence);
    assert!(evidence.contains("CN=Old Root") && !evidence.contains("rustls"), "{evidence}");
}

#[test]
fn a_refusal_may_come_after_the_handshake() {
    check(&Facts::encrypted().speechless(End::Alert(116)), &["tls/refused"]);
    check(&Facts::encrypted().speechless(End::Closed), &[]);
}

/// The healthy certificate, valid until so many days from now, of a life of so many.
fn lives(left: i64, life: i64) -> Facts {
    let now = taken_at(&Facts::healthy()).unwrap();
    Facts::encrypted().hello(|hello| {
        let leaf = &mut hello.chain[0];
        (leaf.not_before, leaf.not_after) = (now + (left - life) * DAY, now + left * DAY + 60);
    })
}

#[test]
fn a_renewal_that_fails_is_told_in_time() {
    check(&lives(15, 90), &[]);
    check(&lives(13, 90), &["tls/expires-soon"]);
    check(&lives(13, 365), &["tls/expires-soon"]);
    // One that lives for a week is renewed every few days.
    check(&lives(3, 7), &[]);
    check(&lives(2, 7), &["tls/expires-soon"]);
    let says = &judge(&lives(5, 90)).unwrap().findings[0].evidence[0].says;
    assert!(says.ends_with("2026-11-25T10:01:00Z: 5 days more"), "{says}");
    check(&lives(5, 90).with(|facts| facts.ask.target.certificates.insecure = true), &[]);
}

#[test]
fn our_own_certificate_counts_where_it_is_asked_for() {
    let own = |facts: Facts, asked: Option<Vec<String>>| {
        let soon = lives(5, 90).tls.seen().unwrap().hellos[0].chain[0].clone();
        facts.hello(|hello| (hello.asked, hello.shown) = (asked, true)).with(|facts| {
            let crate::model::Observed::Seen(tls) = &mut facts.tls else { return };
            tls.trust.own = Some(soon);
        })
    };
    check(&own(Facts::encrypted(), Some(Vec::new())), &["tls/expires-soon"]);
    check(&own(Facts::encrypted(), None), &[]);
}

#[test]
fn an_address_that_differs_is_told() {
    let two = |end: Ended, other: Ended| {
        Facts::encrypted().hello(|hello| hello.end = end).with(|facts| {
            let crate::model::Observed::Seen(tls) = &mut facts.tls else { return };
            let mut second = Hello::healthy("10.0.0.10:6379");
            second.end = other;
            tls.hellos.push(second);
        })
    };
    check(&two(Ended::Done, Ended::Done), &[]);
    check(&two(Ended::Done, Ended::Alert(40)), &["tls/differs"]);
    check(&two(Ended::NotTls, Ended::Done), &["tls/not-tls", "tls/differs"]);
}

#[test]
fn what_our_library_lacks_is_nobodys_fault() {
    let lacks = |end: Ended, other: Ended, answer: Answer| {
        ends(end).with(|facts| {
            let crate::model::Observed::Seen(tls) = &mut facts.tls else { return };
            if !tls.hellos[0].is_done() {
                tls.hellos[0].chain.clear();
            }
            tls.hellos.push(Hello { end: other, chain: Vec::new(), ..Hello::healthy("10.0.0.10:6379") });
            let counter = crate::probe::path::counter::Counter { older: Some(answer), ..Default::default() };
            facts.counter = crate::model::Observed::Seen(counter);
        })
    };
    let chosen = |cipher: &str| Answer::Chosen { version: "TLS 1.2".to_owned(), cipher: cipher.to_owned() };
    for cipher in ["ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"] {
        assert!(judge(&lacks(Ended::Alert(40), Ended::Done, chosen(cipher))).is_err(), "{cipher}");
        let second = lacks(Ended::Done, Ended::Alert(40), chosen(cipher));
        check(&second, &[]);
        let summary = judge(&second).unwrap().summary;
        assert!(summary.contains("10.0.0.10:6379 wants what"), "{summary}");
    }
    // Who refuses the version is another than who takes it.
    check(&lacks(Ended::Alert(70), Ended::Done, chosen("ECDHE-RSA-AES128-GCM-SHA256")), &["tls/alert", "tls/differs"]);
    let why = |facts: &Facts| format!("{:?}", judge(facts).err());
    let ours = lacks(Ended::Alert(40), Ended::Closed, chosen("ECDHE-RSA-AES128-GCM-SHA256"));
    assert!(why(&ours).contains("more than one server"), "{}", why(&ours));
    assert!(why(&ours).contains("10.0.0.10:6379: closed during"), "{}", why(&ours));
    let theirs = lacks(Ended::Alert(40), Ended::Done, chosen("DHE-RSA-AES128-GCM-SHA256"));
    assert!(!why(&theirs).contains("more than one server"), "{}", why(&theirs));
    check(&lacks(Ended::Done, Ended::Alert(40), chosen("RC4-SHA")), &["tls/differs"]);
    check(&lacks(Ended::Done, Ended::Alert(40), Answer::Alert(40)), &["tls/differs"]);
    let signed = |flaws: Vec<Flaw>| ends(Ended::Untrusted).hello(|hello| hello.flaws = flaws);
    let beyond = || Flaw::Beyond("ECDSA with SHA-512".to_owned());
    assert!(judge(&signed(vec![beyond()])).is_err());
    check(&signed(vec![beyond(), Flaw::WrongName]), &["tls/wrong-name"]);
}

#[test]
fn a_name_that_was_not_sent_may_be_what_is_missing() {
    let unsent = |end: Ended| {
        ends(end).hello(|hello| {
            hello.unsent_name = Some("redis.1".to_owned());
            // Who refuses for want of a name has shown no certificate.
            hello.chain.retain(|_| hello.end == Ended::Done);
        })
    };
    check(&unsent(Ended::Done), &[]);
    assert!(judge(&unsent(Ended::Alert(112))).is_err());
    check(&unsent(Ended::NotTls), &["tls/not-tls"]);
    check(&unsent(Ended::Alert(116)), &["tls/alert"]);
    let old = |facts: Facts, answer: Answer| {
        facts.with(|facts| {
            let counter = crate::probe::path::counter::Counter { older: Some(answer), ..Default::default() };
            facts.counter = crate::model::Observed::Seen(counter);
        })
    };
    // One that closes on whoever sends no name.
    let chosen = || Answer::Chosen { version: "TLS 1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() };
    check(&unsent(Ended::Closed), &["tls/closed"]);
    check(&old(unsent(Ended::Closed), Answer::Closed), &["tls/closed"]);
    assert!(judge(&old(unsent(Ended::Closed), chosen())).is_err());
    // One that shows a default certificate.
    let shown = |flaws: &[Flaw]| {
        Facts::encrypted().hello(|hello| {
            (hello.end, hello.flaws) = (Ended::Untrusted, flaws.to_vec());
            hello.unsent_name = Some("redis.1".to_owned());
        })
    };
    check(&shown(&[Flaw::UnknownIssuer, Flaw::Expired, Flaw::WrongName]), &["tls/wrong-name"]);
    assert!(judge(&shown(&[Flaw::Expired])).is_err(), "it may be another's");
    // An old client says the name, and is refused as well.
    check(&old(unsent(Ended::Alert(40)), Answer::Alert(40)), &["tls/alert"]);
}

#[test]
fn what_only_rustls_refuses_is_a_remark() {
    check(&Facts::encrypted().hello(|hello| hello.only_itself = true), &["tls/by-itself"]);
}

#[test]
fn times_are_told_in_the_unit_that_fits() {
    for (seconds, said) in
        [(3 * DAY + 5, "3 days"), (-3 * DAY, "3 days"), (DAY, "24 hours"), (65, "1 minute"), (7199, "119 minutes")]
    {
        assert_eq!(span(seconds), said);
    }
    assert_eq!(date(253_402_300_799), "9999-12-31T23:59:59Z");
    assert_eq!((date(i64::MAX), date(-1)), ("the end of time".to_owned(), "1970-01-01T00:00:00Z".to_owned()));
}

#[test]
fn an_intermediate_without_its_root_is_not_enough_for_everybody() {
    let stopped = |why| Facts::encrypted().hello(|hello| hello.stop = Some(Stop { at: Certificate::healthy(), why }));
    let others = [Why::NamesAnother, Why::AnotherKey, Why::OutOfTime, Why::Unfit("CA:FALSE".to_owned())];
    for why in others.into_iter().chain([Why::Unrooted]) {
        check(&stopped(why), &["tls/partly-trusted"]);
    }
    let overlooked = stopped(Why::Unrooted).with(|facts| facts.ask.target.certificates.insecure = true);
    check(&overlooked, &[]);
}

#[test]
fn a_file_that_openssl_does_not_load_is_told() {
    let malformed = Facts::encrypted().with(|facts| {
        let Observed::Seen(tls) = &mut facts.tls else { return };
        tls.trust.unloadable = Some("ca.pem: the block that begins on line 1 has no end".to_owned());
    });
    check(&malformed, &["tls/cacert-malformed"]);
}
