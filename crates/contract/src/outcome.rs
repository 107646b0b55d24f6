//! What became of a sequence number: exactly one of a result, a marker and a tombstone.

use serde::{Deserialize, Serialize};

use crate::{Clock, Detection, Digest, EventRules, Generation, ObjectKey, Seam, SegmentId, Span, TimeUs};

/// What became of one sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whose outcome it is.
    pub id: SegmentId,
    /// The try that it comes from; the highest wins.
    pub generation: Generation,
    /// What it says.
    pub body: OutcomeBody,
}

/// What an outcome says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OutcomeBody {
    /// The segment was looked at.
    Result(SegmentResult),
    /// The dispatcher says that there is nothing to look at, and why.
    Marker(Marker),
    /// The segment failed for good.
    Tombstone(Tombstone),
}

/// What was seen in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentResult {
    /// The job's span.
    pub span: Span,
    /// The job's seam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seam: Option<Seam>,
    /// The job's rules.
    pub rules: EventRules,
    /// Picture width and height in pixels.
    pub picture: [u32; 2],
    /// What looked.
    pub engine: EngineId,
    /// Every frame of the span, in presentation order; as many as `span.frames`.
    pub frames: Vec<Frame>,
    /// Full frames kept as JPEG.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotRef>,
    /// The segment's video, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<KeptVideo>,
}

/// A segment's video in the bucket, and which of its samples are no frames of the segment; see [`crate::MediaInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVideo {
    /// The object: init part and media part.
    pub key: ObjectKey,
    /// The first so many samples repeat the GOP's earlier packets.
    #[serde(default)]
    pub pre_roll: u32,
    /// The ordinal of the copy of the closing key frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_roll: Option<u32>,
    /// Ordinals, rising, of further samples that are decoded for others' sake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<u32>,
}

/// Which engine ran which model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EngineId {
    /// The engine's name, such as `tract`.
    pub engine: String,
    /// The model's name from its manifest.
    pub model: String,
    /// Digest of the model file.
    pub digest: Digest,
}

/// One frame of a segment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Capture time.
    #[serde(rename = "t")]
    pub at: TimeUs,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What became of a captured frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was looked at, and this was seen (best first; may be empty).
    #[serde(rename = "seen")]
    Detected(Vec<Detection>),
    /// It was left out on purpose.
    Skipped(Skipped),
    /// No picture came out of it.
    Failed(Failed),
}

/// Why a frame was left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// A newer epoch covers it.
    Superseded,
    /// There was too much to do.
    Shed,
    /// Nothing moved.
    Quiet,
    /// Its turn was not now (`detect.fps`).
    Sampling,
    /// The second field of a pair: its picture came out with the first.
    SecondField,
}

/// Why no picture came out of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// The decoder gave nothing for it.
    Decode,
    /// It came before the first key frame of a file.
    BeforeKeyFrame,
    /// Its segment was given up.
    DeadLettered,
}

/// A full frame kept as JPEG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// Presentation index within the segment.
    pub frame: u32,
    /// The object.
    pub key: ObjectKey,
}

/// A sequence number that carries no video, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
pub enum Marker {
    /// Frames that were captured and left out.
    Shed {
        /// Which frames.
        span: Span,
        /// The job's seam.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seam: Option<Seam>,
        /// Why.
        reason: ShedReason,
    },
    /// Frames that were captured and cannot be decoded by anybody.
    Undecodable {
        /// Which frames.
        span: Span,
        /// The epoch's seam, if this is its first record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seam: Option<Seam>,
        /// Why.
        reason: Failed,
    },
    /// Nothing was captured for a while.
    Gap {
        /// When the last frame before it ended.
        from: TimeUs,
        /// When the next frame came; none while the camera is still away. A later gap with the same `from` completes it.
        until: Option<TimeUs>,
        /// What both times count from.
        clock: Clock,
        /// Why.
        cause: GapCause,
    },
    /// No sequence number of this epoch follows.
    EndOfEpoch {
        /// All frames captured in the epoch.
        frames: u64,
        /// Capture time at which the last frame ended.
        at: TimeUs,
        /// Why.
        reason: EndReason,
    },
}

/// Why captured frames were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShedReason {
    /// Older than the camera's `max_age` when a worker took it.
    Stale,
    /// The dispatcher's spool was full.
    SpoolFull,
}

/// Why nothing was captured for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The connection broke or was refused.
    Disconnected,
    /// The connection stood and nothing came.
    Silent,
    /// The stream could not be understood.
    Malformed,
    /// Packets were lost on the way.
    PacketLoss,
    /// The camera's clock jumped.
    Timeline,
    /// Nobody held the camera: Detektor was stopped or killed. No marker says so; the fold sees it where one epoch ends
    /// and the next begins later.
    Unattended,
}

/// Why an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The file is through.
    EndOfFile,
    /// The file broke off or could not be read on.
    SourceFailed,
    /// Detektor was told to stop.
    Stopped,
    /// Another dispatcher took the camera over.
    HandedOver,
}

/// A segment that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The job's span.
    pub span: Span,
    /// The job's seam.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seam: Option<Seam>,
    /// What went wrong, for people.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The kept job, for replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<ObjectKey>,
}

impl Outcome {
    /// The frames that this outcome accounts for; none for a gap or an end.
    pub fn span(&self) -> Option<&Span> {
        match &self.body {
            OutcomeBody::Result(result) => Some(&result.span),
            OutcomeBody::Tombstone(tombstone) => Some(&tombstone.span),
            OutcomeBody::Marker(Marker::Shed { span, .. } | Marker::Undecodable { span, .. }) => Some(span),
            OutcomeBody::Marker(Marker::Gap { .. } | Marker::EndOfEpoch { .. }) => None,
        }
    }

    /// From when to when it speaks. A gap that still lasts speaks of its first microsecond, an end of its moment.
    pub fn times(&self) -> (TimeUs, TimeUs) {
        let (start, end) = match (&self.body, self.span()) {
            (_, Some(span)) => (span.start, span.end),
            (OutcomeBody::Marker(Marker::Gap { from, until, .. }), None) => {
                (*from, until.unwrap_or(*from).max(from.plus(1)))
            }
            (OutcomeBody::Marker(Marker::EndOfEpoch { at, .. }), None) => (*at, *at),
            // All others have a span.
            (_, None) => (TimeUs(0), TimeUs(0)),
        };
        (start, end.max(start))
    }

    /// Whether a newer epoch's seam can leave less of it: it has frames, or tells of a gap.
    pub fn is_cut_by_seams(&self) -> bool {
        let gap = matches!(self.body, OutcomeBody::Marker(Marker::Gap { .. }));
        gap || self.span().is_some_and(|span| span.frames > 0)
    }

    /// The seam, where this is the first record of an epoch that has one.
    pub fn seam(&self) -> Option<Seam> {
        match &self.body {
            OutcomeBody::Result(result) => result.seam,
            OutcomeBody::Tombstone(tombstone) => tombstone.seam,
            OutcomeBody::Marker(Marker::Shed { seam, .. } | Marker::Undecodable { seam, .. }) => *seam,
            OutcomeBody::Marker(Marker::Gap { .. } | Marker::EndOfEpoch { .. }) => None,
        }
    }

    /// The bytes that stand for this outcome in the log, in the database and in its digest.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The digest of [`Outcome::to_json`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    fn rank(&self) -> u8 {
        match self.body {
            OutcomeBody::Result(_) => 2,
            OutcomeBody::Marker(_) => 1,
            OutcomeBody::Tombstone(_) => 0,
        }
    }

    /// Whether `self` wins over `other`, another outcome of the same segment: the higher generation; within one, a
    /// result over a marker over a tombstone; of two unequal ones of a kind, the smaller digest. Equal ones do not win.
    pub fn wins_over(&self, other: &Outcome) -> bool {
        let key = |o: &Outcome| (o.generation, o.rank(), std::cmp::Reverse(o.digest()));
        key(self) > key(other)
    }
}
