//! What else Redis reads again when CONFIG SET sets its certificate, and whether that takes something from anybody.

use super::certificate_not_reloaded::is_later;
use super::{file, held, server};
use crate::probe::Facts;
use crate::probe::host::certificates::Access;

/// What Redis reads again with its certificate and its key: it takes none of them where one of them is bad.
const REST: [&str; 5] =
    ["tls-ca-cert-file", "tls-ca-cert-dir", "tls-client-cert-file", "tls-client-key-file", "tls-dh-params-file"];

/// True if that is what it has read already, so that nobody is locked out by it.
pub fn leaves_the_rest(facts: &Facts) -> bool {
    let Some(instance) = server(facts) else { return false };
    let value =
        |setting: &str| instance.setting(setting).and_then(|known| known.values.first().cloned()).unwrap_or_default();
    let is_no = |setting: &str| ["", "no"].contains(&value(setting).as_str());
    // Then nobody's certificate is looked at.
    let trusts_nobody = value("tls-auth-clients") == "no" && is_no("tls-replication") && is_no("tls-cluster");
    let is_kept = |setting: &str| {
        let Some(of) = file(facts, setting) else { return value(setting).is_empty() };
        let own = ["tls-cert-file", "tls-key-file"].map(|setting| file(facts, setting).map(|file| &file.path));
        let is_known =
            is_later(facts, of) == Some(false) && setting != "tls-ca-cert-dir" || own.contains(&Some(&of.path));
        let is_of_use = setting == "tls-ca-cert-dir" || !held(facts, setting).is_empty();
        of.access == Access::Open && (is_known || trusts_nobody && is_of_use)
    };
    REST.into_iter().all(is_kept)
}
