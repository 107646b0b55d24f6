//! What happened, as far as it can be held against what is left in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use detektor_backends::coordination::{LeaseName, Take};
use detektor_backends::store::CameraUpdate;
use detektor_contract::wire::{decode_job, decode_outcome};
use detektor_contract::{CameraId, Epoch, SegmentId};

/// Everything noted in one run. Clones are one.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Notes>>);

/// The notes.
#[derive(Default)]
pub struct Notes {
    /// Every take of a lease, in the order in which the database let it happen, and by whom.
    pub takes: Vec<(LeaseName, Epoch, String)>,
    /// What the queue confirmed, and how many frames it holds.
    pub confirmed: BTreeMap<SegmentId, u32>,
    /// What dispatchers began to publish under an epoch: their names and incarnations.
    pub publishers: BTreeMap<(CameraId, Epoch), BTreeSet<String>>,
    /// How often merge went back.
    pub refolds: u64,
}

impl History {
    /// The notes as they are.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease was taken.
    pub fn taken(&self, take: &Take, epoch: Epoch) {
        let by = format!("{}#{}", take.holder.name, take.holder.incarnation);
        self.notes().takes.push((take.name.clone(), epoch, by));
    }

    /// A publisher heard that these are in the queue.
    pub fn confirmed(&self, bodies: &[Bytes]) {
        let mut notes = self.notes();
        for body in bodies {
            if let Ok(job) = decode_job(body) {
                notes.confirmed.insert(job.id, job.span.frames);
            } else if let Ok(outcome) = decode_outcome(body) {
                let frames = outcome.span().map_or(0, |span| span.frames);
                notes.confirmed.insert(outcome.id, frames);
            }
        }
    }

    /// Somebody publishes a live camera's segments under an epoch.
    pub fn publishes(&self, camera: &CameraId, epoch: Epoch, who: &str) {
        self.notes().publishers.entry((camera.clone(), epoch)).or_default().insert(who.to_owned());
    }

    /// A merge wrote this, as far as it knows.
    pub fn updated(&self, update: &CameraUpdate) {
        self.notes().refolds += u64::from(update.refolded_from.is_some());
    }
}
