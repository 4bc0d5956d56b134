//! Causes in what stands between: proxies, tunnels and meshes.

mod advice;
mod contained;
mod front;
mod mesh_reset;
mod plaintext_probe_noise;
mod proxy_backend_down;
mod proxy_limited;
mod proxy_on_loopback;
mod proxy_protocol;
mod proxy_speaks_http;
mod tunnel_redirect;

use super::Cause;
pub use proxy_speaks_http::is_met as is_of_http;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[
    &mesh_reset::CAUSE,
    &proxy_on_loopback::CAUSE,
    &proxy_backend_down::CAUSE,
    &tunnel_redirect::CAUSE,
    &proxy_protocol::CAUSE,
    &proxy_speaks_http::CAUSE,
    &proxy_limited::CAUSE,
    &plaintext_probe_noise::CAUSE,
];
