//! Tries again what was quarantined.

use std::sync::Arc;

use detektor_backends::bucket::Bucket;
use detektor_backends::queue::{Message, Queues};
use detektor_backends::store::EventStore;
use detektor_contract::names::{Queue, Work};
use detektor_contract::wire::{decode_job, encode_job};
use detektor_contract::{CameraId, Outcome, OutcomeBody, SegmentId};
use detektor_runtime::chain;

use crate::error::{Doing, MergeError};

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Segments that are queued again.
    pub queued: Vec<SegmentId>,
    /// Segments that cannot be, and why.
    pub failed: Vec<(SegmentId, String)>,
}

/// Puts every quarantined segment back into its detect queue, as the next generation: its result wins over the tombstone.
/// To replay twice queues the same again, and changes nothing. `only`: of one camera, or of all. `partition`: which one a
/// camera's work goes to.
pub async fn replay(
    store: &dyn EventStore,
    bucket: &dyn Bucket,
    queues: &Arc<dyn Queues>,
    only: Option<&CameraId>,
    partition: impl Fn(&CameraId) -> u16,
) -> Result<Replayed, MergeError> {
    let mut replayed = Replayed::default();
    for tombstone in store.tombstones().await.doing("reading tombstones")? {
        let id = tombstone.id.clone();
        if only.is_some_and(|camera| *camera != id.camera) {
            continue;
        }
        match again(bucket, &tombstone).await {
            Ok(message) => {
                let queue = Queue::Work(Work::Detect, partition(&id.camera));
                queues.publish(queue, vec![message]).await.doing("queueing a segment again")?;
                replayed.queued.push(id);
            }
            Err(error) => replayed.failed.push((id, error)),
        }
    }
    Ok(replayed)
}

/// The kept job, one generation on.
async fn again(bucket: &dyn Bucket, tombstone: &Outcome) -> Result<Message, String> {
    let OutcomeBody::Tombstone(detektor_contract::Tombstone { quarantine: Some(key), .. }) = &tombstone.body else {
        return Err("the job was not kept".to_owned());
    };
    let kept = bucket.get(key).await.map_err(|error| chain(&error))?;
    let mut job = decode_job(&kept).map_err(|error| chain(&error))?;
    job.generation = tombstone.generation.saturating_add(1);
    Ok(Message { body: encode_job(&job), ..Message::default() })
}
