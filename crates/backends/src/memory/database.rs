//! The tables that coordination and event store share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use detektor_contract::{CameraId, Clock, Digest, Epoch, EventId, Gap, Ledger, ObjectKey, Outcome, Position, TimeUs};
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::coordination;
use super::events::Stored;
use super::objects::Object;
use crate::signal::Signal;
use crate::store::{CameraState, FeedEntry, StoreError, StoredFloor, Waiting};

/// Coordination and event store in memory.
#[derive(Default)]
pub struct MemoryDatabase {
    pub(super) tables: Mutex<Tables>,
    pub(super) grown: Signal,
    locks: Mutex<BTreeMap<CameraId, Arc<tokio::sync::Mutex<()>>>>,
    all: Arc<RwLock<()>>,
}

impl fmt::Debug for MemoryDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDatabase").finish_non_exhaustive()
    }
}

/// A database as it was at one moment.
#[derive(Clone)]
pub struct Snapshot(Tables);

#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) coordination: coordination::State,
    /// How often another database was put in this one's place. A transaction does not outlive it.
    pub(super) life: u64,
    pub(super) cameras: BTreeMap<CameraId, Camera>,
    pub(super) epochs: BTreeMap<CameraId, BTreeMap<Epoch, Begun>>,
    pub(super) published: BTreeMap<(CameraId, Epoch), u64>,
    pub(super) feed: FeedState,
    pub(super) objects: BTreeMap<ObjectKey, Object>,
    pub(super) filled: bool,
}

/// What a camera's row holds besides what merge wrote.
#[derive(Clone)]
pub(super) struct Camera {
    pub(super) url: String,
    pub(super) state: CameraState,
    pub(super) merged: Arc<Merged>,
}

impl Default for Camera {
    /// Nobody runs a camera that only its outcomes tell of.
    fn default() -> Self {
        Self { url: String::new(), state: CameraState::Stopped, merged: Arc::default() }
    }
}

/// What merge wrote of a camera.
#[derive(Clone, Default)]
pub(super) struct Merged {
    /// Where its history begins.
    pub(super) floor: Option<StoredFloor>,
    pub(super) head: Option<Vec<u8>>,
    pub(super) frontier: Option<Position>,
    pub(super) ledger: Ledger,
    pub(super) merged_until: Option<(TimeUs, Clock)>,
    pub(super) waiting: Option<Waiting>,
    pub(super) outcomes: BTreeMap<Position, Arc<Outcome>>,
    pub(super) checkpoints: BTreeMap<Position, Arc<[u8]>>,
    pub(super) gaps: BTreeMap<Position, Gap>,
    pub(super) events: BTreeMap<EventId, Arc<Stored>>,
}

/// An epoch that was begun.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) base: u64,
    /// Content and pass of a replayable one.
    pub(super) content: Option<(Digest, u64)>,
}

#[derive(Clone)]
pub(super) struct FeedState {
    pub(super) generation: u64,
    /// How many entries were there before the first that still is.
    pub(super) pruned: u64,
    /// With the Unix time in milliseconds at which each was written.
    pub(super) entries: Vec<(i64, FeedEntry)>,
}

impl Default for FeedState {
    fn default() -> Self {
        Self { generation: 1, pruned: 0, entries: Vec::new() }
    }
}

/// The right to merge a camera. Others wait.
pub(super) struct Turn {
    _cameras: Vec<OwnedMutexGuard<()>>,
    _all: OwnedRwLockReadGuard<()>,
}

impl MemoryDatabase {
    /// A fresh one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The database as it is, but for transactions under way.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.tables().clone())
    }

    /// Puts a snapshot in the place of everything. Transactions under way come to nothing.
    pub fn restore(&self, Snapshot(tables): Snapshot) {
        let mut now = self.tables();
        let life = now.life + 1;
        *now = Tables { life, ..tables };
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks cameras, whose ids are in order.
    pub(super) async fn lock(&self, cameras: &[CameraId]) -> Turn {
        let all = Arc::clone(&self.all).read_owned().await;
        let mut held = Vec::with_capacity(cameras.len());
        for camera in cameras {
            let lock = {
                let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(locks.entry(camera.clone()).or_default())
            };
            held.push(lock.lock_owned().await);
        }
        Turn { _cameras: held, _all: all }
    }

    /// Waits until nobody merges, and holds that.
    pub(super) async fn lock_all(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.all).write_owned().await
    }
}

impl Tables {
    /// The newest epoch of a camera, whoever began it.
    pub(super) fn newest_epoch(&self, camera: &CameraId) -> Option<Epoch> {
        self.newest_begun(camera).max(self.newest_merged(camera))
    }

    pub(super) fn newest_begun(&self, camera: &CameraId) -> Option<Epoch> {
        self.epochs.get(camera)?.last_key_value().map(|(epoch, _)| *epoch)
    }

    pub(super) fn newest_merged(&self, camera: &CameraId) -> Option<Epoch> {
        let merged = &self.cameras.get(camera)?.merged;
        let there = merged.outcomes.last_key_value().map(|(at, _)| at.epoch);
        there.max(merged.floor.as_ref().map(|floor| floor.floor.at().epoch))
    }

    pub(super) fn begin(&mut self, camera: &CameraId, epoch: Epoch, begun: Begun) {
        self.epochs.entry(camera.clone()).or_default().insert(epoch, begun);
    }
}

pub(super) fn above(epoch: u64, step: u64) -> Result<u64, StoreError> {
    epoch.checked_add(step).ok_or_else(|| StoreError::Corrupt(format!("no epoch is left above {epoch}")))
}
