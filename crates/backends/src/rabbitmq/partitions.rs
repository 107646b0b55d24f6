//! Partitions that come and go.
//!
//! A partition is open while its queue is bound to [`WORK_EXCHANGE`]: the broker itself keeps which ones there are. One that is
//! retired is unbound; nothing can be published into it then, and whoever tries gets the message back. Quorum queues know no
//! deletion under a condition, so a queue is deleted only after it was found empty, by whoever has watched it for long enough.

use std::sync::Arc;

use detektor_contract::names::{Queue, WORK_EXCHANGE};
use lapin::options::{QueueBindOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use super::broker::{is_not_found, look_at, within};
use super::link::Link;
use super::management::{Binding, Management};
use super::topology;
use crate::queue::{Partitions, QueueError, Standing, may_retire};

/// Which partitions there are.
pub(super) async fn list(management: &Management) -> Result<Partitions, QueueError> {
    let mut found = Partitions::default();
    for Binding { source, destination, .. } in management.bindings().await? {
        let Ok(queue @ Queue::Work(..)) = destination.parse() else { continue };
        // Every queue is bound to the default exchange.
        if source == WORK_EXCHANGE {
            found.0.insert(queue, Standing::Open);
        } else {
            found.0.entry(queue).or_insert(Standing::Retired);
        }
    }
    Ok(found)
}

pub(super) async fn open(link: &Link, queue: Queue) -> Result<(), QueueError> {
    let Some(declaration) = topology::working(queue) else { return Ok(()) };
    let channel = link.channel().await?;
    link.declare(&channel, declaration).await?;
    let name = queue.to_string();
    let bind = channel.queue_bind(
        name.as_str().into(),
        WORK_EXCHANGE.into(),
        name.as_str().into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within(&format!("opening {queue}"), bind).await
}

pub(super) async fn retire(link: &Link, queue: Queue) -> Result<(), QueueError> {
    if !may_retire(queue) {
        return Ok(());
    }
    let channel = link.channel().await?;
    let name = queue.to_string();
    let unbind =
        channel.queue_unbind(name.as_str().into(), WORK_EXCHANGE.into(), name.as_str().into(), FieldTable::default());
    match within(&format!("retiring {queue}"), unbind).await {
        Err(error) if is_not_found(&error) => Ok(()),
        retired => retired,
    }
}

/// Whether a queue is retired and holds nothing. What is ready the queue itself says; what is unacked is measured now and then, so
/// it has to be looked at for a while. Where it is not measured at all, the answer is no.
pub(super) async fn is_drained(link: &Arc<Link>, management: &Management, queue: Queue) -> Result<bool, QueueError> {
    if !may_retire(queue) || list(management).await?.standing(queue) != Some(Standing::Retired) {
        return Ok(false);
    }
    let channel = link.channel().await?;
    let ready = match look_at(&channel, queue).await {
        Ok(found) => found.ready,
        Err(error) if is_not_found(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(ready == 0 && management.holds_nothing(queue).await?)
}

pub(super) async fn remove(link: &Arc<Link>, management: &Management, queue: Queue) -> Result<bool, QueueError> {
    if !is_drained(link, management, queue).await? {
        return Ok(false);
    }
    let channel = link.channel().await?;
    let delete = channel.queue_delete(queue.to_string().into(), QueueDeleteOptions::default());
    let left = within(&format!("removing {queue}"), delete).await?;
    if left > 0 {
        // It cannot be: whoever removes it has watched it for longer than anything can be on its way.
        tracing::error!(%queue, left, "a queue was removed that held messages");
    }
    Ok(true)
}
