//! maxmemory is reached and nothing may be evicted.

use crate::cause::{Case, Cause, dialogue, local_cli};
use crate::check::state;
use crate::model::{Confidence, Step, Support, Where};
use crate::probe::Facts;

/// The cause.
pub static CAUSE: Cause = Cause {
    id: "memory-full",
    title: "Redis is out of memory for writes",
    explain: "\
used_memory is above maxmemory and the policy is noeviction: PING and reads work, and every write is answered \
with 'OOM command not allowed when used memory > 'maxmemory''. It is a warning unless --require writable asks \
for writes.

INFO memory shows it, so this is certain.

Repair: find what fills it (redis-cli --bigkeys, MEMORY DOCTOR), let keys expire, choose an eviction policy if \
it is a cache, or raise maxmemory if the machine has the memory.",
    infer,
    remedy,
};

fn infer(case: &Case) -> Option<Support> {
    let finding = case.raised(&state::MEMORY_FULL)?;
    let summary = "reads work, and every write is answered with OOM until memory is freed";
    let support = Support::new(Confidence::Certain, &[&state::MEMORY_FULL], summary).on(finding);
    Some(support.not("persistence-failing", "PING was not answered with MISCONF"))
}

fn remedy(facts: &Facts) -> Vec<Step> {
    let cli = local_cli(facts);
    let most = dialogue(facts).and_then(|dialogue| dialogue.info()?.number("maxmemory")).unwrap_or_default();
    vec![
        Step::look(Where::RedisHost, format!("{cli} --bigkeys; {cli} MEMORY DOCTOR"), "what fills the memory"),
        Step::tell(
            Where::RedisHost,
            format!(
                "delete or let expire what is not needed; or raise maxmemory above {most} bytes if the machine has the \
                 memory (CONFIG SET maxmemory, and redis.conf); or, for a cache, set maxmemory-policy allkeys-lru"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::tests::check_cause;
    #[test]
    fn above_the_limit_without_eviction_is_certain() {
        let facts = Facts::healthy().info("maxmemory", "900000");
        check_cause(&CAUSE, &facts, Some(Confidence::Certain));
        check_cause(&CAUSE, &facts.info("maxmemory_policy", "allkeys-lru"), None);
        check_cause(&CAUSE, &Facts::healthy(), None);
    }
}
