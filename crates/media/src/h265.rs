//! What we need of H.265's syntax (ITU-T H.265, clause 7.3).

use crate::MediaError;
use crate::bits::{Bits, unescape};
use crate::parameter_sets::Format;

/// Slices, those of reserved types included.
pub(crate) const PICTURES: std::ops::RangeInclusive<u8> = 0..=31;
pub(crate) const RADL_N: u8 = 6;
pub(crate) const RADL_R: u8 = 7;
pub(crate) const RASL_N: u8 = 8;
pub(crate) const RASL_R: u8 = 9;
pub(crate) const BLA: std::ops::RangeInclusive<u8> = 16..=18;
pub(crate) const IDR: std::ops::RangeInclusive<u8> = 19..=20;
pub(crate) const CRA: u8 = 21;
pub(crate) const VPS: u8 = 32;
pub(crate) const SPS: u8 = 33;
pub(crate) const PPS: u8 = 34;
pub(crate) const DELIMITER: u8 = 35;
pub(crate) const FILLER: u8 = 38;

const HEADER_LIMIT: usize = 64;

pub(crate) fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte >> 1 & 0x3f)
}

pub(crate) fn temporal_id(unit: &[u8]) -> u8 {
    unit.get(1).map_or(0, |byte| (byte & 7).saturating_sub(1))
}

/// Whether it belongs to the base layer; others (scalable, multi-view) are not decoded.
pub(crate) fn is_base_layer(unit: &[u8]) -> bool {
    matches!(unit, [a, b, ..] if a & 1 == 0 && b >> 3 == 0)
}

/// What an SPS says, as far as we ask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sps {
    pub(crate) id: u32,
    pub(crate) format: Format,
    /// The general part of profile, tier and level, as the configuration record repeats it.
    pub(crate) profile_space: u8,
    pub(crate) tier: bool,
    pub(crate) compatibility: [u8; 4],
    pub(crate) constraints: [u8; 6],
    pub(crate) temporal_layers: u8,
    pub(crate) temporal_id_nested: bool,
}

pub(crate) fn parse_vps(unit: &[u8]) -> Option<u32> {
    unit.get(2).map(|byte| u32::from(byte >> 4))
}

/// A PPS's id and its SPS's.
pub(crate) fn parse_pps(unit: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(unit.get(2..)?, HEADER_LIMIT);
    let mut bits = Bits::new(&rbsp);
    let ids = (bits.ue()?, bits.ue()?);
    (ids.0 < 64 && ids.1 < 16).then_some(ids)
}

pub(crate) fn parse_sps(unit: &[u8]) -> Result<Sps, MediaError> {
    let bad = |what: &str| MediaError::ParameterSet { kind: "H.265 SPS", what: what.to_owned() };
    let rbsp = unescape(unit.get(2..).unwrap_or_default(), usize::MAX);
    let sps = read_sps(&mut Bits::new(&rbsp)).ok_or_else(|| bad("it breaks off or is out of range"))?;
    if sps.format.width == 0 || sps.format.height == 0 || sps.format.width > 16_888 || sps.format.height > 16_888 {
        return Err(bad(&format!("a picture of {}x{}", sps.format.width, sps.format.height)));
    }
    Ok(sps)
}

fn read_sps(bits: &mut Bits<'_>) -> Option<Sps> {
    bits.u(4)?; // VPS id
    let max_sub_layers = bits.u(3)?;
    let temporal_id_nested = bits.flag()?;

    let profile_space = bits.u(2)? as u8;
    let tier = bits.flag()?;
    let profile = bits.u(5)? as u8;
    let compatibility = bits.u(32)?.to_be_bytes();
    let mut constraints = [0; 6];
    for byte in &mut constraints {
        *byte = bits.u(8)? as u8;
    }
    let level = bits.u(8)? as u8;
    skip_sub_layers(bits, max_sub_layers)?;

    let id = bits.ue().filter(|id| *id < 16)?;
    let chroma = bits.ue().filter(|chroma| *chroma <= 3)? as u8;
    let separate_planes = chroma == 3 && bits.flag()?;
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.flag()? {
        // Conformance window, in units of chroma samples (table 6-1).
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let across = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        let down = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
        width = width.checked_sub(across)?;
        height = height.checked_sub(down)?;
    }
    let mut depth = || bits.ue().filter(|depth| *depth <= 8).map(|depth| depth as u8 + 8);
    let bit_depth = [depth()?, depth()?];

    let poc_bits = bits.ue().filter(|n| *n <= 12)? + 4;
    let each_sub_layer = bits.flag()?;
    let mut max_reorder = 0;
    for _ in if each_sub_layer { 0 } else { max_sub_layers }..=max_sub_layers {
        bits.ue()?;
        max_reorder = bits.ue()?;
        bits.ue()?;
    }
    Some(Sps {
        id,
        format: Format {
            profile,
            level,
            chroma: if separate_planes { 0 } else { chroma },
            bit_depth,
            width,
            height,
            frame_rate: read_frame_rate(bits, poc_bits),
            max_reorder: Some(max_reorder),
        },
        profile_space,
        tier,
        compatibility,
        constraints,
        temporal_layers: max_sub_layers as u8 + 1,
        temporal_id_nested,
    })
}

fn skip_sub_layers(bits: &mut Bits<'_>, max_sub_layers: u32) -> Option<()> {
    let mut present = [(false, false); 8];
    for slot in present.iter_mut().take(max_sub_layers as usize) {
        *slot = (bits.flag()?, bits.flag()?);
    }
    if max_sub_layers > 0 {
        bits.skip(2 * (8 - max_sub_layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// Reads on to the timing in the VUI (E.2.1): frames a second as a fraction.
fn read_frame_rate(bits: &mut Bits<'_>, poc_bits: u32) -> Option<(u32, u32)> {
    for _ in 0..6 {
        bits.ue()?; // block sizes and transform depths
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?; // asymmetric partitions, sample adaptive offset
    if bits.flag()? {
        bits.skip(8)?; // PCM bit depths
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    skip_reference_sets(bits)?;
    if bits.flag()? {
        let long_term = bits.ue().filter(|n| *n <= 32)?;
        bits.skip((long_term * (poc_bits + 1)) as usize)?;
    }
    bits.skip(2)?; // temporal motion vectors, strong smoothing
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.u(8)? == 255 {
        bits.skip(32)?; // aspect ratio
    }
    if bits.flag()? {
        bits.skip(1)?; // overscan
    }
    if bits.flag()? {
        bits.skip(4)?; // video format and range
        if bits.flag()? {
            bits.skip(24)?; // colours
        }
    }
    if bits.flag()? {
        bits.ue()?; // chroma locations
        bits.ue()?;
    }
    bits.skip(3)?; // neutral chroma, fields
    if bits.flag()? {
        for _ in 0..4 {
            bits.ue()?; // display window
        }
    }
    if !bits.flag()? {
        return None;
    }
    let (units_in_tick, time_scale) = (bits.u(32)?, bits.u(32)?);
    Some((time_scale, units_in_tick))
}

/// 7.3.4.
fn skip_scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            let coefficients = if size == 0 { 16 } else { 64 };
            for _ in 0..coefficients + u32::from(size > 1) {
                bits.ue()?;
            }
        }
    }
    Some(())
}

/// 7.3.7, for all sets.
fn skip_reference_sets(bits: &mut Bits<'_>) -> Option<()> {
    let mut pictures = 0;
    for set in 0..bits.ue().filter(|n| *n <= 64)? {
        if set > 0 && bits.flag()? {
            bits.skip(1)?;
            bits.ue()?;
            let before = std::mem::take(&mut pictures);
            for _ in 0..=before {
                // used_by_curr_pic_flag, else use_delta_flag
                pictures += u32::from(bits.flag()? || bits.flag()?);
            }
        } else {
            let count = |bits: &mut Bits<'_>| bits.ue().filter(|n| *n <= 16);
            pictures = count(bits)? + count(bits)?;
            for _ in 0..pictures {
                bits.ue()?;
                bits.skip(1)?;
            }
        }
    }
    Some(())
}
