use std::sync::Arc;

use async_trait::async_trait;
use detektor_contract::names::Queue;

use super::{OnPurpose, Plan};
use crate::queue::{Consumer, Delivery, Depth, Message, QueueError, Queues, Settle, Tag};

/// Queues under a plan. Calls: `publish`, `consume`, `depth`, `receive`, `ack`, `requeue`, `cancel`, `close`. A `receive`
/// that fails after its effect has given the delivery back.
pub struct FailingQueues {
    inner: Arc<dyn Queues>,
    plan: Arc<Plan>,
}

impl FailingQueues {
    /// Wraps queues.
    pub fn new(inner: Arc<dyn Queues>, plan: Arc<Plan>) -> Arc<Self> {
        Arc::new(Self { inner, plan })
    }
}

fn error(error: OnPurpose) -> QueueError {
    QueueError::Unavailable { context: error.to_string(), source: Some(error.into()) }
}

#[async_trait]
impl Queues for FailingQueues {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Result<(), QueueError> {
        self.plan.around("publish", error, self.inner.publish(queue, messages)).await
    }

    async fn consume(&self, queues: &[Queue], prefetch: u32) -> Result<Arc<dyn Consumer>, QueueError> {
        let inner = self.plan.around("consume", error, self.inner.consume(queues, prefetch)).await?;
        Ok(Arc::new(FailingConsumer { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, QueueError> {
        self.plan.around("depth", error, self.inner.depth(queue)).await
    }
}

struct FailingConsumer {
    inner: Arc<dyn Consumer>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Consumer for FailingConsumer {
    async fn receive(&self) -> Result<Delivery, QueueError> {
        match self.plan.next("receive") {
            None => self.inner.receive().await,
            Some(super::Moment::Before) => Err(error(OnPurpose("receive"))),
            Some(super::Moment::After) => {
                let lost = self.inner.receive().await?;
                self.inner.settle(lost.tag, Settle::Requeue).await?;
                Err(error(OnPurpose("receive")))
            }
        }
    }

    async fn settle(&self, tag: Tag, how: Settle) -> Result<(), QueueError> {
        let call = match how {
            Settle::Ack => "ack",
            Settle::Requeue => "requeue",
        };
        self.plan.around(call, error, self.inner.settle(tag, how)).await
    }

    async fn cancel(&self) -> Result<(), QueueError> {
        self.plan.around("cancel", error, self.inner.cancel()).await
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.plan.around("close", error, self.inner.close()).await
    }
}
