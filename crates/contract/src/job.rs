//! A segment job: about one second of video that decodes alone, and what to do with it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Clock, Digest, Generation, ObjectKey, Score, SegmentId, TimeUs};

/// The work order for one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentJob {
    /// The segment's name.
    pub id: SegmentId,
    /// 0 at first, one more with each replay.
    pub generation: Generation,
    /// Which frames it holds.
    pub span: Span,
    /// Set in an epoch's first record: where the epoch begins to rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seam: Option<Seam>,
    /// How its video is laid out.
    pub media: MediaInfo,
    /// Where its video is.
    pub payload: Payload,
    /// What to look at and what to keep.
    pub policy: DetectPolicy,
    /// When tracks become events. Travels along so that the fold depends on nothing but outcomes.
    pub rules: EventRules,
}

/// The frames that a segment accounts for: those it carries, without pre-roll and post-roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Frames captured in this epoch before this segment: the presentation index of its first frame.
    pub first_frame: u64,
    /// Frames in this segment.
    pub frames: u32,
    /// Capture time of its first frame.
    pub start: TimeUs,
    /// Capture time at which its last frame ends.
    pub end: TimeUs,
    /// What both times count from.
    pub clock: Clock,
    /// Digest of the access unit that opens the segment, where that is a key frame of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_frame: Option<Digest>,
}

/// Where an epoch begins to rule: older epochs' frames from here on are superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// Capture time of the new epoch's first frame.
    pub at: TimeUs,
    /// In a planned hand-over, the key frame that both dispatchers have; the old one ends just before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_frame: Option<Digest>,
}

/// A video codec that Detektor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// H.264 (AVC).
    H264,
    /// H.265 (HEVC).
    H265,
}

/// How a segment's video is laid out: an init part (`ftyp`, `moov`) and a media part (`moof`, `mdat`).
///
/// Samples stand in decode order. The ones named here as pre-roll and post-roll are decoded for others' sake and
/// belong to no frame of this segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// The codec.
    pub codec: Codec,
    /// Coded picture width in pixels, after cropping.
    pub width: u32,
    /// Coded picture height in pixels, after cropping.
    pub height: u32,
    /// Ticks a second of the MP4's own times: 90,000 for cameras, the file's own for files.
    pub time_scale: u32,
    /// Digest of the init part.
    pub init: Digest,
    /// Samples in the media part, pre-roll and post-roll included.
    pub samples: u32,
    /// The first so many samples repeat the GOP's earlier packets.
    pub pre_roll: u32,
    /// The ordinal of the copy of the closing key frame, where leading pictures need it (open GOP).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_roll: Option<u32>,
    /// Ordinals, rising, of further samples that are decoded for others' sake: what a file's edit list hides, and the
    /// second field of a closing key frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<u32>,
}

impl MediaInfo {
    /// Whether a sample, by its ordinal in decode order, is a frame of this segment. As many are as its span has frames.
    pub fn counts(&self, ordinal: u32) -> bool {
        let rolled = ordinal < self.pre_roll || self.post_roll == Some(ordinal);
        ordinal < self.samples && !rolled && self.hidden.binary_search(&ordinal).is_err()
    }
}

/// Where a segment's video is: small ones inside the message, large ones in the bucket.
///
/// The bytes are the init part followed by the media part; together a playable fragmented MP4 file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Payload {
    /// Behind the header in the same message; see [`crate::wire`].
    Inline {
        /// Length of the init part in bytes.
        init_bytes: u32,
        /// Both parts. Travels outside the header.
        #[serde(skip)]
        video: Bytes,
    },
    /// An object of its own.
    Object {
        /// Length of the init part in bytes.
        init_bytes: u32,
        /// Length of both parts in bytes.
        bytes: u64,
        /// Which object.
        key: ObjectKey,
    },
}

/// What to look at, and what to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectPolicy {
    /// Which frames to look at when the gate is open.
    pub sampling: Sampling,
    /// Skip what is quiet.
    pub gate: bool,
    /// Detections below this are forgotten.
    pub store_score: Score,
    /// Classes to keep; empty keeps all that the model knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<crate::Label>,
    /// Rectangles in ten-thousandths of the picture, `[x, y, w, h]`, in which motion does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<[u16; 4]>,
    /// Which segments' video to keep.
    pub keep_video: KeepVideo,
    /// Live video that is older than this when a worker takes it is shed rather than looked at late. In milliseconds; none
    /// looks at everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u32>,
}

impl Default for DetectPolicy {
    fn default() -> Self {
        Self {
            sampling: Sampling::PerSecond(5),
            gate: true,
            store_score: STORE_SCORE,
            labels: Vec::new(),
            masks: Vec::new(),
            keep_video: KeepVideo::Events,
            max_age_ms: None,
        }
    }
}

impl SegmentJob {
    /// Whether it is too old to be looked at, at a Unix time in microseconds. Footage never is.
    pub fn is_stale(&self, now: i64) -> bool {
        let age_us = now.saturating_sub(self.span.end.0);
        let too_old = |max_ms: u32| age_us > i64::from(max_ms) * 1_000;
        self.span.clock == Clock::Unix && self.policy.max_age_ms.is_some_and(too_old)
    }
}

/// Which frames to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every frame.
    All,
    /// The first frame at or after each multiple of 1/n s of capture time; n is 1 to 240.
    PerSecond(u16),
}

/// Which segments' video to keep in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepVideo {
    /// Those in which something was seen.
    Events,
    /// Every one.
    All,
    /// None.
    None,
}

const fn ten_thousandths(score: u16) -> Score {
    match Score::from_ten_thousandths(score) {
        Ok(score) => score,
        Err(_) => Score::ONE,
    }
}

const STORE_SCORE: Score = ten_thousandths(1000);

/// When detections become tracks and tracks become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRules {
    /// Detections from here up can begin a track, and are what ByteTrack's first pass matches.
    pub report_score: Score,
    /// A track opens an event once this was reached in `open_looks` of its last `open_window` looks.
    pub open_score: Score,
    /// See `open_score`; 1 to `open_window`.
    pub open_looks: u8,
    /// See `open_score`; 1 to 16.
    pub open_window: u8,
    /// A track that was not seen for this long, in looked-at time, is over. In milliseconds.
    pub lost_after_ms: u32,
    /// A track that did not move for this long is stationary. In milliseconds.
    pub stationary_after_ms: u32,
    /// A stationary track is over only after so many looks in a row missed it, and `lost_after_ms`.
    pub stationary_misses: u16,
}

impl Default for EventRules {
    fn default() -> Self {
        Self {
            report_score: ten_thousandths(3000),
            open_score: ten_thousandths(5000),
            open_looks: 3,
            open_window: 5,
            lost_after_ms: 2_000,
            stationary_after_ms: 10_000,
            stationary_misses: 15,
        }
    }
}

/// A policy or rule outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found} (expected {expected})")]
pub struct InvalidPolicy {
    /// Which field, as it is called in the configuration.
    pub field: &'static str,
    /// What it said.
    pub found: String,
    /// What it may say.
    pub expected: &'static str,
}

impl DetectPolicy {
    /// Every mistake in the policy.
    pub fn mistakes(&self) -> Vec<InvalidPolicy> {
        let mut mistakes = Vec::new();
        if let Sampling::PerSecond(n) = self.sampling
            && !(1..=240).contains(&n)
        {
            mistakes.push(InvalidPolicy { field: "detect.fps", found: n.to_string(), expected: "all, or 1 to 240" });
        }
        for mask in &self.masks {
            if mask.iter().any(|v| *v > 10_000) {
                let found = format!("{mask:?}");
                mistakes.push(InvalidPolicy { field: "detect.masks", found, expected: "[x, y, w, h], each 0 to 1" });
            }
        }
        mistakes
    }
}

impl EventRules {
    /// Every mistake in the rules.
    pub fn mistakes(&self) -> Vec<InvalidPolicy> {
        let mut mistakes = Vec::new();
        if !(1..=16).contains(&self.open_window) {
            let found = self.open_window.to_string();
            mistakes.push(InvalidPolicy { field: "events.open_window", found, expected: "1 to 16" });
        }
        if self.open_looks < 1 || self.open_looks > self.open_window {
            let found = self.open_looks.to_string();
            mistakes.push(InvalidPolicy { field: "events.open_looks", found, expected: "1 to events.open_window" });
        }
        if self.open_score < self.report_score {
            let found = self.open_score.to_f64().to_string();
            mistakes.push(InvalidPolicy {
                field: "events.open_score",
                found,
                expected: "at least events.report_score",
            });
        }
        mistakes
    }
}
