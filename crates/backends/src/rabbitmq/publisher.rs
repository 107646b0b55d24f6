//! Publishing with confirms, many on their way at once.

use std::sync::Arc;
use std::time::Duration;

use detektor_contract::names::Queue;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::broker::within;
use super::link::Link;
use super::message::properties;
use super::unavailable;
use crate::queue::{Message, QueueError};

/// How long the broker may take to have a message on the disks of a majority.
const CONFIRM: Duration = Duration::from_secs(30);

pub(super) struct Publisher {
    link: Arc<Link>,
    channel: Mutex<Option<Channel>>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, channel: Mutex::default() }
    }

    pub(super) async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        let channel = self.channel().await?;
        let answer = publish(&channel, queue, messages).await;
        if matches!(answer, Err(QueueError::Unavailable { .. })) {
            // Whoever comes next opens another; those that wait for confirms on this one hear of it themselves.
            let mut current = self.channel.lock().await;
            if current.as_ref().is_some_and(|current| current.id() == channel.id()) {
                *current = None;
            }
        }
        answer
    }

    async fn channel(&self) -> Result<Channel, QueueError> {
        let mut current = self.channel.lock().await;
        if let Some(channel) = current.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.link.channel().await?;
        within("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *current = Some(channel.clone());
        Ok(channel)
    }
}

async fn publish(channel: &Channel, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
    let until = Instant::now() + CONFIRM;
    let context = || format!("publishing to {queue}");
    let name = queue.to_string();
    let mut confirms = Vec::with_capacity(messages.len());
    for message in &messages {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish =
            channel.basic_publish("".into(), name.as_str().into(), options, &message.body, properties(message));
        // A broker that is short of memory or disk stops reading.
        let sent = timeout_at(until, publish).await.map_err(|late| unavailable(context(), late))?;
        confirms.push(sent.map_err(|error| unavailable(context(), error))?);
    }
    for confirm in confirms {
        let answer = timeout_at(until, confirm).await.map_err(|late| unavailable(context(), late))?;
        match answer.map_err(|error| unavailable(context(), error))? {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(_)) => return Err(unavailable(context(), "the broker has no such queue")),
            Confirmation::Nack(_) => return Err(QueueError::Full { queue }),
            Confirmation::NotRequested => return Err(unavailable(context(), "the channel does not confirm")),
        }
    }
    Ok(())
}
