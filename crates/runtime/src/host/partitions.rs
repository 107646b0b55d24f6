//! Partitions that come and go: a host takes from those that there are.

use std::convert::Infallible;
use std::sync::Arc;

use detektor_backends::queue::{Consumer, QueueError, Queues, Standing};
use detektor_contract::names::Queue;
use tokio::time::{sleep, timeout};

use super::config::CALL_DEADLINE;
use super::{Shared, Source};
use crate::telemetry::chain;

/// The queues that a host knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) open: Vec<Queue>,
    pub(super) retired: Vec<Queue>,
}

pub(super) async fn known(queues: &dyn Queues, source: &Source) -> Result<Known, QueueError> {
    match source {
        Source::Queues(queues) => Ok(Known { open: queues.clone(), retired: Vec::new() }),
        Source::Partitions(work) => {
            let found = queues.partitions().await?;
            Ok(Known { open: found.of(*work, Standing::Open), retired: found.of(*work, Standing::Retired) })
        }
    }
}

/// Turns a consumer to the partitions that there are, for ever. While nobody can say which, it stays where it is.
pub(super) async fn follow(host: &Shared, consumer: Arc<dyn Consumer>, mut last: Known) -> Infallible {
    let Shared { name, config, queues, .. } = host;
    if matches!(config.source, Source::Queues(_)) {
        return std::future::pending().await;
    }
    loop {
        // Not all at once, where many were started together.
        sleep(config.look_every.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        let turned = async {
            let now = known(&**queues, &config.source).await?;
            if now != last {
                consumer.turn_to(&now.open, &now.retired).await?;
                tracing::info!(open = now.open.len(), retired = now.retired.len(), "{name}: the partitions changed");
                last = now;
            }
            Ok::<(), QueueError>(())
        };
        match timeout(CALL_DEADLINE, turned).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "{name}: nobody says which partitions there are"),
            Err(_) => tracing::debug!("{name}: nobody says in time which partitions there are"),
        }
    }
}
