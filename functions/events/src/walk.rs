//! A camera's outcomes in order, as far as they are merged, without what newer epochs supersede.

use std::sync::Arc;

use detektor_backends::store::{EventStore, StoreError};
use detektor_contract::fold::Seams;
use detektor_contract::{CameraId, Epoch, Gap, Outcome, OutcomeBody, Position, TimeUs};

use crate::cursor::FrameCursor;
use crate::views::DetectionView;

/// Outcomes read at a time. An outcome of a busy second is some tens of kilobytes.
const BATCH: u32 = 64;

/// Walks through one camera's looked-at frames, by epoch, then frame.
pub(crate) struct Walk {
    store: Arc<dyn EventStore>,
    camera: CameraId,
    seams: Seams,
    next: Option<FrameCursor>,
    last: Option<Position>,
    /// The epoch whose key frame a newer epoch has taken over: all behind it is superseded.
    taken_over: Option<Epoch>,
}

/// An outcome, and what of it stands.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    /// Whether all of it belongs to a newer epoch.
    pub(crate) superseded: bool,
    /// Looked-at frames that stand, each with its capture time and the place behind it.
    pub(crate) looked: Vec<(DetectionView, TimeUs, FrameCursor)>,
}

impl Walk {
    /// Begins at `from`.
    pub(crate) async fn new(
        store: Arc<dyn EventStore>,
        camera: CameraId,
        from: FrameCursor,
    ) -> Result<Self, StoreError> {
        let seams = Seams::from_iter(store.seams(&camera).await?);
        let last = store.frontier(&camera).await?;
        let mut walk = Self { store, camera, seams, next: Some(from), last, taken_over: None };
        walk.look_back(from.at).await?;
        Ok(walk)
    }

    /// A walk that begins inside an epoch has to know whether a newer epoch took over shortly before.
    async fn look_back(&mut self, begin: Position) -> Result<(), StoreError> {
        let limit = self.seams.limit(begin.epoch);
        if limit.key_frames.is_empty() || begin.sequence == 0 {
            return Ok(());
        }
        let back = u64::from(BATCH).min(begin.sequence);
        let from = Position { sequence: begin.sequence - back, ..begin };
        let before = self.store.outcomes(&self.camera, from, back as u32).await?;
        let opens = |outcome: &Outcome| outcome.span().is_some_and(|span| limit.opens(span));
        if before.iter().take_while(|outcome| outcome.id.position() < begin).any(opens) {
            self.taken_over = Some(begin.epoch);
        }
        Ok(())
    }

    /// Where the walk stands: the next frame that it has not looked at; none at the end.
    pub(crate) fn place(&self) -> Option<FrameCursor> {
        self.next
    }

    /// Goes on with the epoch that follows this outcome's.
    pub(crate) fn skip_epoch_of(&mut self, outcome: &Outcome) {
        let behind = outcome.id.epoch.0.checked_add(1).and_then(first_of);
        self.next = behind.filter(|next| self.last.is_some_and(|last| next.at <= last));
    }

    /// The next batch of outcomes. Empty at the end.
    pub(crate) async fn batch(&mut self) -> Result<Vec<Seen>, StoreError> {
        let (Some(next), Some(last)) = (self.next, self.last) else {
            self.next = None;
            return Ok(Vec::new());
        };
        let outcomes = self.store.outcomes(&self.camera, next.at, BATCH).await?;
        let full = outcomes.len() == BATCH as usize;
        let mut batch = Vec::with_capacity(outcomes.len());
        let mut place = None;
        for outcome in outcomes {
            let at = outcome.id.position();
            if at > last {
                self.next = None;
                return Ok(batch);
            }
            let first = if at == next.at { next.frame } else { 0 };
            place = Some(FrameCursor { at: Position { sequence: at.sequence.saturating_add(1), ..at }, frame: 0 });
            batch.push(self.seen(outcome, first));
        }
        self.next = if full { place } else { None };
        Ok(batch)
    }

    fn seen(&mut self, outcome: Outcome, first: u32) -> Seen {
        let at = outcome.id.position();
        let limit = self.seams.limit(at.epoch);
        if outcome.span().is_some_and(|span| limit.opens(span)) {
            self.taken_over = Some(at.epoch);
        }
        let taken_over = self.taken_over == Some(at.epoch);
        let superseded = taken_over || outcome.span().is_some_and(|span| limit.covers(span.start));
        let OutcomeBody::Result(result) = &outcome.body else {
            return Seen { outcome, superseded, looked: Vec::new() };
        };
        let look = |index: u32| {
            let captured = result.frames.get(index as usize)?.at;
            let view = DetectionView::of(&outcome, index as usize).filter(|_| !limit.covers(captured))?;
            Some((view, captured, FrameCursor { at, frame: index + 1 }))
        };
        let frames = if taken_over { 0 } else { result.span.frames };
        let looked = (first..frames).filter_map(look).collect();
        Seen { outcome, superseded, looked }
    }
}

/// The first frame of an epoch.
pub(crate) fn first_of(epoch: u64) -> Option<FrameCursor> {
    Some(FrameCursor { at: Position { epoch: Epoch(epoch), sequence: 0 }, frame: 0 })
}

/// A camera's newest gaps in order, from at most so many entries of the store.
pub(crate) async fn gaps(store: &Arc<dyn EventStore>, camera: &CameraId, most: usize) -> Result<Vec<Gap>, StoreError> {
    const PAGE: u32 = 500;
    let mut newest_first = Vec::new();
    let mut before = None;
    let mut complete = false;
    while newest_first.len() < most && !complete {
        let page = store.gaps(camera, before, PAGE).await?;
        complete = page.len() < PAGE as usize;
        before = page.last().map(|(at, _)| *at).or(before);
        newest_first.extend(page.into_iter().map(|(_, gap)| gap));
    }
    let mut gaps: Vec<Gap> = Vec::new();
    for gap in newest_first.into_iter().take(most).rev() {
        match gaps.last_mut() {
            // A gap that lasts is told at once, and again when it is over.
            Some(last) if last.until.is_none() && last.from == gap.from => *last = gap,
            _ => gaps.push(gap),
        }
    }
    Ok(gaps)
}
