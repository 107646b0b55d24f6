//! Nothing is written to an event store that has yet to be made from the bucket.

use detektor_backends::bucket::{Bucket, BucketError};
use detektor_backends::store::{EventStore, StoreError};
use detektor_contract::{Fault, Faulty, ObjectKey};
use futures::TryStreamExt;

use super::Process;
use crate::task::BoxError;

/// Why an event store is not to be written yet.
#[derive(Debug, thiserror::Error)]
enum NotMade {
    #[error("the event store has yet to be made from the bucket: `detektor reindex` does that")]
    Pending,
    #[error("asking whether the event store is made")]
    Store(#[source] StoreError),
    #[error("looking for an outcome log")]
    Bucket(#[source] BucketError),
}

impl Faulty for NotMade {
    fn fault(&self) -> Fault {
        match self {
            Self::Pending => Fault::Transient,
            Self::Store(error) => error.fault(),
            Self::Bucket(error) => error.fault(),
        }
    }
}

/// Waits while the database is fresh, or a reindex is under way or broke off, and the bucket has an outcome log. Where it has
/// none there is nothing to make, and the store counts as made.
///
/// # Errors
/// As [`Process::patiently`].
pub async fn until_made(process: &Process, store: &dyn EventStore, bucket: &dyn Bucket) -> Result<(), BoxError> {
    process.patiently("reindex", || made(store, bucket)).await
}

async fn made(store: &dyn EventStore, bucket: &dyn Bucket) -> Result<(), NotMade> {
    if !store.reindex_pending().await.map_err(NotMade::Store)? {
        return Ok(());
    }
    if bucket.list(ObjectKey::LOG).try_next().await.map_err(NotMade::Bucket)?.is_some() {
        return Err(NotMade::Pending);
    }
    // Whoever else is here may do the same, and may merge before we do: then the next look finds the store made.
    store.end_reindex().await.map_err(NotMade::Store)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use detektor_backends::embedded::{Embedded, Options};

    #[tokio::test]
    async fn a_fresh_store_waits_for_a_reindex_where_there_is_a_log_alone() {
        for (log, waits) in [(true, true), (false, false)] {
            let dir = tempfile::tempdir().unwrap();
            let data = Embedded::open(dir.path(), Options::default()).await.unwrap();
            let (store, bucket) = (data.store(), data.bucket());
            if log {
                bucket.put(&ObjectKey::parse("log/aa/aa.json").unwrap(), Bytes::from_static(b"\n")).await.unwrap();
            }
            assert_eq!(made(&*store, &*bucket).await.is_err(), waits);
            assert_eq!(store.reindex_pending().await.unwrap(), waits);
            store.begin_reindex().await.unwrap();
            store.end_reindex().await.unwrap();
            made(&*store, &*bucket).await.unwrap();
        }
    }
}
