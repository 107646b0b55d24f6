//! Queues on RabbitMQ.
//!
//! Quorum queues, publisher confirms, manual acks. Whatever breaks (a channel, the connection, the broker) is opened anew at the
//! next use; what was unsettled then, the broker gives to somebody. See [`topology`] for the queues and their arguments.
//!
//! Invariant: a message counts as published only once the broker has confirmed it and returned nothing, and as settled only
//! if the channel that delivered it was still there.

pub(crate) mod broker;
mod consumer;
mod link;
pub(crate) mod management;
mod message;
mod partitions;
mod publisher;
mod setup;
pub mod topology;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::names::Queue;
use lapin::Channel;
use tokio::sync::Mutex;

use self::broker::{is_not_found, look_at};
use self::consumer::RabbitConsumer;
use self::link::Link;
use self::management::Management;
use self::publisher::Publisher;
pub use self::setup::set_policies;
use crate::queue::{Consumer, Depth, Message, Partitions, QueueError, Queues};

/// Where a broker is, and how to reach it.
#[derive(Clone, Debug)]
pub struct RabbitOptions {
    /// `amqp://host:port/vhost` or `amqps://…`, without credentials.
    pub url: String,
    /// The user.
    pub user: String,
    /// A file that holds the user's password; read again at every connection.
    pub password_file: PathBuf,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The management API, `http://host:port` or `https://…`: how much a queue holds is asked there.
    pub management_url: String,
    /// How often a message is delivered before it is a dead letter: what the broker's policy says, plus one.
    pub delivery_limit: u32,
}

/// What a queue holds, and how fast messages come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// What it holds.
    pub depth: Depth,
    /// Messages that were published into it a second, over the last minute; none where the broker does not measure.
    pub in_per_s: Option<f64>,
    /// Messages that were settled for good a second, likewise.
    pub out_per_s: Option<f64>,
}

/// The queues of one virtual host.
pub struct RabbitMq {
    link: Arc<Link>,
    publisher: Publisher,
    management: Management,
    /// To look at queues with. It does not outlive a look at one that is not there.
    looks: Mutex<Option<Channel>>,
}

impl RabbitMq {
    /// Connects, and declares what is always there: the exchange of work, and the queues of dead letters.
    ///
    /// # Errors
    /// Where the broker cannot be reached, refuses, or has something of one of our names with other arguments.
    pub async fn connect(options: RabbitOptions) -> Result<Self, QueueError> {
        let queues = Self::new(options)?;
        queues.link.channel().await?;
        Ok(queues)
    }

    /// The same, but it connects once it is used.
    ///
    /// # Errors
    /// Where an address makes no sense, or certificates cannot be read.
    pub fn new(options: RabbitOptions) -> Result<Self, QueueError> {
        let management = Management::new(&options)?;
        let link = Arc::new(Link::new(options)?);
        Ok(Self { publisher: Publisher::new(Arc::clone(&link)), link, management, looks: Mutex::default() })
    }

    /// What every queue there is holds and how fast messages come and go, as it was measured last.
    ///
    /// # Errors
    /// Where the management API is away, or refuses.
    pub async fn flows(&self) -> Result<BTreeMap<Queue, Flow>, QueueError> {
        self.management.flows().await
    }

    async fn looking(&self) -> Result<Channel, QueueError> {
        let mut looks = self.looks.lock().await;
        match &*looks {
            Some(channel) if channel.status().connected() => Ok(channel.clone()),
            _ => Ok(looks.insert(self.link.channel().await?).clone()),
        }
    }
}

#[async_trait]
impl Queues for RabbitMq {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        self.publisher.publish(queue, messages).await
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        Ok(Arc::new(RabbitConsumer::begin(Arc::clone(&self.link), queues, prefetch).await?))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        self.management.depth(queue).await
    }

    async fn depths(&self) -> Result<BTreeMap<Queue, Depth>, QueueError> {
        self.management.depths().await
    }

    async fn ready(&self, queue: Queue) -> Result<u64, QueueError> {
        match look_at(&self.looking().await?, queue).await {
            Ok(found) => Ok(found.ready.into()),
            Err(error) if is_not_found(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn partitions(&self) -> Result<Partitions, QueueError> {
        partitions::list(&self.management).await
    }

    async fn open(&self, queue: Queue) -> Result<(), QueueError> {
        partitions::open(&self.link, queue).await
    }

    async fn retire(&self, queue: Queue) -> Result<(), QueueError> {
        partitions::retire(&self.link, queue).await
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool, QueueError> {
        partitions::is_drained(&self.link, &self.management, queue).await
    }

    async fn remove(&self, queue: Queue) -> Result<bool, QueueError> {
        partitions::remove(&self.link, &self.management, queue).await
    }
}

pub(crate) fn unavailable(
    context: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> QueueError {
    QueueError::Unavailable { context: context.into(), source: Some(source.into()) }
}

#[cfg(test)]
mod tests;
