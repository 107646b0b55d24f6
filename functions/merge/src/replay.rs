//! Tries again what was quarantined.

use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, Listed};
use detektor_backends::queue::{Message, Queues};
use detektor_backends::store::EventStore;
use detektor_contract::names::{Queue, Work};
use detektor_contract::wire::{WireError, decode_job, decode_outcome, encode_job};
use detektor_contract::{CameraId, ObjectKey, Outcome, OutcomeBody, SegmentId};
use detektor_runtime::chain;
use futures::TryStreamExt;

use crate::error::{Doing, MergeError};

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Segments that are queued again.
    pub queued: Vec<SegmentId>,
    /// Segments that cannot be, and why.
    pub failed: Vec<(SegmentId, String)>,
    /// Messages that this release cannot read either, and why.
    pub unreadable: Vec<(ObjectKey, String)>,
}

/// Puts every quarantined segment back into its detect queue, as the next generation: its result wins over the tombstone.
/// To replay twice queues the same again, and changes nothing. Messages that nobody could read when they came, jobs or
/// outcomes, go back into their queue as they are if this release reads them. `only`: of one camera, or of all (what
/// cannot be read is nobody's). `partition`: which one a camera's work goes to.
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
    for (key, kept) in unreadable(bucket).await? {
        match kept {
            Kept::Readable(work, id, body) if only.is_none_or(|camera| *camera == id.camera) => {
                let message = Message { body, ..Message::default() };
                queues
                    .publish(Queue::Work(work, partition(&id.camera)), vec![message])
                    .await
                    .doing("queueing again")?;
                bucket.delete(&key).await.doing("removing what was kept")?;
                replayed.queued.push(id);
            }
            Kept::Readable(..) => {}
            Kept::Unreadable(error) if only.is_none() => replayed.unreadable.push((key, error)),
            Kept::Unreadable(_) => {}
        }
    }
    Ok(replayed)
}

/// A message that could not be read when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This release reads it: which work it is, about which segment, and the message.
    Readable(Work, SegmentId, Bytes),
    /// Nor can this release; why.
    Unreadable(String),
}

/// The messages that could not be read when they came, with what this release makes of them.
pub async fn unreadable(bucket: &dyn Bucket) -> Result<Vec<(ObjectKey, Kept)>, MergeError> {
    let listed: Vec<Listed> = bucket.list(ObjectKey::UNREADABLE).try_collect().await.doing("listing the quarantine")?;
    let mut found = Vec::with_capacity(listed.len());
    for Listed { key, .. } in listed {
        let body = bucket.get(&key).await.doing("reading what was kept")?;
        let kept = match (decode_outcome(&body), decode_job(&body)) {
            (Ok(outcome), _) => Kept::Readable(Work::Merge, outcome.id, body),
            (_, Ok(job)) => Kept::Readable(Work::Detect, job.id, body),
            // Of what is neither, the outcome's error says as much; of a job, its own.
            (Err(WireError::Kind { .. }), Err(error)) | (Err(error), Err(_)) => Kept::Unreadable(chain(&error)),
        };
        found.push((key, kept));
    }
    Ok(found)
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
