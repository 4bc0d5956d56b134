//! A layer: what one flag, URI or setting says of the target. The target is what the layers say together, the first
//! that speaks of a part deciding it; merging them is in [`super::resolve`].

use super::host::Flaw;
use super::{Complaint, ComplaintKind, Family, Part};
use crate::model::Secret;

/// Who gave a layer. Overriding a setting from the command line is on purpose; two of a kind that disagree are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// Typed on the command line.
    CommandLine,
    /// The application's settings, from the environment or a file.
    Settings,
    /// What stands in the environment for everybody, as `REDISCLI_AUTH`.
    Ambient,
}

/// A place as one layer names it; the port is a part of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A host name or address.
    Host(String),
    /// The path of a unix socket.
    Socket(String),
}

/// What one source says, each part only where it says it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Who gave it.
    pub giver: Giver,
    /// The name of the source in `given_by`: "flag", "uri", "env `REDIS_URL`".
    pub by: String,
    /// The name of the source in complaints: "flag -h", ".env:3 `REDIS_URL`".
    pub origin: String,
    /// The place.
    pub place: Option<Place>,
    /// The port.
    pub port: Option<u16>,
    /// True for a URI with a host: without a port it means the default one, whatever later layers say.
    pub settles_port: bool,
    /// Whether TLS is asked for.
    pub tls: Option<bool>,
    /// The database index.
    pub db: Option<u32>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Whether RESP3 is insisted on.
    pub resp3: Option<bool>,
    /// The address families that may be used.
    pub family: Option<Family>,
    /// What is wrong, with the part it is about.
    pub complaints: Vec<(Part, Complaint)>,
}

impl Layer {
    /// A layer that says nothing yet.
    pub fn new(giver: Giver, by: impl Into<String>, origin: impl Into<String>) -> Self {
        Self {
            giver,
            by: by.into(),
            origin: origin.into(),
            place: None,
            port: None,
            settles_port: false,
            tls: None,
            db: None,
            user: None,
            password: None,
            resp3: None,
            family: None,
            complaints: Vec::new(),
        }
    }

    /// Adds a complaint. Neither text may hold a secret.
    pub fn complain(&mut self, part: Part, kind: ComplaintKind, says: impl Into<String>, meant: Option<String>) {
        let complaint = Complaint { kind, origin: self.origin.clone(), says: says.into(), meant };
        self.complaints.push((part, complaint));
    }

    /// Adds a complaint about a flaw that reading a host, a port or another value found.
    pub fn complain_of(&mut self, part: Part, flaw: Flaw, meant: Option<String>) {
        self.complain(part, flaw.kind, flaw.says, meant);
    }

    /// True if this layer decides `part`.
    pub fn gives(&self, part: Part) -> bool {
        match part {
            Part::Host | Part::Socket => self.place.is_some(),
            Part::Port => self.port.is_some() || self.settles_port,
            Part::Tls => self.tls.is_some(),
            Part::Db => self.db.is_some(),
            Part::User => self.user.is_some(),
            Part::Password => self.password.is_some(),
            Part::Protocol => self.resp3.is_some(),
        }
    }
}
