//! From a source's items to slices: parameter sets, what each access unit is, and its place on the timeline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use detektor_contract::{Codec, Digest, GapCause};
use detektor_media::{
    AccessUnitInfo, Border, Leading as MediaLeading, MediaError, ParameterSets, SetsChange, classify,
};
use detektor_runtime::unix_us;

use crate::slicer::timeline::{Stamps, Timeline, TimelineLimits};
use crate::slicer::{Entry, Facts, Leading, Limits, Slice, Slicer, Unit};
use crate::source::{AccessUnit, StreamInfo};

/// Steps ahead that are no jump, in seconds: files may pause for long (recorded on motion), a camera's clock runs.
const FILE_AHEAD_S: i64 = 3_600;
const LIVE_AHEAD_S: i64 = 5;
/// A frame where nothing tells how long one is: 1/25 s.
const FRAMES_A_SECOND: i64 = 25;

/// How a stream is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutting {
    /// About how long a segment is.
    pub target: Duration,
    /// The longest a segment is.
    pub max: Duration,
    /// The most bytes of one segment.
    pub bytes: usize,
}

impl Default for Cutting {
    fn default() -> Self {
        Self { target: Duration::from_secs(1), max: Duration::from_secs(4), bytes: 64 << 20 }
    }
}

/// What travels with an access unit.
#[derive(Clone, Debug)]
pub struct Carried {
    /// NAL units behind 4-byte lengths.
    pub data: Bytes,
    /// The parameter sets in force before it; at a key frame, with its own.
    pub sets: Arc<ParameterSets>,
    /// When it was captured or read, in Unix microseconds.
    pub seen_unix_us: i64,
    /// Its digest, where it is a live source's key frame.
    pub key_frame: Option<Digest>,
}

/// What comes out, in order.
#[derive(Debug)]
pub enum Ingested {
    /// A slice.
    Slice(Slice<Carried>, Form),
    /// Nothing was captured between what came out before and this.
    Gap(Back, GapCause),
}

/// What a slice's times mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Ticks a second.
    pub time_scale: u32,
    /// Which timeline they are on: another number, another zero.
    pub timeline: u32,
}

/// The frame that ends a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// Its presentation time in ticks.
    pub pts: i64,
    /// When it was captured, in Unix microseconds.
    pub seen_unix_us: i64,
    /// What its time means.
    pub form: Form,
}

/// A live stream's first frame that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The digest of its access unit, where it is a key frame.
    pub key_frame: Option<Digest>,
    /// When it was captured, in Unix microseconds.
    pub seen_unix_us: i64,
}

/// Takes one source's items; goes on over a live source's reconnections.
pub struct Ingest {
    cutting: Cutting,
    live: bool,
    began: Instant,
    stream: Option<Stream>,
    gap: Option<GapCause>,
    timelines: u32,
    out: Vec<Ingested>,
    /// The newest parameter set that could not be read.
    unreadable: Option<MediaError>,
    opening: Option<Opening>,
    /// A live source's last key frames, the newest first.
    key_frames: VecDeque<Digest>,
}

struct Stream {
    codec: Codec,
    form: Form,
    sets: Arc<ParameterSets>,
    /// How the sets changed since the last key frame.
    changed: SetsChange,
    config: u32,
    timeline: Timeline,
    slicer: Slicer<Carried>,
    previous: AccessUnitInfo,
    /// NAL units that came without a picture.
    carry: BytesMut,
}

/// Key frames that are remembered: those of longer than it takes to hear of a seam.
const KEY_FRAMES: usize = 32;
/// NAL units without a picture are kept for the next one up to this.
const CARRY_BYTES: usize = 1 << 16;

impl Ingest {
    /// For a live source, or for one whose every frame counts.
    pub fn new(cutting: Cutting, live: bool) -> Self {
        let began = Instant::now();
        Self {
            cutting,
            live,
            began,
            stream: None,
            gap: None,
            timelines: 0,
            out: Vec::new(),
            unreadable: None,
            opening: None,
            key_frames: VecDeque::new(),
        }
    }

    /// What came out since the last call.
    pub fn take(&mut self) -> Vec<Ingested> {
        std::mem::take(&mut self.out)
    }

    /// Whether a GOP was longer than the longest segment.
    pub fn long_gop(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.slicer.long_gop())
    }

    /// Whether a key frame is among a live source's last ones.
    pub fn has_had(&self, key_frame: &Digest) -> bool {
        self.key_frames.contains(key_frame)
    }

    /// The frame since the last call from which on a live stream can be decoded.
    pub fn opening(&mut self) -> Option<Opening> {
        self.opening.take()
    }

    /// A parameter set that could not be read since the last call.
    pub fn unreadable(&mut self) -> Option<MediaError> {
        self.unreadable.take()
    }

    /// The stream is, from here on, of this form.
    pub fn stream(&mut self, info: StreamInfo) {
        if let Some(stream) = &mut self.stream
            && (stream.codec, stream.form.time_scale) == (info.sets.codec(), info.time_scale)
        {
            // Sets that only come in-band are not forgotten over a description that has none.
            if info.sets.complete() {
                stream.replace_sets(info.sets);
            }
            return;
        }
        self.end();
        self.timelines += 1;
        self.stream = Some(Stream::new(info, self.timelines, &self.cutting, self.live));
    }

    /// Takes the next access unit.
    pub fn unit(&mut self, unit: AccessUnit) {
        let Some(stream) = &mut self.stream else { return };
        let mut info = classify(&stream.sets, &unit.data);
        if info.parameter_sets {
            let mut sets = (*stream.sets).clone();
            match sets.update(&unit.data) {
                Ok(SetsChange::None) => {}
                Ok(change) => {
                    stream.sets = Arc::new(sets);
                    stream.changed = stream.changed.max(change);
                    info = classify(&stream.sets, &unit.data);
                }
                Err(error) => self.unreadable = Some(error),
            }
        }
        if !info.picture {
            if stream.carry.len() + unit.data.len() <= CARRY_BYTES {
                stream.carry.extend_from_slice(&unit.data);
            }
            return;
        }
        let arrival = unit.arrival.map(|at| ticks(at.monotonic - self.began, stream.form.time_scale));
        let placed = stream.timeline.place(Stamps { pts: unit.pts, dts: unit.dts, arrival });
        if placed.jumped && self.live {
            stream.slicer.interrupt(true);
            self.gap = self.gap.or(Some(GapCause::Timeline));
            self.drain();
        }
        self.push(unit, info, placed.pts);
    }

    fn push(&mut self, unit: AccessUnit, info: AccessUnitInfo, pts: i64) {
        let Some(stream) = &mut self.stream else { return };
        let facts = stream.facts(&unit, &info, pts);
        let seen_unix_us = unit.arrival.map_or_else(unix_us, |at| at.unix_us);
        let data = stream.with_carry(unit.data);
        let is_key = self.live && matches!(facts.entry, Entry::Open | Entry::Closed);
        let key_frame = is_key.then(|| Digest::of(&data));
        if let Some(digest) = key_frame {
            self.key_frames.truncate(KEY_FRAMES - 1);
            self.key_frames.push_front(digest);
        }
        let carried = Carried { data, sets: Arc::clone(&stream.sets), seen_unix_us, key_frame };
        stream.previous = info;
        if self.live && !stream.slicer.decodable() && facts.entry != Entry::None {
            self.opening = Some(Opening { key_frame, seen_unix_us });
        }
        let captured = stream.slicer.decodable() || facts.entry != Entry::None;
        if let Some(cause) = self.gap.take_if(|_| captured) {
            self.out.push(Ingested::Gap(Back { pts, seen_unix_us, form: stream.form }, cause));
        }
        stream.slicer.push(Unit::new(facts, carried));
        self.drain();
    }

    /// Something was lost here; what follows may refer to it.
    pub fn lost(&mut self, cause: GapCause) {
        if let Some(stream) = &mut self.stream {
            stream.slicer.interrupt(true);
            self.gap = self.gap.or(Some(cause));
            self.drain();
        }
    }

    /// The connection is gone; what comes next has nothing to do with what came before.
    pub fn disconnected(&mut self, cause: GapCause) {
        if let Some(stream) = &mut self.stream {
            stream.slicer.interrupt(false);
            stream.timeline.break_off();
            stream.carry.clear();
            self.gap = Some(cause);
            self.drain();
        }
    }

    /// The stream is over.
    pub fn end(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.slicer.finish();
            self.drain();
        }
    }

    fn drain(&mut self) {
        if let Some(Stream { slicer, form, .. }) = &mut self.stream {
            self.out.extend(std::iter::from_fn(|| slicer.pop()).map(|slice| Ingested::Slice(slice, *form)));
        }
    }
}

impl Stream {
    fn new(info: StreamInfo, timeline: u32, cutting: &Cutting, live: bool) -> Self {
        let scale = i64::from(info.time_scale.max(1));
        let frame = info.frame.unwrap_or((scale / FRAMES_A_SECOND).max(1));
        let limits = Limits {
            target: ticks(cutting.target, info.time_scale),
            max: ticks(cutting.max, info.time_scale),
            frame,
            bytes: cutting.bytes,
            count_before_key: !live,
        };
        // A segment's times fit in 31 bits from one to the next.
        let ahead_s = if live { LIVE_AHEAD_S } else { FILE_AHEAD_S.min((1 << 30) / scale).max(1) };
        Self {
            codec: info.sets.codec(),
            form: Form { time_scale: info.time_scale.max(1), timeline },
            sets: Arc::new(info.sets),
            changed: SetsChange::None,
            config: 0,
            timeline: Timeline::new(TimelineLimits { time_scale: scale, frame, ahead_s }),
            slicer: Slicer::new(limits),
            previous: AccessUnitInfo::default(),
            carry: BytesMut::new(),
        }
    }

    /// Takes over sets that came beside the stream. They go into it before the next picture: a segment that does not begin
    /// there would lack them.
    fn replace_sets(&mut self, sets: ParameterSets) {
        let change = self.sets.change_to(&sets);
        if change != SetsChange::None {
            self.changed = self.changed.max(change);
            self.carry.extend_from_slice(&sets.in_band());
            self.sets = Arc::new(sets);
        }
    }

    fn facts(&mut self, unit: &AccessUnit, info: &AccessUnitInfo, pts: i64) -> Facts {
        let entry = match (info.border, info.recovery) {
            // Nothing decodes without them.
            _ if !self.sets.complete() => Entry::None,
            (Some(Border::Idr), _) if self.codec == Codec::H264 => Entry::Closed,
            (Some(_), _) => Entry::Open,
            (None, Some(frames)) => Entry::Gradual { frames },
            (None, None) => Entry::None,
        };
        let leading = match (self.codec, info.leading) {
            (Codec::H264, _) => Leading::ByTime,
            (Codec::H265, None) => Leading::No,
            (Codec::H265, Some(MediaLeading::Radl)) => Leading::Decodable,
            (Codec::H265, Some(MediaLeading::Rasl)) => Leading::Skipped,
        };
        if matches!(entry, Entry::Closed | Entry::Open) {
            let clean = matches!(info.border, Some(Border::Idr | Border::Bla));
            self.config += u32::from(match std::mem::replace(&mut self.changed, SetsChange::None) {
                SetsChange::Format => true,
                // Pictures that lead another border may still be decoded with what came before it.
                SetsChange::Sets => clean,
                SetsChange::None => false,
            });
        }
        Facts {
            pts,
            bytes: unit.data.len(),
            entry,
            leading,
            reference: info.reference,
            second_field: info.is_second_field_of(&self.previous),
            hidden: unit.hidden,
            config: self.config,
        }
    }

    /// The access unit, behind NAL units that came alone before it.
    fn with_carry(&mut self, data: Bytes) -> Bytes {
        if self.carry.is_empty() {
            return data;
        }
        self.carry.extend_from_slice(&data);
        self.carry.split().freeze()
    }
}

fn ticks(time: Duration, time_scale: u32) -> i64 {
    let ticks = time.as_micros() * u128::from(time_scale) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
