//! The event store: a projection of the outcomes in a database.
//!
//! Merge writes it in transactions that lock the cameras they touch; the events API and the tools read it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use detektor_contract::fold::Floor;
use detektor_contract::{
    CameraId, Clock, Digest, Epoch, EpochRecord, Event, EventChange, EventId, Fault, Faulty, Gap, Label, Ledger,
    ObjectKey, Outcome, Position, Score, Seam, TimeUs,
};
use serde::{Deserialize, Serialize};

/// Why the event store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, busy for too long, or full.
    #[error("the event store is not available: {context}")]
    Unavailable {
        /// What was being done.
        context: String,
        /// The driver's error.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Another process has it open and does not share.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// It holds something this build cannot read.
    #[error("the event store holds something unreadable: {0}")]
    Corrupt(String),
    /// It was written by a newer release.
    #[error("the event store has schema {found}, this build knows up to {known}: upgrade this part first")]
    TooNew {
        /// Its schema version.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
}

impl Faulty for StoreError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { .. } | Self::InUse(_) => Fault::Transient,
            Self::Corrupt(_) | Self::TooNew { .. } => Fault::Permanent,
        }
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// What kind of source an epoch is asked for. Either way, what is new exceeds every epoch given before and every epoch that
/// the camera's outcomes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochRequest {
    /// A file: the same content and loop always get the same epoch. Contents are numbered as they come, from 1.
    Replayable {
        /// Digest of the content.
        content: Digest,
        /// How often it was played through before.
        pass: u64,
    },
    /// A camera: a new epoch each time, above every earlier one and above the Unix time in milliseconds.
    Live {
        /// The Unix time in milliseconds.
        now_ms: u64,
    },
}

/// What a camera is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CameraState {
    /// The dispatcher is looking for it.
    Connecting,
    /// Frames are coming.
    Running,
    /// It was there and is gone; the dispatcher tries again.
    Lost {
        /// Why, for people, without credentials.
        error: String,
    },
    /// The file is through.
    Ended,
    /// It cannot be read. On many machines it is tried again once a minute.
    Failed {
        /// Why, for people, without credentials.
        error: String,
    },
    /// Detektor was told to stop.
    Stopped,
}

impl CameraState {
    /// What [`CameraState::name`] answers.
    pub const NAMES: [&'static str; 6] = ["connecting", "running", "lost", "ended", "failed", "stopped"];

    /// Its name, without why.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Lost { .. } => "lost",
            Self::Ended => "ended",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Why it is so, where something is wrong.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Lost { error } | Self::Failed { error } => Some(error),
            Self::Connecting | Self::Running | Self::Ended | Self::Stopped => None,
        }
    }
}

/// A camera as readers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Its name.
    pub id: CameraId,
    /// Where it is, without credentials.
    pub url: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: CameraState,
    /// Its ledger, as far as it is merged.
    pub ledger: Ledger,
    /// Capture time and clock of the newest merged frame's end.
    pub merged_until: Option<(TimeUs, Clock)>,
}

/// An event as stored: what it is, and which revision of it readers have been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Rises with every change that readers are told of, from 1.
    pub revision: u32,
}

/// Which events to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this camera's.
    pub camera: Option<CameraId>,
    /// Only these classes; empty means all.
    pub labels: Vec<Label>,
    /// Only those that end at or after this.
    pub from: Option<TimeUs>,
    /// Only those that begin before this.
    pub until: Option<TimeUs>,
    /// Only those whose best score reaches this.
    pub min_score: Option<Score>,
}

/// Where a page of events ends. Events are listed by `(start, id)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The last event's start.
    pub start: TimeUs,
    /// The last event's id.
    pub id: EventId,
}

/// Which way to list events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// A place in the feed of changes: `generation:position`. A reindex begins a new generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Which life of the store.
    pub generation: u64,
    /// The place in it; 0 is before everything.
    pub position: u64,
}

/// One change, as the stream tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place.
    pub at: FeedPosition,
    /// The event's revision after it.
    pub revision: u32,
    /// The change.
    pub change: EventChange,
}

/// What the feed has after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// These, in order; empty where nothing is new.
    Entries(Vec<FeedEntry>),
    /// The position is of an earlier generation or was pruned: read everything anew, and go on from here.
    Reset(FeedPosition),
}

/// What became of an outcome that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The sequence number had none.
    New,
    /// It won over the one that was there.
    Replaced,
    /// The very same was there, or one that wins over it.
    Ignored,
    /// It is at or below the camera's floor, where nothing is recorded any more.
    Pruned,
}

/// Where a camera's history begins: what is at this place and below it was pruned, or is about to be.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFloor {
    /// What is known of the camera there, whatever build asks.
    pub floor: Floor,
    /// The checkpoint there.
    pub state: Vec<u8>,
}

/// How many rows of each kind were pruned, or are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Outcomes, with their detections.
    pub outcomes: u64,
    /// Checkpoints of the fold.
    pub checkpoints: u64,
    /// Gaps in the capture.
    pub gaps: u64,
    /// Events that are over, or were withdrawn.
    pub events: u64,
    /// Notes of what the bucket holds of these events. What it holds stays.
    pub objects: u64,
}

impl Pruned {
    /// All rows.
    pub fn total(&self) -> u64 {
        let Self { outcomes, checkpoints, gaps, events, objects } = self;
        outcomes + checkpoints + gaps + events + objects
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            outcomes: self.outcomes + other.outcomes,
            checkpoints: self.checkpoints + other.checkpoints,
            gaps: self.gaps + other.gaps,
            events: self.events + other.events,
            objects: self.objects + other.objects,
        }
    }
}

/// That outcomes wait behind a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when, in Unix microseconds.
    pub since: i64,
    /// The furthest outcome that has waited for so long. Others may have come since, before it or behind it.
    pub until: Position,
}

/// What a transaction does to one camera.
#[derive(Clone, Debug)]
pub struct CameraUpdate {
    /// Whose.
    pub camera: CameraId,
    /// The fold's state after everything applied.
    pub head: Vec<u8>,
    /// The position of the head; none if nothing was applied.
    pub frontier: Option<Position>,
    /// Its ledger, for readers.
    pub ledger: Ledger,
    /// Capture time and clock of the newest applied frame's end.
    pub merged_until: Option<(TimeUs, Clock)>,
    /// What waits behind a hole; none if nothing does.
    pub waiting: Option<Waiting>,
    /// Checkpoints and gaps behind this position are no longer true; none on the ordinary way.
    pub refolded_from: Option<Option<Position>>,
    /// New checkpoints: positions and states.
    pub checkpoints: Vec<(Position, Vec<u8>)>,
    /// Changes to events, each with the position of the outcome that made it, in order.
    pub changes: Vec<(Position, EventChange)>,
    /// Gaps in the capture, each with the position of the outcome that told of it, in order.
    pub gaps: Vec<(Position, Gap)>,
}

/// The store as the dispatcher, merge and readers use it.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    // --- the dispatcher's part ---

    /// Says that a camera is configured, and where.
    async fn register_camera(&self, camera: &CameraId, redacted_url: &str) -> Result<()>;
    /// Says what a camera is doing.
    async fn set_camera_state(&self, camera: &CameraId, state: &CameraState) -> Result<()>;
    /// The epoch to slice in. What asks for a replayable one goes through [`crate::epochs::begin`].
    async fn begin_epoch(&self, camera: &CameraId, request: EpochRequest) -> Result<Epoch>;
    /// How many segments of an epoch are confirmed by the queue: those below this number need no second publishing.
    async fn published(&self, camera: &CameraId, epoch: Epoch) -> Result<u64>;
    /// Notes that all segments of an epoch below `next` are confirmed. Never falls.
    async fn set_published(&self, camera: &CameraId, epoch: Epoch, next: u64) -> Result<()>;

    // --- merge's part ---

    /// Begins a transaction that holds these cameras' rows, locked in id order.
    async fn begin_merge(&self, cameras: &[CameraId]) -> Result<Box<dyn MergeTx>>;
    /// Cameras that have waited behind a hole since `before` or longer, or since a time behind `now`, which only a clock that
    /// ran ahead can have said. Both in Unix microseconds.
    async fn waiting_cameras(&self, before: i64, now: i64) -> Result<Vec<CameraId>>;
    /// Closed, revised and withdrawn events whose object is not yet written or removed, oldest first, at most `limit`.
    async fn pending_objects(&self, limit: u32) -> Result<Vec<PendingObject>>;
    /// The objects of these are as the events say.
    async fn objects_done(&self, done: &[PendingObject]) -> Result<()>;
    /// Whether the store has yet to be filled from the bucket: it is fresh, or a reindex is under way or broke off. What it
    /// says is then not all there is, and a reindex comes before anything else is written.
    async fn reindex_pending(&self) -> Result<bool>;
    /// Empties everything that derives from outcomes and begins a new feed generation. Cameras and epochs stay. A camera with
    /// a floor stands there again: what was pruned does not come back. From here to
    /// [`EventStore::end_reindex`] a reindex is pending, whatever happens to this process.
    async fn begin_reindex(&self) -> Result<()>;
    /// Gives epochs the meaning that the bucket knows, whatever they were here.
    async fn restore_epochs(&self, records: &[EpochRecord]) -> Result<()>;
    /// A reindex is through. Every epoch counts as published as far as it has outcomes without a hole from its first on.
    async fn end_reindex(&self) -> Result<()>;

    // --- pruning ---

    /// The floors of the cameras that have one.
    async fn floors(&self) -> Result<BTreeMap<CameraId, Position>>;
    /// Removes a batch of what lies at or below a camera's floor, in one short transaction; nothing once all is gone. An event
    /// that goes on stays, and so does one whose object is not yet as it says. Nobody who reads waits for it.
    async fn prune(&self, camera: &CameraId) -> Result<Pruned>;
    /// How much lies at or below a place.
    async fn prunable(&self, camera: &CameraId, floor: Position) -> Result<Pruned>;
    /// Removes a batch of the feed's entries that were written before `before_ms` (Unix milliseconds), oldest first; nothing
    /// once all are gone. Whoever has not read them is reset.
    async fn prune_feed(&self, before_ms: i64) -> Result<u64>;
    /// How many those are.
    async fn prunable_feed(&self, before_ms: i64) -> Result<u64>;

    // --- readers' part ---

    /// All cameras, in id order.
    async fn cameras(&self) -> Result<Vec<CameraInfo>>;
    /// A page of events, and where the next begins.
    async fn events(
        &self,
        filter: &EventFilter,
        order: Order,
        after: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>>;
    /// One event.
    async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>>;
    /// A camera's winning outcomes from `from` (inclusive), in order, at most `limit`, whether applied or not.
    async fn outcomes(&self, camera: &CameraId, from: Position, limit: u32) -> Result<Vec<Outcome>>;
    /// A camera's winning outcomes that overlap a span of capture time, in order, at most `limit`.
    async fn outcomes_between(
        &self,
        camera: &CameraId,
        from: TimeUs,
        until: TimeUs,
        limit: u32,
    ) -> Result<Vec<Outcome>>;
    /// The gaps in a camera's capture that were told of before a place (all, if none), newest first, at most `limit`. One
    /// that lasted is told twice: as it began, and once it was over.
    async fn gaps(&self, camera: &CameraId, before: Option<Position>, limit: u32) -> Result<Vec<(Position, Gap)>>;
    /// A camera's seams, by epoch.
    async fn seams(&self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>>;
    /// How far each camera is folded.
    async fn frontier(&self, camera: &CameraId) -> Result<Option<Position>>;
    /// Quarantined segments: tombstones with a kept job, by camera, in order.
    async fn tombstones(&self) -> Result<Vec<Outcome>>;
    /// The newest place in the feed.
    async fn feed_head(&self) -> Result<FeedPosition>;
    /// The feed after a place, at most `limit` entries.
    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Feed>;
    /// Returns when the feed may have grown since the last call, at the latest after a second.
    async fn feed_changed(&self) -> Result<()>;
    /// A trivial round trip, for readiness.
    async fn ping(&self) -> Result<()>;
}

/// An event object to write (or, for a withdrawn event, to remove).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingObject {
    /// The event it is for.
    pub event: EventId,
    /// Its key.
    pub key: ObjectKey,
    /// The event's revision that this is for.
    pub revision: u32,
    /// What to write; none removes the object.
    pub body: Option<Event>,
}

/// One merge transaction. Dropped without `commit` it leaves no trace.
#[async_trait]
pub trait MergeTx: Send {
    /// Records each outcome if it wins over the one that is there, in a few statements for all; notes their seams. Answers as
    /// if they had come one after the other.
    async fn put_all(&mut self, outcomes: &[&Outcome]) -> Result<Vec<Put>>;
    /// Records one outcome.
    async fn put(&mut self, outcome: &Outcome) -> Result<Put> {
        let put = self.put_all(&[outcome]).await?.pop();
        put.ok_or_else(|| StoreError::Corrupt("an outcome was put, and nothing became of it".to_owned()))
    }
    /// How far the camera is folded.
    async fn frontier(&mut self, camera: &CameraId) -> Result<Option<Position>>;
    /// The fold's state as last saved.
    async fn head(&mut self, camera: &CameraId) -> Result<Option<Vec<u8>>>;
    /// What waits behind a hole.
    async fn waiting(&mut self, camera: &CameraId) -> Result<Option<Waiting>>;
    /// The place of the camera's last outcome.
    async fn last_outcome(&mut self, camera: &CameraId) -> Result<Option<Position>>;
    /// The newest checkpoint before `position`, and its place.
    async fn checkpoint_before(&mut self, camera: &CameraId, position: Position)
    -> Result<Option<(Position, Vec<u8>)>>;
    /// The newest checkpoint before `position` whose outcome ended at `ended` or earlier, on whatever clock, and its place.
    async fn old_checkpoint(
        &mut self,
        camera: &CameraId,
        ended: TimeUs,
        position: Position,
    ) -> Result<Option<(Position, Vec<u8>)>>;
    /// Where the camera's history begins; none if nothing was pruned.
    async fn floor(&mut self, camera: &CameraId) -> Result<Option<StoredFloor>>;
    /// Has the camera's history begin at a checkpoint: what comes for a place at or below it is ignored from here on, and
    /// [`EventStore::prune`] removes what is there.
    async fn raise_floor(&mut self, camera: &CameraId, floor: &StoredFloor) -> Result<()>;
    /// Winning outcomes behind `after` (all, if none), in order, at most `limit`.
    async fn outcomes_after(&mut self, camera: &CameraId, after: Option<Position>, limit: u32) -> Result<Vec<Outcome>>;
    /// The first winning outcome of an epoch before `epoch` that has frames or tells of a gap at or behind the seam.
    async fn first_behind_seam(&mut self, camera: &CameraId, epoch: Epoch, seam: Seam) -> Result<Option<Position>>;
    /// The camera's seams, by epoch.
    async fn seams(&mut self, camera: &CameraId) -> Result<Vec<(Epoch, Seam)>>;
    /// Stored events that an outcome behind `after` (any, if none) has touched, in id order.
    async fn events_touched_after(&mut self, camera: &CameraId, after: Option<Position>) -> Result<Vec<Event>>;
    /// Writes what a fold did. `tell` false (reindex) writes events without feed entries.
    async fn update(&mut self, update: CameraUpdate, tell: bool) -> Result<()>;
    /// Makes it all true at once.
    async fn commit(self: Box<Self>) -> Result<()>;
}
