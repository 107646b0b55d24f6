//! Publishes what a batch came to, and settles it after that.

use std::collections::BTreeMap;
use std::future::Future;

use detektor_backends::queue::{Consumer, Message, QueueError, Settle, Tag};
use detektor_contract::Faulty;
use detektor_contract::names::{
    HEADER_ATTEMPTS, HEADER_CAPTURED_AT, HEADER_CLOSED_AT, HEADER_ERROR, HEADER_PUBLISHED_AT, HEADER_QUEUE,
    HEADER_TAKEN_AT, HEADER_TRACEPARENT, Queue,
};
use tokio::time::timeout;

use super::Shared;
use super::batch::Held;
use super::config::CALL_DEADLINE;
use super::numbers::Settled;
use crate::handler::Output;
use crate::retry::Backoff;
use crate::telemetry::chain;
use crate::unix_us;

/// An error in a dead letter's header is cut here, in characters: brokers bound their headers.
const ERROR_MAX: usize = 1_000;

/// How a message leaves.
pub(super) enum Fate {
    Done(Vec<Output>),
    Dead { error: String, attempts: u32 },
}

pub(super) struct Outbox<'b> {
    host: &'b Shared,
    consumer: &'b dyn Consumer,
}

impl<'b> Outbox<'b> {
    pub(super) fn new(host: &'b Shared, consumer: &'b dyn Consumer) -> Self {
        Self { host, consumer }
    }

    /// Publishes all outputs and dead letters; once every one is confirmed, acks their inputs.
    pub(super) async fn settle(&self, settled: Vec<(Held, Fate)>) {
        let mut letters: BTreeMap<Queue, Vec<Message>> = BTreeMap::new();
        let mut acks = Vec::with_capacity(settled.len());
        for (held, fate) in settled {
            let tag = held.delivery.tag;
            match fate {
                Fate::Done(outputs) => {
                    for Output { work, message } in outputs {
                        let queue = Queue::Work(work, partition(&held));
                        letters.entry(queue).or_default().push(continued(message, &held));
                    }
                    acks.push((tag, Settled::Done));
                }
                Fate::Dead { error, attempts } => {
                    let (Queue::Work(work, _) | Queue::Dead(work)) = held.delivery.queue;
                    letters.entry(Queue::Dead(work)).or_default().push(dead_letter(held, &error, attempts));
                    acks.push((tag, Settled::Dead));
                }
            }
        }
        for (queue, messages) in letters {
            self.publish(queue, messages).await;
        }
        for (tag, outcome) in acks {
            self.ack(tag, outcome).await;
        }
    }

    async fn publish(&self, queue: Queue, messages: Vec<Message>) {
        let count = messages.len() as u64;
        self.insist(|| async {
            let publishing = timeout(CALL_DEADLINE, self.host.queues.publish(queue, messages.clone()));
            publishing.await.unwrap_or_else(|_| Err(timed_out("publishing")))
        })
        .await;
        self.host.numbers.outputs.inc_by(count);
    }

    async fn ack(&self, tag: Tag, outcome: Settled) {
        let mine = self.insist(|| async {
            let settling = timeout(CALL_DEADLINE, self.consumer.settle(tag, Settle::Ack));
            match settling.await.unwrap_or_else(|_| Err(timed_out("settling"))) {
                Ok(()) => Ok(true),
                // It went to somebody else, who will do the same over again, to the same effect.
                Err(QueueError::NotHeld(_) | QueueError::Closed) => Ok(false),
                Err(error @ (QueueError::Unavailable { .. } | QueueError::Full { .. })) => Err(error),
            }
        });
        let outcome = if mine.await { outcome } else { Settled::NotHeld };
        self.host.numbers.settled(outcome);
    }

    /// Tries until it works: the queue's absence is no fault of the messages. Only the end of the drain ends it.
    async fn insist<T, F, Fut>(&self, mut operation: F) -> T
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, QueueError>>,
    {
        let mut backoff = Backoff::new(self.host.config.retry);
        let mut outage = None;
        loop {
            match operation().await {
                Ok(value) => return value,
                Err(error) => {
                    outage.get_or_insert_with(|| self.host.breaker.trip(&chain(&error)));
                    tokio::time::sleep(backoff.next_wait(error.retry_after())).await;
                }
            }
        }
    }
}

fn timed_out(context: &str) -> QueueError {
    QueueError::Unavailable { context: format!("{context}: no answer within {CALL_DEADLINE:?}"), source: None }
}

/// The partition that a message belongs to: its queue's, or that of the queue it died in. Which one it is costs order nothing,
/// so a dead letter that does not say goes to the first.
fn partition(held: &Held) -> u16 {
    let died_in = || held.delivery.message.headers.get(HEADER_QUEUE)?.parse().ok();
    match held.delivery.queue {
        Queue::Work(_, partition) => partition,
        Queue::Dead(_) => match died_in() {
            Some(Queue::Work(_, partition)) => partition,
            Some(Queue::Dead(_)) | None => 0,
        },
    }
}

/// An output that goes on with its input's trace and measurements, unless it brings its own.
fn continued(mut message: Message, held: &Held) -> Message {
    if !message.headers.contains_key(HEADER_TRACEPARENT) {
        held.trace.write(&mut message.headers);
    }
    for name in [HEADER_CLOSED_AT, HEADER_CAPTURED_AT] {
        if let Some(value) = held.delivery.message.headers.get(name) {
            message.headers.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    }
    for (name, at) in [(HEADER_TAKEN_AT, held.taken_unix_us), (HEADER_PUBLISHED_AT, unix_us())] {
        message.headers.insert(name.to_owned(), at.to_string());
    }
    message
}

fn dead_letter(held: Held, error: &str, attempts: u32) -> Message {
    let Held { delivery, trace, .. } = held;
    let mut message = delivery.message;
    trace.write(&mut message.headers);
    let mut set = |name: &str, value: String| message.headers.insert(name.to_owned(), value);
    set(HEADER_ERROR, error.chars().take(ERROR_MAX).collect());
    set(HEADER_ATTEMPTS, attempts.to_string());
    set(HEADER_QUEUE, delivery.queue.to_string());
    message
}
