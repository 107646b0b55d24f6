//! A queue: publish, receive, settle.
//!
//! A message is *ready* until it is delivered, then *unacked* until it is settled or its consumer is gone; then it is gone
//! or ready again, with one more attempt. A message delivered more often than the delivery limit goes to the dead-letter
//! queue of its kind of work. Delivery is at least once; order within a queue is kept only where nothing is redelivered.
//!
//! Partitions come and go while everything runs. One is *opened*, and takes messages; it is *retired*, and takes no new ones, while
//! what it holds is still to be received; it is *removed* once it is drained. What is published into a partition that is not open
//! goes into the first one, partition 0, which is never retired: merge restores the order, so it is as good there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{Fault, Faulty};

pub use detektor_contract::names::{HEADER_ATTEMPTS, HEADER_ERROR};

/// What is put into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The wire form.
    pub body: Bytes,
    /// Trace context and measurements; nothing settled depends on them.
    pub headers: BTreeMap<String, String>,
}

/// A message that was taken out and waits to be settled.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue that it comes from.
    pub queue: Queue,
    /// The message.
    pub message: Message,
    /// 1 at first, one more each time it was delivered and not settled.
    pub attempt: u32,
    /// What [`Consumer::settle`] wants.
    pub tag: Tag,
}

/// Names a delivery to the consumer that received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settle {
    /// All of its output is confirmed: forget it.
    Ack,
    /// Deliver it again, to anybody. Counts as an attempt.
    Requeue,
}

/// How much a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting.
    pub ready: u64,
    /// Delivered and not settled.
    pub unacked: u64,
}

/// Why a queue did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It is away, or the connection broke.
    #[error("the queue is not available: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// The driver's error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It takes no more for now.
    #[error("the queue {queue} is full")]
    Full {
        /// Which.
        queue: Queue,
    },
    /// The delivery was already settled, or went back when its consumer lost its connection.
    #[error("delivery {0:?} is not ours to settle any more")]
    NotHeld(Tag),
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}

impl Faulty for QueueError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } | Self::Full { .. } | Self::NotHeld(_) | Self::Closed => Fault::Transient,
        }
    }
}

/// How a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It takes messages.
    Open,
    /// It takes no new ones; what it holds is still to be received.
    Retired,
}

/// The queues of work that there are, of both kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(pub BTreeMap<Queue, Standing>);

impl Partitions {
    /// The queues of a kind of work that stand like this, in order.
    pub fn of(&self, work: Work, standing: Standing) -> Vec<Queue> {
        let of = |queue: &Queue| matches!(queue, Queue::Work(kind, _) if *kind == work);
        self.0.iter().filter(|(queue, found)| of(queue) && **found == standing).map(|(queue, _)| *queue).collect()
    }

    /// How a queue stands; none if it is not there.
    pub fn standing(&self, queue: Queue) -> Option<Standing> {
        self.0.get(&queue).copied()
    }
}

/// No publish waits longer for its confirmation; then it has failed.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(30);

/// Whether a queue can be retired: there is always a first partition, and always a place for dead letters.
pub(crate) fn may_retire(queue: Queue) -> bool {
    matches!(queue, Queue::Work(_, 1..))
}

/// Where messages are put and taken.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// Puts messages into `queue`; where that partition is not open, into the first one. Returns once every one is durable. On
    /// an error some may be: put them all again.
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError>;

    /// Begins to take from `queues`, holding at most `prefetch` unsettled deliveries over all of them.
    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError>;

    /// How much `queue` holds, as it was measured last; nothing if it is not there.
    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError>;

    /// The same of every queue there is, of work and of dead letters.
    async fn depths(&self) -> Result<BTreeMap<Queue, Depth>, QueueError> {
        let mut depths = BTreeMap::new();
        for queue in self.partitions().await?.0.into_keys().chain(Work::ALL.map(Queue::Dead)) {
            depths.insert(queue, self.depth(queue).await?);
        }
        Ok(depths)
    }

    /// What waits in `queue` at this moment; nothing if it is not there.
    async fn ready(&self, queue: Queue) -> Result<u64, QueueError> {
        Ok(self.depth(queue).await?.ready)
    }

    /// Which partitions there are.
    async fn partitions(&self) -> Result<Partitions, QueueError>;

    /// Lets a partition take messages from here on; makes it if it is not there. Where it was removed, those who took from it have
    /// turned away before: a broker may else believe them to be there still.
    async fn open(&self, queue: Queue) -> Result<(), QueueError>;

    /// Lets a partition take no new messages from here on. Nothing happens to the first one, to dead letters, and to one that is
    /// not there.
    async fn retire(&self, queue: Queue) -> Result<(), QueueError>;

    /// Whether a queue is retired and is known to hold nothing, ready or unacked. What was published just before it was retired
    /// may still be on its way there.
    async fn is_drained(&self, queue: Queue) -> Result<bool, QueueError>;

    /// Removes a queue if it is drained, and says whether it did. Whoever calls it has seen it drained for longer than anything
    /// can have been on its way.
    async fn remove(&self, queue: Queue) -> Result<bool, QueueError>;
}

/// One subscriber.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// The next delivery; waits for one. Dropping the wait loses nothing. [`QueueError::Closed`] after `close`, and after
    /// `cancel` once what was on its way is received.
    async fn receive(&self) -> Result<Delivery, QueueError>;

    /// Settles a delivery.
    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError>;

    /// Takes from these queues from here on, and from no others. Those that are `retired` are only emptied. What was on its way
    /// here is still to be received; what is held can be settled.
    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<(), QueueError>;

    /// Begins to take no more: nothing that is settled from here on makes room for another one. What is on its way here is still to
    /// be received until that says [`QueueError::Closed`], so that nothing need be delivered again; what is held can be settled.
    async fn cancel(&self) -> Result<(), QueueError>;

    /// Gives back everything unsettled and ends.
    async fn close(&self) -> Result<(), QueueError>;
}
