//! The settings that applications take their Redis target from, by the names that are usual: `REDIS_URL`,
//! `REDIS_HOST`, `REDIS_PORT` … Where several stand together, a URL decides over single parts.

use super::dotenv::Setting;
use super::host::{self, Flaw};
use super::layer::{Giver, Layer, Place};
use super::{ComplaintKind, Part, uri};
use crate::model::Secret;

/// What a variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Url,
    TlsUrl,
    Host,
    Port,
    User,
    Password,
    Db,
    Tls,
}

/// The variables that are read, the first of two with the same meaning deciding.
const VARIABLES: &[(&str, Kind)] = &[
    ("REDIS_URL", Kind::Url),
    ("REDIS_URI", Kind::Url),
    ("REDIS_TLS_URL", Kind::TlsUrl),
    ("REDIS_HOST", Kind::Host),
    ("REDIS_HOSTNAME", Kind::Host),
    ("REDIS_PORT", Kind::Port),
    ("REDIS_USER", Kind::User),
    ("REDIS_USERNAME", Kind::User),
    ("REDIS_PASSWORD", Kind::Password),
    ("REDIS_PASS", Kind::Password),
    ("REDIS_DB", Kind::Db),
    ("REDIS_DATABASE", Kind::Db),
    ("REDIS_TLS", Kind::Tls),
    ("REDIS_SSL", Kind::Tls),
];

/// The names of the variables that are read.
pub fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|(name, _)| *name)
}

/// True if a variable of this name is read.
pub fn is_name(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The layers of one source's settings, the deciding ones first.
pub fn layers(settings: &[Setting]) -> Vec<Layer> {
    let has_url = settings.iter().any(|setting| kind_of(&setting.name) == Some(Kind::Url));
    VARIABLES
        .iter()
        // Heroku and others set both, for the same server: the one with TLS is for those who choose it.
        .filter(|(_, kind)| !(has_url && *kind == Kind::TlsUrl))
        .filter_map(|(name, kind)| Some((settings.iter().find(|setting| setting.name == *name)?, *kind)))
        .map(|(setting, kind)| layer(setting, kind))
        .collect()
}

fn kind_of(name: &str) -> Option<Kind> {
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

fn layer(setting: &Setting, kind: Kind) -> Layer {
    let (name, value) = (setting.name.as_str(), setting.value.expose());
    let mut layer = Layer::new(Giver::Settings, &setting.origin, &setting.origin);
    match kind {
        Kind::Url | Kind::TlsUrl if value.is_empty() => {
            layer.complain(Part::Host, ComplaintKind::BadValue, "the URI is empty", None);
        }
        Kind::Url | Kind::TlsUrl => uri::read(&mut layer, value),
        Kind::Host => read_host(&mut layer, name, value),
        // Templates leave these two empty where there is no password.
        Kind::User | Kind::Password if value.is_empty() => {}
        _ if value.is_empty() => layer.complain(part(kind), ComplaintKind::Ignored, "the value is empty", None),
        Kind::Port => match host::port(value) {
            Ok(port) => layer.port = Some(port),
            Err(flaw) => bad_port(&mut layer, name, flaw),
        },
        Kind::User => layer.user = Some(value.to_owned()),
        Kind::Password if value == "null" => {
            layer.complain(
                Part::Password,
                ComplaintKind::Ignored,
                "`null` is read as no password, as Laravel does",
                None,
            );
        }
        Kind::Password => layer.password = Some(Secret::new(value)),
        Kind::Db => match host::db(value) {
            Ok(db) => layer.db = Some(db),
            Err(flaw) => layer.complain_of(Part::Db, flaw, None),
        },
        Kind::Tls => match host::switch(value) {
            Ok(tls) => layer.tls = Some(tls),
            Err(flaw) => layer.complain_of(Part::Tls, flaw, None),
        },
    }
    layer
}

fn part(kind: Kind) -> Part {
    match kind {
        Kind::Url | Kind::TlsUrl | Kind::Host => Part::Host,
        Kind::Port => Part::Port,
        Kind::User => Part::User,
        Kind::Password => Part::Password,
        Kind::Db => Part::Db,
        Kind::Tls => Part::Tls,
    }
}

fn read_host(layer: &mut Layer, name: &str, value: &str) {
    match host::read(value) {
        Ok(host) => layer.place = Some(Place::Host(host)),
        Err(flaw) => {
            layer.place = flaw.place(value);
            let port = flaw.port.map(|port| format!(" REDIS_PORT={port}")).unwrap_or_default();
            let meant = flaw.host.as_ref().map(|host| format!("{name}={host}{port}"));
            layer.complain_of(Part::Host, flaw, meant);
        }
    }
}

fn bad_port(layer: &mut Layer, name: &str, flaw: Flaw) {
    layer.port = flaw.port;
    let meant = flaw.port.map(|port| format!("{name}={port}"));
    layer.complain_of(Part::Port, flaw, meant);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Vec<Layer> {
        let setting = |(name, value): &(&str, &str)| Setting {
            name: (*name).to_owned(),
            value: Secret::new(*value),
            origin: format!("env {name}"),
        };
        layers(&settings.iter().map(setting).collect::<Vec<_>>())
    }

    #[track_caller]
    fn bad(name: &str, value: &str, kind: ComplaintKind, meant: Option<&str>) {
        let layers = read(&[(name, value)]);
        let (_, complaint) = &layers[0].complaints[0];
        assert_eq!((complaint.kind, complaint.meant.as_deref()), (kind, meant), "{complaint:?}");
        assert_eq!(complaint.origin, format!("env {name}"));
    }

    #[test]
    fn a_url_stands_before_single_parts() {
        let layers = read(&[("REDIS_PORT", "1"), ("REDIS_HOST", "a"), ("REDIS_URL", "redis://b")]);
        let order: Vec<&str> = layers.iter().map(|layer| layer.by.as_str()).collect();
        assert_eq!(order, ["env REDIS_URL", "env REDIS_HOST", "env REDIS_PORT"]);
    }

    #[test]
    fn the_url_with_tls_counts_only_alone() {
        assert_eq!(read(&[("REDIS_TLS_URL", "rediss://a"), ("REDIS_URL", "redis://b")]).len(), 1);
        assert_eq!(read(&[("REDIS_TLS_URL", "rediss://a")])[0].tls, Some(true));
    }

    #[test]
    fn complains_of_what_cannot_be() {
        bad("REDIS_HOST", "redis://u:pw@db:7000", ComplaintKind::BadHost, Some("REDIS_HOST=db REDIS_PORT=7000"));
        bad("REDIS_HOST", "", ComplaintKind::BadHost, None);
        bad("REDIS_URL", "", ComplaintKind::BadValue, None);
        bad("REDIS_PORT", "tcp://10.0.0.1:6379", ComplaintKind::InjectedPort, Some("REDIS_PORT=6379"));
        bad("REDIS_PORT", "99999", ComplaintKind::BadValue, None);
        bad("REDIS_DB", "-1", ComplaintKind::BadValue, None);
        bad("REDIS_TLS", "maybe", ComplaintKind::BadValue, None);
        bad("REDIS_PORT", "", ComplaintKind::Ignored, None);
        bad("REDIS_PASSWORD", "null", ComplaintKind::Ignored, None);
    }

    #[test]
    fn an_empty_password_is_none() {
        let layers = read(&[("REDIS_PASSWORD", ""), ("REDIS_USER", "")]);
        assert!(layers.iter().all(|layer| layer.complaints.is_empty() && !layer.gives(Part::Password)));
    }
}
