//! What failed for good and was kept: shows it, and tries it again. For the tools and the events API, on any backends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use detektor_backends::bucket::{Bucket, BucketError, Listed};
use detektor_backends::coordination::Coordination;
use detektor_backends::queue::{Message, QueueError, Queues};
use detektor_backends::store::{EventStore, StoreError};
use detektor_contract::names::{Queue, Work};
use detektor_contract::wire::{WireError, decode_job, decode_outcome, encode_job};
use detektor_contract::{
    CameraId, Digest, Fault, Faulty, Generation, ObjectKey, Outcome, OutcomeBody, Position, SegmentId, Span, Tombstone,
};
use futures::TryStreamExt;

use crate::telemetry::chain;

/// Why what was kept could not be shown or tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// What was kept could not be read or removed.
    #[error("{doing}")]
    Bucket {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: BucketError,
    },
    /// The event store or the placement could not be read.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: StoreError,
    },
    /// It could not be queued. What was queued before stays so; to replay all of it again changes nothing.
    #[error("{doing}")]
    Queue {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: QueueError,
    },
}

impl Faulty for ReplayError {
    fn fault(&self) -> Fault {
        match self {
            Self::Bucket { source, .. } => source.fault(),
            Self::Store { source, .. } => source.fault(),
            Self::Queue { source, .. } => source.fault(),
        }
    }
}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, ReplayError>;
}

impl<T> Doing<T> for Result<T, BucketError> {
    fn doing(self, doing: &'static str) -> Result<T, ReplayError> {
        self.map_err(|source| ReplayError::Bucket { doing, source })
    }
}

impl<T> Doing<T> for Result<T, StoreError> {
    fn doing(self, doing: &'static str) -> Result<T, ReplayError> {
        self.map_err(|source| ReplayError::Store { doing, source })
    }
}

impl<T> Doing<T> for Result<T, QueueError> {
    fn doing(self, doing: &'static str) -> Result<T, ReplayError> {
        self.map_err(|source| ReplayError::Queue { doing, source })
    }
}

/// Which of what was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everything.
    All,
    /// What is of one camera.
    Camera(CameraId),
    /// One segment.
    Segment(SegmentId),
}

impl Which {
    /// Of one camera, or everything.
    pub fn of(camera: Option<CameraId>) -> Self {
        camera.map_or(Self::All, Self::Camera)
    }

    fn includes(&self, id: &SegmentId) -> bool {
        match self {
            Self::All => true,
            Self::Camera(camera) => *camera == id.camera,
            Self::Segment(segment) => segment == id,
        }
    }
}

/// A segment that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSegment {
    /// Which.
    pub id: SegmentId,
    /// The generation that failed: 0 at first, one more with each replay.
    pub generation: Generation,
    /// Its frames.
    pub span: Span,
    /// What went wrong, for people.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The kept job; without one it cannot be tried again.
    pub job: Option<ObjectKey>,
}

impl FailedSegment {
    fn new(outcome: Outcome) -> Option<Self> {
        let Outcome { id, generation, body: OutcomeBody::Tombstone(tombstone) } = outcome else { return None };
        let Tombstone { span, error, attempts, quarantine: job, .. } = tombstone;
        Some(Self { id, generation, span, error, attempts, job })
    }
}

/// A message that nobody could read when it came, kept as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This release reads it: which work it is, about which segment, and the message.
    Readable(Work, SegmentId, Bytes),
    /// Nor can this release; why.
    Unreadable(String),
}

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

/// Which partition a camera's work goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// This one: there is no other.
    Only(u16),
    /// The one that it is placed on, of so many.
    Placed {
        /// Where cameras are placed.
        cameras: BTreeMap<CameraId, u16>,
        /// How many there are, 1 or more.
        partitions: u16,
    },
}

impl Partitions {
    /// As the placement says.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn placed(coordination: &dyn Coordination) -> Result<Self, ReplayError> {
        let placement = coordination.placement().await.doing("reading the placement")?;
        let cameras = placement.cameras.into_iter().map(|placed| (placed.camera, placed.partition)).collect();
        Ok(Self::Placed { cameras, partitions: placement.partitions.max(1) })
    }

    /// The camera's. One that is not placed any more gets any; any pod can take any message.
    pub fn of(&self, camera: &CameraId) -> u16 {
        match self {
            Self::Only(partition) => *partition,
            Self::Placed { cameras, partitions } => match cameras.get(camera) {
                // Another may be on its way out.
                Some(placed) if placed < partitions => *placed,
                Some(_) | None => u16::from(Digest::of(camera.as_str().as_bytes()).0[0]) % partitions,
            },
        }
    }
}

/// What failed for good and was kept.
#[derive(Clone)]
pub struct Quarantine {
    store: Arc<dyn EventStore>,
    bucket: Arc<dyn Bucket>,
}

impl Quarantine {
    /// Of this store and bucket.
    pub fn new(store: Arc<dyn EventStore>, bucket: Arc<dyn Bucket>) -> Self {
        Self { store, bucket }
    }

    /// Segments that failed for good and did not succeed since, by camera, in order.
    ///
    /// # Errors
    /// Where the event store cannot be read.
    pub async fn segments(&self, which: &Which) -> Result<Vec<FailedSegment>, ReplayError> {
        let outcomes = match which {
            Which::All | Which::Camera(_) => self.store.tombstones().await,
            Which::Segment(SegmentId { camera, epoch, sequence }) => {
                self.store.outcomes(camera, Position { epoch: *epoch, sequence: *sequence }, 1).await
            }
        };
        let outcomes = outcomes.doing("reading what failed for good")?;
        Ok(outcomes.into_iter().filter(|outcome| which.includes(&outcome.id)).filter_map(FailedSegment::new).collect())
    }

    /// The messages that could not be read when they came, with what this release makes of them. What still cannot be read
    /// is nobody's: only [`Which::All`] shows it.
    ///
    /// # Errors
    /// Where the bucket cannot be read.
    pub async fn messages(&self, which: &Which) -> Result<Vec<(ObjectKey, Kept)>, ReplayError> {
        let listed = self.bucket.list(ObjectKey::UNREADABLE).try_collect::<Vec<Listed>>();
        let mut found = Vec::new();
        for Listed { key, .. } in listed.await.doing("listing the quarantine")? {
            let body = self.bucket.get(&key).await.doing("reading what was kept")?;
            let kept = match (decode_outcome(&body), decode_job(&body)) {
                (Ok(outcome), _) => Kept::Readable(Work::Merge, outcome.id, body),
                (_, Ok(job)) => Kept::Readable(Work::Detect, job.id, body),
                // Of what is neither, the outcome's error says as much; of a job, its own.
                (Err(WireError::Kind { .. }), Err(error)) | (Err(error), Err(_)) => Kept::Unreadable(chain(&error)),
            };
            let wanted = match &kept {
                Kept::Readable(_, id, _) => which.includes(id),
                Kept::Unreadable(_) => *which == Which::All,
            };
            if wanted {
                found.push((key, kept));
            }
        }
        Ok(found)
    }

    /// Puts segments back into their detect queues, as the next generation: its result wins over the tombstone. To replay
    /// twice queues the same again, and changes nothing. Messages that could not be read go back into their queue as they are
    /// if this release reads them. Returns once the queue has confirmed all of it.
    ///
    /// # Errors
    /// Where a server is away. A segment that cannot be replayed is named in the answer, and holds up no other.
    pub async fn replay(
        &self,
        which: &Which,
        queues: &dyn Queues,
        partitions: &Partitions,
    ) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed::default();
        for failed in self.segments(which).await? {
            match self.again(&failed).await? {
                Ok(message) => {
                    let queue = Queue::Work(Work::Detect, partitions.of(&failed.id.camera));
                    queues.publish(queue, vec![message]).await.doing("queueing a segment again")?;
                    replayed.queued.push(failed.id);
                }
                Err(error) => replayed.failed.push((failed.id, error)),
            }
        }
        for (key, kept) in self.messages(which).await? {
            match kept {
                Kept::Readable(work, id, body) => {
                    let queue = Queue::Work(work, partitions.of(&id.camera));
                    let message = Message { body, ..Message::default() };
                    queues.publish(queue, vec![message]).await.doing("queueing a message again")?;
                    self.bucket.delete(&key).await.doing("removing what was kept")?;
                    replayed.queued.push(id);
                }
                Kept::Unreadable(error) => replayed.unreadable.push((key, error)),
            }
        }
        Ok(replayed)
    }

    /// The kept job, one generation on; or why there is none.
    async fn again(&self, failed: &FailedSegment) -> Result<Result<Message, String>, ReplayError> {
        let Some(key) = &failed.job else { return Ok(Err("the job was not kept".to_owned())) };
        let kept = match self.bucket.get(key).await {
            Ok(kept) => kept,
            Err(error @ BucketError::NotFound(_)) => return Ok(Err(chain(&error))),
            Err(error) => return Err(error).doing("reading what was kept"),
        };
        Ok(match decode_job(&kept) {
            Ok(mut job) => {
                job.generation = failed.generation.saturating_add(1);
                Ok(Message { body: encode_job(&job), ..Message::default() })
            }
            Err(error) => Err(chain(&error)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_camera_keeps_its_partition_while_there_is_one() {
        let [gate, yard, gone] = ["gate", "yard", "gone"].map(|name| CameraId::new(name).unwrap());
        let cameras = BTreeMap::from([(gate.clone(), 2), (yard.clone(), 9)]);
        let placed = Partitions::Placed { cameras, partitions: 3 };
        assert_eq!(placed.of(&gate), 2);
        assert!(placed.of(&yard) < 3, "its own is on its way out");
        assert!(placed.of(&gone) < 3);
        assert_eq!(Partitions::Only(7).of(&gate), 7);
    }
}
