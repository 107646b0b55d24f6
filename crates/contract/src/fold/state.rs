//! One camera's state between two outcomes. (Skeleton: the interface that merge builds on.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, Event, EventChange, Fault, Faulty, Ledger, Outcome, Position, Seam, TimeUs};

/// Where each of a camera's epochs begins to rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seams(BTreeMap<Epoch, Seam>);

/// From where on an epoch's frames are superseded by newer epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Frames captured from here on.
    pub at: Option<TimeUs>,
    /// Segments that open with one of these, and all behind them.
    pub key_frames: Vec<Digest>,
}

impl Seams {
    /// Notes the seam of `epoch`. Says whether that is news.
    pub fn insert(&mut self, epoch: Epoch, seam: Seam) -> bool {
        self.0.insert(epoch, seam) != Some(seam)
    }

    /// What newer epochs leave of `epoch`.
    pub fn limit(&self, epoch: Epoch) -> Limit {
        use std::ops::Bound::{Excluded, Unbounded};
        let newer = || self.0.range((Excluded(epoch), Unbounded)).map(|(_, seam)| seam);
        Limit { at: newer().map(|seam| seam.at).min(), key_frames: newer().filter_map(|seam| seam.key_frame).collect() }
    }
}

/// One camera's tracks, open events and ledger after a prefix of its outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraFold {
    camera: CameraId,
    frontier: Option<Position>,
    ended: bool,
    ledger: Ledger,
}

/// A checkpoint that this build cannot read; fold again from an older one, or from the start.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint cannot be read: {0}")]
pub struct CheckpointError(pub String);

impl Faulty for CheckpointError {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }
}

impl CameraFold {
    /// A camera of which nothing is known.
    pub fn new(camera: CameraId) -> Self {
        Self { camera, frontier: None, ended: false, ledger: Ledger::default() }
    }

    /// Reads a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        postcard::from_bytes(bytes).map_err(|error| CheckpointError(error.to_string()))
    }

    /// Writes a checkpoint, beginning with the layout's version.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The last outcome applied.
    pub fn frontier(&self) -> Option<Position> {
        self.frontier
    }

    /// Whether the last applied outcome ended its epoch.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing can be missing between the frontier and `next`: the next sequence number of the same epoch, or
    /// the first of a newer epoch after an end of epoch or at the very beginning.
    pub fn expects(&self, next: Position) -> bool {
        match self.frontier {
            None => next.sequence == 0,
            Some(last) if next.epoch == last.epoch => !self.ended && next.sequence == last.sequence + 1,
            Some(last) => self.ended && next.epoch > last.epoch && next.sequence == 0,
        }
    }

    /// The ledger of everything applied.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The events that are open now, in id order.
    pub fn open_events(&self) -> Vec<Event> {
        Vec::new()
    }

    /// Applies the next outcome in order and says what it does to events. One that is not contiguous passes over a
    /// hole; one at or before the frontier is ignored.
    pub fn apply(&mut self, outcome: &Outcome, limit: &Limit) -> Vec<EventChange> {
        let _ = limit;
        self.frontier = Some(outcome.id.position());
        Vec::new()
    }
}

/// What a refold changed. `before`: the stored events that outcomes behind the checkpoint had touched. `open`: those open
/// in the checkpoint. `changes`: what applying everything behind the checkpoint again said. The answer holds what to
/// store and to tell: `Revised` and `Withdrawn` for what was known before, and the last change of what is new.
pub fn diff(before: &[Event], open: &[Event], changes: Vec<EventChange>) -> Vec<EventChange> {
    let _ = (before, open);
    changes
}
