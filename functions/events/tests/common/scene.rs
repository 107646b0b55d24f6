//! What a camera saw, second by second, as outcomes.

use bytes::Bytes;
use detektor_contract::{Box2, Score, Seam};
use detektor_contract::{
    CameraId, Clock, Codec, DetectPolicy, Detection, Digest, EndReason, EngineId, Epoch, EventRules, Failed, Fate,
    Frame, GapCause, KeptVideo, Marker, MediaInfo, ObjectKey, Outcome, OutcomeBody, Payload, SegmentId, SegmentJob,
    SegmentResult, Skipped, SnapshotRef, Span, TimeUs, Tombstone,
};

/// Frames a second.
pub const RATE: u32 = 30;
/// Every so many frames one is looked at.
pub const STRIDE: u32 = 6;
const SECOND: i64 = 1_000_000;

/// Builds one camera's outcomes in order.
pub struct Scene {
    pub camera: CameraId,
    pub picture: [u32; 2],
    pub outcomes: Vec<Outcome>,
    clock: Clock,
    epoch: Epoch,
    sequence: u64,
    frames: u64,
    now: TimeUs,
    seam: Option<Seam>,
}

/// One thing in one look.
pub fn object(label: &str, score: f32, [x, y, w, h]: [f32; 4]) -> Detection {
    Detection { label: label.into(), score: Score::from_f32(score), bounds: Box2::from_pixels(x, y, w, h) }
}

impl Scene {
    /// Footage: one epoch, from 0.
    pub fn footage(camera: &str) -> Self {
        Self::new(camera, Clock::Media, 1, TimeUs(0))
    }

    /// A live camera that begins at a Unix time in seconds.
    pub fn live(camera: &str, start_s: i64) -> Self {
        Self::new(camera, Clock::Unix, start_s as u64 * 1000, TimeUs(start_s * SECOND))
    }

    fn new(camera: &str, clock: Clock, epoch: u64, now: TimeUs) -> Self {
        Self {
            camera: CameraId::new(camera).unwrap(),
            picture: [640, 480],
            outcomes: Vec::new(),
            clock,
            epoch: Epoch(epoch),
            sequence: 0,
            frames: 0,
            now,
            seam: None,
        }
    }

    /// The next segment's name.
    pub fn next(&self) -> SegmentId {
        SegmentId { camera: self.camera.clone(), epoch: self.epoch, sequence: self.sequence }
    }

    /// Capture time of the next frame.
    pub fn now(&self) -> TimeUs {
        self.now
    }

    fn push(&mut self, body: OutcomeBody) {
        self.outcomes.push(Outcome { id: self.next(), generation: 0, body });
        self.sequence += 1;
    }

    fn span(&mut self, frames: u32, seconds: i64) -> Span {
        let start = self.now;
        self.now = start.plus(seconds * SECOND);
        let first_frame = self.frames;
        self.frames += u64::from(frames);
        Span { first_frame, frames, start, end: self.now, clock: self.clock, key_frame: None }
    }

    /// A second in which every [`STRIDE`]th frame is looked at; `seen` says what is there, given the seconds since the
    /// epoch of the clock. The kept frames and the video are named, not written.
    pub fn look(&mut self, keep: bool, seen: impl Fn(f64) -> Vec<Detection>) {
        let (id, span) = (self.next(), self.span(RATE, 1));
        let fate = |i: u32, at: TimeUs| match i % STRIDE {
            0 => Fate::Detected(seen(at.seconds())),
            _ => Fate::Skipped(Skipped::Sampling),
        };
        let at = |i: u32| span.start.plus(i64::from(i) * SECOND / i64::from(RATE));
        let frames: Vec<Frame> = (0..RATE).map(|i| Frame { at: at(i), fate: fate(i, at(i)) }).collect();
        let any = |frame: &Frame| matches!(&frame.fate, Fate::Detected(seen) if !seen.is_empty());
        let kept: Vec<u32> = (0..RATE).filter(|i| any(&frames[*i as usize])).collect();
        let video = (keep && !kept.is_empty()).then(|| KeptVideo {
            key: ObjectKey::video(&id),
            pre_roll: 0,
            post_roll: None,
            hidden: Vec::new(),
        });
        let kept = if keep { kept } else { Vec::new() };
        let snapshot = |frame: u32| SnapshotRef { frame, key: ObjectKey::snapshot(&id, frame) };
        self.result(span, frames, kept.into_iter().map(snapshot).collect(), video);
    }

    fn result(&mut self, span: Span, frames: Vec<Frame>, snapshots: Vec<SnapshotRef>, video: Option<KeptVideo>) {
        let result = SegmentResult {
            span,
            seam: self.seam.take(),
            rules: EventRules::default(),
            picture: self.picture,
            engine: EngineId { engine: "tract".into(), model: "test".into(), digest: Digest::of(b"model") },
            frames,
            snapshots,
            video,
        };
        self.push(OutcomeBody::Result(result));
    }

    /// Seconds in which nothing moved.
    pub fn quiet(&mut self, seconds: u32) {
        for _ in 0..seconds {
            let span = self.span(RATE, 1);
            let at = |i: u32| span.start.plus(i64::from(i) * SECOND / i64::from(RATE));
            let frames = (0..RATE).map(|i| Frame { at: at(i), fate: Fate::Skipped(Skipped::Quiet) }).collect();
            self.result(span, frames, Vec::new(), None);
        }
    }

    /// Quiet seconds as one record of a frame a second, where a test needs hours.
    pub fn long_quiet(&mut self, seconds: u32) {
        let span = self.span(seconds, i64::from(seconds));
        let at = |i: u32| span.start.plus(i64::from(i) * SECOND);
        let frames = (0..seconds).map(|i| Frame { at: at(i), fate: Fate::Skipped(Skipped::Quiet) }).collect();
        self.result(span, frames, Vec::new(), None);
    }

    /// A segment that failed for good.
    pub fn poison(&mut self) {
        let span = self.span(RATE, 1);
        let error = "the decoder gave nothing".to_owned();
        self.push(OutcomeBody::Tombstone(Tombstone { span, seam: None, error, attempts: 5, quarantine: None }));
    }

    /// As `poison`, with the job kept: returned as it was queued.
    pub fn kept_poison(&mut self, error: &str) -> SegmentJob {
        let (id, span) = (self.next(), self.span(RATE, 1));
        let quarantine = Some(ObjectKey::quarantine(&id, 0));
        let error = error.to_owned();
        self.push(OutcomeBody::Tombstone(Tombstone { span, seam: None, error, attempts: 5, quarantine }));
        let media = MediaInfo {
            codec: Codec::H264,
            width: 640,
            height: 480,
            time_scale: 90_000,
            init: Digest::of(b"init"),
            samples: RATE,
            pre_roll: 0,
            post_roll: None,
            hidden: Vec::new(),
        };
        SegmentJob {
            id,
            generation: 0,
            span,
            seam: None,
            media,
            payload: Payload::Inline { init_bytes: 4, video: Bytes::from_static(b"initmedia") },
            policy: DetectPolicy::default(),
            rules: EventRules::default(),
        }
    }

    /// What comes of a replay of this job: nothing moved in it.
    pub fn succeeds(&mut self, job: &SegmentJob) -> Outcome {
        let before = (self.sequence, self.frames, self.now);
        (self.sequence, self.frames, self.now) = (job.id.sequence, job.span.first_frame, job.span.start);
        self.quiet(1);
        (self.sequence, self.frames, self.now) = before;
        let outcome = self.outcomes.pop().unwrap();
        Outcome { generation: job.generation + 1, ..outcome }
    }

    /// Frames before the first key frame.
    pub fn undecodable(&mut self, frames: u32) {
        let span = self.span(frames, 1);
        self.push(OutcomeBody::Marker(Marker::Undecodable { span, seam: None, reason: Failed::BeforeKeyFrame }));
    }

    /// Nothing is captured for so long: marked as it begins, and once more when it is over.
    pub fn gap(&mut self, seconds: i64, cause: GapCause) {
        let (from, clock) = (self.now, self.clock);
        self.push(OutcomeBody::Marker(Marker::Gap { from, until: None, clock, cause }));
        self.now = from.plus(seconds * SECOND);
        self.push(OutcomeBody::Marker(Marker::Gap { from, until: Some(self.now), clock, cause }));
    }

    /// The camera is gone and has not come back.
    pub fn lost(&mut self, cause: GapCause) {
        let marker = Marker::Gap { from: self.now, until: None, clock: self.clock, cause };
        self.push(OutcomeBody::Marker(marker));
    }

    /// The epoch ends.
    pub fn end(&mut self, reason: EndReason) {
        let marker = Marker::EndOfEpoch { frames: self.frames, at: self.now, reason };
        self.push(OutcomeBody::Marker(marker));
    }

    /// A newer epoch takes over from `back_s` seconds ago.
    pub fn take_over(&mut self, back_s: i64) {
        self.now = self.now.plus(-back_s * SECOND);
        (self.epoch, self.sequence, self.frames) = (Epoch(self.epoch.0 + 1), 0, 0);
        self.seam = Some(Seam { at: self.now, key_frame: None });
    }
}
