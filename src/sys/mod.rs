//! The only code that touches the machine: files, the environment, the clock, sockets, other programs, the system's
//! resolver.
//!
//! Everything else asks here; clippy's `disallowed-methods` (see `.clippy.toml`) keeps it so.

pub mod clock;
pub mod datagram;
pub mod disks;
pub mod environment;
pub mod files;
pub mod machine;
pub mod netlink;
pub mod process;
pub mod program;
pub mod resolver;
pub mod socket;
pub mod terminal;
pub mod thread;
pub mod tls;
pub mod way;

pub use clock::Clock;
