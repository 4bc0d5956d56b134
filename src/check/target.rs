//! Does what was given name one place to connect to? Reading it is in `model/target`; here its complaints become
//! findings.

use super::Check;
use crate::model::target::{Complaint, ComplaintKind};
use crate::model::{Code, Finding, Gap, Judgement, Level, Severity};
use crate::probe::Facts;

/// The check.
pub static CHECK: Check = Check {
    id: "target",
    asks: "does what was given name one place to connect to?",
    level: Some(Level::Reachable),
    codes: &[&URL_NOT_ENCODED, &BAD_HOST, &INJECTED_PORT, &BAD_VALUE, &IGNORED, &NOT_READ, &DEFAULTED],
    judge,
};

/// A reserved character stands raw in a URI's user or password.
pub static URL_NOT_ENCODED: Code = Code::fail(
    "target/url-not-encoded",
    Level::Reachable,
    "user or password not percent-encoded in the URI",
    "In a URI, `@ / ? # %` and some other characters have a meaning of their own. Raw in a user or password \
              they end it early, and what follows is taken for the host, the path or a comment (RFC 3986 section \
              3.2.1). Clients differ in how much of this they forgive, so one and the same URI works in one program \
              and not in another. redisdoc connects nowhere with such a URI.",
);

/// The host is not a bare host.
pub static BAD_HOST: Code = Code::fail(
    "target/bad-host",
    Level::Reachable,
    "the host is no host",
    "Where a host is meant there is a scheme, a port, brackets, a path, blanks, several hosts, a variable \
              that was never expanded, or nothing. Resolvers refuse such a name without asking any name server, and \
              clients report `Name or service not known`.",
);

/// A container platform's variable stands where a port belongs.
pub static INJECTED_PORT: Code = Code::fail(
    "target/injected-port",
    Level::Reachable,
    "the port is an address injected by the platform",
    "Kubernetes sets a variable `<NAME>_PORT=tcp://<address>:<port>` for every Service, and Docker's old \
              links do the same. A Service called `redis` so gives every pod a REDIS_PORT that is no number, and an \
              application that reads REDIS_PORT for its port fails on it.",
);

/// A value that cannot be what it should be.
pub static BAD_VALUE: Code = Code::fail(
    "target/bad-value",
    Level::Reachable,
    "a value cannot be what it should be",
    "A port outside 1 to 65535, a database index that is no number, an unknown URI scheme, the path of a \
              socket longer than the kernel takes, or a switch that is neither true nor false.",
);

/// Something that was given has no effect, or another than it seems to.
pub static IGNORED: Code = Code::warn(
    "target/ignored",
    Level::Reachable,
    "something given has no effect, or not the one it seems to have",
    "Two sources disagree and one of them counts, a user stands without a password, or a part of a URI or \
              file is read differently by different clients. The evidence names the source and says what counts here.",
);

/// A parameter of the URI that means something to the client library only.
pub static NOT_READ: Code = Code {
    id: "target/not-read",
    severity: Severity::Info,
    breaks: Level::Reachable,
    beyond: Severity::Info,
    title: "a parameter of the URI is for the client library alone",
    explain: "The URI has a query parameter that redisdoc does not read. Client libraries put settings of their own \
              there (timeouts, pools), and differ in their names; it says nothing about the connection.",
};

/// Settings were asked for, and none named a host.
pub static DEFAULTED: Code = Code::warn(
    "target/defaulted",
    Level::Reachable,
    "no setting names a host, so the default is used",
    "The application's settings were asked for with --env or --env-file, and neither a URI nor a host was \
              among them. What is checked is therefore the default, 127.0.0.1, as most client libraries would use.",
);

#[expect(clippy::unnecessary_wraps, reason = "the type of every judge; the target is always known")]
fn judge(facts: &Facts) -> Result<Judgement, Gap> {
    let target = &facts.ask.target;
    let complaints = target.complaints.iter().map(finding);
    let defaulted = (!target.searched.is_empty()).then(|| defaulted(&target.searched, &target.place()));
    let summary = match target.complaints.iter().find(|complaint| complaint.is_fatal()) {
        Some(complaint) => format!("{}: {}", complaint.origin, complaint.says),
        None => target.place(),
    };
    Ok(Judgement::pass(summary).finding(complaints).finding(defaulted).observing(&target.given_by))
}

fn finding(complaint: &Complaint) -> Finding {
    let code = match complaint.kind {
        ComplaintKind::NotEncoded => &URL_NOT_ENCODED,
        ComplaintKind::BadHost => &BAD_HOST,
        ComplaintKind::InjectedPort => &INJECTED_PORT,
        ComplaintKind::BadValue => &BAD_VALUE,
        ComplaintKind::Ignored => &IGNORED,
        ComplaintKind::NotRead => &NOT_READ,
    };
    let meant = complaint.meant.as_ref().map(|meant| format!("; probably meant: {meant}")).unwrap_or_default();
    Finding::new(code, &complaint.origin, format!("{}{meant}", complaint.says))
}

fn defaulted(searched: &[String], place: &str) -> Finding {
    let says = format!("no REDIS_URL, REDIS_HOST or the like is set; {place} is the default");
    Finding::new(&DEFAULTED, searched.join(" and "), says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(kind: ComplaintKind) -> Complaint {
        let meant = Some("-h db -p 7000".to_owned());
        Complaint { kind, origin: "flag -h".to_owned(), says: "the host holds a port".to_owned(), meant }
    }

    #[track_caller]
    fn check(facts: &Facts, codes: &[&str], summary: &str) -> Judgement {
        let judgement = judge(facts).unwrap();
        let raised: Vec<&str> = judgement.findings.iter().map(|finding| finding.code.id).collect();
        assert_eq!((raised.as_slice(), judgement.summary.as_str()), (codes, summary));
        judgement
    }

    #[test]
    fn a_sound_target_raises_nothing() {
        check(&Facts::healthy(), &[], "db:6379");
    }

    #[test]
    fn every_kind_of_complaint_has_its_code() {
        for (kind, code) in [
            (ComplaintKind::NotEncoded, "target/url-not-encoded"),
            (ComplaintKind::BadHost, "target/bad-host"),
            (ComplaintKind::InjectedPort, "target/injected-port"),
            (ComplaintKind::BadValue, "target/bad-value"),
        ] {
            let facts = Facts::healthy().with(|facts| facts.ask.target.complaints.push(complaint(kind)));
            let judgement = check(&facts, &[code], "flag -h: the host holds a port");
            let evidence = &judgement.findings[0].evidence[0];
            assert_eq!(evidence.says, "the host holds a port; probably meant: -h db -p 7000");
        }
    }

    #[test]
    fn what_is_for_the_client_library_alone_is_a_remark() {
        let not_read = complaint(ComplaintKind::NotRead);
        let facts = Facts::healthy().with(|facts| facts.ask.target.complaints.push(not_read));
        check(&facts, &["target/not-read"], "db:6379");
        assert!(facts.ask.target.is_usable());
        assert_eq!(NOT_READ.severity_for(Level::Writable), Severity::Info);
    }

    #[test]
    fn what_is_ignored_is_no_failure() {
        let ignored = complaint(ComplaintKind::Ignored);
        let facts = Facts::healthy().with(|facts| facts.ask.target.complaints.push(ignored));
        let judgement = check(&facts, &["target/ignored"], "db:6379");
        assert_eq!(judgement.findings[0].code.severity, Severity::Warn);
    }

    #[test]
    fn a_vain_search_is_told() {
        let facts =
            Facts::healthy().with(|facts| facts.ask.target.searched = vec!["environment".into(), ".env".into()]);
        let judgement = check(&facts, &["target/defaulted"], "db:6379");
        assert_eq!(judgement.findings[0].evidence[0].source, "environment and .env");
    }

    #[test]
    fn several_complaints_are_all_told() {
        let facts = Facts::healthy().with(|facts| {
            facts.ask.target.complaints = vec![complaint(ComplaintKind::Ignored), complaint(ComplaintKind::BadValue)];
        });
        check(&facts, &["target/ignored", "target/bad-value"], "flag -h: the host holds a port");
    }
}
