//! `.env` files, read as they stand: quotes, `export`, comments and line ends are understood, and nothing is ever
//! expanded, for a `$` in a password is a `$`. Where readers of such files differ, a complaint says so.

use super::{Complaint, ComplaintKind};
use crate::model::{Secret, escape};

/// One setting, from a file or from the environment.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The name of the variable.
    pub name: String,
    /// Its value, which may be or hold a password.
    pub value: Secret,
    /// Where it stands: `env REDIS_URL`, `.env:3 REDIS_URL`.
    pub origin: String,
}

/// The settings in `text`, the file `file`, whose names `wanted` accepts, and what readers may take otherwise.
pub fn parse(file: &str, text: &str, wanted: &dyn Fn(&str) -> bool) -> (Vec<Setting>, Vec<Complaint>) {
    let mut reader = Reader { file, settings: Vec::new(), complaints: Vec::new() };
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let used = reader.line(rest, line, wanted);
        line += rest[..used].matches('\n').count();
        rest = &rest[used..];
    }
    (reader.settings, reader.complaints)
}

struct Reader<'a> {
    file: &'a str,
    settings: Vec<Setting>,
    complaints: Vec<Complaint>,
}

/// How a value stands in the file.
struct Value {
    text: String,
    /// The bytes it takes.
    used: usize,
    /// What readers may take otherwise.
    doubt: Option<(ComplaintKind, &'static str)>,
}

impl Reader<'_> {
    /// Reads what begins at `rest`, the line `line`, and returns how many bytes that took.
    fn line(&mut self, rest: &str, line: usize, wanted: &dyn Fn(&str) -> bool) -> usize {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let this = rest[..end].trim_start();
        let start = this.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])).unwrap_or(this);
        let start = start.trim_start();
        let name_end = start.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(start.len());
        let (name, after) = start.split_at(name_end);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            if wanted(name) {
                self.complain(name, line, (ComplaintKind::Ignored, "no '=' follows the name: the line sets nothing"));
            }
            return end;
        };
        // A value may go on past this line, if it stands in quotes.
        let at = end - value.len();
        let value = read_value(&rest[at..]);
        if wanted(name) {
            if let Some(doubt) = value.doubt {
                self.complain(name, line, doubt);
            }
            self.push(name, &value.text, line);
        }
        if rest[..at + value.used].contains('\n') { at + value.used } else { end }
    }

    fn push(&mut self, name: &str, value: &str, line: usize) {
        let origin = self.origin(name, line);
        let setting = Setting { name: name.to_owned(), value: Secret::new(value), origin: origin.clone() };
        match self.settings.iter_mut().find(|setting| setting.name == name) {
            None => self.settings.push(setting),
            Some(earlier) => {
                let earlier = std::mem::replace(earlier, setting);
                let says = format!("{origin} stands further down: most readers take the last, some the first");
                let differs = earlier.value.expose() != value;
                let complaint = Complaint { kind: ComplaintKind::Ignored, origin: earlier.origin, says, meant: None };
                self.complaints.extend(differs.then_some(complaint));
            }
        }
    }

    fn complain(&mut self, name: &str, line: usize, (kind, says): (ComplaintKind, &str)) {
        let meant = (kind == ComplaintKind::Ignored && says.contains("quotes")).then(|| format!("{name}='…'"));
        self.complaints.push(Complaint { kind, origin: self.origin(name, line), says: says.to_owned(), meant });
    }

    fn origin(&self, name: &str, line: usize) -> String {
        format!("{}:{line} {name}", escape(self.file.as_bytes()))
    }
}

/// Reads the value at the start of `rest`, which goes on to the end of the file.
fn read_value(rest: &str) -> Value {
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let body = &rest[blanks..];
    let quoted = match body.chars().next() {
        Some(quote @ ('\'' | '`')) => body[1..].find(quote).map(|at| (body[1..=at].to_owned(), at + 2, quote)),
        Some('"') => double_quoted(&body[1..]).map(|(text, used)| (text, used + 1, '"')),
        _ => None,
    };
    match quoted {
        Some((text, used, quote)) => {
            let doubt = (quote == '"' && text.contains('$')).then_some(DOLLAR);
            Value { text: text.replace("\r\n", "\n"), used: blanks + used, doubt }
        }
        None => unquoted(body, blanks),
    }
}

const DOLLAR: (ComplaintKind, &str) =
    (ComplaintKind::Ignored, "a '$' stands in the value: some readers expand what follows it, unless in single quotes");
const HASH: (ComplaintKind, &str) =
    (ComplaintKind::Ignored, "a '#' stands in the value without quotes: some readers take the rest for a comment");
const OPEN: (ComplaintKind, &str) = (ComplaintKind::BadValue, "the quotes around the value are never closed");

/// The text up to the closing quote, with its escapes resolved, and the bytes it takes with that quote.
fn double_quoted(body: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                c @ ('"' | '\\' | '$') => text.push(c),
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
    None
}

fn unquoted(body: &str, blanks: usize) -> Value {
    let line = body.split('\n').next().unwrap_or_default();
    let comment = line.match_indices('#').map(|(at, _)| at).find(|&at| line[..at].ends_with([' ', '\t']) || at == 0);
    let text = line[..comment.unwrap_or(line.len())].trim();
    let doubt = match text {
        text if text.starts_with(['"', '\'', '`']) => Some(OPEN),
        text if text.contains('#') => Some(HASH),
        text if text.contains('$') => Some(DOLLAR),
        _ => None,
    };
    Value { text: text.to_owned(), used: blanks + line.len(), doubt }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, &str)], complaints: &[&str]) {
        let (settings, found) = parse(".env", text, &|name| name.starts_with("REDIS_"));
        let settings: Vec<_> =
            settings.iter().map(|s| (s.name.as_str(), s.value.expose(), s.origin.as_str())).collect();
        assert_eq!(settings, expected, "{text}");
        assert_eq!(found.len(), complaints.len(), "{found:?}");
        for (complaint, says) in found.iter().zip(complaints) {
            assert!(complaint.says.contains(says), "{complaint:?}");
        }
    }

    #[track_caller]
    fn value(line: &str, value: &str, complaints: &[&str]) {
        check(&format!("REDIS_X={line}\nREDIS_Y=y"), &[("REDIS_X", value, ".env:1 REDIS_X"), Y], complaints);
    }

    const Y: (&str, &str, &str) = ("REDIS_Y", "y", ".env:2 REDIS_Y");

    #[test]
    fn reads_lines() {
        let text = "\u{feff}# comment\r\n\r\n export REDIS_HOST = db \r\nOTHER=x\r\nREDIS_PORT=1 # one\r\n";
        check(text, &[("REDIS_HOST", "db", ".env:3 REDIS_HOST"), ("REDIS_PORT", "1", ".env:5 REDIS_PORT")], &[]);
        check("REDIS_HOST db\nREDIS_URL: x", &[], &["no '='", "no '='"]);
        check("exportREDIS_HOST=db\nREDIS-HOST=db\n=x\n", &[], &[]);
    }

    #[test]
    fn reads_values_as_they_stand() {
        value("", "", &[]);
        value("'p$x#y'", "p$x#y", &[]);
        value("`it's`", "it's", &[]);
        value("\"a\\\"b\\\\c\\nd\\w\"  # comment", "a\"b\\c\nd\\w", &[]);
        value("# nothing", "", &[]);
        value("a=b=c", "a=b=c", &[]);
        value("it's", "it's", &[]);
    }

    #[test]
    fn says_where_readers_differ() {
        value("p$x", "p$x", &["'$'"]);
        value("\"p$x\"", "p$x", &["'$'"]);
        value("p#x", "p#x", &["'#'"]);
        value("'open", "'open", &["never closed"]);
        check(
            "REDIS_X=a\nREDIS_Y=y\nREDIS_X=b",
            &[("REDIS_X", "b", ".env:3 REDIS_X"), Y],
            &["REDIS_X stands further down"],
        );
        check("REDIS_X=a\nREDIS_Y=y\nREDIS_X=a", &[("REDIS_X", "a", ".env:3 REDIS_X"), Y], &[]);
    }

    #[test]
    fn counts_the_lines_of_quoted_values() {
        let text = "KEY=\"-----\nREDIS_HOST=no\n\"\nREDIS_Y='y\ny'\nREDIS_X=x\n";
        check(text, &[("REDIS_Y", "y\ny", ".env:4 REDIS_Y"), ("REDIS_X", "x", ".env:6 REDIS_X")], &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(text in "(?s).*", value in "(?s)['\"`]?.*") {
            parse(".env", &text, &|_| true);
            parse(".env", &format!("REDIS_X={value}"), &|_| true);
        }

        #[test]
        fn single_quotes_keep_everything(value in "[^'\r]*") {
            let (settings, _) = parse(".env", &format!("A=1\nREDIS_X='{value}'\nREDIS_Y=2"), &|_| true);
            prop_assert_eq!(settings[1].value.expose(), value);
        }

        #[test]
        fn no_complaint_repeats_a_value(before in "(?s).{0,5}", after in "(?s).{0,5}") {
            let (_, complaints) = parse(".env", &format!("REDIS_X={before}MARKER{after}"), &|name| name == "REDIS_X");
            let shown = format!("{complaints:?}");
            prop_assert!(!shown.contains("MARKER"), "{}", shown);
        }
    }
}
