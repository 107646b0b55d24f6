//! Tells of new and removed objects as an S3 store does, where the bucket's store tells nobody: a folder, Garage.
//!
//! Invariant: writing or removing an object that others may hear of returns only once the sink has accepted the notification. Whoever
//! writes settles last (a job's message, an outbox row) and does it over again where it failed or died, so a notification comes
//! at least once and needs no outbox of its own.

mod exchange;
mod record;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use detektor_contract::{Digest, ObjectKey, ObjectKind};
use futures::stream::BoxStream;

pub use self::exchange::{Exchange, ExchangeOptions};
use self::record::{Record, What};
pub use self::webhook::{Webhook, WebhookOptions};
use crate::bucket::{Bucket, BucketError, Listed};

/// Waits between tries, so that a hiccup does not cost the writer its work.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Who is told.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Hands over one notification (JSON); returns once it is durable on the other side.
    async fn accept(&self, notification: Bytes) -> Result<(), SinkError>;
}

/// Why a notification was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The sink is away or busy: it may accept later.
    #[error("the sink is not available: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// The driver's error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The sink will never accept it.
    #[error("the sink refuses the notification: {0}")]
    Refused(String),
}

/// What notifications say of the bucket.
#[derive(Clone, Debug)]
pub struct Source {
    /// The bucket's name.
    pub bucket: String,
    /// Its region.
    pub region: String,
}

/// A bucket that tells of its objects. Not for reading anew what was told before: that emits nothing.
pub struct Notifying {
    bucket: Arc<dyn Bucket>,
    sink: Arc<dyn Sink>,
    source: Source,
    /// The last sequencer.
    last: AtomicU64,
}

impl Notifying {
    /// Tells `sink` of what becomes of objects in `bucket`.
    pub fn new(bucket: Arc<dyn Bucket>, sink: Arc<dyn Sink>, source: Source) -> Arc<Self> {
        Arc::new(Self { bucket, sink, source, last: AtomicU64::new(0) })
    }

    async fn tell(&self, kind: ObjectKind, key: &ObjectKey, what: What) -> Result<(), BucketError> {
        let at = SystemTime::now();
        let record = Record { source: &self.source, kind, key, what, at, sequencer: self.sequencer(at) };
        let notification = record.notification();
        let mut waits = WAITS.into_iter();
        loop {
            match self.sink.accept(notification.clone()).await {
                Ok(()) => return Ok(()),
                Err(error @ SinkError::Refused(_)) => {
                    tracing::error!(%key, %error, "nobody hears of this object");
                    return Ok(());
                }
                Err(error @ SinkError::Unavailable { .. }) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => {
                        let context = format!("telling of {key}");
                        return Err(BucketError::Unavailable { context, source: Some(error.into()) });
                    }
                },
            }
        }
    }

    /// Rises with every call, and over restarts as far as the clock does.
    fn sequencer(&self, at: SystemTime) -> u64 {
        let now = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let next = |last: u64| now.max(last + 1);
        next(self.last.update(Ordering::Relaxed, Ordering::Relaxed, next))
    }
}

fn told(key: &ObjectKey) -> Option<ObjectKind> {
    ObjectKind::of(key).filter(|kind| ObjectKind::NOTIFIED.contains(kind))
}

#[async_trait]
impl Bucket for Notifying {
    async fn put(&self, key: &ObjectKey, body: Bytes) -> Result<(), BucketError> {
        let Some(kind) = told(key) else { return self.bucket.put(key, body).await };
        let created = What::Created { bytes: body.len() as u64, digest: Digest::of(&body) };
        self.bucket.put(key, body).await?;
        self.tell(kind, key, created).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, BucketError> {
        self.bucket.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, start: u64, length: u64) -> Result<Bytes, BucketError> {
        self.bucket.get_range(key, start, length).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), BucketError> {
        self.bucket.delete(key).await?;
        match told(key) {
            Some(kind) => self.tell(kind, key, What::Removed).await,
            None => Ok(()),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed, BucketError>> {
        self.bucket.list(prefix)
    }
}

#[cfg(test)]
mod tests;
