//! One camera's state between two outcomes.

mod floor;

use serde::{Deserialize, Serialize};

use super::books::Books;
use super::events::changes;
use super::track::Look;
use super::tracker::{Tracker, closed};
use super::{Limit, Seams};
use crate::{
    CameraId, Clock, CloseReason, EndReason, Epoch, Event, EventChange, Failed, Fate, Fault, Faulty, Gap, GapCause,
    Ledger, Marker, Outcome, OutcomeBody, Position, SegmentResult, Skipped, Span, TimeUs,
};

pub use floor::Floor;

/// The first byte of a checkpoint. Goes up with every change of layout or of what the fold does with outcomes.
const LAYOUT: u8 = 3;

/// An epoch that begins within so many frames of where the older one ended leaves no gap.
const SEAM_FRAMES: i64 = 2;

/// One camera's tracks, open events and ledger after a prefix of its outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraFold {
    camera: CameraId,
    frontier: Option<Position>,
    ended: bool,
    /// The epoch that gave the newest time, and what its times count from.
    clock: Option<(Epoch, Clock)>,
    merged_until: Option<(TimeUs, Clock)>,
    books: Books,
    tracker: Tracker,
}

/// What an outcome did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// To events, in order.
    pub changes: Vec<EventChange>,
    /// The gap in the capture that it tells of: a new one, or the one that lasted until now.
    pub gap: Option<Gap>,
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
        Self {
            camera,
            frontier: None,
            ended: false,
            clock: None,
            merged_until: None,
            books: Books::default(),
            tracker: Tracker::default(),
        }
    }

    /// Reads a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.split_first() {
            Some((&LAYOUT, state)) => match postcard::take_from_bytes(state) {
                Ok((fold, [])) => Ok(fold),
                Ok((_, rest)) => Err(CheckpointError(format!("{} bytes too many", rest.len()))),
                Err(error) => Err(CheckpointError(error.to_string())),
            },
            Some((layout, _)) => Err(CheckpointError(format!("layout {layout}, this build writes {LAYOUT}"))),
            None => Err(CheckpointError("it is empty".to_owned())),
        }
    }

    /// Writes a checkpoint, beginning with the layout's version.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain data in memory: there is nothing in it that postcard cannot hold.
        postcard::to_extend(self, vec![LAYOUT]).unwrap_or_default()
    }

    /// Whose fold it is.
    pub fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// The last outcome applied.
    pub fn frontier(&self) -> Option<Position> {
        self.frontier
    }

    /// Whether the last applied outcome ended its epoch.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Capture time up to which everything is applied (where the newest frame or gap ended), and what it counts from.
    pub fn merged_until(&self) -> Option<(TimeUs, Clock)> {
        self.merged_until
    }

    /// Whether nothing can be missing between the frontier and `next`: the next sequence number of the same epoch, or
    /// the first of a newer epoch after an end of epoch or at the very beginning.
    pub fn expects(&self, next: Position) -> bool {
        match self.frontier {
            None => next.sequence == 0,
            Some(last) if next.epoch == last.epoch => {
                !self.ended && last.sequence.checked_add(1) == Some(next.sequence)
            }
            Some(last) => self.ended && next.epoch > last.epoch && next.sequence == 0,
        }
    }

    /// The ledger of everything applied.
    pub fn ledger(&self) -> &Ledger {
        &self.books.ledger
    }

    /// The events that are open now, in id order.
    pub fn open_events(&self) -> Vec<Event> {
        let mut events = self.events();
        events.sort_by(|a, b| a.id.cmp(&b.id));
        events
    }

    /// Applies the next outcome in order and says what it does to events, and which gap it tells of. One that is not
    /// contiguous passes over a hole; one at or before the frontier is ignored. `limit` is what [`super::Seams::limit`]
    /// says of its epoch.
    pub fn apply(&mut self, outcome: &Outcome, limit: &Limit) -> Applied {
        let position = outcome.id.position();
        if self.frontier.is_some_and(|last| position <= last) {
            return Applied::default();
        }
        let before = self.events();
        let mut closed = Vec::new();
        self.books.advance(self.frontier, position);
        self.frontier = Some(position);
        self.ended = false;
        let gap = self.gap(outcome, limit);
        if let Some(gap) = gap {
            self.books.gap(gap);
        }
        if let Some(clock) = clock_of(outcome) {
            self.set_clock(position.epoch, clock, &mut closed);
        }
        if let Some(span) = outcome.span() {
            self.books.capture(span, limit);
            self.merge_until(span.end, span.clock);
        }
        match &outcome.body {
            OutcomeBody::Result(result) => self.look_through(position, result, limit, &mut closed),
            OutcomeBody::Tombstone(tombstone) => {
                self.books.fail_span(&tombstone.span, limit, Failed::DeadLettered);
            }
            OutcomeBody::Marker(Marker::Shed { span, .. }) => self.books.skip_span(span, limit, Skipped::Shed),
            OutcomeBody::Marker(Marker::Undecodable { span, reason, .. }) => {
                self.books.fail_span(span, limit, *reason);
            }
            OutcomeBody::Marker(Marker::Gap { .. }) => match gap {
                Some(Gap { until: Some(until), clock, .. }) => self.merge_until(until, clock),
                Some(Gap { until: None, .. }) => self.close(CloseReason::CameraLost, &mut closed),
                // A newer epoch has the camera.
                None => {}
            },
            OutcomeBody::Marker(Marker::EndOfEpoch { frames, reason, .. }) => {
                self.books.check(*frames);
                self.ended = true;
                match reason {
                    EndReason::EndOfFile | EndReason::SourceFailed => {
                        self.close(CloseReason::CameraEnded, &mut closed);
                    }
                    EndReason::Stopped => self.close(CloseReason::CameraStopped, &mut closed),
                    EndReason::HandedOver => {}
                }
            }
        }
        Applied { changes: changes(before, closed, self.events()), gap }
    }

    /// The gap that an outcome tells of: one that it marks, or one between the older epochs' frames and the seam of its
    /// own epoch, which nobody was there to mark.
    fn gap(&self, outcome: &Outcome, limit: &Limit) -> Option<Gap> {
        if let OutcomeBody::Marker(Marker::Gap { from, until, clock, cause }) = outcome.body {
            return limit.of_gap(Gap { from, until, clock, cause });
        }
        let (seam, span) = (outcome.seam()?, outcome.span()?);
        let (merged_until, clock) = self.merged_until?;
        self.clock.filter(|(epoch, _)| *epoch != outcome.id.epoch)?;
        let grace = match seam.key_frame {
            Some(_) => Seams::KEY_FRAME_GRACE_US,
            None => frame_us(span).saturating_mul(SEAM_FRAMES),
        };
        let unattended = Gap { from: merged_until, until: None, clock, cause: GapCause::Unattended };
        let apart = |gap: &Gap, least: i64| {
            (clock, span.clock) == (Clock::Unix, Clock::Unix) && seam.at.since(gap.from) > least
        };
        // One that is open is over, however short it was.
        let known = self.books.open_gap().filter(|open| apart(open, 0));
        let gap = known.or_else(|| Some(unattended).filter(|gap| apart(gap, grace)))?;
        limit.of_gap(Gap { until: Some(seam.at), ..gap })
    }

    /// Gives every frame of a result to the books, and those that were looked at to the tracker.
    fn look_through(&mut self, position: Position, result: &SegmentResult, limit: &Limit, done: &mut Vec<Event>) {
        let mut lost = Vec::new();
        for (index, frame) in (0u32..).zip(&result.frames) {
            let superseded = self.books.superseded(frame, limit);
            self.books.frame(frame, superseded);
            let Fate::Detected(seen) = &frame.fate else { continue };
            if superseded {
                continue;
            }
            let look = Look {
                position,
                frame: index,
                at: frame.at,
                picture: result.picture,
                snapshot: result.snapshots.iter().find(|s| s.frame == index).map(|s| &s.key),
                rules: &result.rules,
            };
            self.tracker.look(&look, seen, &mut lost);
        }
        done.extend(closed(&lost, &self.camera, self.clock(), CloseReason::Left));
    }

    /// Times on different clocks, or of two media files, say nothing about one another: tracks end where they meet.
    fn set_clock(&mut self, epoch: Epoch, clock: Clock, done: &mut Vec<Event>) {
        let mixes = |(known, before): (Epoch, Clock)| known != epoch && (before, clock) != (Clock::Unix, Clock::Unix);
        if self.clock.is_some_and(mixes) {
            self.close(CloseReason::CameraEnded, done);
            self.merged_until = None;
        }
        self.clock = Some((epoch, clock));
    }

    fn merge_until(&mut self, end: TimeUs, clock: Clock) {
        let end = self.merged_until.map_or(end, |(until, _)| until.max(end));
        self.merged_until = Some((end, clock));
    }

    fn close(&mut self, why: CloseReason, done: &mut Vec<Event>) {
        let clock = self.clock();
        done.extend(closed(&self.tracker.end(), &self.camera, clock, why));
    }

    fn clock(&self) -> Clock {
        self.clock.map_or(Clock::default(), |(_, clock)| clock)
    }

    fn events(&self) -> Vec<Event> {
        self.tracker.events(&self.camera, self.clock()).collect()
    }
}

/// How long a frame of a span lasts, in microseconds.
fn frame_us(span: &Span) -> i64 {
    span.end.since(span.start).max(0) / i64::from(span.frames.max(1))
}

/// What an outcome's times count from; none where it carries none that matter to tracks.
fn clock_of(outcome: &Outcome) -> Option<Clock> {
    match &outcome.body {
        OutcomeBody::Marker(Marker::Gap { clock, .. }) => Some(*clock),
        _ => outcome.span().map(|span| span.clock),
    }
}
