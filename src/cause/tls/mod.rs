//! Causes in TLS.

mod plaintext_to_tls_port;
mod tls_to_plaintext_port;

use super::Cause;
use crate::model::target::Part;
use crate::model::text::shell_quote;
use crate::model::{Risk, Step, Target, Where};

/// The causes of this family, specific before general.
pub static CAUSES: &[&Cause] = &[&plaintext_to_tls_port::CAUSE, &tls_to_plaintext_port::CAUSE];

/// The step that makes the application ask for TLS, or stop to, where it was told.
fn switch(target: &Target, to_tls: bool) -> Step {
    let (scheme, word) = if to_tls { ("rediss://", "true") } else { ("redis://", "false") };
    let Some(by) = target.given_by.get(&Part::Tls) else { return Step::tell(Where::Here, elsewhere(to_tls)) };
    let (place, name) = by.rsplit_once(' ').unwrap_or(("", by));
    let is_switch = ["TLS", "SSL"].iter().any(|part| name.ends_with(part));
    if let (Some((file, line)), false) = (of_file(place), is_switch) {
        let text = format!("write {scheme} in {by}, and restart the application");
        return Step::run(Where::Here, Risk::Restarts, text, rewrite(file, line, to_tls));
    }
    let text = match by.as_str() {
        "flag" | "default" => elsewhere(to_tls),
        "uri" => format!("write {scheme} in the application's URI (what redisdoc was given says otherwise)"),
        _ if is_switch => format!("set {name} to {word} ({by}), and restart the application"),
        _ => format!("write {scheme} in {by}, and restart the application"),
    };
    Step::tell(Where::Here, text)
}

fn elsewhere(to_tls: bool) -> String {
    let text = if to_tls {
        "let the application use TLS: rediss:// instead of redis:// in its URI; ssl=True (redis-py), tls: {} (ioredis), \
         socket: { tls: true } (node-redis), spring.data.redis.ssl.enabled=true, TLSConfig (go-redis)"
    } else {
        "let the application use no TLS here: redis:// instead of rediss:// in its URI, or without its setting for ssl or tls"
    };
    text.to_owned()
}

/// The file and the line of a setting: `.env:3`.
fn of_file(place: &str) -> Option<(&str, u32)> {
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

/// The command that changes the scheme of the URI in this line. The line may hold a password, so it is not repeated.
fn rewrite(file: &str, line: u32, to_tls: bool) -> String {
    let (from, to) = if to_tls { ("", "s") } else { ("s", "") };
    let change = |scheme: &str| format!("-e '{line}s#{scheme}{from}://#{scheme}{to}://#'");
    format!("sed -i {} {} {}", change("redis"), change("valkey"), shell_quote(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(by: &str, to_tls: bool) -> Step {
        let mut target = Target::default();
        target.given_by.insert(Part::Tls, by.to_owned());
        switch(&target, to_tls)
    }

    #[track_caller]
    fn says(by: &str, part: &str) {
        let step = step(by, true);
        assert!(matches!(&step, Step::Tell { text, .. } if text.contains(part)), "{step:?}");
    }

    #[test]
    fn the_place_is_named_where_it_was_said() {
        says("flag", "ssl=True");
        says("uri", "rediss:// in the application's URI");
        says("env REDIS_URL", "rediss:// in env REDIS_URL");
        says("env REDIS_SSL", "set REDIS_SSL to true (env REDIS_SSL)");
        says(".env:3 REDIS_TLS", "set REDIS_TLS to true (.env:3 REDIS_TLS)");
        let Step::Run { command, .. } = step("my conf/.env:3 REDIS_URL", false) else { panic!("no command") };
        let change = "sed -i -e '3s#rediss://#redis://#' -e '3s#valkeys://#valkey://#' 'my conf/.env'";
        assert_eq!(command, change);
    }
}
