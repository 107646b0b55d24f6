//! One segment: a fragmented MP4 file of one video track, an init part (`ftyp`, `moov`) and a media part (`moof`,
//! `mdat`).
//!
//! Samples stand in decode order. A sample's decode time is the presentation time that has its rank, so decode times
//! rise whatever the order of pictures, and composition offsets are signed; there is no edit list.

use bytes::Bytes;
use detektor_contract::Codec;
use mp4_atom::{
    Atom, FourCC, Ftyp, Header, Mfhd, Moof, Moov, Mvex, Stco, Tfdt, Tfhd, Traf, Trex, Trun, TrunEntry, TrunSamples,
};

use crate::boxes::{TRACK, decode, describe, encode, movie, place, sample_entry};
use crate::nal::{LENGTH_BYTES, push, units};
use crate::{MediaError, ParameterSets, h264, h265};

/// A sample to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// An access unit, NAL units behind 4-byte lengths.
    pub data: Bytes,
    /// Presentation time in ticks, from 0 up.
    pub pts: i64,
    /// Whether decoding can begin here.
    pub key: bool,
}

/// A written segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The init part and the media part.
    pub video: Bytes,
    /// Length of the init part.
    pub init_bytes: u32,
}

/// Flags of a sample that depends on no other, and of one that does (14496-12, 8.8.3.1).
const KEY_FLAGS: u32 = 0x0200_0000;
const DEPENDENT_FLAGS: u32 = 0x0101_0000;
const NON_SYNC: u32 = 0x0001_0000;

/// Larger heads than these are not ours: 4 s at 240 pictures a second take 16 KB.
const MOOV_LIMIT: usize = 1 << 20;
const MOOF_LIMIT: usize = 1 << 22;
const FTYP_LIMIT: usize = 1 << 10;

/// Writes a segment of `samples`, in decode order. `sets` are those in force before the first sample; `last_duration`
/// is the duration, in ticks, of the sample that is shown last.
///
/// Delimiters, filler data and parameter sets that only repeat `sets` are left out.
///
/// # Errors
/// [`MediaError::NoParameterSets`], [`MediaError::Empty`] without samples, [`MediaError::Times`] for a negative time
/// or a step of more than 31 bits, [`MediaError::TooLarge`] from 2 GiB up.
pub fn write(
    sets: &ParameterSets,
    time_scale: u32,
    sequence: u32,
    samples: &[Sample],
    last_duration: u32,
) -> Result<Written, MediaError> {
    let mut keep = Keep { sets, in_band: false };
    let mut kept = Vec::with_capacity(2 * samples.len());
    let sizes: Vec<usize> = samples.iter().map(|sample| keep.take(&sample.data, &mut kept)).collect();
    let in_band = keep.in_band;
    let payload: usize = sizes.iter().sum();

    let mut moof = Moof {
        mfhd: Mfhd { sequence_number: sequence },
        traf: vec![Traf {
            tfhd: Tfhd { track_id: TRACK, default_base_is_moof: true, ..Tfhd::default() },
            ..Traf::default()
        }],
    };
    let (base, entries) = timed_entries(samples, &sizes, last_duration)?;
    moof.traf[0].tfdt = Some(Tfdt { base_media_decode_time: base });
    moof.traf[0].trun = vec![Trun { data_offset: Some(0), samples: TrunSamples::Explicit(entries) }];

    let mut head = Vec::new();
    encode("moof", &moof, &mut head)?;
    let data_offset = head.len() + 8;
    let total = i32::try_from(data_offset + payload).map_err(|_| MediaError::TooLarge(payload))?;
    moof.traf[0].trun[0].data_offset = Some(total - payload as i32);

    let mut video = init(sets, in_band, time_scale)?;
    let init_bytes = video.len() as u32;
    video.reserve_exact(data_offset + payload);
    encode("moof", &moof, &mut video)?;
    encode("mdat", &Header { kind: FourCC::new(b"mdat"), size: Some(payload) }, &mut video)?;
    kept.iter().for_each(|unit| push(&mut video, unit));
    Ok(Written { video: video.into(), init_bytes })
}

fn init(sets: &ParameterSets, in_band: bool, time_scale: u32) -> Result<Vec<u8>, MediaError> {
    let size = sets.size().ok_or(MediaError::NoParameterSets(sets.codec()))?;
    let mut moov = movie(vec![sample_entry(sets, in_band)?], size, time_scale, 0);
    moov.trak[0].mdia.minf.stbl.stco = Some(Stco::default());
    let trex = Trex { track_id: TRACK, default_sample_description_index: 1, ..Trex::default() };
    moov.mvex = Some(Mvex { trex: vec![trex], ..Mvex::default() });
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: vec![FourCC::new(b"iso6"), FourCC::new(b"mp41")],
    };
    let mut out = Vec::new();
    encode("ftyp", &ftyp, &mut out)?;
    encode("moov", &moov, &mut out)?;
    Ok(out)
}

/// The base decode time and every sample's entry.
fn timed_entries(samples: &[Sample], sizes: &[usize], last_duration: u32) -> Result<(u64, Vec<TrunEntry>), MediaError> {
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
    times.sort_unstable();
    let (Some(&base), Some(last)) = (times.first(), times.last()) else { return Err(MediaError::Empty) };
    if last.checked_add(i64::from(last_duration)).is_none() {
        return Err(MediaError::Times("they overflow"));
    }
    let base = u64::try_from(base).map_err(|_| MediaError::Times("a presentation time below 0"))?;
    let mut entries = Vec::with_capacity(samples.len());
    for (i, (sample, size)) in samples.iter().zip(sizes).enumerate() {
        let duration = match times.get(i + 1) {
            Some(next) => u32::try_from(next - times[i]).map_err(|_| MediaError::Times("a gap within the segment"))?,
            None => last_duration,
        };
        let offset = i32::try_from(sample.pts - times[i]).map_err(|_| MediaError::Times("a gap within the segment"))?;
        entries.push(TrunEntry {
            duration: Some(duration),
            size: Some(u32::try_from(*size).map_err(|_| MediaError::TooLarge(*size))?),
            flags: Some(if sample.key { KEY_FLAGS } else { DEPENDENT_FLAGS }),
            cts: Some(offset.into()),
        });
    }
    Ok((base, entries))
}

/// Decides which NAL units go into the file.
struct Keep<'a> {
    sets: &'a ParameterSets,
    /// Set once a sample keeps parameter sets. From then on all are kept: one that repeats the init part may undo it.
    in_band: bool,
}

impl Keep<'_> {
    /// Takes over a sample's NAL units, and says how many bytes they make with their lengths.
    fn take<'d>(&mut self, data: &'d [u8], kept: &mut Vec<&'d [u8]>) -> usize {
        let before = kept.len();
        kept.extend(units(data).filter(|unit| self.keeps(unit)));
        if kept.len() == before {
            kept.extend(units(data));
        }
        kept[before..].iter().map(|unit| LENGTH_BYTES + unit.len()).sum()
    }

    fn keeps(&mut self, unit: &[u8]) -> bool {
        let ballast = match self.sets.codec() {
            Codec::H264 => matches!(h264::unit_type(unit), h264::DELIMITER | h264::FILLER),
            Codec::H265 => matches!(h265::unit_type(unit), h265::DELIMITER | h265::FILLER),
        };
        if ballast || !self.sets.is_set(unit) {
            return !ballast;
        }
        self.in_band |= !self.sets.contains(unit);
        self.in_band
    }
}

/// A segment's head: everything but its samples' bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentIndex {
    /// The codec.
    pub codec: Codec,
    /// The configuration record (`avcC` or `hvcC`) that a decoder wants.
    pub extradata: Bytes,
    /// Picture width in pixels, after cropping.
    pub width: u32,
    /// Picture height in pixels, after cropping.
    pub height: u32,
    /// Ticks a second.
    pub time_scale: u32,
    /// Samples in decode order.
    pub samples: Vec<IndexedSample>,
    pub(crate) entry: mp4_atom::Codec,
    /// Where the `moof` ends: samples lie behind it.
    head_bytes: u64,
}

/// Where a sample's bytes are, and its times in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedSample {
    /// From the start of the segment.
    pub offset: u64,
    /// In bytes.
    pub size: u32,
    /// Presentation time.
    pub pts: i64,
    /// Decode time.
    pub dts: i64,
    /// Until the next sample's decode time.
    pub duration: u32,
    /// Whether decoding can begin here.
    pub key: bool,
}

/// A segment to be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The codec.
    pub codec: Codec,
    /// The configuration record (`avcC` or `hvcC`) that a decoder wants.
    pub extradata: Bytes,
    /// Picture width in pixels, after cropping.
    pub width: u32,
    /// Picture height in pixels, after cropping.
    pub height: u32,
    /// Ticks a second.
    pub time_scale: u32,
    /// Samples in decode order.
    pub samples: Vec<SegmentSample>,
}

/// An access unit and its times in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSample {
    /// NAL units behind 4-byte lengths. Shares the segment's memory.
    pub data: Bytes,
    /// Presentation time.
    pub pts: i64,
    /// Decode time.
    pub dts: i64,
    /// Until the next sample's decode time.
    pub duration: u32,
    /// Whether decoding can begin here.
    pub key: bool,
}

/// Reads a segment that [`write()`] wrote: init part and media part.
///
/// # Errors
/// [`MediaError::Layout`], [`MediaError::Box`], [`MediaError::Times`] or [`MediaError::Incomplete`].
pub fn read(video: &Bytes) -> Result<Segment, MediaError> {
    let index = SegmentIndex::read(video)?;
    let mut samples = Vec::with_capacity(index.samples.len());
    for &IndexedSample { offset, size, pts, dts, duration, key } in &index.samples {
        let end = offset + u64::from(size);
        if end > video.len() as u64 {
            return Err(MediaError::Layout("a sample reaches over the end"));
        }
        samples.push(SegmentSample { data: video.slice(offset as usize..end as usize), pts, dts, duration, key });
    }
    let SegmentIndex { codec, extradata, width, height, time_scale, .. } = index;
    Ok(Segment { codec, extradata, width, height, time_scale, samples })
}

impl SegmentIndex {
    /// Reads the index from a segment's first bytes: the init part and the `moof`.
    ///
    /// # Errors
    /// [`MediaError::Incomplete`] says how many bytes it needs; else as [`read`].
    pub fn read(head: &[u8]) -> Result<Self, MediaError> {
        let (ftyp, _) = whole_box(head, 0, Ftyp::KIND, FTYP_LIMIT)?;
        let (moov, moov_box) = whole_box(head, ftyp, Moov::KIND, MOOV_LIMIT)?;
        let (moof, moof_box) = whole_box(head, moov, Moof::KIND, MOOF_LIMIT)?;
        let mut init = decode::<Moov>("moov", moov_box)?;
        let [track] = &mut init.trak[..] else { return Err(MediaError::Layout("not exactly one track")) };
        let time_scale = track.mdia.mdhd.timescale;
        let mut entries = std::mem::take(&mut track.mdia.minf.stbl.stsd.codecs);
        let (Some(entry), true) = (entries.pop(), entries.is_empty()) else {
            return Err(MediaError::Layout("not exactly one sample entry"));
        };
        if time_scale == 0 {
            return Err(MediaError::Layout("a time scale of 0"));
        }
        let description = describe(&entry)?;
        let samples = indexed_samples(decode::<Moof>("moof", moof_box)?, moov as u64, moof as u64)?;
        Ok(Self {
            codec: description.codec,
            extradata: description.extradata,
            width: description.width,
            height: description.height,
            time_scale,
            samples,
            entry,
            head_bytes: moof as u64,
        })
    }

    /// Length of the init part and the `moof`.
    pub fn head_bytes(&self) -> u64 {
        self.head_bytes
    }
}

/// The box of this kind that begins at `start`, and where it ends.
fn whole_box(head: &[u8], start: usize, kind: FourCC, limit: usize) -> Result<(usize, &[u8]), MediaError> {
    let Some(found) = place(head, start)? else {
        return Err(MediaError::Incomplete { needed: start as u64 + 16 });
    };
    if found.kind != kind {
        return Err(MediaError::Layout("boxes other than ftyp, moov and moof in this order"));
    }
    let end = found.end.filter(|end| end - start <= limit).ok_or(MediaError::Layout("a head of impossible size"))?;
    let bytes = head.get(start..end).ok_or(MediaError::Incomplete { needed: end as u64 })?;
    Ok((end, bytes))
}

fn indexed_samples(moof: Moof, moof_start: u64, moof_end: u64) -> Result<Vec<IndexedSample>, MediaError> {
    let overflow = || MediaError::Times("they overflow");
    let [Traf { tfhd, tfdt: Some(tfdt), trun, .. }] = &moof.traf[..] else {
        return Err(MediaError::Layout("not exactly one track fragment with a time"));
    };
    let [Trun { data_offset: Some(data_offset), samples: TrunSamples::Explicit(entries) }] = &trun[..] else {
        return Err(MediaError::Layout("not exactly one run of samples"));
    };
    if tfhd.base_data_offset.is_some() || tfhd.track_id != TRACK || *data_offset < 0 {
        return Err(MediaError::Layout("samples of another track or place"));
    }
    let mut offset = moof_start + u64::from(data_offset.unsigned_abs());
    let mut dts = i64::try_from(tfdt.base_media_decode_time).map_err(|_| overflow())?;
    if offset < moof_end {
        return Err(MediaError::Layout("samples within the head"));
    }
    let mut samples = Vec::with_capacity(entries.len());
    for entry in entries {
        let TrunEntry { duration: Some(duration), size: Some(size), flags: Some(flags), cts: Some(cts) } = *entry
        else {
            return Err(MediaError::Layout("a sample without duration, size, flags or offset"));
        };
        let pts = dts.checked_add(cts).ok_or_else(overflow)?;
        samples.push(IndexedSample { offset, size, pts, dts, duration, key: flags & NON_SYNC == 0 });
        // At most 2^22 samples of 2^32 bytes: this cannot overflow.
        offset += u64::from(size);
        dts = dts.checked_add(i64::from(duration)).ok_or_else(overflow)?;
    }
    Ok(samples)
}
