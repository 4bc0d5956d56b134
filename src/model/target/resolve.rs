//! One target out of everything that was said: the command line over the settings over the defaults, part by part,
//! each with the name of who gave it. What is overridden in silence and matters becomes a complaint.

use super::dotenv::Setting;
use super::host;
use super::layer::{Giver, Layer, Place};
use super::{
    Certificates, Complaint, ComplaintKind, DEFAULT_HOST, DEFAULT_PORT, Endpoint, Family, Part, Target, settings, uri,
};
use crate::model::Secret;

/// Everything that was said, in the words in which it was said.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The argument: `host[:port]` or a URI. Like every URI it may hold a password.
    pub argument: Option<Secret>,
    /// `--uri`.
    pub uri: Option<Secret>,
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--socket`.
    pub socket: Option<String>,
    /// `--db`.
    pub db: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--tls`.
    pub tls: bool,
    /// `--sni`.
    pub sni: Option<String>,
    /// What is said of certificates.
    pub certificates: Certificates,
    /// `-4` or `-6`.
    pub family: Option<Family>,
    /// `-3`.
    pub resp3: bool,
    /// `--exists`.
    pub key: Option<String>,
    /// Passwords from the command line, in order of precedence, each with where it came from.
    pub passwords: Vec<(String, Secret)>,
    /// The settings, one list for each place where they were looked for.
    pub settings: Vec<Settings>,
    /// `REDISCLI_AUTH`.
    pub rediscli_auth: Option<Secret>,
}

/// The settings of one place.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// "environment", or the name of the file.
    pub place: String,
    /// What was found there.
    pub found: Vec<Setting>,
    /// What was noticed in reading them.
    pub complaints: Vec<Complaint>,
}

/// The target and its password.
pub fn resolve(said: &Said) -> (Target, Option<Secret>) {
    let layers = layers(said);
    let mut merge = Merge { layers: &layers, target: Target::default() };
    merge.place();
    merge.target.tls = merge.tls(said);
    merge.target.db = merge.pick(Part::Db, "database", |layer| layer.db).unwrap_or_default();
    merge.target.resp3 = merge.pick(Part::Protocol, "protocol", |layer| layer.resp3).unwrap_or_default();
    merge.target.family = layers.iter().find_map(|layer| layer.family).unwrap_or_default();
    merge.target.key.clone_from(&said.key);
    merge.sni(said);
    merge.certificates(said);
    let password = merge.credentials();
    merge.complaints();
    let mut target = merge.target;
    target.complaints.extend(said.settings.iter().flat_map(|settings| settings.complaints.iter().cloned()));
    // A setting that is there but malformed was not looked for in vain.
    if target.host_is_default() && target.is_usable() {
        target.searched = said.settings.iter().map(|settings| settings.place.clone()).collect();
    }
    (target, password)
}

/// Everything that was said as layers, the deciding ones first.
fn layers(said: &Said) -> Vec<Layer> {
    let mut layers = Vec::new();
    flags(said, &mut layers);
    if let Some(text) = &said.argument {
        layers.push(argument(text.expose()));
    }
    if let Some(text) = &said.uri {
        let mut layer = Layer::new(Giver::CommandLine, "uri", "flag -u");
        uri::read(&mut layer, text.expose());
        layers.push(layer);
    }
    layers.extend(said.settings.iter().flat_map(|settings| settings::layers(&settings.found)));
    if let Some(password) = &said.rediscli_auth {
        let layer = Layer::new(Giver::Ambient, "env REDISCLI_AUTH", "env REDISCLI_AUTH");
        layers.push(Layer { password: not_empty(password), ..layer });
    }
    layers
}

fn flags(said: &Said, layers: &mut Vec<Layer>) {
    let mut add = |flag: &str, set: &dyn Fn(&mut Layer)| {
        let mut layer = Layer::new(Giver::CommandLine, "flag", format!("flag {flag}"));
        set(&mut layer);
        layers.push(layer);
    };
    if let Some(path) = &said.socket {
        add("-s", &|layer| match host::socket(path) {
            Ok(path) => layer.place = Some(Place::Socket(path)),
            Err(flaw) => layer.complain_of(Part::Socket, flaw, None),
        });
    }
    if let Some(text) = &said.host {
        add("-h", &|layer| host_flag(layer, text));
    }
    if let Some(text) = &said.port {
        add("-p", &|layer| match host::port(text) {
            Ok(port) => layer.port = Some(port),
            Err(flaw) => {
                layer.port = flaw.port;
                let meant = flaw.port.map(|port| format!("-p {port}"));
                layer.complain_of(Part::Port, flaw, meant);
            }
        });
    }
    if let Some(text) = &said.db {
        add("-n", &|layer| match host::db(text) {
            Ok(db) => layer.db = Some(db),
            Err(flaw) => layer.complain_of(Part::Db, flaw, None),
        });
    }
    if let Some(user) = said.user.as_ref().filter(|user| !user.is_empty()) {
        add("--user", &|layer| layer.user = Some(user.clone()));
    }
    if said.tls {
        add("--tls", &|layer| layer.tls = Some(true));
    }
    if let Some(family) = said.family {
        add("-4 or -6", &|layer| layer.family = Some(family));
    }
    if said.resp3 {
        add("-3", &|layer| layer.resp3 = Some(true));
    }
    for (by, password) in &said.passwords {
        let mut layer = Layer::new(Giver::CommandLine, by, by);
        layer.password = not_empty(password);
        if layer.password.is_none() {
            layer.complain(Part::Password, ComplaintKind::Ignored, "the password is empty: none is sent", None);
        }
        layers.push(layer);
    }
}

fn host_flag(layer: &mut Layer, text: &str) {
    match host::read(text) {
        Ok(host) => layer.place = Some(Place::Host(host)),
        Err(flaw) => {
            (layer.place, layer.port) = (flaw.place(text), flaw.port);
            let port = flaw.port.map(|port| format!(" -p {port}")).unwrap_or_default();
            let meant = match &flaw.host {
                Some(host) => Some(format!("-h {host}{port}")),
                None => text.starts_with('/').then(|| format!("-s {}", crate::model::escape(text.as_bytes()))),
            };
            layer.complain_of(Part::Host, flaw, meant);
        }
    }
}

fn argument(text: &str) -> Layer {
    let is_uri = uri::is_uri(text);
    let mut layer = Layer::new(Giver::CommandLine, if is_uri { "uri" } else { "argument" }, "argument");
    if is_uri {
        uri::read(&mut layer, text);
        return layer;
    }
    match host::read_with_port(text) {
        Ok((host, port)) => (layer.place, layer.port) = (Some(Place::Host(host)), port),
        Err(flaw) => {
            (layer.place, layer.port) = (flaw.place(text), flaw.port);
            let port = flaw.port.map(|port| format!(":{port}")).unwrap_or_default();
            let meant = flaw.host.as_ref().map(|host| format!("{host}{port}"));
            layer.complain_of(Part::Host, flaw, meant);
        }
    }
    layer
}

fn not_empty(password: &Secret) -> Option<Secret> {
    Some(password.clone()).filter(|password| !password.expose().is_empty())
}

/// The target in the making.
struct Merge<'a> {
    layers: &'a [Layer],
    target: Target,
}

impl Merge<'_> {
    /// The value of the first layer that gives a part. Later layers of the same giver that disagree are ignored, and
    /// told so; `what` names the part for them.
    fn pick<T: PartialEq>(&mut self, part: Part, what: &str, get: impl Fn(&Layer) -> Option<T>) -> Option<T> {
        let mut giving = self.layers.iter().filter_map(|layer| Some((layer, get(layer)?)));
        let (winner, value) = giving.next()?;
        self.target.given_by.insert(part, winner.by.clone());
        for (loser, other) in giving {
            if loser.giver == winner.giver && other != value {
                let says = format!("its {what} has no effect: that of {} counts", winner.origin);
                ignore(&mut self.target, &loser.origin, says);
            }
        }
        Some(value)
    }

    fn place(&mut self) {
        let kind = match self.layers.iter().find_map(|layer| layer.place.as_ref()) {
            Some(Place::Socket(_)) => Part::Socket,
            Some(Place::Host(_)) | None => Part::Host,
        };
        let place = self.pick(kind, "place", |layer| layer.place.clone());
        if let Some(Place::Socket(path)) = place {
            self.target.endpoint = Endpoint::Unix { path };
            for layer in self.layers.iter().filter(|layer| layer.origin == "flag -p") {
                ignore(&mut self.target, &layer.origin, "a unix socket has no port".to_owned());
            }
            return;
        }
        let host = if let Some(Place::Host(host)) = place {
            host
        } else {
            self.target.given_by.insert(Part::Host, "default".to_owned());
            DEFAULT_HOST.to_owned()
        };
        // A URI without a port means the default one. What comes after it has no say.
        let end = self.layers.iter().position(|layer| layer.settles_port).map_or(self.layers.len(), |at| at + 1);
        let mut before = Merge { layers: &self.layers[..end], target: std::mem::take(&mut self.target) };
        let port = before.pick(Part::Port, "port", |layer| layer.port);
        self.target = before.target;
        if port.is_none() {
            self.target.given_by.insert(Part::Port, "default".to_owned());
        }
        self.target.endpoint = Endpoint::Tcp { host, port: port.unwrap_or(DEFAULT_PORT) };
    }

    fn tls(&mut self, said: &Said) -> bool {
        let is_socket = self.target.host().is_none();
        if is_socket && said.tls {
            ignore(&mut self.target, "flag --tls", "a unix socket is used without TLS".to_owned());
        }
        if is_socket {
            return false;
        }
        if said.tls {
            // `--tls` with a redis:// URI says the same as rediss://.
            self.target.given_by.insert(Part::Tls, "flag".to_owned());
            return true;
        }
        self.pick(Part::Tls, "choice of TLS", |layer| layer.tls).unwrap_or_default()
    }

    fn sni(&mut self, said: &Said) {
        let Some(sni) = &said.sni else { return };
        if !self.target.tls {
            ignore(&mut self.target, "flag --sni", "there is no server name without TLS (--tls)".to_owned());
            return;
        }
        match host::read(sni) {
            Ok(sni) => self.target.sni = Some(sni),
            Err(flaw) => {
                let (meant, origin) = (flaw.host.map(|host| format!("--sni {host}")), "flag --sni".to_owned());
                self.target.complaints.push(Complaint { kind: flaw.kind, origin, says: flaw.says, meant });
            }
        }
    }

    /// What is said of certificates, which means nothing without TLS.
    fn certificates(&mut self, said: &Said) {
        if self.target.tls {
            self.target.certificates.clone_from(&said.certificates);
            return;
        }
        let insecure = said.certificates.insecure.then_some("--insecure");
        for flag in said.certificates.files().map(|(flag, _)| flag).chain(insecure) {
            let says = "there are no certificates without TLS (--tls)".to_owned();
            ignore(&mut self.target, &format!("flag {flag}"), says);
        }
    }

    /// The password, and the user it belongs to. A user without a password is not sent, and not shown either: in
    /// `redis://secret@host` it is the password, written without its colon.
    fn credentials(&mut self) -> Option<Secret> {
        let password = self.pick(Part::Password, "password", |layer| layer.password.clone());
        self.target.password = password.is_some();
        if password.is_some() {
            self.target.user = self.pick(Part::User, "user", |layer| layer.user.clone());
        } else if let Some(layer) = self.layers.iter().find(|layer| layer.user.is_some()) {
            let says = "a user without a password has no effect; what stands alone before the '@' of a URI is a user";
            let meant =
                layer.tls.is_some().then(|| format!("redis://:<password, percent-encoded>@{}", self.target.place()));
            let origin = layer.origin.clone();
            let kind = ComplaintKind::Ignored;
            self.target.complaints.push(Complaint { kind, origin, says: says.to_owned(), meant });
        }
        password
    }

    /// What the layers complain of themselves. A bad setting that an earlier layer overrides does no harm.
    fn complaints(&mut self) {
        for (at, layer) in self.layers.iter().enumerate() {
            for (part, complaint) in &layer.complaints {
                let overridden = || self.layers[..at].iter().any(|earlier| earlier.gives(*part));
                if layer.giver == Giver::CommandLine || !overridden() {
                    self.target.complaints.push(complaint.clone());
                }
            }
        }
    }
}

fn ignore(target: &mut Target, origin: &str, says: String) {
    let kind = ComplaintKind::Ignored;
    target.complaints.push(Complaint { kind, origin: origin.to_owned(), says, meant: None });
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
