//! Events: what people and programs read.

use serde::{Deserialize, Serialize};

use crate::{Box2, CameraId, Clock, EventId, Label, ObjectKey, Score, SegmentId, TimeUs};

/// Something came, was there for a while, and perhaps left.
///
/// A pure function of the camera's outcomes: nothing here depends on when or how often they arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Derives from where its track was first seen.
    pub id: EventId,
    /// Whose camera saw it.
    pub camera: CameraId,
    /// What it is: the class that has the most score over the track's life.
    pub label: Label,
    /// Open, or closed and why.
    pub state: EventState,
    /// When the track was first seen.
    pub start: TimeUs,
    /// When it was last seen.
    pub end: TimeUs,
    /// What both count from.
    pub clock: Clock,
    /// The look that shows it best.
    pub best: BestLook,
    /// The highest score it ever had.
    pub best_score: Score,
    /// The segment it was first seen in.
    pub first_segment: SegmentId,
    /// The segment it was last seen in.
    pub last_segment: SegmentId,
    /// In how many looks it was seen.
    pub looks: u32,
    /// Whether it stays where it is.
    pub stationary: bool,
}

/// The look that shows an event best: score x sqrt(area), less at the border.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestLook {
    /// The segment that it is in.
    pub segment: SegmentId,
    /// The frame's presentation index within the segment.
    pub frame: u32,
    /// The frame's capture time.
    pub at: TimeUs,
    /// The score there.
    pub score: Score,
    /// The place there, in tenths of a pixel.
    #[serde(rename = "box")]
    pub bounds: Box2,
    /// Picture width and height in pixels.
    pub picture: [u32; 2],
    /// A kept frame that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<ObjectKey>,
}

/// Whether an event goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum EventState {
    /// It goes on.
    Open,
    /// It is over.
    Closed(CloseReason),
}

/// Why an event is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// It was no longer seen.
    Left,
    /// The footage ended.
    CameraEnded,
    /// The camera was lost.
    CameraLost,
    /// Detektor was told to stop.
    CameraStopped,
}

/// A step in an event's life, as the stream, the outbox and the event's history tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", content = "event", rename_all = "snake_case")]
pub enum EventChange {
    /// A new event.
    Opened(Event),
    /// Only its end and its looks grew, or a refold came to what was known: kept, but not told.
    Continued(Event),
    /// It goes on; something that people care about changed (label, best look, stationary).
    Updated(Event),
    /// It is over.
    Closed(Event),
    /// A late outcome changed what was already said.
    Revised(Event),
    /// A late outcome says that it never was. Carries its last state.
    Withdrawn(Event),
}

impl EventChange {
    /// The event.
    pub fn event(&self) -> &Event {
        match self {
            Self::Opened(event)
            | Self::Continued(event)
            | Self::Updated(event)
            | Self::Closed(event)
            | Self::Revised(event)
            | Self::Withdrawn(event) => event,
        }
    }

    /// The event.
    pub fn into_event(self) -> Event {
        match self {
            Self::Opened(event)
            | Self::Continued(event)
            | Self::Updated(event)
            | Self::Closed(event)
            | Self::Revised(event)
            | Self::Withdrawn(event) => event,
        }
    }

    /// The type of a CloudEvent that tells of it.
    pub fn cloud_event_type(&self) -> &'static str {
        match self {
            Self::Opened(_) => "detektor.event.opened",
            Self::Continued(_) | Self::Updated(_) => "detektor.event.updated",
            Self::Closed(_) => "detektor.event.closed",
            Self::Revised(_) => "detektor.event.revised",
            Self::Withdrawn(_) => "detektor.event.withdrawn",
        }
    }

    /// The source of a CloudEvent that tells of it.
    pub fn cloud_event_source(&self) -> String {
        format!("/detektor/cameras/{}", self.event().camera)
    }
}
