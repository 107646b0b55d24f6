//! Made-up cameras, outcomes and events for tests.

use detektor_contract::{
    BestLook, Box2, CameraId, Clock, CloseReason, Digest, EndReason, EngineId, Epoch, Event, EventChange, EventId,
    EventState, Fate, Frame, GapCause, Label, Ledger, Marker, ObjectKey, Outcome, OutcomeBody, Position, Score, Seam,
    SegmentId, SegmentResult, Skipped, Span, TimeUs, Tombstone,
};

use crate::store::CameraUpdate;

/// A second in microseconds: how long a sample segment is.
pub const SECOND: i64 = 1_000_000;

/// A camera.
pub fn camera(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

/// A place.
pub fn at(epoch: u64, sequence: u64) -> Position {
    Position { epoch: Epoch(epoch), sequence }
}

/// A segment.
pub fn segment(camera: &CameraId, at: Position) -> SegmentId {
    SegmentId { camera: camera.clone(), epoch: at.epoch, sequence: at.sequence }
}

/// Two frames in the second that the sequence number says.
pub fn span(at: Position) -> Span {
    let start = at.sequence as i64 * SECOND;
    Span {
        first_frame: at.sequence * 2,
        frames: 2,
        start: TimeUs(start),
        end: TimeUs(start + SECOND),
        clock: Clock::Media,
        key_frame: Some(Digest::of(format!("{at:?}").as_bytes())),
    }
}

/// A result of two quiet frames.
pub fn result(camera: &CameraId, at: Position) -> Outcome {
    let frame =
        |offset| Frame { at: TimeUs(at.sequence as i64 * SECOND + offset), fate: Fate::Skipped(Skipped::Quiet) };
    let body = OutcomeBody::Result(SegmentResult {
        span: span(at),
        seam: None,
        rules: Default::default(),
        picture: [640, 360],
        engine: EngineId { engine: "sample".to_owned(), model: "none".to_owned(), digest: Digest::of(b"") },
        frames: vec![frame(0), frame(SECOND / 2)],
        snapshots: Vec::new(),
        video: None,
    });
    Outcome { id: segment(camera, at), generation: 0, body }
}

/// An outcome whose first record names a seam.
pub fn with_seam(mut outcome: Outcome, seam: Seam) -> Outcome {
    match &mut outcome.body {
        OutcomeBody::Result(result) => result.seam = Some(seam),
        OutcomeBody::Tombstone(tombstone) => tombstone.seam = Some(seam),
        OutcomeBody::Marker(_) => {}
    }
    outcome
}

/// A segment that failed for good; `kept` with its job.
pub fn tombstone(camera: &CameraId, at: Position, kept: bool) -> Outcome {
    let id = segment(camera, at);
    let quarantine = kept.then(|| ObjectKey::quarantine(&id, 0));
    let body = Tombstone { span: span(at), seam: None, error: "sample".to_owned(), attempts: 3, quarantine };
    Outcome { id, generation: 0, body: OutcomeBody::Tombstone(body) }
}

/// Nothing was captured for a while.
pub fn gap(camera: &CameraId, at: Position, from: i64, until: Option<i64>) -> Outcome {
    let (from, until) = (TimeUs(from), until.map(TimeUs));
    let body = Marker::Gap { from, until, clock: Clock::Media, cause: GapCause::Disconnected };
    Outcome { id: segment(camera, at), generation: 0, body: OutcomeBody::Marker(body) }
}

/// The end of an epoch after whole segments.
pub fn end(camera: &CameraId, at: Position) -> Outcome {
    let last = TimeUs(at.sequence as i64 * SECOND);
    let body = Marker::EndOfEpoch { frames: at.sequence * 2, at: last, reason: EndReason::EndOfFile };
    Outcome { id: segment(camera, at), generation: 0, body: OutcomeBody::Marker(body) }
}

/// A car, first seen in a segment and still there.
pub fn event(camera: &CameraId, first: Position) -> Event {
    let id = segment(camera, first);
    let start = TimeUs(first.sequence as i64 * SECOND);
    let score = Score::from_f32(0.8);
    let bounds = Box2 { x: 100, y: 200, w: 300, h: 400 };
    Event {
        id: EventId::new(&id, 0, 0),
        camera: camera.clone(),
        label: Label::from("car"),
        state: EventState::Open,
        start,
        end: start.plus(SECOND / 2),
        clock: Clock::Media,
        best: BestLook { segment: id.clone(), frame: 0, at: start, score, bounds, picture: [640, 360], snapshot: None },
        best_score: score,
        first_segment: id.clone(),
        last_segment: id,
        looks: 2,
        stationary: false,
    }
}

/// The event one look later.
pub fn longer(event: &Event) -> Event {
    Event { end: event.end.plus(SECOND), looks: event.looks + 1, ..event.clone() }
}

/// The event over.
pub fn closed(event: &Event) -> Event {
    Event { state: EventState::Closed(CloseReason::Left), ..event.clone() }
}

/// What a merge that applied everything up to `frontier` saves.
pub fn update(camera: &CameraId, frontier: Position) -> CameraUpdate {
    CameraUpdate {
        camera: camera.clone(),
        head: format!("{frontier:?}").into_bytes(),
        frontier: Some(frontier),
        ledger: Ledger { captured: frontier.sequence * 2 + 2, ..Ledger::default() },
        merged_until: Some((TimeUs((frontier.sequence as i64 + 1) * SECOND), Clock::Media)),
        waiting: None,
        refolded_from: None,
        checkpoints: Vec::new(),
        changes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// The same with changes, all made by the outcome at the frontier.
pub fn changing(camera: &CameraId, frontier: Position, changes: Vec<EventChange>) -> CameraUpdate {
    let changes = changes.into_iter().map(|change| (frontier, change)).collect();
    CameraUpdate { changes, ..update(camera, frontier) }
}
