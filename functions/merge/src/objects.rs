//! Writes closed events to the bucket, one object each.

use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::bucket::Bucket;
use detektor_backends::store::{EventStore, PendingObject};
use detektor_contract::Event;
use detektor_runtime::retry::{Policy, RetryError, retry};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, MergeError};

/// Objects done between two notes in the store.
const PAGE: u32 = 64;
/// Objects on their way at once.
const AT_ONCE: usize = 8;

/// What an event's object holds.
pub(crate) fn body(event: &Event) -> Bytes {
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    serde_json::to_vec(event).unwrap_or_default().into()
}

/// Keeps the events' objects as the store's outbox says: a closed event is there, a withdrawn one is not.
pub struct EventObjects {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
}

impl EventObjects {
    /// From `store` to `bucket`.
    pub fn new(store: Arc<dyn EventStore>, bucket: Arc<dyn Bucket>) -> Self {
        Self { store, bucket }
    }

    /// Writes and removes what is pending, a page of it. Answers how many objects that were; 0 means that nothing is left.
    pub async fn relay(&self) -> Result<usize, MergeError> {
        let pending = self.store.pending_objects(PAGE).await.doing("reading the outbox")?;
        let writes: Vec<_> = pending.iter().map(|object| self.write(object)).collect();
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.store.objects_done(&pending).await.doing("noting written objects")?;
        Ok(pending.len())
    }

    async fn write(&self, object: &PendingObject) -> Result<(), MergeError> {
        match &object.body {
            Some(event) => self.bucket.put(&object.key, body(event)).await.doing("writing an event's object"),
            None => self.bucket.delete(&object.key).await.doing("removing an event's object"),
        }
    }

    /// Relays until shutdown, whatever fails meanwhile.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), MergeError> {
        let relay = || async {
            if self.relay().await? == 0 {
                self.store.feed_changed().await.doing("waiting for events")?;
            }
            Ok(())
        };
        loop {
            match retry("writing events to the bucket", &Policy::default(), &shutdown, relay).await {
                Ok(()) => {}
                Err(RetryError::Cancelled) => return Ok(()),
                Err(RetryError::Failed(error)) => return Err(error),
            }
        }
    }
}
