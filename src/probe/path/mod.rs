//! What the vantage sees on its way to the target.

mod again;
pub mod command;
pub mod counter;
pub mod dns;
pub mod hold;
pub mod keyed;
pub mod mesh;
pub mod nodes;
pub mod others;
pub mod redis;
pub mod reply;
pub mod resp;
pub mod route;
mod sendqueue;
pub mod sizes;
pub mod stranger;
mod talk;
pub mod tcp;
pub mod tls;
pub mod trace;
pub mod tunnel;
pub mod vantage;
pub mod way;
