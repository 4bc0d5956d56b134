//! The lab: hosts made of namespaces, real servers on them, real packets between them.
//!
//! A scenario is an ordinary `#[test]` that starts with `let Some(lab) = Lab::enter() else { return };`.
//! `enter` is the door, `host` and `root` make one machine, `net` joins machines, `redis`, `proxies`, `pki`, `dns` and
//! `stub` put something on them, `run` starts programs there, `service` plays the init system, and `diagnose` asks
//! redisdoc what it sees.

pub mod diagnose;
pub mod dns;
pub mod enter;
pub mod firewalls;
pub mod host;
pub mod net;
pub mod pki;
pub mod proxies;
pub mod redis;
pub mod root;
pub mod run;
pub mod service;
pub mod stub;
pub mod tls_stub;

pub use diagnose::{Confidence, Diagnosis};
pub use dns::{DnsStub, Kind};
pub use enter::Lab;
pub use host::Host;
pub use pki::Authority;
pub use redis::Server;
pub use run::{Ran, Running, Task};
pub use stub::Stub;
pub use tls_stub::{Inside, Shown};
