//! What we need of H.264's syntax (ITU-T H.264, clauses 7.3 and D.1).

use h264_reader::nal::sps::{FrameMbsFlags, SeqParameterSet};
use h264_reader::rbsp::BitReader;

use crate::MediaError;
use crate::bits::{Bits, unescape};
use crate::parameter_sets::Format;

pub(crate) const SLICE: u8 = 1;
pub(crate) const PARTITION_A: u8 = 2;
pub(crate) const IDR: u8 = 5;
pub(crate) const SEI: u8 = 6;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;
pub(crate) const DELIMITER: u8 = 9;
pub(crate) const FILLER: u8 = 12;

/// Enough for any slice header's beginning or a recovery point among other SEI messages.
const HEADER_LIMIT: usize = 64;
const RECOVERY_POINT: usize = 6;

pub(crate) fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

pub(crate) fn is_reference(unit: &[u8]) -> bool {
    unit.first().is_some_and(|byte| byte & 0x60 != 0)
}

/// What an SPS says, as far as we ask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sps {
    pub(crate) id: u32,
    pub(crate) format: Format,
    pub(crate) frame_num_bits: u32,
    frames_only: bool,
    separate_planes: bool,
}

pub(crate) fn parse_sps(unit: &[u8]) -> Result<Sps, MediaError> {
    let bad = |what: String| MediaError::ParameterSet { kind: "H.264 SPS", what };
    let mut rbsp = unescape(unit.get(1..).unwrap_or_default(), usize::MAX).into_owned();
    let [profile, _, level, ..] = rbsp[..] else {
        return Err(bad("it is too short".to_owned()));
    };
    // The reader refuses pictures above the declared level's limit; cameras understate their level, decoders do not care.
    rbsp[2] = 62;
    let sps = SeqParameterSet::from_bits(BitReader::new(&rbsp[..])).map_err(|error| bad(format!("{error:?}")))?;
    let (width, height) = sps.pixel_dimensions().map_err(|error| bad(format!("{error:?}")))?;
    let vui = sps.vui_parameters.as_ref();
    let timing = vui.and_then(|vui| vui.timing_info.as_ref());
    Ok(Sps {
        id: u32::from(sps.id().id()),
        format: Format {
            profile,
            level,
            chroma: sps.chroma_info.chroma_format.to_u32() as u8,
            bit_depth: [sps.chroma_info.bit_depth_luma_minus8 + 8, sps.chroma_info.bit_depth_chroma_minus8 + 8],
            width,
            height,
            // Two ticks a frame: one a field.
            frame_rate: timing.map(|t| (t.time_scale, t.num_units_in_tick.saturating_mul(2))),
            max_reorder: vui.and_then(|v| v.bitstream_restrictions.as_ref()).map(|b| b.max_num_reorder_frames),
        },
        frame_num_bits: u32::from(sps.log2_max_frame_num()),
        frames_only: matches!(sps.frame_mbs_flags, FrameMbsFlags::Frames),
        separate_planes: sps.chroma_info.separate_colour_plane_flag,
    })
}

/// A PPS's id and its SPS's.
pub(crate) fn parse_pps(unit: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(unit.get(1..)?, HEADER_LIMIT);
    let mut bits = Bits::new(&rbsp);
    let ids = (bits.ue()?, bits.ue()?);
    (ids.0 < 256 && ids.1 < 32).then_some(ids)
}

/// The beginning of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceHeader {
    pub(crate) intra: bool,
    /// Known where the SPS is.
    pub(crate) frame_num: Option<u32>,
    /// Set in a field picture; true in its bottom field.
    pub(crate) bottom_field: Option<bool>,
}

pub(crate) fn parse_slice<'s>(unit: &[u8], sps_of_pps: impl Fn(u32) -> Option<&'s Sps>) -> Option<SliceHeader> {
    let rbsp = unescape(unit.get(1..)?, HEADER_LIMIT);
    let mut bits = Bits::new(&rbsp);
    let _first_macroblock = bits.ue()?;
    let slice_type = bits.ue()?;
    let pps = bits.ue()?;
    // I and SI slices; from 5 up, the type holds for the picture's other slices too.
    let mut header = SliceHeader { intra: matches!(slice_type % 5, 2 | 4), frame_num: None, bottom_field: None };
    if let Some(sps) = sps_of_pps(pps) {
        if sps.separate_planes {
            bits.u(2)?;
        }
        header.frame_num = Some(bits.u(sps.frame_num_bits)?);
        if !sps.frames_only && bits.flag()? {
            header.bottom_field = Some(bits.flag()?);
        }
    }
    Some(header)
}

/// `recovery_frame_cnt` of a recovery point message, if the SEI unit has one.
pub(crate) fn recovery_frames(unit: &[u8]) -> Option<u32> {
    let rbsp = unescape(unit.get(1..)?, usize::MAX);
    let mut rest = &rbsp[..];
    // More than the trailing bits must be left.
    while rest.len() > 2 {
        let kind = take_sum(&mut rest)?;
        let size = take_sum(&mut rest)?;
        let (payload, behind) = rest.split_at_checked(size)?;
        if kind == RECOVERY_POINT {
            return Bits::new(payload).ue();
        }
        rest = behind;
    }
    None
}

/// A number written as a run of `ff` and a last byte, all of them summed.
fn take_sum(rest: &mut &[u8]) -> Option<usize> {
    let mut sum = 0;
    loop {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        sum += usize::from(byte);
        if byte != 0xff {
            return Some(sum);
        }
    }
}
