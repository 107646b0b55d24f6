//! Folds one camera inside a merge transaction: how far, and from where.

use std::collections::{BTreeMap, BTreeSet};

use detektor_backends::store::{CameraUpdate, MergeTx, Put, Waiting};
use detektor_contract::fold::{CameraFold, Seams, diff};
use detektor_contract::{CameraId, Epoch, Event, EventChange, EventId, EventState, Gap, Outcome, Position};

use crate::error::{Doing, MergeError};

/// Outcomes read at a time.
const PAGE: u32 = 64;
/// Outcomes applied in one transaction, where nothing forces more: others wait for their turn to write.
const MOST_IN_ONE: u64 = 2_048;
/// A checkpoint at every multiple of this in an epoch, and where an epoch ends.
const CHECKPOINT_EVERY: u64 = 32;
/// Behind every outcome.
const END: Position = Position { epoch: Epoch(u64::MAX), sequence: u64::MAX };

/// What to do where outcomes are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holes {
    /// Wait for them, but only for so long. Both in Unix microseconds.
    Wait {
        /// The time.
        now: i64,
        /// How long.
        patience: i64,
    },
    /// There is nothing to wait for: pass over all.
    Pass,
}

/// What became of a camera in one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The last outcome that was applied before, by whomever.
    pub(crate) before: Option<Position>,
    /// The last outcome applied.
    pub(crate) frontier: Option<Position>,
    /// Outcomes applied.
    pub(crate) applied: u64,
    /// Outcomes of those that had been applied before.
    pub(crate) refolded: u64,
    /// Holes passed over because they outlasted the patience.
    pub(crate) passed: u64,
    /// What became of events.
    pub(crate) told: Told,
    /// Whether there is more to apply, in another transaction.
    pub(crate) more: bool,
}

/// How many events began, ended, and were not as was said before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) revised: u64,
    pub(crate) withdrawn: u64,
}

impl Told {
    fn of<'c>(changes: impl IntoIterator<Item = &'c EventChange>) -> Self {
        let mut told = Self::default();
        for change in changes {
            match change {
                EventChange::Opened(_) => told.opened += 1,
                EventChange::Closed(_) => told.closed += 1,
                EventChange::Revised(_) => told.revised += 1,
                EventChange::Withdrawn(_) => told.withdrawn += 1,
                EventChange::Continued(_) | EventChange::Updated(_) => {}
            }
        }
        told
    }
}

/// Puts a camera's outcomes. Answers the first place at which what was known has changed, be it that one came or replaced
/// another, or that a seam now cuts an older epoch elsewhere.
pub(crate) async fn put(
    tx: &mut dyn MergeTx,
    camera: &CameraId,
    outcomes: &[&Outcome],
    mut count: impl FnMut(Put),
) -> Result<Option<Position>, MergeError> {
    let before = tx.seams(camera).await.doing("reading seams")?;
    let mut first: Option<Position> = None;
    let mut earlier = |at: Position| first = Some(first.map_or(at, |first| first.min(at)));
    let puts = tx.put_all(outcomes).await.doing("recording outcomes")?;
    for (outcome, put) in outcomes.iter().zip(puts) {
        if matches!(put, Put::New | Put::Replaced) {
            earlier(outcome.id.position());
        }
        count(put);
    }
    let after = tx.seams(camera).await.doing("reading seams")?;
    let new = after.iter().filter(|seam| !before.contains(seam));
    let gone = before.iter().filter(|seam| !after.contains(seam));
    for (epoch, seam) in new.chain(gone) {
        let behind = tx.first_behind_seam(camera, *epoch, *seam).await.doing("looking behind a seam")?;
        behind.into_iter().for_each(&mut earlier);
    }
    Ok(first)
}

/// Folds a camera as far as it goes, and writes what that did. `changed`: the first place at which the outcomes are not
/// what they were at the last call. `tell`: whether readers hear of it.
pub(crate) async fn fold(
    tx: &mut dyn MergeTx,
    camera: &CameraId,
    changed: Option<Position>,
    holes: Holes,
    tell: bool,
) -> Result<Step, MergeError> {
    let waited = tx.waiting(camera).await.doing("reading since when a camera waits")?;
    let head = tx.head(camera).await.doing("reading a camera's head")?;
    let (before, mut walk) = match head.as_deref().map(CameraFold::from_bytes) {
        None => (None, Walk::new(Beginning::of(tx, camera).await?.fold, None)),
        Some(Ok(fold)) => {
            let before = fold.frontier();
            let ahead = changed.is_none_or(|changed| Some(changed) > before);
            (before, if ahead { Walk::new(fold, None) } else { back_to(tx, camera, changed, before).await? })
        }
        Some(Err(error)) => {
            // Another release wrote it. All of it follows from the outcomes.
            tracing::info!(%camera, %error, "folding the camera's outcomes from the start");
            let before = tx.frontier(camera).await.doing("reading how far a camera is folded")?;
            (before, back_to(tx, camera, None, before).await?)
        }
    };
    walk.seams = tx.seams(camera).await.doing("reading seams")?.into_iter().collect();
    let waiting = walk.through(tx, camera, waited, holes).await?;
    let mut step = walk.step(before);
    if step.applied > 0 || walk.again.is_some() || waiting != waited {
        let update = walk.update(camera, waiting);
        step.told = Told::of(update.changes.iter().map(|(_, change)| change));
        tx.update(update, tell).await.doing("writing what a fold did")?;
    }
    Ok(step)
}

/// Begins again at the last checkpoint before `first` that can be read (or where the camera's history begins), to go as far
/// as it was.
async fn back_to(
    tx: &mut dyn MergeTx,
    camera: &CameraId,
    first: Option<Position>,
    until: Option<Position>,
) -> Result<Walk, MergeError> {
    let Beginning { mut fold, floor, tracks_lost } = Beginning::of(tx, camera).await?;
    let mut lost = tracks_lost;
    let mut before = first;
    while let Some(position) = before {
        match tx.checkpoint_before(camera, position).await.doing("reading a checkpoint")? {
            // Below the floor outcomes are missing.
            Some((at, _)) if Some(at) < floor => break,
            None => break,
            Some((at, state)) => match CameraFold::from_bytes(&state) {
                Ok(state) => {
                    (fold, lost) = (state, false);
                    break;
                }
                Err(_) => before = Some(at),
            },
        }
    }
    let from = fold.frontier();
    let mut touched = tx.events_touched_after(camera, from).await.doing("reading events")?;
    if lost {
        // Whoever was in the picture at the floor is seen there for the first time now, under another name.
        let known: BTreeSet<EventId> = touched.iter().map(|event| event.id.clone()).collect();
        let all = tx.events_touched_after(camera, None).await.doing("reading events")?;
        touched.extend(all.into_iter().filter(|e| e.state == EventState::Open && !known.contains(&e.id)));
    }
    let open = fold.open_events();
    Ok(Walk::new(fold, Some(Again { from, until, touched, open })))
}

/// Where a camera's history begins.
struct Beginning {
    fold: CameraFold,
    floor: Option<Position>,
    /// What was pruned can no longer say which tracks crossed the floor.
    tracks_lost: bool,
}

impl Beginning {
    async fn of(tx: &mut dyn MergeTx, camera: &CameraId) -> Result<Self, MergeError> {
        let Some(stored) = tx.floor(camera).await.doing("reading a floor")? else {
            return Ok(Self { fold: CameraFold::new(camera.clone()), floor: None, tracks_lost: false });
        };
        let floor = Some(stored.floor.at());
        Ok(match CameraFold::from_bytes(&stored.state) {
            Ok(fold) => Self { fold, floor, tracks_lost: false },
            Err(error) => {
                tracing::warn!(%camera, %error, "what was in the picture where the camera was pruned is not known");
                Self { fold: CameraFold::above(camera.clone(), &stored.floor), floor, tracks_lost: true }
            }
        })
    }
}

/// What was there before a refold.
struct Again {
    from: Option<Position>,
    until: Option<Position>,
    touched: Vec<Event>,
    open: Vec<Event>,
}

/// A fold on its way through a camera's outcomes.
struct Walk {
    fold: CameraFold,
    seams: Seams,
    again: Option<Again>,
    changes: Vec<(Position, EventChange)>,
    gaps: Vec<(Position, Gap)>,
    checkpoints: Vec<(Position, Vec<u8>)>,
    applied: u64,
    refolded: u64,
    passed: u64,
    more: bool,
}

/// Why a walk stopped.
enum Stop {
    /// There is nothing more.
    End,
    /// Something is missing.
    Hole,
    /// That is enough for one transaction.
    Full,
}

impl Walk {
    fn new(fold: CameraFold, again: Option<Again>) -> Self {
        Self {
            fold,
            seams: Seams::default(),
            again,
            changes: Vec::new(),
            gaps: Vec::new(),
            checkpoints: Vec::new(),
            applied: 0,
            refolded: 0,
            passed: 0,
            more: false,
        }
    }

    /// Goes as far as nothing is missing, and over what was waited for long enough: all holes before an outcome that has
    /// waited out the patience. What came while it waited begins to wait then. Answers what still waits.
    async fn through(
        &mut self,
        tx: &mut dyn MergeTx,
        camera: &CameraId,
        waited: Option<Waiting>,
        holes: Holes,
    ) -> Result<Option<Waiting>, MergeError> {
        let (now, patience) = match holes {
            Holes::Pass => {
                self.go(tx, camera, Some(END)).await?;
                return Ok(None);
            }
            Holes::Wait { now, patience } => (now, patience),
        };
        let mut over = None;
        loop {
            match self.go(tx, camera, over).await? {
                Stop::End => return Ok(None),
                Stop::Full => return Ok(waited),
                Stop::Hole => {}
            }
            // It may be another hole than before, as long as the same outcome is behind it.
            let behind = waited.filter(|waited| over.is_none() && Some(waited.until) > self.fold.frontier());
            let Some(still) = behind else {
                let last = tx.last_outcome(camera).await.doing("reading the last outcome's place")?;
                return Ok(last.map(|until| Waiting { since: now, until }));
            };
            // A clock that ran ahead may have said since when; it is to cost no more than one patience.
            let still = Waiting { since: still.since.min(now), ..still };
            if now.saturating_sub(still.since) < patience {
                return Ok(Some(still));
            }
            over = Some(still.until);
        }
    }

    /// Applies outcomes in order. Beyond where the fold has been before, it passes over those holes that are before `over`.
    async fn go(
        &mut self,
        tx: &mut dyn MergeTx,
        camera: &CameraId,
        over: Option<Position>,
    ) -> Result<Stop, MergeError> {
        let until = self.again.as_ref().and_then(|again| again.until);
        loop {
            let page = tx.outcomes_after(camera, self.fold.frontier(), PAGE).await.doing("reading outcomes")?;
            for outcome in &page {
                let at = outcome.id.position();
                let been_here = until.is_some_and(|until| at <= until);
                if !been_here && self.applied >= MOST_IN_ONE {
                    self.more = true;
                    return Ok(Stop::Full);
                }
                if !been_here && !self.fold.expects(at) {
                    if over.is_none_or(|over| at > over) {
                        return Ok(Stop::Hole);
                    }
                    self.passed += 1;
                }
                self.apply(outcome);
                self.refolded += u64::from(been_here);
            }
            self.drop_intermediate_steps();
            if page.len() < PAGE as usize {
                return Ok(Stop::End);
            }
        }
    }

    fn apply(&mut self, outcome: &Outcome) {
        let at = outcome.id.position();
        let said = self.fold.apply(outcome, &self.seams.limit(at.epoch));
        self.changes.extend(said.changes.into_iter().map(|change| (at, change)));
        self.gaps.extend(said.gap.map(|gap| (at, gap)));
        self.applied += 1;
        if at.sequence.is_multiple_of(CHECKPOINT_EVERY) || self.fold.ended() {
            self.checkpoints.push((at, self.fold.to_bytes()));
        }
    }

    /// That an event goes on is worth writing once a transaction; of a refold, only the last word on each event counts.
    fn drop_intermediate_steps(&mut self) {
        let refold = self.again.is_some();
        let mut seen: BTreeSet<EventId> = BTreeSet::new();
        let mut kept: Vec<(Position, EventChange)> = Vec::with_capacity(self.changes.len());
        for (at, change) in std::mem::take(&mut self.changes).into_iter().rev() {
            let newest = seen.insert(change.event().id.clone());
            let superseded = !newest && (refold || matches!(change, EventChange::Continued(_)));
            if !superseded {
                kept.push((at, change));
            }
        }
        kept.reverse();
        self.changes = kept;
    }

    fn step(&self, before: Option<Position>) -> Step {
        Step {
            before,
            frontier: self.fold.frontier(),
            applied: self.applied,
            refolded: self.refolded,
            passed: self.passed,
            told: Told::default(),
            more: self.more,
        }
    }

    fn update(self, camera: &CameraId, waiting: Option<Waiting>) -> CameraUpdate {
        let (refolded_from, changes) = match self.again {
            None => (None, self.changes),
            Some(Again { from, touched, open, .. }) => {
                let places: BTreeMap<EventId, Position> =
                    self.changes.iter().map(|(at, change)| (change.event().id.clone(), *at)).collect();
                let said = self.changes.into_iter().map(|(_, change)| change).collect();
                let place = |change: &EventChange| places.get(&change.event().id).copied().or(from).unwrap_or_default();
                let told = diff(&touched, &open, said);
                (Some(from), told.into_iter().map(|change| (place(&change), change)).collect())
            }
        };
        CameraUpdate {
            camera: camera.clone(),
            head: self.fold.to_bytes(),
            frontier: self.fold.frontier(),
            ledger: self.fold.ledger().clone(),
            merged_until: self.fold.merged_until(),
            waiting,
            refolded_from,
            checkpoints: self.checkpoints,
            changes,
            gaps: self.gaps,
        }
    }
}
