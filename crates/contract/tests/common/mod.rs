//! Footage made by hand: outcomes as the dispatcher and detect would leave them.

#![allow(dead_code, clippy::unwrap_used)]

use detektor_contract::*;

/// One look in five, as `detect.fps = 5` gives them.
pub const STEP_US: i64 = 200_000;
const PER_SEGMENT: usize = 5;

pub fn camera() -> CameraId {
    CameraId::new("gate").unwrap()
}

pub fn score(score: f32) -> Score {
    Score::from_f32(score)
}

pub fn seen(label: &str, confidence: f32, [x, y, w, h]: [f32; 4]) -> Detection {
    Detection { label: label.into(), score: score(confidence), bounds: Box2::from_pixels(x, y, w, h) }
}

pub fn engine() -> EngineId {
    EngineId { engine: "tract".to_owned(), model: "test".to_owned(), digest: Digest::of(b"model") }
}

/// A camera's record, grown step by step.
pub struct Footage {
    pub epoch: Epoch,
    pub sequence: Sequence,
    pub now: TimeUs,
    pub clock: Clock,
    pub rules: EventRules,
    pub captured: u64,
    pub seam: Option<Seam>,
    pub key_frame: Option<Digest>,
    pub snapshots: bool,
    pub outcomes: Vec<Outcome>,
}

impl Footage {
    pub fn live() -> Self {
        Self {
            epoch: Epoch(1),
            sequence: 0,
            now: TimeUs(1_795_000_000_000_000),
            clock: Clock::Unix,
            rules: EventRules::default(),
            captured: 0,
            seam: None,
            key_frame: None,
            snapshots: false,
            outcomes: Vec::new(),
        }
    }

    pub fn file() -> Self {
        Self { now: TimeUs(0), clock: Clock::Media, ..Self::live() }
    }

    pub fn push(&mut self, body: OutcomeBody) {
        let id = SegmentId { camera: camera(), epoch: self.epoch, sequence: self.sequence };
        self.sequence += 1;
        self.seam = None;
        self.key_frame = None;
        self.outcomes.push(Outcome { id, generation: 0, body });
    }

    pub fn span(&mut self, frames: u32) -> Span {
        let start = self.now;
        self.now = self.now.plus(STEP_US * i64::from(frames));
        let first_frame = self.captured;
        self.captured += u64::from(frames);
        Span { first_frame, frames, start, end: self.now, clock: self.clock, key_frame: self.key_frame }
    }

    pub fn segment(&mut self, fates: Vec<Fate>) {
        let start = self.now;
        let span = self.span(fates.len() as u32);
        let id = SegmentId { camera: camera(), epoch: self.epoch, sequence: self.sequence };
        let snapshots = match self.snapshots {
            true => vec![SnapshotRef { frame: 1, key: ObjectKey::snapshot(&id, 1) }],
            false => Vec::new(),
        };
        let frames = (0..).zip(fates).map(|(i, fate)| Frame { at: start.plus(STEP_US * i), fate }).collect();
        let (seam, rules) = (self.seam, self.rules);
        let picture = [1_920, 1_080];
        let engine = engine();
        self.push(OutcomeBody::Result(SegmentResult {
            span,
            seam,
            rules,
            picture,
            engine,
            frames,
            snapshots,
            video: None,
        }));
    }

    /// Looks for `seconds`; `scene` says what is seen, given the seconds since the beginning of this call.
    pub fn looks(&mut self, seconds: f32, scene: impl Fn(f32) -> Vec<Detection>) -> &mut Self {
        let count = (seconds * 5.0).round() as usize;
        let looks: Vec<Fate> = (0..count).map(|i| Fate::Detected(scene(i as f32 * 0.2))).collect();
        looks.chunks(PER_SEGMENT).for_each(|fates| self.segment(fates.to_vec()));
        self
    }

    pub fn quiet(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds {
            self.segment(vec![Fate::Skipped(Skipped::Quiet); PER_SEGMENT]);
        }
        self
    }

    pub fn shed(&mut self, seconds: u32) -> &mut Self {
        let (seam, span) = (self.seam, self.span(seconds * 5));
        self.marker(Marker::Shed { span, seam, reason: ShedReason::Stale })
    }

    pub fn marker(&mut self, marker: Marker) -> &mut Self {
        self.push(OutcomeBody::Marker(marker));
        self
    }

    pub fn tombstone(&mut self, frames: u32) -> &mut Self {
        let (seam, span) = (self.seam, self.span(frames));
        let error = "no picture".to_owned();
        self.push(OutcomeBody::Tombstone(Tombstone { span, seam, error, attempts: 3, quarantine: None }));
        self
    }

    pub fn gap(&mut self, from: TimeUs, until: Option<TimeUs>) -> &mut Self {
        let clock = self.clock;
        self.marker(Marker::Gap { from, until, clock, cause: GapCause::Disconnected })
    }

    pub fn end(&mut self, reason: EndReason) -> &mut Self {
        let (frames, at) = (self.captured, self.now);
        self.marker(Marker::EndOfEpoch { frames, at, reason })
    }

    pub fn next_epoch(&mut self, seam: Option<Seam>) -> &mut Self {
        self.epoch.0 += 1;
        (self.sequence, self.captured, self.seam) = (0, 0, seam);
        self.key_frame = seam.and_then(|seam| seam.key_frame);
        self
    }

    pub fn project(&self) -> fold::Projection {
        fold::project(&camera(), &self.outcomes)
    }

    /// The events, in the order in which they began.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.project().events.into_values().collect();
        events.sort_by_key(|event| event.start);
        events
    }
}
