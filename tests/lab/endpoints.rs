//! Names with several addresses of one family, of which one does not serve.

use crate::world::{Confidence, Lab};

#[test]
fn one_bad_address_of_several_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (client, server) = lab.pair();
    let _redis = server.redis(&["--requirepass", "pw", "--bind", "10.77.1.2"]);
    server.ip("addr add 10.77.1.3/24 dev eth0");
    server.ip("addr add 10.77.1.4/24 dev eth0");
    server.nft(
        "add table inet t; add chain inet t f { type filter hook input priority 0; }
         add rule inet t f ip daddr 10.77.1.4 drop",
    );
    // Nothing listens at one, one drops everything, at one is nobody.
    for (bad, confidence) in
        [("10.77.1.3", Confidence::Likely), ("10.77.1.4", Confidence::Possible), ("10.77.1.99", Confidence::Likely)]
    {
        for lines in [format!("10.77.1.2 db\n{bad} db\n"), format!("{bad} db\n10.77.1.2 db\n")] {
            client.file("/etc/hosts", lines);
            for facts in [None, Some(server.collect())] {
                let given = if facts.is_some() { &["--host-facts", "-"][..] } else { &[] };
                let task = client.doctor(&[&["-h", "db", "-t", "4"], given].concat()).env("REDISCLI_AUTH", "pw");
                let diagnosis = task.stdin(facts.unwrap_or_default()).diagnose();
                diagnosis.finding("tcp/some-addresses-failed").nothing_certain().exit(0);
                diagnosis.first_cause("endpoint-dead", confidence);
                let cause = diagnosis.report["causes"][0].to_string();
                assert!(cause.contains(&format!("redisdoc check -h {bad} -p 6379")), "{diagnosis}");
            }
        }
    }
    client.file("/etc/hosts", "10.77.1.2 db\n");
    client.doctor(&["-h", "db"]).env("REDISCLI_AUTH", "pw").diagnose().healthy();
}
