//! One progressive MP4 file out of stored segments, without touching a packet: the head is made here, and what
//! follows are pieces of the segments as they lie in the bucket.

use std::ops::Range;

use bytes::Bytes;
use mp4_atom::{
    Co64, Ctts, CttsEntry, Edts, Elst, ElstEntry, FourCC, Ftyp, Header, Moov, Stco, Stsc, StscEntry, Stss, Stsz,
    StszSamples, Stts, SttsEntry,
};

use crate::boxes::{encode, movie, sample_entry};
use crate::segment::{IndexedSample, SegmentIndex};
use crate::{MediaError, ParameterSets};

/// A stored segment, in the order of time.
#[derive(Clone, Copy, Debug)]
pub struct ClipSegment<'a> {
    /// What is in it.
    pub index: &'a SegmentIndex,
    /// Capture time of its first own frame, in microseconds.
    pub start_us: i64,
    /// The first so many samples repeat earlier ones of the same GOP.
    pub pre_roll: u32,
    /// The ordinal of the copy of the closing key frame.
    pub post_roll: Option<u32>,
    /// Ordinals, rising, of further samples that are decoded for others' sake.
    pub hidden: &'a [u32],
}

impl ClipSegment<'_> {
    fn hides(&self, ordinal: usize) -> bool {
        u32::try_from(ordinal).is_ok_and(|ordinal| self.hidden.binary_search(&ordinal).is_ok())
    }

    /// Whether a sample is a frame of this segment.
    fn owns(&self, ordinal: usize) -> bool {
        let closing = self.post_roll.is_some_and(|closing| ordinal == closing as usize);
        ordinal >= self.pre_roll as usize && !closing && !self.hides(ordinal)
    }
}

/// A file that can be served in any range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// All of the file, in order. The first piece is made here: `ftyp`, `moov` and the header of `mdat`.
    pub pieces: Vec<Piece>,
    /// Length of the file in bytes.
    pub total: u64,
    /// How long it plays, in microseconds.
    pub duration_us: i64,
    /// The first segment that is not in it, because codec or picture size differ from there on.
    pub cut_at: Option<usize>,
}

/// Neighbouring bytes of a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Made here.
    Made(Bytes),
    /// As they lie in a stored segment.
    Stored {
        /// Which segment, counted as they were given.
        segment: usize,
        /// From the segment's start.
        offset: u64,
        /// In bytes.
        length: u64,
    },
}

impl Piece {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Made(bytes) => bytes.len() as u64,
            Self::Stored { length, .. } => *length,
        }
    }

    /// The bytes from `from` to `to`, which are within the piece.
    fn slice(&self, from: u64, to: u64) -> Piece {
        match self {
            Self::Made(bytes) => Self::Made(bytes.slice(from as usize..to as usize)),
            Self::Stored { segment, offset, .. } => {
                Self::Stored { segment: *segment, offset: offset + from, length: to - from }
            }
        }
    }
}

impl Clip {
    /// Lays out a file that plays `segments` one after the other, each packet once.
    ///
    /// A segment's pre-roll is left out where the packets before it are already there, and so is a key frame whose
    /// copy the segment before it ends with. What the first segment needs for decoding alone, and what is hidden before the
    /// first and behind the last picture, is in the file but not shown (edit list); what is hidden in between lasts no time.
    /// A pre-roll behind a hole is shown: it is what was captured there. Gaps between segments last
    /// as long as their start times say. Where parameter sets differ, each segment's own come before its first packet:
    /// unlike several sample entries, every player takes that.
    ///
    /// # Errors
    /// [`MediaError::Empty`] if there is no picture, [`MediaError::Times`] if it would play for more than MP4 can say.
    pub fn plan(segments: &[ClipSegment<'_>]) -> Result<Self, MediaError> {
        let first = segments.first().ok_or(MediaError::Empty)?.index;
        let fits = |s: &ClipSegment<'_>| {
            (s.index.codec, s.index.width, s.index.height) == (first.codec, first.width, first.height)
        };
        let cut_at = segments.iter().position(|segment| !fits(segment));
        let segments = &segments[..cut_at.unwrap_or(segments.len())];
        let sets_differ = segments.iter().any(|segment| segment.index.entry != first.entry);
        let mut plan = Plan { time_scale: first.time_scale, sets_differ, ..Plan::default() };
        for (number, segment) in segments.iter().enumerate() {
            plan.add(number, segment)?;
        }
        let entry = if sets_differ { sample_entry(&sets_of(first)?, true)? } else { first.entry.clone() };
        plan.finish(entry, (first.width, first.height), cut_at)
    }

    /// The pieces that make up a range of the file, in order. What lies behind the file's end is left out.
    pub fn range(&self, range: Range<u64>) -> Vec<Piece> {
        let mut found = Vec::new();
        let mut at = 0;
        for piece in &self.pieces {
            let end = at + piece.length();
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                found.push(piece.slice(from - at, to - at));
            }
            at = end;
        }
        found
    }
}

/// A packet in the file's decode order.
struct Packet {
    size: u32,
    /// In ticks of the clip; any origin.
    time: i64,
    duration: u32,
    key: bool,
    hidden: bool,
}

/// What makes a packet the same as another: the timeline's ticks, the time, the size.
type Identity = (u32, i64, u32);

/// Where a segment's own timeline stands on the clip's.
#[derive(Clone, Copy)]
struct Anchor {
    time_scale: u32,
    pts: i64,
    time: i64,
}

#[derive(Default)]
struct Plan {
    time_scale: u32,
    sets_differ: bool,
    packets: Vec<Packet>,
    pieces: Vec<Piece>,
    /// Samples and bytes of each segment.
    chunks: Vec<(u32, u64)>,
    anchor: Option<Anchor>,
    /// The last packet, and what the last segment has of the next one's frames.
    last: Option<Identity>,
    closing: Vec<Identity>,
    /// When the first picture to be shown comes.
    shown_from: Option<i64>,
    /// When the last picture so far ends.
    end: i64,
}

impl Plan {
    fn add(&mut self, number: usize, segment: &ClipSegment<'_>) -> Result<(), MediaError> {
        let index = segment.index;
        let identity = |sample: &IndexedSample| (index.time_scale, sample.pts, sample.size);
        let own = index.samples.iter().enumerate().filter(|(ordinal, _)| segment.owns(*ordinal));
        let Some(first_pts) = own.map(|(_, sample)| sample.pts).min() else { return Ok(()) };
        // Of the pre-roll and the opening key frame, what is already there is not needed again.
        let repeatable = &index.samples[..index.samples.len().min((segment.pre_roll as usize).saturating_add(1))];
        let closed = |sample: &IndexedSample| self.closing.contains(&identity(sample));
        let known = |sample: &IndexedSample| Some(identity(sample)) == self.last || closed(sample);
        let repeated = repeatable.iter().rposition(known).map_or(0, |at| at + 1);
        // Nor is that key frame's second field.
        let fields = if repeated > 0 { index.samples[repeated..].iter().take_while(|s| closed(s)).count() } else { 0 };
        let from = repeated + fields;
        let samples = &index.samples[from..];
        let (Some(opening), Some(closing)) = (samples.first(), samples.last()) else { return Ok(()) };

        let anchor = self.anchor_for(segment, first_pts, from > 0, samples);
        let time = |pts: i64| rescale(pts.saturating_sub(anchor.pts), index.time_scale, self.time_scale, anchor.time);
        let shown_from = time(first_pts);
        let own_sets = if self.sets_differ { sets_of(index)?.in_band() } else { Bytes::new() };
        let mut in_front = own_sets.len() as u32;
        // What is hidden between pictures gives way to them.
        let shown_until = self.shown_from.map(|_| self.end);
        let before = self.chunks.last().map_or(0, |(samples, _)| *samples as usize);
        for packet in self.packets.iter_mut().rev().take(before).filter(|packet| packet.hidden) {
            packet.time = packet.time.min(self.end);
        }
        for (ordinal, sample) in (from..).zip(samples) {
            let duration = rescale(i64::from(sample.duration), index.time_scale, self.time_scale, 0);
            let duration = u32::try_from(duration).unwrap_or(u32::MAX);
            let size = sample.size.saturating_add(std::mem::take(&mut in_front));
            let hidden = segment.hides(ordinal);
            let time = time(sample.pts);
            let time = shown_until.filter(|_| hidden).map_or(time, |until| time.max(until));
            self.packets.push(Packet { size, time, duration, key: sample.key, hidden });
        }
        // The last picture lasts until the next one, which may be hidden, or as long as the last decode time says.
        let shown = (from..).zip(samples).filter(|(ordinal, _)| !segment.hides(*ordinal)).map(|(_, sample)| sample.pts);
        if let Some(last) = shown.max() {
            let next = samples.iter().map(|sample| sample.pts).filter(|pts| *pts > last).min();
            self.end = self.end.max(time(next.unwrap_or(last.saturating_add(i64::from(closing.duration)))));
        }
        self.anchor = Some(anchor);
        self.shown_from.get_or_insert(shown_from);
        let end = closing.offset.saturating_add(u64::from(closing.size));
        let length = end.saturating_sub(opening.offset);
        self.chunks.push((samples.len() as u32, length.saturating_add(own_sets.len() as u64)));
        if !own_sets.is_empty() {
            self.pieces.push(Piece::Made(own_sets));
        }
        self.pieces.push(Piece::Stored { segment: number, offset: opening.offset, length });
        self.last = Some(identity(closing));
        let others = segment.post_roll.iter().chain(segment.hidden);
        self.closing = others.filter_map(|ordinal| index.samples.get(*ordinal as usize)).map(identity).collect();
        Ok(())
    }

    /// Goes on with the timeline so far where both agree to a quarter of a second: its steps are exact, capture times
    /// are smoothed. Else the start time counts, but nothing is shown before what was shown already.
    fn anchor_for(&self, segment: &ClipSegment<'_>, first_pts: i64, joined: bool, samples: &[IndexedSample]) -> Anchor {
        let time_scale = segment.index.time_scale;
        let by_clock = rescale(segment.start_us, 1_000_000, self.time_scale, 0);
        let fresh = Anchor { time_scale, pts: first_pts, time: by_clock };
        let Some(anchor) = self.anchor else { return fresh };
        if anchor.time_scale == time_scale {
            let by_pts = rescale(first_pts.saturating_sub(anchor.pts), time_scale, self.time_scale, anchor.time);
            if joined || by_pts.abs_diff(by_clock) <= u64::from(self.time_scale) / 4 {
                return anchor;
            }
        }
        let earliest = samples.iter().map(|sample| sample.pts).min().unwrap_or(first_pts);
        let begin = rescale(earliest.saturating_sub(first_pts), time_scale, self.time_scale, by_clock);
        let late = self.end.saturating_sub(begin).max(0);
        Anchor { time: by_clock.saturating_add(late), ..fresh }
    }

    fn finish(mut self, entry: mp4_atom::Codec, size: (u32, u32), cut_at: Option<usize>) -> Result<Clip, MediaError> {
        let too_long = || MediaError::Times("the clip is too long");
        let mut decode_times: Vec<i64> = self.packets.iter().map(|packet| packet.time).collect();
        decode_times.sort_unstable();
        let (Some(&begin), Some(shown_from)) = (decode_times.first(), self.shown_from) else {
            return Err(MediaError::Empty);
        };
        let late = |(packet, decode): (&Packet, &i64)| decode.saturating_sub(packet.time);
        // Composition offsets must not be negative for every player to take them, so all pictures come later by this.
        let shift = self.packets.iter().zip(&decode_times).map(late).max().unwrap_or(0);
        let shown = u64::try_from(self.end.saturating_sub(shown_from)).map_err(|_| too_long())?;

        let mut moov = movie(vec![entry], size, self.time_scale, shown);
        let track = &mut moov.trak[0];
        track.mdia.mdhd.duration = u64::try_from(self.end.saturating_sub(begin)).map_err(|_| too_long())?;
        let media_time = shown_from.saturating_sub(begin).saturating_add(shift);
        let media_time = Some(u64::try_from(media_time).map_err(|_| too_long())?);
        let edit = ElstEntry { segment_duration: shown, media_time, media_rate: 1.into() };
        track.edts = Some(Edts { elst: Some(Elst { entries: vec![edit] }) });

        let table = &mut track.mdia.minf.stbl;
        let (mut stts, mut ctts) = (Stts::default(), Ctts::default());
        for (i, packet) in self.packets.iter().enumerate() {
            let step = decode_times.get(i + 1).map(|next| next.saturating_sub(decode_times[i]));
            let step = step.map_or(Ok(packet.duration), u32::try_from).map_err(|_| too_long())?;
            let offset = packet.time.saturating_add(shift).saturating_sub(decode_times[i]);
            // Some readers take offsets for signed ones.
            let offset = i64::from(i32::try_from(offset).map_err(|_| too_long())?);
            match stts.entries.last_mut() {
                Some(run) if run.sample_delta == step => run.sample_count += 1,
                _ => stts.entries.push(SttsEntry { sample_count: 1, sample_delta: step }),
            }
            match ctts.entries.last_mut() {
                Some(run) if run.sample_offset == offset => run.sample_count += 1,
                _ => ctts.entries.push(CttsEntry { sample_count: 1, sample_offset: offset }),
            }
        }
        table.stts = stts;
        table.ctts = Some(ctts);
        let keys = self.packets.iter().zip(1..).filter(|(packet, _)| packet.key).map(|(_, number)| number);
        table.stss = Some(Stss { entries: keys.collect() });
        table.stsz = Stsz { samples: StszSamples::Different { sizes: self.packets.iter().map(|p| p.size).collect() } };
        table.stsc = Stsc::default();
        for (&(samples_per_chunk, _), first_chunk) in self.chunks.iter().zip(1..) {
            if table.stsc.entries.last().is_none_or(|run| run.samples_per_chunk != samples_per_chunk) {
                let sample_description_index = 1;
                table.stsc.entries.push(StscEntry { first_chunk, samples_per_chunk, sample_description_index });
            }
        }
        let duration_us = rescale(shown as i64, self.time_scale, 1_000_000, 0);
        let head = head(&mut moov, &self.chunks)?;
        self.pieces.insert(0, Piece::Made(head));
        let total = self.pieces.iter().map(Piece::length).fold(0, u64::saturating_add);
        Ok(Clip { pieces: self.pieces, total, duration_us, cut_at })
    }
}

/// The parameter sets of a segment's init part.
fn sets_of(index: &SegmentIndex) -> Result<ParameterSets, MediaError> {
    Ok(ParameterSets::from_extradata(index.codec, &index.extradata)?.0)
}

/// Encodes the head twice: how long it is must be known to say where the chunks are.
fn head(moov: &mut Moov, chunks: &[(u32, u64)]) -> Result<Bytes, MediaError> {
    let brands = [b"isom", b"iso2", b"avc1", b"mp41"].map(FourCC::new);
    let ftyp = Ftyp { major_brand: brands[0], minor_version: 0x200, compatible_brands: brands.to_vec() };
    let payload = chunks.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    let size = Some(usize::try_from(payload).map_err(|_| MediaError::TooLarge(usize::MAX))?);
    let wide = payload > u64::from(u32::MAX / 2);
    let mut out = Vec::new();
    for _ in 0..2 {
        let mut at = out.len() as u64;
        let offsets = chunks.iter().map(|(_, bytes)| {
            let offset = at;
            at = at.saturating_add(*bytes);
            offset
        });
        let table = &mut moov.trak[0].mdia.minf.stbl;
        if wide {
            table.co64 = Some(Co64 { entries: offsets.collect() });
        } else {
            table.stco = Some(Stco { entries: offsets.map(|offset| offset as u32).collect() });
        }
        out.clear();
        encode("ftyp", &ftyp, &mut out)?;
        encode("moov", moov, &mut out)?;
        encode("mdat", &Header { kind: FourCC::new(b"mdat"), size }, &mut out)?;
    }
    Ok(out.into())
}

/// `ticks` of one time scale in another, rounded, and `plus` so many; saturating.
fn rescale(ticks: i64, from: u32, to: u32, plus: i64) -> i64 {
    let scaled = if from == to {
        i128::from(ticks)
    } else {
        (i128::from(ticks) * i128::from(to) * 2 + i128::from(from)).div_euclid(i128::from(from) * 2)
    };
    (scaled + i128::from(plus)).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
