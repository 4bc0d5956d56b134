//! What the server's own machine shows, seen from inside. Each fact source is a file of its own in this folder.

use serde::{Deserialize, Serialize};

/// The server's machine. `None` of its sources exists yet; each adds its field.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {}
