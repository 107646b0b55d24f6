//! What readers see, as JSON. The API and the `detektor events|detections|ledger --json` commands print these shapes.
//!
//! Times are seconds on the record's `clock`, boxes are `[x, y, w, h]` in source pixels, scores are 0 to 1. Floats appear
//! here and nowhere else. Nothing in these shapes depends on when it was made: the same footage gives the same bytes.

use std::collections::BTreeMap;

use detektor_backends::store::CameraInfo;
use detektor_contract::{
    BestLook, CameraId, Clock, CloseReason, Detection, Epoch, Event, EventState, Failed, Fate, Gap, GapCause, Ledger,
    Outcome, OutcomeBody, Skipped, TimeUs,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Something came, was there for a while, and perhaps left.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EventView {
    /// Its name, which derives from where it was first seen.
    pub id: String,
    /// Whose camera saw it.
    pub camera: String,
    /// What it is.
    pub label: String,
    /// `open` or `closed`.
    pub state: &'static str,
    /// Why it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<CloseReason>,
    /// When it was first seen, in seconds.
    pub start_s: f64,
    /// When it was last seen, in seconds.
    pub end_s: f64,
    /// What the times count from: `media` (the source's first frame) or `unix`.
    #[schema(value_type = String)]
    pub clock: Clock,
    /// The highest score it ever had, 0 to 1.
    pub best_score: f64,
    /// The look that shows it best.
    pub best: BestView,
    /// In how many looks it was seen.
    pub looks: u32,
    /// Whether it stays where it is.
    pub stationary: bool,
    /// The segment it was first seen in, `camera/epoch/sequence`.
    pub first_segment: String,
    /// The segment it was last seen in.
    pub last_segment: String,
}

/// The look that shows an event best.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BestView {
    /// When, in seconds.
    pub at_s: f64,
    /// The score there, 0 to 1.
    pub score: f64,
    /// Where: `[x, y, w, h]` in source pixels.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
    /// The picture's width and height in pixels.
    pub picture: [u32; 2],
    /// Whether a picture was kept that shows it.
    pub snapshot: bool,
}

/// A frame that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DetectionView {
    /// Whose frame it is.
    pub camera: String,
    /// The unbroken stretch of capture that it belongs to.
    pub epoch: u64,
    /// Its presentation index in the source, from 0, within the epoch.
    pub frame: u64,
    /// When it was captured, in seconds.
    pub time_s: f64,
    /// What the time counts from.
    #[schema(value_type = String)]
    pub clock: Clock,
    /// What was seen, best first; may be empty.
    pub objects: Vec<ObjectView>,
}

/// One object in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ObjectView {
    /// Its class.
    pub label: String,
    /// The detector's confidence, 0 to 1.
    pub score: f64,
    /// Where: `[x, y, w, h]` in source pixels.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
}

/// What became of a camera's frames: `captured = detected + skipped + failed`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LedgerView {
    /// Whose.
    pub camera: String,
    /// Frames that were captured.
    pub captured: u64,
    /// Frames that were looked at.
    pub detected: u64,
    /// Frames left out on purpose, by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub skipped: BTreeMap<Skipped, u64>,
    /// Frames that gave no picture, by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub failed: BTreeMap<Failed, u64>,
    /// Segments accounted for.
    pub segments: u64,
    /// Segments whose outcome is missing.
    pub holes: u64,
    /// Frames by which an epoch's running count and the sum of its segments differ.
    pub miscounted: u64,
    /// Whether every captured frame is accounted for.
    pub closes: bool,
    /// Times in which nothing was captured, oldest first.
    pub gaps: Vec<GapView>,
}

/// A time in which nothing was captured.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct GapView {
    /// When it began, in seconds.
    pub from_s: f64,
    /// When it ended; none while it lasts.
    pub until_s: Option<f64>,
    /// What both count from.
    #[schema(value_type = String)]
    pub clock: Clock,
    /// Why.
    #[schema(value_type = String)]
    pub cause: GapCause,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CameraView {
    /// Its name.
    pub id: String,
    /// Where it is, without credentials.
    pub url: String,
    /// `connecting`, `running`, `lost`, `ended`, `failed` or `stopped`.
    pub state: &'static str,
    /// Why it is lost or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its times count from, once something of it was looked at.
    #[schema(value_type = Option<String>)]
    pub clock: Option<Clock>,
    /// The end of the newest frame that is accounted for, in seconds.
    pub merged_until_s: Option<f64>,
    /// Frames that were captured.
    pub captured: u64,
    /// Frames that were looked at.
    pub detected: u64,
    /// Frames left out on purpose.
    pub skipped: u64,
    /// Frames that gave no picture.
    pub failed: u64,
    /// Times in which nothing was captured.
    pub gaps: u64,
    /// Whether every captured frame is accounted for.
    pub closes: bool,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        let (state, reason) = match event.state {
            EventState::Open => ("open", None),
            EventState::Closed(reason) => ("closed", Some(reason)),
        };
        Self {
            id: event.id.to_string(),
            camera: event.camera.to_string(),
            label: event.label.to_string(),
            state,
            reason,
            start_s: event.start.seconds(),
            end_s: event.end.seconds(),
            clock: event.clock,
            best_score: event.best_score.to_f64(),
            best: (&event.best).into(),
            looks: event.looks,
            stationary: event.stationary,
            first_segment: event.first_segment.to_string(),
            last_segment: event.last_segment.to_string(),
        }
    }
}

impl From<&BestLook> for BestView {
    fn from(best: &BestLook) -> Self {
        Self {
            at_s: best.at.seconds(),
            score: best.score.to_f64(),
            bounds: best.bounds.pixels(),
            picture: best.picture,
            snapshot: best.snapshot.is_some(),
        }
    }
}

impl DetectionView {
    /// Frame `index` of an outcome, if it was looked at.
    pub fn of(outcome: &Outcome, index: usize) -> Option<Self> {
        let OutcomeBody::Result(result) = &outcome.body else { return None };
        let frame = result.frames.get(index)?;
        let Fate::Detected(objects) = &frame.fate else { return None };
        let Epoch(epoch) = outcome.id.epoch;
        Some(Self {
            camera: outcome.id.camera.to_string(),
            epoch,
            frame: result.span.first_frame.saturating_add(index as u64),
            time_s: frame.at.seconds(),
            clock: result.span.clock,
            objects: objects.iter().map(ObjectView::from).collect(),
        })
    }
}

impl From<&Detection> for ObjectView {
    fn from(detection: &Detection) -> Self {
        Self { label: detection.label.to_string(), score: detection.score.to_f64(), bounds: detection.bounds.pixels() }
    }
}

impl LedgerView {
    /// A camera's ledger and its gaps, which are to be in order.
    pub fn new(camera: &CameraId, ledger: &Ledger, gaps: &[Gap]) -> Self {
        Self {
            camera: camera.to_string(),
            captured: ledger.captured,
            detected: ledger.detected,
            skipped: ledger.skipped.clone(),
            failed: ledger.failed.clone(),
            segments: ledger.segments,
            holes: ledger.holes,
            miscounted: ledger.miscounted,
            closes: ledger.closes(),
            gaps: gaps.iter().map(GapView::from).collect(),
        }
    }
}

impl From<&Gap> for GapView {
    fn from(gap: &Gap) -> Self {
        Self { from_s: gap.from.seconds(), until_s: gap.until.map(TimeUs::seconds), clock: gap.clock, cause: gap.cause }
    }
}

impl From<&CameraInfo> for CameraView {
    fn from(info: &CameraInfo) -> Self {
        Self {
            id: info.id.to_string(),
            url: info.url.clone(),
            state: info.state.name(),
            error: info.state.error().map(str::to_owned),
            clock: info.merged_until.map(|(_, clock)| clock),
            merged_until_s: info.merged_until.map(|(at, _)| at.seconds()),
            captured: info.ledger.captured,
            detected: info.ledger.detected,
            skipped: info.ledger.skipped_total(),
            failed: info.ledger.failed_total(),
            gaps: info.ledger.gaps,
            closes: info.ledger.closes(),
        }
    }
}
