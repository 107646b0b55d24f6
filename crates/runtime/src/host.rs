//! Takes messages from queues, calls a handler with them, publishes what it returns, and settles last.
//!
//! ```text
//! permit -> receive -> batch -> handler -> publish outputs, all confirmed -> ack -> permit back
//! ```
//!
//! What happens to a message:
//!
//! | The handler                       | The host                                                                      |
//! |-----------------------------------|-------------------------------------------------------------------------------|
//! | succeeds                          | publishes the outputs, acks                                                   |
//! | fails transiently                 | keeps it, takes nothing new, tries again in place, without end                |
//! | fails permanently                 | publishes it to the dead-letter queue with the error, acks                    |
//! | panics, hangs past the deadline   | tries it again alone; after `attempts_max` times alone it is a dead letter    |
//! | takes the whole process with it   | the queue delivers it again (`attempt` > 1), and it runs alone                |
//!
//! A message of a dead-letter queue has nowhere worse to go: it is kept and tried again, and readiness says so.
//!
//! Invariant: nothing is rejected or requeued. A message leaves by an ack after its effect is durable, or goes back when the
//! drain runs out of time or the process dies.

mod batch;
mod breaker;
mod config;
mod intake;
mod numbers;
mod outbox;
mod partitions;

use std::sync::Arc;

use detektor_backends::queue::{Consumer, Delivery, QueueError, Queues};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handler::Handler;
use crate::http::Health;
use crate::metrics::{Metrics, MetricsError};
use crate::retry::{RetryError, retry};
use crate::telemetry::chain;

use breaker::Breaker;
pub use config::{HostConfig, InvalidHostConfig, Source};
use intake::Intake;
use numbers::Numbers;

/// Why a host cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The configuration makes no sense: every mistake in it.
    #[error("{name}: {}", list(mistakes))]
    Config {
        /// The host.
        name: &'static str,
        /// What is wrong.
        mistakes: Vec<InvalidHostConfig>,
    },
    /// Its metrics cannot be registered, as when two hosts have one name.
    #[error("{0}")]
    Metrics(&'static str, #[source] MetricsError),
    /// The queue refuses for good.
    #[error("{0} cannot subscribe")]
    Subscribe(&'static str, #[source] QueueError),
}

fn list(mistakes: &[InvalidHostConfig]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a host did in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostReport {
    /// Messages whose outputs were published, and that were acked.
    pub done: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Messages that were handled, but had gone to somebody else meanwhile.
    pub not_held: u64,
    /// Messages that were still being worked on when the drain's time was up. They went back to the queue.
    pub given_back: u64,
}

/// Runs a handler on what comes out of queues.
pub struct Host<H> {
    handler: H,
    shared: Arc<Shared>,
}

/// What a host's batches share.
struct Shared {
    name: &'static str,
    queues: Arc<dyn Queues>,
    config: HostConfig,
    breaker: Breaker,
    numbers: Numbers,
}

impl<H: Handler> Host<H> {
    /// Checks the configuration. `name` is the part's name in metrics, health checks and logs: `detect`.
    pub fn new(
        name: &'static str,
        handler: H,
        queues: Arc<dyn Queues>,
        config: HostConfig,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Self, HostError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(HostError::Config { name, mistakes });
        }
        let numbers = Numbers::new(&metrics.part(name)).map_err(|source| HostError::Metrics(name, source))?;
        let breaker = Breaker::new(name, health.check(name));
        Ok(Self { handler, shared: Arc::new(Shared { name, queues, config, breaker, numbers }) })
    }

    /// Subscribes, however long that takes, and runs until shutdown; then drains.
    pub async fn run(self, shutdown: CancellationToken) -> Result<HostReport, HostError> {
        let Shared { name, config, queues, .. } = &*self.shared;
        let subscribe = || async {
            let known = partitions::known(&**queues, &config.source).await?;
            let consumer = queues.consume(&known.open, config.prefetch()).await?;
            if !known.retired.is_empty() {
                consumer.turn_to(&known.open, &known.retired).await?;
            }
            Ok::<_, QueueError>((consumer, known))
        };
        let (consumer, known) = match retry(&format!("{name}: subscribing"), &config.retry, &shutdown, subscribe).await
        {
            Ok(subscribed) => subscribed,
            Err(RetryError::Cancelled) => return Ok(HostReport::default()),
            Err(RetryError::Failed(error)) => return Err(HostError::Subscribe(name, error)),
        };
        let shared = Arc::clone(&self.shared);
        let following = partitions::follow(&shared, Arc::clone(&consumer), known);
        tokio::select! {
            report = self.run_on(consumer, shutdown) => Ok(report),
            never = following => match never {},
        }
    }

    /// Runs on an event source until shutdown, or until the source says [`QueueError::Closed`]; then drains: takes nothing
    /// more, finishes what was delivered within the drain deadline, and closes the source.
    pub async fn run_on(self, consumer: Arc<dyn Consumer>, shutdown: CancellationToken) -> HostReport {
        let Shared { name, config, breaker, .. } = &*self.shared;
        let permits = Arc::new(Semaphore::new(config.permits as usize));
        let mut intake = Intake::new(Arc::clone(&consumer), config, breaker);
        let mut running = JoinSet::new();
        breaker.check().pass();

        while let Some(permit) = shutdown.run_until_cancelled(permit(&permits)).await {
            let Some(more) = shutdown.run_until_cancelled(intake.fill()).await else { break };
            if let Some(batch) = intake.take() {
                self.spawn(&mut running, permit, batch, &consumer);
            }
            if !more {
                break;
            }
        }

        let deadline = Instant::now() + config.drain_deadline;
        let drained = tokio::time::timeout_at(deadline, async {
            let rest = async {
                loop {
                    while let Some(batch) = intake.take() {
                        self.spawn(&mut running, permit(&permits).await, batch, &consumer);
                    }
                    if !intake.receive_rest().await {
                        break;
                    }
                }
            };
            // On an error the deliveries that nobody received go back with the close.
            let (cancelled, ()) = tokio::join!(consumer.cancel(), rest);
            while let Some(ended) = running.join_next().await {
                note(name, ended);
            }
            cancelled
        });
        match drained.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "{name}: cannot cancel the subscription"),
            Err(_) => {
                tracing::warn!(batches = running.len(), "{name}: the drain's time is up: giving back what is not done");
            }
        }
        running.shutdown().await;
        match tokio::time::timeout(config::CALL_DEADLINE, consumer.close()).await {
            Ok(Ok(())) | Ok(Err(QueueError::Closed)) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "{name}: cannot close the subscription"),
            Err(_) => tracing::warn!("{name}: closing the subscription takes too long"),
        }
        breaker.check().fail("stopped");
        let report = self.shared.numbers.report(intake.received());
        tracing::info!(report.done, report.dead, report.not_held, report.given_back, "{name}: drained");
        report
    }

    fn spawn(
        &self,
        running: &mut JoinSet<()>,
        permit: OwnedSemaphorePermit,
        batch: Vec<Delivery>,
        consumer: &Arc<dyn Consumer>,
    ) {
        let (handler, shared, consumer) = (self.handler.clone(), Arc::clone(&self.shared), Arc::clone(consumer));
        running.spawn(async move {
            batch::work_off(handler, &shared, &*consumer, batch).await;
            drop(permit);
        });
        while let Some(ended) = running.try_join_next() {
            note(self.shared.name, ended);
        }
    }
}

async fn permit(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(permits).acquire_owned().await {
        Ok(permit) => permit,
        // Nobody closes this semaphore.
        Err(_) => std::future::pending().await,
    }
}

/// Handlers' panics are caught before, so this one would be the host's own: its messages go back with the close.
fn note(name: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "{name}: the host itself panicked");
    }
}

#[cfg(test)]
mod tests;
