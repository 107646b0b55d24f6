//! From slices to what is published: segment jobs and markers, each under the next sequence number of its epoch.
//!
//! Invariant: equal slices give equal records, whatever the time and however often; only a live epoch's times come from
//! a clock.

use bytes::Bytes;
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    CameraId, Clock, Codec, DetectPolicy, Digest, EndReason, Epoch, EventRules, Failed, GapCause, Marker, MediaInfo,
    ObjectKey, Outcome, OutcomeBody, Payload, Seam, SegmentId, SegmentJob, Span, TimeUs, wire,
};
use detektor_media::MediaError;
use detektor_media::segment::{Sample, Written, write};
use detektor_runtime::unix_us;

use crate::ingest::{Back, Carried, Form};
use crate::slicer::{Cut, Entry, Slice};
use crate::spool::quiet::QuietLevel;

/// What all segments of a camera have in common.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Whose they are.
    pub camera: CameraId,
    /// The partition of its work.
    pub partition: u16,
    /// What to look at.
    pub policy: DetectPolicy,
    /// When tracks become events.
    pub rules: EventRules,
    /// The most bytes of video that travel inside a message.
    pub inline_bytes: usize,
}

/// A sequence number's message, ready to be published.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub id: SegmentId,
    /// Where it goes.
    pub queue: Queue,
    /// The wire form.
    pub body: Bytes,
    /// Video that goes into the bucket before it.
    pub object: Option<(ObjectKey, Bytes)>,
    /// When the last of its frames was captured or read, in Unix microseconds.
    pub captured_unix_us: i64,
    /// When the segment was closed, in Unix microseconds.
    pub closed_unix_us: i64,
    /// Why its video could not be written, so that it is only a marker.
    pub fault: Option<String>,
    /// The next start may put something else in its place: it is not noted as published.
    pub provisional: bool,
    /// Its packet sizes say that nothing moves: where something must be shed, it goes first.
    pub quiet: bool,
}

/// Numbers an epoch's slices, counts their frames and tells their times.
pub struct Recorder {
    orders: Orders,
    epoch: Epoch,
    live: Option<CaptureClock>,
    /// Sequence numbers below this are confirmed: they are counted, and not written again.
    confirmed: u64,
    sequence: u64,
    frames: u64,
    segments: u64,
    /// Where the newest span ended.
    until: Option<TimeUs>,
    /// The presentation time that the newest span ended at.
    reached: Option<(i64, Form)>,
    /// The presentation time that is the timeline's 0, and which timeline.
    origin: Option<(i64, Form)>,
    level: QuietLevel,
    /// The key frame that this epoch takes over at.
    takes_over_at: Option<Digest>,
}

impl Recorder {
    /// For an epoch of which `confirmed` sequence numbers need no second publishing.
    pub fn new(orders: Orders, epoch: Epoch, confirmed: u64, live: bool) -> Self {
        let live = live.then(CaptureClock::default);
        Self {
            orders,
            epoch,
            live,
            confirmed,
            sequence: 0,
            frames: 0,
            segments: 0,
            until: None,
            reached: None,
            origin: None,
            level: QuietLevel::default(),
            takes_over_at: None,
        }
    }

    /// Names a key frame that another dispatcher has as well: this live epoch's first frame.
    pub fn taking_over_at(self, key_frame: Option<Digest>) -> Self {
        Self { takes_over_at: key_frame, ..self }
    }

    /// What comes from here on has other orders.
    pub fn follow(&mut self, orders: Orders) {
        self.orders = orders;
    }

    /// Frames captured so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Segments with video so far.
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// The next sequence number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether what comes next was published and confirmed before.
    pub fn confirmed(&self) -> bool {
        self.sequence < self.confirmed
    }

    /// Takes a slice. None if it is confirmed already.
    pub fn slice(&mut self, slice: Slice<Carried>, form: Form) -> Option<Record> {
        match slice {
            Slice::Segment(cut) => {
                self.segments += 1;
                self.observe(&cut, form);
                let span = self.span(cut.frames, cut.start, cut.newest, cut.end, form);
                let seam = self.seam(&span);
                let predicted = cut.units.iter().filter(|unit| unit.counted && unit.facts.entry == Entry::None);
                let quiet = self.level.judge(predicted.map(|unit| unit.facts.bytes));
                self.next(|this| Record { quiet, ..this.segment(cut, span, seam, form.time_scale) })
            }
            Slice::Undecodable { frames, start, end, before_key } => {
                let span = self.span(frames, start, start, end, form);
                let seam = self.seam(&span);
                let reason = if before_key { Failed::BeforeKeyFrame } else { Failed::Decode };
                self.next(|this| this.marker(Marker::Undecodable { span, seam, reason }))
            }
        }
    }

    /// Says that nothing was captured since the newest frame, until this one; `None` while the camera is not back. Nothing
    /// if nothing was captured before.
    pub fn gap(&mut self, back: Option<Back>, cause: GapCause) -> Option<Record> {
        let from = self.until?;
        if let Some(back) = back {
            self.know(back.pts, back.seen_unix_us, back.form);
        }
        let until = back.map(|back| self.time(back.pts, back.form).max(from));
        self.until = until.or(self.until);
        let clock = self.clock();
        self.next(|this| this.marker(Marker::Gap { from, until, clock, cause }))
    }

    /// Says that the epoch is over.
    pub fn end(&mut self, reason: EndReason) -> Option<Record> {
        let (frames, at) = (self.frames, self.until.unwrap_or_default());
        self.next(|this| this.marker(Marker::EndOfEpoch { frames, at, reason }))
    }

    fn next(&mut self, record: impl FnOnce(&Self) -> Record) -> Option<Record> {
        let record = (!self.confirmed()).then(|| record(self));
        self.sequence += 1;
        record
    }

    fn clock(&self) -> Clock {
        if self.live.is_some() { Clock::Unix } else { Clock::Media }
    }

    /// The seam of a live epoch's first record. A file's epochs do not take over from each other.
    fn seam(&self, span: &Span) -> Option<Seam> {
        (self.live.is_some() && self.sequence == 0).then_some(Seam { at: span.start, key_frame: self.takes_over_at })
    }

    /// A timeline's first frame gives the clock its offset.
    fn know(&mut self, pts: i64, seen_unix_us: i64, form: Form) {
        let Some(clock) = &mut self.live else { return };
        if self.origin.is_none_or(|(_, known)| known != form) {
            self.origin = Some((pts, form));
            *clock = CaptureClock { offset_us: seen_unix_us.saturating_sub(us(pts, form.time_scale)) };
        }
    }

    /// Takes note of when a live source's frames came.
    fn observe(&mut self, cut: &Cut<Carried>, form: Form) {
        let seen = cut.units.iter().filter(|unit| unit.counted).map(|unit| (unit.facts.pts, unit.data.seen_unix_us));
        let Some((pts, seen_unix_us)) = seen.clone().next() else { return };
        self.know(pts, seen_unix_us, form);
        let Some(clock) = &mut self.live else { return };
        let frames = i64::from(cut.frames.max(1));
        let late: i128 = seen.map(|(pts, seen)| i128::from(clock.late(us(pts, form.time_scale), seen))).sum();
        let length = us(cut.end.saturating_sub(cut.start), form.time_scale);
        clock.follow((late / i128::from(frames)) as i64, (length / 50).min(length / frames / 2));
    }

    fn time(&self, pts: i64, form: Form) -> TimeUs {
        match &self.live {
            Some(clock) => TimeUs(us(pts, form.time_scale).saturating_add(clock.offset_us)),
            None => {
                let origin = self.origin.map_or(pts, |(origin, _)| origin);
                TimeUs(us(pts.saturating_sub(origin), form.time_scale))
            }
        }
    }

    fn span(&mut self, frames: u32, first: i64, newest: i64, end: i64, form: Form) -> Span {
        self.origin.get_or_insert((first, form));
        // Spans never overlap, whatever timestamps and clocks do, and what goes on leaves no gap.
        let goes_on = self.reached == Some((first, form));
        self.reached = Some((end, form));
        let start = match self.until {
            None => self.time(first, form),
            Some(until) if goes_on => until,
            Some(until) => until.max(self.time(first, form)),
        };
        // Frames are as far from the start as they are on their own timeline; the clock may have moved back meanwhile by more
        // than the last of them lasts.
        let last_frame = start.plus(us(newest.saturating_sub(first), form.time_scale));
        let end = self.time(end, form).max(last_frame.plus(1));
        self.until = Some(end);
        let first_frame = self.frames;
        self.frames += u64::from(frames);
        Span { first_frame, frames, start, end, clock: self.clock(), key_frame: None }
    }

    fn segment(&self, cut: Cut<Carried>, mut span: Span, seam: Option<Seam>, time_scale: u32) -> Record {
        // A file's epochs have no seam that would name it.
        span.key_frame = cut.units.first().filter(|first| first.counted).and_then(|first| first.data.key_frame);
        let captured = cut.units.iter().filter(|unit| unit.counted).map(|unit| unit.data.seen_unix_us).max();
        let mut record = match self.job(&cut, span, seam, time_scale) {
            Ok((job, object)) => {
                let body = wire::encode_job(&job);
                self.record(Queue::Work(Work::Detect, self.orders.partition), body, object)
            }
            Err(error) => {
                let mut record = self.marker(Marker::Undecodable { span, seam, reason: Failed::Decode });
                record.fault = Some(detektor_runtime::chain(&error));
                record
            }
        };
        record.captured_unix_us = captured.unwrap_or(record.captured_unix_us);
        record
    }

    fn job(
        &self,
        cut: &Cut<Carried>,
        span: Span,
        seam: Option<Seam>,
        time_scale: u32,
    ) -> Result<(SegmentJob, Option<(ObjectKey, Bytes)>), MediaError> {
        let first = cut.units.first().ok_or(MediaError::Empty)?;
        let sets = &first.data.sets;
        let (width, height) = sets.size().ok_or(MediaError::NoParameterSets(sets.codec()))?;
        let Written { video, init_bytes } = self.video(cut, time_scale)?;
        let id = self.id();
        let (payload, object) = if video.len() <= self.orders.inline_bytes {
            (Payload::Inline { init_bytes, video: video.clone() }, None)
        } else {
            let (key, bytes) = (ObjectKey::in_flight(&id), video.len() as u64);
            (Payload::Object { init_bytes, bytes, key: key.clone() }, Some((key, video.clone())))
        };
        let media =
            media_info(cut, sets.codec(), (width, height), time_scale, Digest::of(&video[..init_bytes as usize]));
        let (policy, rules) = (self.orders.policy.clone(), self.orders.rules);
        Ok((SegmentJob { id, generation: 0, span, seam, media, payload, policy, rules }, object))
    }

    fn video(&self, cut: &Cut<Carried>, time_scale: u32) -> Result<Written, MediaError> {
        let first = cut.units.first().ok_or(MediaError::Empty)?;
        let earliest = cut.units.iter().map(|unit| unit.facts.pts).min().unwrap_or_default();
        // MP4 has no times below 0; only what a file's edit list hides comes before its first frame.
        let zero = self.origin.map_or(earliest, |(origin, _)| origin.min(earliest));
        let samples: Vec<Sample> = cut
            .units
            .iter()
            .enumerate()
            .map(|(n, unit)| Sample {
                data: unit.data.data.clone(),
                pts: unit.facts.pts.saturating_sub(zero),
                key: n == 0 || matches!(unit.facts.entry, Entry::Open | Entry::Closed),
            })
            .collect();
        let newest = cut.units.iter().map(|unit| unit.facts.pts).max().unwrap_or_default();
        let last = u32::try_from(cut.end.saturating_sub(newest)).unwrap_or(1).max(1);
        // Rises with the sequence; a player needs no more of it.
        write(&first.data.sets, time_scale, (self.sequence as u32).wrapping_add(1), &samples, last)
    }

    fn marker(&self, marker: Marker) -> Record {
        let outcome = Outcome { id: self.id(), generation: 0, body: OutcomeBody::Marker(marker) };
        self.record(Queue::Work(Work::Merge, self.orders.partition), wire::encode_outcome(&outcome), None)
    }

    fn record(&self, queue: Queue, body: Bytes, object: Option<(ObjectKey, Bytes)>) -> Record {
        let now = unix_us();
        let id = self.id();
        Record {
            id,
            queue,
            body,
            object,
            captured_unix_us: now,
            closed_unix_us: now,
            fault: None,
            provisional: false,
            quiet: false,
        }
    }

    fn id(&self) -> SegmentId {
        SegmentId { camera: self.orders.camera.clone(), epoch: self.epoch, sequence: self.sequence }
    }
}

fn media_info(
    cut: &Cut<Carried>,
    codec: Codec,
    (width, height): (u32, u32),
    time_scale: u32,
    init: Digest,
) -> MediaInfo {
    let pre_roll = cut.units.iter().take_while(|unit| !unit.counted).count();
    let mut uncounted = (0..).zip(&cut.units).skip(pre_roll).filter(|(_, unit)| !unit.counted);
    let post_roll = uncounted.clone().find(|(_, unit)| !unit.facts.hidden).map(|(ordinal, _)| ordinal);
    let hidden = uncounted.by_ref().map(|(ordinal, _)| ordinal).filter(|ordinal| Some(*ordinal) != post_roll).collect();
    let (samples, pre_roll) = (cut.units.len() as u32, pre_roll as u32);
    MediaInfo { codec, width, height, time_scale, init, samples, pre_roll, post_roll, hidden }
}

/// Ticks as microseconds, rounded down.
fn us(ticks: i64, time_scale: u32) -> i64 {
    let us = (i128::from(ticks) * 1_000_000).div_euclid(i128::from(time_scale.max(1)));
    us.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// When a live source's frames were captured: their own times, which are even, plus an offset to our clock that follows
/// their arrival, which is not.
#[derive(Clone, Copy, Debug, Default)]
struct CaptureClock {
    offset_us: i64,
}

impl CaptureClock {
    /// How much later than this clock says something was seen.
    fn late(&self, stream_us: i64, seen_unix_us: i64) -> i64 {
        seen_unix_us.saturating_sub(stream_us).saturating_sub(self.offset_us)
    }

    /// Moves towards what was seen, by `most_us` at most: less than half a frame, so that times keep their order.
    fn follow(&mut self, late_us: i64, most_us: i64) {
        let most_us = most_us.max(0);
        self.offset_us = self.offset_us.saturating_add((late_us / 4).clamp(-most_us, most_us));
    }
}
