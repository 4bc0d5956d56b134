//! The addresses of a `bind` line that no server can listen on, whatever the machine has.
//!
//! As measured with Redis 5.0 to 8.0 and Valkey 8.0 to 9.1: those before 6.2 go on without an address that the machine lacks,
//! but not without one that is taken.

use crate::probe::host::instance::Bind;

/// What the servers say of these addresses, and whether all versions do.
pub(super) fn in_vain(words: &[String]) -> Option<(String, bool)> {
    let failed = |place: &str| format!("Could not create server TCP listening socket {place}");
    if let Some(word) = words.iter().find(|word| is_no_address(word)) {
        return Some((format!("{}: Name or service not known", failed(word)), true));
    }
    let binds: Vec<Bind> = words.iter().filter_map(|word| Bind::parse(word)).collect();
    let pairs = binds.iter().enumerate().flat_map(|(at, second)| binds[..at].iter().map(move |first| (first, second)));
    let (first, second) = pairs.into_iter().find(|(first, second)| collide(first, second))?;
    let sure = first.ip.is_ipv4() && is_everywhere(first) && is_everywhere(second);
    Some((format!("{}: Address already in use", failed(&second.ip.to_string())), sure))
}

/// No name has such characters. What stands behind a '-' may be passed over, and a zone is another machine's.
fn is_no_address(word: &str) -> bool {
    let strange = word.contains([',', '[', ']', ';', '/']) || (word.contains(':') && !word.contains('%'));
    strange && !word.starts_with('-') && Bind::parse(word).is_none()
}

/// True if the two are one, or one is the wildcard of the other. One that the machine may lack is passed over with a '-'.
fn collide(first: &Bind, second: &Bind) -> bool {
    let one = first.ip == second.ip || first.ip.is_unspecified() != second.ip.is_unspecified();
    let may_be_absent = |bind: &Bind| bind.optional && !is_everywhere(bind);
    first.ip.is_ipv4() == second.ip.is_ipv4() && one && !may_be_absent(first) && !may_be_absent(second)
}

/// True of what every machine has.
fn is_everywhere(bind: &Bind) -> bool {
    bind.ip.is_loopback() || bind.ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_bound_together() {
        let of = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            in_vain(&words).map(|(_, sure)| sure)
        };
        for line in [
            "127.0.0.1 0.0.0.0",
            "* 127.0.0.1",
            "127.0.0.1 127.0.0.1",
            "127.0.0.1 -127.0.0.1",
            "127.0.0.1,10.5.5.1",
            "[::1] 127.0.0.1",
            "127.0.0.1:6379",
        ] {
            assert_eq!(of(line), Some(true), "{line}");
        }
        for line in ["0.0.0.0 10.5.5.1", "10.5.5.1 10.5.5.1", ":: ::1"] {
            assert_eq!(of(line), Some(false), "{line}");
        }
        for line in [
            "127.0.0.1 -::1",
            "* -::*",
            ":: 127.0.0.1",
            "127.0.0.1 10.5.5.1",
            "0.0.0.0 -10.5.5.1",
            "fe80::1%eth0 127.0.0.1",
            "localhost db.example",
            "127.0.0.1 -a,b",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
