//! Beginning an epoch so that its number outlives the database.
//!
//! The event store numbers a camera's contents as they come. The bucket keeps what it said, one
//! [`EpochRecord`] an epoch, from before the epoch's first segment: whatever outcomes the bucket ever holds, it knows what
//! their epoch is, and a reindex gives the numbers back.

use bytes::Bytes;
use detektor_contract::{CameraId, Epoch, EpochRecord, Fault, Faulty};

use crate::bucket::{Bucket, BucketError};
use crate::store::{EpochRequest, EventStore, StoreError};

/// Why an epoch could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The event store gave no number.
    #[error("asking for an epoch")]
    Store(#[source] StoreError),
    /// The bucket did not keep it.
    #[error("keeping what an epoch is")]
    Bucket(#[source] BucketError),
    /// The bucket knows the number as that of another content: the store does not know its bucket.
    #[error("epoch {epoch} of camera {camera} is another content's in the bucket: run `detektor reindex`")]
    Taken {
        /// The camera.
        camera: CameraId,
        /// The number that the store gave.
        epoch: Epoch,
    },
}

impl Faulty for EpochError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(source) => source.fault(),
            Self::Bucket(source) => source.fault(),
            Self::Taken { .. } => Fault::Permanent,
        }
    }
}

/// The epoch to slice in. Returns once a restart, a reindex and a restored database would give the same one for the same
/// replayable request; to be called before anything of the epoch is published, and again at every start.
pub async fn begin(
    store: &dyn EventStore,
    bucket: &dyn Bucket,
    camera: &CameraId,
    request: EpochRequest,
) -> Result<Epoch, EpochError> {
    let epoch = store.begin_epoch(camera, request).await.map_err(EpochError::Store)?;
    let (content, pass) = match request {
        EpochRequest::Replayable { content, pass } => (content, pass),
        // Above every outcome's and above the time: nothing has to be remembered.
        EpochRequest::Live { .. } => return Ok(epoch),
    };
    let record = EpochRecord { camera: camera.clone(), epoch, content, pass };
    match bucket.get(&record.key()).await {
        Ok(body) => match EpochRecord::from_json(&body) {
            Ok(known) if known == record => return Ok(epoch),
            Ok(_) => return Err(EpochError::Taken { camera: camera.clone(), epoch }),
            // The store knows better than an object that nobody can read.
            Err(_) => {}
        },
        Err(BucketError::NotFound(_)) => {}
        Err(error) => return Err(EpochError::Bucket(error)),
    }
    bucket.put(&record.key(), Bytes::from(record.to_json())).await.map_err(EpochError::Bucket)?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::embedded::{Embedded, Options};
    use crate::failing::{FailingBucket, FailingStore, Moment, Plan};
    use detektor_contract::Digest;

    fn request(content: &[u8]) -> EpochRequest {
        EpochRequest::Replayable { content: Digest::of(content), pass: 0 }
    }

    #[tokio::test]
    async fn however_often_it_breaks_off_number_and_record_agree() {
        let camera = CameraId::new("gate").unwrap();
        for moment in [Moment::Before, Moment::After] {
            for nth in 0..3 {
                let dir = tempfile::tempdir().unwrap();
                let embedded = Embedded::open(dir.path(), Options::default()).await.unwrap();
                let plan = Plan::new();
                let store = FailingStore::new(embedded.store(), plan.clone());
                let bucket = FailingBucket::new(embedded.bucket(), plan.clone());
                begin(&*store, &*bucket, &camera, request(b"x")).await.unwrap();
                plan.fail_nth(nth, moment);
                let broken_off = begin(&*store, &*bucket, &camera, request(b"y")).await;
                // An answer that there is no object is no answer that can be lost.
                assert_eq!(broken_off.is_err(), (nth, moment) != (1, Moment::After));
                plan.heal();
                assert_eq!(begin(&*store, &*bucket, &camera, request(b"y")).await.unwrap(), Epoch(2));
                assert_eq!(begin(&*store, &*bucket, &camera, request(b"y")).await.unwrap(), Epoch(2));
                let kept = bucket.get(&detektor_contract::ObjectKey::epoch(&camera, Epoch(2))).await.unwrap();
                assert_eq!(EpochRecord::from_json(&kept).unwrap().content, Digest::of(b"y"));
            }
        }
    }

    #[tokio::test]
    async fn a_live_epoch_needs_no_record_and_a_foreign_one_is_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = Embedded::open(ours.path(), Options::default()).await.unwrap();
        let theirs = Embedded::open(theirs.path(), Options::default()).await.unwrap();
        let camera = CameraId::new("gate").unwrap();
        let bucket = ours.bucket();
        begin(&*ours.store(), &*bucket, &camera, request(b"x")).await.unwrap();
        let error = begin(&*theirs.store(), &*bucket, &camera, request(b"y")).await.unwrap_err();
        assert!(matches!(error, EpochError::Taken { epoch: Epoch(1), .. }), "{error}");
        // What cannot be read is written anew.
        let key = detektor_contract::ObjectKey::epoch(&camera, Epoch(1));
        bucket.put(&key, Bytes::from_static(b"{")).await.unwrap();
        begin(&*ours.store(), &*bucket, &camera, request(b"x")).await.unwrap();
        assert!(EpochRecord::from_json(&bucket.get(&key).await.unwrap()).is_ok());
        let live = begin(&*ours.store(), &*bucket, &camera, EpochRequest::Live { now_ms: 5 }).await.unwrap();
        let found = bucket.get(&detektor_contract::ObjectKey::epoch(&camera, live)).await;
        assert!(matches!(found, Err(BucketError::NotFound(_))), "{found:?}");
    }
}
