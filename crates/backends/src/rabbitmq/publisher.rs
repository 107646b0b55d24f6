//! Publishing with confirms, many on their way at once.
//!
//! Each call has a channel of its own while it lasts: a message that comes back is told with the next confirm of its channel, whose
//! ever that is, so on a channel that calls share nobody could say which call it belongs to.

use std::sync::{Arc, Mutex, PoisonError};

use detektor_contract::names::{Queue, WORK_EXCHANGE};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::broker::within;
use super::link::Link;
use super::message::properties;
use super::unavailable;
use crate::queue::{Message, PUBLISH_DEADLINE, QueueError};

/// Calls that publish at once, and the most channels that are kept for them. Others wait.
const CALLS: usize = 64;

pub(super) struct Publisher {
    link: Arc<Link>,
    /// Channels that work and that nothing is on its way on.
    idle: Mutex<Vec<Channel>>,
    calls: Semaphore,
}

/// Whether a queue took all messages of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    All,
    /// At least one came back: the queue is not bound.
    NotAll,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, idle: Mutex::default(), calls: Semaphore::new(CALLS) }
    }

    pub(super) async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        if self.put(queue, &messages).await? == Taken::All {
            return Ok(());
        }
        let first = match queue {
            Queue::Work(work, 1..) => Queue::Work(work, 0),
            Queue::Work(_, 0) | Queue::Dead(_) => return Err(no_queue(queue)),
        };
        tracing::debug!(%queue, instead = %first, messages = messages.len(), "the partition is not open");
        // Twice is as good as once.
        match self.put(first, &messages).await? {
            Taken::All => Ok(()),
            Taken::NotAll => Err(no_queue(first)),
        }
    }

    async fn put(&self, queue: Queue, messages: &[Message]) -> Result<Taken, QueueError> {
        let _call = match self.calls.acquire().await {
            Ok(call) => call,
            // Nobody closes this semaphore.
            Err(_) => std::future::pending().await,
        };
        let channel = self.channel().await?;
        let taken = publish(&channel, queue, messages).await;
        // After anything else something may still be on its way on it.
        if matches!(taken, Ok(_) | Err(QueueError::Full { .. })) {
            self.idle().push(channel);
        }
        taken
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn channel(&self) -> Result<Channel, QueueError> {
        loop {
            let Some(channel) = self.idle().pop() else { break };
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.link.channel().await?;
        within("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }
}

fn no_queue(queue: Queue) -> QueueError {
    unavailable(format!("publishing to {queue}"), "there is no such queue, or it is not open")
}

async fn publish(channel: &Channel, queue: Queue, messages: &[Message]) -> Result<Taken, QueueError> {
    let until = Instant::now() + PUBLISH_DEADLINE;
    let context = || format!("publishing to {queue}");
    let exchange = match queue {
        Queue::Work(..) => WORK_EXCHANGE,
        Queue::Dead(_) => "",
    };
    let name = queue.to_string();
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish =
            channel.basic_publish(exchange.into(), name.as_str().into(), options, &message.body, properties(message));
        // A broker that is short of memory or disk stops reading.
        let sent = timeout_at(until, publish).await.map_err(|late| unavailable(context(), late))?;
        confirms.push(sent.map_err(|error| unavailable(context(), error))?);
    }
    let (mut taken, mut full) = (Taken::All, false);
    for confirm in confirms {
        let answer = timeout_at(until, confirm).await.map_err(|late| unavailable(context(), late))?;
        match answer.map_err(|error| unavailable(context(), error))? {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(_)) => taken = Taken::NotAll,
            Confirmation::Nack(_) => full = true,
            Confirmation::NotRequested => return Err(unavailable(context(), "the channel does not confirm")),
        }
    }
    if full { Err(QueueError::Full { queue }) } else { Ok(taken) }
}
