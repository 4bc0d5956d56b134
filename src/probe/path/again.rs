//! What is asked again: beside another way of asking, and over more connections where one was cut and one answered.

use std::time::{Duration, Instant};

use super::redis::{Conversation, Line};
use super::talk::Talk;
use super::tcp::Dialled;
use crate::model::Secret;
use crate::sys::clock;

/// Both, the first with a start: what is tried beside a conversation is given up where that one is answered, for a Redis waits
/// for the end of what it takes for a line.
pub(super) async fn beside<T>(
    again: impl Future<Output = Conversation>,
    aside: impl Future<Output = Option<T>>,
    ahead: Duration,
) -> (Conversation, Option<T>) {
    let (mut again, mut aside) = (std::pin::pin!(again), std::pin::pin!(aside));
    if let Some(second) = clock::until(clock::now() + ahead, &mut again).await {
        let through = if second.answers_ping() { None } else { aside.await };
        return (second, through);
    }
    tokio::select! {
        biased;
        second = &mut again => {
            let through = if second.answers_ping() { None } else { aside.await };
            (second, through)
        }
        through = &mut aside => (again.await, through),
    }
}

/// Tries both scripts again, after the whole one was cut and the least one answered: who takes turns with a dead place in two,
/// three or four cuts one that was answered before, or answers one that was cut.
pub(super) async fn further(
    dial: &Dialled,
    scripts: [&Vec<Line>; 3],
    secret: Option<&Secret>,
    deadline: Instant,
) -> Vec<Conversation> {
    let mut further = Vec::new();
    for lines in scripts {
        let Some(stream) = dial.again(deadline).await else { break };
        let mut talk = Talk::new(&stream, secret);
        talk.say(lines, deadline).await;
        talk.listen(deadline).await;
        further.push(talk.conclude());
    }
    further
}
