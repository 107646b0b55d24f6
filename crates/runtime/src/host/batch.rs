//! Works a batch off: calls the handler until every message is settled.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use detektor_backends::queue::{Consumer, Delivery};
use detektor_contract::Fault;
use detektor_contract::names::Queue;
use futures::FutureExt;
use tokio::time::Instant;
use tower::ServiceExt;
use tracing::Instrument;

use super::Shared;
use super::outbox::{Fate, Outbox};
use crate::handler::{Batch, Handler, HandlerError, Invocation, Output, Progress, Reply};
use crate::retry::Backoff;
use crate::task::panic_message;
use crate::telemetry::Trace;
use crate::unix_us;

/// A message that is ours until it is settled.
pub(super) struct Held {
    pub(super) delivery: Delivery,
    pub(super) trace: Trace,
    /// When, in Unix microseconds.
    pub(super) taken_unix_us: i64,
    /// How often it panicked or overran alone.
    strikes: u32,
}

impl Held {
    fn new(delivery: Delivery) -> Self {
        let trace = Trace::from_headers(&delivery.message.headers);
        Self { delivery, trace, taken_unix_us: unix_us(), strikes: 0 }
    }

    /// The number of the try that comes next, or runs.
    pub(super) fn attempt(&self) -> u32 {
        self.delivery.attempt.saturating_add(self.strikes)
    }

    /// A dead letter has nowhere worse to go.
    fn may_die(&self) -> bool {
        matches!(self.delivery.queue, Queue::Work(..))
    }
}

/// What a try at one message came to.
enum Verdict {
    Done(Vec<Output>),
    Failed(HandlerError),
    /// A panic, an overrun, or a permanent failure of a whole crowd: nobody knows whose fault it is until each ran alone.
    Struck {
        cause: &'static str,
        error: String,
    },
}

/// Works until every message of the batch is settled, however long the surroundings are away.
pub(super) async fn work_off<H: Handler>(handler: H, host: &Shared, consumer: &dyn Consumer, batch: Vec<Delivery>) {
    let _running = host.numbers.running();
    let outbox = Outbox::new(host, consumer);
    let mut groups = VecDeque::from([batch.into_iter().map(Held::new).collect::<Vec<_>>()]);
    let mut backoff = Backoff::new(host.config.retry);
    let mut outage = None;
    while let Some(group) = groups.pop_front() {
        let verdicts = invoke(&handler, host, &group).await;
        let sorted = sort(host, group, verdicts);
        outbox.settle(sorted.settled).await;
        groups.extend(sorted.alone.into_iter().map(|held| vec![held]));
        match sorted.away {
            Some(error) => {
                outage.get_or_insert_with(|| host.breaker.trip(&error));
                groups.push_front(sorted.again);
                tokio::time::sleep(backoff.next_wait(None)).await;
            }
            None => {
                outage = None;
                backoff.reset();
            }
        }
    }
}

#[derive(Default)]
struct Sorted {
    settled: Vec<(Held, Fate)>,
    /// To try again together, because the surroundings failed.
    again: Vec<Held>,
    /// How they failed, where `again` is not empty.
    away: Option<String>,
    /// To try again one by one.
    alone: Vec<Held>,
}

fn sort(host: &Shared, group: Vec<Held>, verdicts: Vec<Verdict>) -> Sorted {
    let mut sorted = Sorted::default();
    let crowd = group.len() > 1;
    let repeat = |cause| host.numbers.repeats.get(cause).inc();
    for (mut held, verdict) in group.into_iter().zip(verdicts) {
        let (cause, error) = match verdict {
            Verdict::Done(outputs) => {
                sorted.settled.push((held, Fate::Done(outputs)));
                continue;
            }
            Verdict::Struck { .. } if crowd => {
                repeat("neighbour");
                sorted.alone.push(held);
                continue;
            }
            Verdict::Struck { cause, error } => {
                held.strikes += 1;
                if held.strikes < host.config.attempts_max {
                    tracing::warn!(error, attempt = held.attempt(), "{}: trying a message again", host.name);
                    repeat(cause);
                    sorted.alone.push(held);
                    continue;
                }
                (cause, error)
            }
            Verdict::Failed(HandlerError { fault: Fault::Permanent, error }) => {
                held.strikes += 1;
                ("permanent", error)
            }
            Verdict::Failed(HandlerError { fault: Fault::Transient, error }) => {
                repeat("transient");
                sorted.away.get_or_insert(error);
                sorted.again.push(held);
                continue;
            }
        };
        // Given up. What was tried for the first time has one strike now: attempts are counted from 1.
        let attempts = held.attempt().saturating_sub(1);
        if held.may_die() {
            tracing::error!(error, attempts, cause, queue = %held.delivery.queue, "{}: giving a message up", host.name);
            sorted.settled.push((held, Fate::Dead { error, attempts }));
        } else {
            held.strikes = 0;
            sorted.away.get_or_insert(error);
            sorted.again.push(held);
        }
    }
    sorted
}

/// Calls the handler once. One verdict a message.
async fn invoke<H: Handler>(handler: &H, host: &Shared, group: &[Held]) -> Vec<Verdict> {
    let progress = Progress::new(host.config.deadline);
    let invocations: Vec<_> = group
        .iter()
        .map(|held| Invocation {
            message: held.delivery.message.clone(),
            attempt: held.attempt(),
            progress: progress.clone(),
            trace: held.trace,
        })
        .collect();
    host.numbers.batch_messages.observe(group.len() as f64);
    let span = match group {
        [only] => tracing::info_span!("invoke", part = host.name, trace_id = %only.trace.id()),
        _ => tracing::info_span!("invoke", part = host.name, messages = group.len()),
    };
    let begin = Instant::now();
    // Inside the async block, so that a handler's panic before its first await is caught, too.
    let call = async { handler.clone().oneshot(Batch(invocations)).await };
    let outcome = progress.wait_for(AssertUnwindSafe(call).catch_unwind().instrument(span)).await;
    host.numbers.batch_seconds.observe(begin.elapsed().as_secs_f64());

    let struck = |cause, error: String| group.iter().map(|_| Verdict::Struck { cause, error: error.clone() }).collect();
    match outcome {
        Some(Ok(Ok(Reply(items)))) if items.len() == group.len() => {
            items.into_iter().map(|item| item.map_or_else(Verdict::Failed, Verdict::Done)).collect()
        }
        Some(Ok(Ok(Reply(items)))) => {
            struck("reply", format!("the handler answered {} of {} messages", items.len(), group.len()))
        }
        Some(Ok(Err(error))) if error.fault == Fault::Permanent && group.len() > 1 => struck("permanent", error.error),
        Some(Ok(Err(error))) => group.iter().map(|_| Verdict::Failed(error.clone())).collect(),
        Some(Err(payload)) => struck("panic", format!("the handler panicked: {}", panic_message(&*payload))),
        None => struck("deadline", format!("the handler did not get on for {:?}", host.config.deadline)),
    }
}
