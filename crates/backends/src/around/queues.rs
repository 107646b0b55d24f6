use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::names::Queue;

use super::Around;
use crate::queue::{Consumer, Delivery, Depth, Message, Partitions, QueueError, Queues, Settle, Tag};

/// Queues behind something. Calls: `publish`, `consume`, `depth`, `partitions`, `open`, `retire`, `is_drained`, `remove`,
/// `receive`, `ack`, `requeue`, `turn_to`, `cancel`, `close`.
pub struct AroundQueues<A> {
    inner: Arc<dyn Queues>,
    around: Arc<A>,
}

impl<A: Around> AroundQueues<A> {
    /// Wraps queues.
    pub fn new(inner: Arc<dyn Queues>, around: Arc<A>) -> Arc<Self> {
        Arc::new(Self { inner, around })
    }
}

#[async_trait]
impl<A: Around> Queues for AroundQueues<A> {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        self.around.call("publish", self.inner.publish(queue, messages)).await
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        let inner = self.around.call("consume", self.inner.consume(queues, prefetch)).await?;
        Ok(Arc::new(AroundConsumer { inner, around: Arc::clone(&self.around) }))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        self.around.call("depth", self.inner.depth(queue)).await
    }

    /// Everybody looks now and then: what publishes and receives is not to be held up by it.
    async fn depths(&self) -> Result<BTreeMap<Queue, Depth>, QueueError> {
        self.around.wait("depths", self.inner.depths()).await
    }

    async fn ready(&self, queue: Queue) -> Result<u64, QueueError> {
        self.around.call("ready", self.inner.ready(queue)).await
    }

    /// Everybody looks now and then, for news that can wait: what publishes and receives is not to be held up by it.
    async fn partitions(&self) -> Result<Partitions, QueueError> {
        self.around.wait("partitions", self.inner.partitions()).await
    }

    async fn open(&self, queue: Queue) -> Result<(), QueueError> {
        self.around.call("open", self.inner.open(queue)).await
    }

    async fn retire(&self, queue: Queue) -> Result<(), QueueError> {
        self.around.call("retire", self.inner.retire(queue)).await
    }

    async fn is_drained(&self, queue: Queue) -> Result<bool, QueueError> {
        self.around.call("is_drained", self.inner.is_drained(queue)).await
    }

    async fn remove(&self, queue: Queue) -> Result<bool, QueueError> {
        self.around.call("remove", self.inner.remove(queue)).await
    }
}

struct AroundConsumer<A> {
    inner: Arc<dyn Consumer>,
    around: Arc<A>,
}

#[async_trait]
impl<A: Around> Consumer for AroundConsumer<A> {
    async fn receive(&self) -> Result<Delivery, QueueError> {
        self.around.receive(&*self.inner).await
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError> {
        let call = match how {
            Settle::Ack => "ack",
            Settle::Requeue => "requeue",
        };
        self.around.call(call, self.inner.settle(tag, how)).await
    }

    async fn turn_to(&self, queues: &[Queue], retired: &[Queue]) -> Result<(), QueueError> {
        self.around.call("turn_to", self.inner.turn_to(queues, retired)).await
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.around.call("cancel", self.inner.cancel()).await
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.around.call("close", self.inner.close()).await
    }
}
