//! What segments and clips share of MP4 (ISO/IEC 14496-12 and -15).

use bytes::Bytes;
use detektor_contract::Codec;
use mp4_atom::{
    Atom, Avc1, Avc3, Decode, DecodeMaybe, Dinf, Dref, Encode, FourCC, Hdlr, Header, Hev1, Hvc1, Mdhd, Mdia, Minf,
    Moov, Mvhd, Stbl, Stsd, Tkhd, Trak, Url, Visual, Vmhd,
};

use crate::{MediaError, ParameterSets};

/// The one track's id.
pub(crate) const TRACK: u32 = 1;

pub(crate) fn encode(name: &'static str, atom: &impl Encode, out: &mut Vec<u8>) -> Result<(), MediaError> {
    atom.encode(out).map_err(|source| MediaError::Box { name, source })
}

/// A box's place within the bytes that it was found in.
pub(crate) struct Place {
    pub(crate) kind: FourCC,
    pub(crate) body: usize,
    /// Where it ends, which may be behind the bytes; none if it goes on to the end of the file.
    pub(crate) end: Option<usize>,
}

/// The box that begins at `start`; `None` if not even its header is there.
pub(crate) fn place(bytes: &[u8], start: usize) -> Result<Option<Place>, MediaError> {
    let mut rest = bytes.get(start..).unwrap_or_default();
    let before = rest.len();
    let header = Header::decode_maybe(&mut rest).map_err(|source| MediaError::Box { name: "header", source })?;
    let Some(Header { kind, size }) = header else { return Ok(None) };
    let body = start + (before - rest.len());
    let end = match size {
        None => None,
        Some(size) => Some(body.checked_add(size).ok_or(MediaError::Layout("a box of impossible size"))?),
    };
    Ok(Some(Place { kind, body, end }))
}

/// Decodes one box that fills `bytes`, once nothing in it is unexpected.
pub(crate) fn decode<T: Atom>(name: &'static str, mut bytes: &[u8]) -> Result<T, MediaError> {
    check_nesting(bytes, 0)?;
    T::decode(&mut bytes).map_err(|source| MediaError::Box { name, source })
}

/// The deepest that our own boxes nest is moov/trak/mdia/minf/stbl/stsd/avc1/avcC.
const DEEPEST: usize = 8;

/// Refuses boxes that we never write, and nesting that could exhaust the stack of the recursive decoder.
fn check_nesting(bytes: &[u8], depth: usize) -> Result<(), MediaError> {
    if depth > DEEPEST {
        return Err(MediaError::Layout("boxes nest too deeply"));
    }
    let mut at = 0;
    while at < bytes.len() {
        let (kind, body, end) = match place(bytes, at)? {
            Some(Place { kind, body, end: Some(end) }) if end <= bytes.len() => (kind, body, end),
            _ => return Err(MediaError::Layout("a box is larger than the one around it")),
        };
        // How much of the body comes before the boxes in it.
        let before = match <[u8; 4]>::from(kind).as_slice() {
            b"moov" | b"mvex" | b"trak" | b"mdia" | b"minf" | b"dinf" | b"stbl" | b"moof" | b"traf" => 0,
            b"stsd" => 8,
            b"avc1" | b"avc3" | b"hvc1" | b"hev1" => 78,
            b"mvhd" | b"tkhd" | b"mdhd" | b"hdlr" | b"vmhd" | b"dref" | b"stts" | b"stsc" | b"stsz" | b"stco"
            | b"trex" | b"mfhd" | b"tfhd" | b"tfdt" | b"trun" | b"avcC" | b"hvcC" => end - body,
            _ => return Err(MediaError::Layout("a box that no segment has")),
        };
        let children = bytes.get(body + before..end).ok_or(MediaError::Layout("a box is too short"))?;
        check_nesting(children, depth + 1)?;
        at = end;
    }
    Ok(())
}

/// The sample entry: what a decoder must know. `in_band` says that some sample carries parameter sets of its own.
pub(crate) fn sample_entry(sets: &ParameterSets, in_band: bool) -> Result<mp4_atom::Codec, MediaError> {
    let (width, height) = sets.size().ok_or(MediaError::NoParameterSets(sets.codec()))?;
    let side =
        |pixels| u16::try_from(pixels).map_err(|_| MediaError::Layout("pictures of more than 65,535 pixels a side"));
    let visual = Visual { data_reference_index: 1, width: side(width)?, height: side(height)?, ..Visual::default() };
    Ok(match (sets.codec(), in_band) {
        (Codec::H264, false) => Avc1 { visual, avcc: sets.avcc()?, ..Avc1::default() }.into(),
        (Codec::H264, true) => Avc3 { visual, avcc: sets.avcc()?, ..Avc3::default() }.into(),
        (Codec::H265, false) => Hvc1 { visual, hvcc: sets.hvcc(true)?, ..Hvc1::default() }.into(),
        (Codec::H265, true) => Hev1 { visual, hvcc: sets.hvcc(false)?, ..Hev1::default() }.into(),
    })
}

/// What a sample entry says.
pub(crate) struct Description {
    pub(crate) codec: Codec,
    pub(crate) extradata: Bytes,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

pub(crate) fn describe(entry: &mp4_atom::Codec) -> Result<Description, MediaError> {
    let mut extradata = Vec::new();
    let (codec, visual, encoded) = match entry {
        mp4_atom::Codec::Avc1(Avc1 { visual, avcc, .. }) | mp4_atom::Codec::Avc3(Avc3 { visual, avcc, .. }) => {
            (Codec::H264, visual, avcc.encode_body(&mut extradata))
        }
        mp4_atom::Codec::Hvc1(Hvc1 { visual, hvcc, .. }) | mp4_atom::Codec::Hev1(Hev1 { visual, hvcc, .. }) => {
            (Codec::H265, visual, hvcc.encode_body(&mut extradata))
        }
        _ => return Err(MediaError::Layout("neither H.264 nor H.265")),
    };
    encoded.map_err(|source| MediaError::Box { name: "decoder configuration", source })?;
    let (width, height) = (u32::from(visual.width), u32::from(visual.height));
    if width == 0 || height == 0 {
        return Err(MediaError::Layout("pictures without a size"));
    }
    Ok(Description { codec, extradata: extradata.into(), width, height })
}

/// A movie of one video track. Durations are in ticks of `time_scale`, 0 in fragmented files.
pub(crate) fn movie(entries: Vec<mp4_atom::Codec>, size: (u32, u32), time_scale: u32, duration: u64) -> Moov {
    let pixels = |side: u32| u16::try_from(side).unwrap_or(u16::MAX).into();
    Moov {
        mvhd: Mvhd {
            timescale: time_scale,
            duration,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK + 1,
            ..Mvhd::default()
        },
        trak: vec![Trak {
            tkhd: Tkhd {
                track_id: TRACK,
                duration,
                enabled: true,
                in_movie: true,
                width: pixels(size.0),
                height: pixels(size.1),
                ..Tkhd::default()
            },
            mdia: Mdia {
                mdhd: Mdhd { timescale: time_scale, duration, language: "und".to_owned(), ..Mdhd::default() },
                hdlr: Hdlr { handler: FourCC::new(b"vide"), name: "video".to_owned() },
                minf: Minf {
                    vmhd: Some(Vmhd::default()),
                    dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
                    stbl: Stbl { stsd: Stsd { codecs: entries }, ..Stbl::default() },
                    ..Minf::default()
                },
            },
            ..Trak::default()
        }],
        ..Moov::default()
    }
}
