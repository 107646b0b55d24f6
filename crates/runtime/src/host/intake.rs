//! Receives, and forms batches.

use std::collections::VecDeque;
use std::sync::Arc;

use detektor_backends::queue::{Consumer, Delivery, QueueError};
use detektor_contract::Faulty;
use tokio::time::{Instant, sleep, sleep_until};

use super::breaker::{Breaker, Outage};
use super::config::HostConfig;
use crate::retry::Backoff;
use crate::telemetry::chain;

pub(super) struct Intake<'h> {
    consumer: Arc<dyn Consumer>,
    config: &'h HostConfig,
    breaker: &'h Breaker,
    /// Received and not yet handed out. At most a batch, and one behind it that has to run alone.
    pending: VecDeque<Delivery>,
    received: u64,
}

impl<'h> Intake<'h> {
    pub(super) fn new(consumer: Arc<dyn Consumer>, config: &'h HostConfig, breaker: &'h Breaker) -> Self {
        Self { consumer, config, breaker, pending: VecDeque::new(), received: 0 }
    }

    /// How many messages were received so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Receives until a batch is full, its linger is over, or the source is closed: then false. Dropping the future loses
    /// nothing. While the breaker is open it takes nothing.
    pub(super) async fn fill(&mut self) -> bool {
        let mut linger_until = self.pending.front().map(|_| Instant::now() + self.config.batch_linger);
        let mut backoff = Backoff::new(self.config.retry);
        // Held while the source itself is away: then the open breaker is our own doing.
        let mut outage: Option<Outage<'h>> = None;
        while !self.is_full() {
            if self.pending.is_empty() && outage.is_none() {
                self.breaker.closed().await;
            }
            let received = tokio::select! {
                biased;
                () = self.breaker.open(), if outage.is_none() => {
                    if self.pending.is_empty() {
                        continue;
                    }
                    return true;
                }
                () = until(linger_until) => return true,
                received = self.consumer.receive() => received,
            };
            match received {
                Ok(delivery) => {
                    outage = None;
                    self.hold(delivery);
                    linger_until.get_or_insert_with(|| Instant::now() + self.config.batch_linger);
                }
                Err(QueueError::Closed) => return false,
                // What is pending need not wait for the source.
                Err(_) if !self.pending.is_empty() => return true,
                Err(error) => {
                    outage.get_or_insert_with(|| self.breaker.trip(&chain(&error)));
                    sleep(backoff.next_wait(error.retry_after())).await;
                }
            }
        }
        true
    }

    /// Receives one more of what was on its way when the source was cancelled; false if that was all, or the source is gone and
    /// has it back.
    pub(super) async fn receive_rest(&mut self) -> bool {
        self.consumer.receive().await.map(|delivery| self.hold(delivery)).is_ok()
    }

    fn hold(&mut self, delivery: Delivery) {
        if delivery.attempt > 1 {
            tracing::info!(queue = %delivery.queue, attempt = delivery.attempt, "a message is delivered again: it runs alone");
        }
        self.received += 1;
        self.pending.push_back(delivery);
    }

    /// The next batch: one that was delivered before runs alone, as it may have killed its worker.
    pub(super) fn take(&mut self) -> Option<Vec<Delivery>> {
        let first = self.pending.pop_front()?;
        let mut batch = vec![first];
        if batch[0].attempt == 1 {
            while batch.len() < self.config.batch_max as usize
                && let Some(next) = self.pending.pop_front_if(|next| next.attempt == 1)
            {
                batch.push(next);
            }
        }
        Some(batch)
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= self.config.batch_max as usize || self.pending.iter().any(|d| d.attempt > 1)
    }
}

/// Waits until then; for ever where there is no then.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}
