//! Colour and glyphs; the only user of `colored`.

use colored::Colorize;

use crate::model::Status;

/// Decides, once and for the whole process, whether anything is coloured.
pub fn decide(color: bool) {
    colored::control::set_override(color);
}

/// Important.
pub fn bold(text: &str) -> String {
    text.bold().to_string()
}

/// In the background.
pub fn dim(text: &str) -> String {
    text.dimmed().to_string()
}

/// Something to type.
pub fn command(text: &str) -> String {
    text.cyan().to_string()
}

/// In the colour of a status.
pub fn status(status: Status, text: &str) -> String {
    match status {
        Status::Pass => text.green().to_string(),
        Status::Warn => text.yellow().bold().to_string(),
        Status::Fail => text.red().bold().to_string(),
        Status::Unknown => text.magenta().to_string(),
        Status::Skipped => text.dimmed().to_string(),
    }
}

/// The glyph of a status, readable without colour.
pub fn glyph(status: Status, ascii: bool) -> &'static str {
    match (status, ascii) {
        (Status::Pass, false) => "✓",
        (Status::Fail, false) => "✗",
        (Status::Skipped, false) => "·",
        (Status::Unknown, _) => "?",
        (Status::Pass, true) => "+",
        (Status::Warn, _) => "!",
        (Status::Fail, true) => "x",
        (Status::Skipped, true) => "-",
    }
}
