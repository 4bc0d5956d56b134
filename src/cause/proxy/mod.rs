//! Causes in what stands between: proxies, tunnels and meshes.

mod proxy_backend_down;

use super::Cause;

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&proxy_backend_down::CAUSE];
