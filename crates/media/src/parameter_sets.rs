//! A stream's parameter sets: what a decoder must know before the first picture.

use bytes::Bytes;
use detektor_contract::Codec;
use mp4_atom::{Atom, Avcc, AvccExt, HvcCArray, Hvcc};

use crate::nal::{AnnexB, Framing, push, units};
use crate::{MediaError, h264, h265};

/// What pictures look like, and how fast they may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) profile: u8,
    pub(crate) level: u8,
    pub(crate) chroma: u8,
    pub(crate) bit_depth: [u8; 2],
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Frames a second as a fraction, where the stream says so.
    pub(crate) frame_rate: Option<(u32, u32)>,
    pub(crate) max_reorder: Option<u32>,
}

impl Format {
    /// Whether a decoder that runs can go on: the pictures have the same size and samples.
    fn looks_like(&self, other: &Format) -> bool {
        let look = |f: &Format| (f.width, f.height, f.chroma, f.bit_depth);
        look(self) == look(other)
    }
}

/// What came with an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetsChange {
    /// Nothing new: no sets, or those already known.
    None,
    /// New or other sets, but pictures look as before. Segments from here on need another init part.
    Sets,
    /// Pictures have another size, chroma format or bit depth from here on: a segment must not reach over this.
    Format,
}

#[derive(Clone, Debug, PartialEq)]
struct Set<T> {
    id: u32,
    unit: Bytes,
    parsed: T,
}

#[derive(Clone, Debug, PartialEq)]
enum Sps {
    H264(h264::Sps),
    H265(h265::Sps),
}

impl Sps {
    fn format(&self) -> &Format {
        match self {
            Self::H264(sps) => &sps.format,
            Self::H265(sps) => &sps.format,
        }
    }
}

/// The newest parameter sets of each id, in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSets {
    codec: Codec,
    vps: Vec<Set<()>>,
    sps: Vec<Set<Sps>>,
    /// With the id of the SPS that each refers to.
    pps: Vec<Set<u32>>,
}

impl ParameterSets {
    /// None yet: they come in-band.
    pub fn new(codec: Codec) -> Self {
        Self { codec, vps: Vec::new(), sps: Vec::new(), pps: Vec::new() }
    }

    /// Reads what a container says about its stream, and how its access units are framed: a configuration record
    /// (`avcC`, `hvcC`) with length-prefixed NAL units, Annex B with start codes, or nothing and Annex B.
    ///
    /// # Errors
    /// [`MediaError::Extradata`] if it is neither, [`MediaError::ParameterSet`] if an SPS cannot be read.
    pub fn from_extradata(codec: Codec, extradata: &[u8]) -> Result<(Self, Framing), MediaError> {
        let mut sets = Self::new(codec);
        if extradata.is_empty() || extradata.starts_with(&[0, 0, 1]) || extradata.starts_with(&[0, 0, 0, 1]) {
            for unit in AnnexB::new(extradata) {
                sets.take(unit)?;
            }
            return Ok((sets, Framing::AnnexB));
        }
        let bad = |what| MediaError::Extradata { codec, what };
        let length_bytes = match codec {
            Codec::H264 => {
                let record = Avcc::decode_body(&mut &extradata[..]).map_err(|_| bad("not an avcC record"))?;
                for unit in record.sequence_parameter_sets.iter().chain(&record.picture_parameter_sets) {
                    sets.take(unit)?;
                }
                record.length_size
            }
            Codec::H265 => {
                let record = Hvcc::decode_body(&mut &extradata[..]).map_err(|_| bad("not an hvcC record"))?;
                for unit in record.arrays.iter().flat_map(|array| &array.nalus) {
                    sets.take(unit)?;
                }
                record.length_size_minus_one + 1
            }
        };
        Ok((sets, Framing::LengthPrefixed(length_bytes)))
    }

    /// Takes over the sets in an access unit (4-byte lengths) and says what they change.
    ///
    /// # Errors
    /// [`MediaError::ParameterSet`] if an SPS cannot be read; the sets before it are taken over.
    pub fn update(&mut self, access_unit: &[u8]) -> Result<SetsChange, MediaError> {
        let mut change = SetsChange::None;
        for unit in units(access_unit) {
            change = change.max(self.take(unit)?);
        }
        Ok(change)
    }

    /// What changes where `newer` take the place of these.
    pub fn change_to(&self, newer: &Self) -> SetsChange {
        match (self.format(), newer.format()) {
            (Some(before), Some(now)) if !before.looks_like(now) => SetsChange::Format,
            _ if self != newer => SetsChange::Sets,
            _ => SetsChange::None,
        }
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether there is enough to decode with: an SPS and a PPS, and for H.265 a VPS.
    pub fn complete(&self) -> bool {
        let vps = self.codec == Codec::H264 || !self.vps.is_empty();
        vps && !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// Picture width and height in pixels, after cropping. Of several SPS, the first.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.format().map(|format| (format.width, format.height))
    }

    /// Frames a second as a fraction, where the stream says so. Cameras are often wrong about it: a hint.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        self.format()?.frame_rate.filter(|(n, d)| *n > 0 && *d > 0)
    }

    /// How many pictures can precede one in decode order and follow it on screen, where the stream says so.
    pub fn max_reorder(&self) -> Option<u32> {
        self.format()?.max_reorder
    }

    fn format(&self) -> Option<&Format> {
        self.sps.first().map(|set| set.parsed.format())
    }

    /// The configuration record (`avcC` or `hvcC`) that a decoder or container wants, for 4-byte lengths.
    ///
    /// # Errors
    /// [`MediaError::NoParameterSets`] before they are complete.
    pub fn record(&self) -> Result<Bytes, MediaError> {
        let mut out = Vec::new();
        match self.codec {
            Codec::H264 => self.avcc()?.encode_body(&mut out),
            Codec::H265 => self.hvcc(true)?.encode_body(&mut out),
        }
        .map_err(|source| MediaError::Box { name: "decoder configuration", source })?;
        Ok(out.into())
    }

    /// All sets as they stand within an access unit.
    pub fn in_band(&self) -> Bytes {
        let mut out = Vec::new();
        self.vps.iter().for_each(|set| push(&mut out, &set.unit));
        self.sps.iter().for_each(|set| push(&mut out, &set.unit));
        self.pps.iter().for_each(|set| push(&mut out, &set.unit));
        out.into()
    }

    pub(crate) fn avcc(&self) -> Result<Avcc, MediaError> {
        let (true, Some(first), Some(format)) = (self.complete(), self.sps.first(), self.format()) else {
            return Err(MediaError::NoParameterSets(self.codec));
        };
        // 14496-15, 5.3.3.1.2: these profiles have the extension, others must not.
        let extended = !matches!(format.profile, 66 | 77 | 88);
        Ok(Avcc {
            configuration_version: 1,
            avc_profile_indication: format.profile,
            profile_compatibility: first.unit.get(2).copied().unwrap_or_default(),
            avc_level_indication: format.level,
            length_size: crate::nal::LENGTH_BYTES as u8,
            sequence_parameter_sets: self.sps.iter().take(31).map(|set| set.unit.to_vec()).collect(),
            picture_parameter_sets: self.pps.iter().take(255).map(|set| set.unit.to_vec()).collect(),
            ext: extended.then(|| AvccExt {
                chroma_format: format.chroma,
                bit_depth_luma: format.bit_depth[0],
                bit_depth_chroma: format.bit_depth[1],
                sequence_parameter_sets_ext: Vec::new(),
            }),
        })
    }

    pub(crate) fn hvcc(&self, all_sets_here: bool) -> Result<Hvcc, MediaError> {
        let (true, Some(Set { parsed: Sps::H265(sps), .. })) = (self.complete(), self.sps.first()) else {
            return Err(MediaError::NoParameterSets(self.codec));
        };
        let array = |nal_unit_type, nalus| HvcCArray { completeness: all_sets_here, nal_unit_type, nalus };
        Ok(Hvcc {
            general_profile_space: sps.profile_space,
            general_tier_flag: sps.tier,
            general_profile_idc: sps.format.profile,
            general_profile_compatibility_flags: sps.compatibility,
            general_constraint_indicator_flags: sps.constraints,
            general_level_idc: sps.format.level,
            chroma_format_idc: sps.format.chroma,
            bit_depth_luma_minus8: sps.format.bit_depth[0] - 8,
            bit_depth_chroma_minus8: sps.format.bit_depth[1] - 8,
            num_temporal_layers: sps.temporal_layers,
            temporal_id_nested: sps.temporal_id_nested,
            length_size_minus_one: crate::nal::LENGTH_BYTES as u8 - 1,
            arrays: vec![
                array(h265::VPS, self.vps.iter().map(|set| set.unit.to_vec()).collect()),
                array(h265::SPS, self.sps.iter().map(|set| set.unit.to_vec()).collect()),
                array(h265::PPS, self.pps.iter().map(|set| set.unit.to_vec()).collect()),
            ],
            ..Hvcc::new()
        })
    }

    /// Whether `unit` is a parameter set.
    pub(crate) fn is_set(&self, unit: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => matches!(h264::unit_type(unit), h264::SPS | h264::PPS),
            Codec::H265 => {
                matches!(h265::unit_type(unit), h265::VPS | h265::SPS | h265::PPS) && h265::is_base_layer(unit)
            }
        }
    }

    /// Whether `unit` is one of these parameter sets, byte by byte.
    pub(crate) fn contains(&self, unit: &[u8]) -> bool {
        let mut all = self.vps.iter().map(|set| &set.unit);
        all.any(|known| known == unit)
            || self.sps.iter().any(|set| set.unit == unit)
            || self.pps.iter().any(|set| set.unit == unit)
    }

    pub(crate) fn h264_sps_of_pps(&self, pps: u32) -> Option<&h264::Sps> {
        let at = self.pps.binary_search_by_key(&pps, |set| set.id).ok()?;
        let at = self.sps.binary_search_by_key(&self.pps[at].parsed, |set| set.id).ok()?;
        match &self.sps[at].parsed {
            Sps::H264(sps) => Some(sps),
            Sps::H265(_) => None,
        }
    }

    /// The highest temporal layer of an H.265 stream, where it is known.
    pub(crate) fn highest_temporal_id(&self) -> Option<u8> {
        match &self.sps.first()?.parsed {
            Sps::H264(_) => None,
            Sps::H265(sps) => Some(sps.temporal_layers - 1),
        }
    }

    /// Takes over one set; what is no parameter set, or a VPS or PPS without an id, is ignored.
    fn take(&mut self, unit: &[u8]) -> Result<SetsChange, MediaError> {
        // Trailing zero bytes belong to no NAL unit, but some muxers leave them in.
        let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let unit = &unit[..length];
        if !self.is_set(unit) || self.contains(unit) || unit.len() > usize::from(u16::MAX) {
            return Ok(SetsChange::None);
        }
        let unit_type = match self.codec {
            Codec::H264 => h264::unit_type(unit),
            Codec::H265 => h265::unit_type(unit),
        };
        match (self.codec, unit_type) {
            (Codec::H264, h264::SPS) => {
                let sps = h264::parse_sps(unit)?;
                Ok(self.take_sps(sps.id, unit, Sps::H264(sps)))
            }
            (Codec::H265, h265::SPS) => {
                let sps = h265::parse_sps(unit)?;
                Ok(self.take_sps(sps.id, unit, Sps::H265(sps)))
            }
            (Codec::H265, h265::VPS) => Ok(h265::parse_vps(unit).map_or(SetsChange::None, |id| {
                put(&mut self.vps, Set { id, unit: Bytes::copy_from_slice(unit), parsed: () });
                SetsChange::Sets
            })),
            (codec, _) => {
                let ids = if codec == Codec::H264 { h264::parse_pps(unit) } else { h265::parse_pps(unit) };
                Ok(ids.map_or(SetsChange::None, |(id, sps)| {
                    put(&mut self.pps, Set { id, unit: Bytes::copy_from_slice(unit), parsed: sps });
                    SetsChange::Sets
                }))
            }
        }
    }

    fn take_sps(&mut self, id: u32, unit: &[u8], parsed: Sps) -> SetsChange {
        let before = self.sps.first().map(|set| set.parsed.clone());
        put(&mut self.sps, Set { id, unit: Bytes::copy_from_slice(unit), parsed });
        match (before, self.format()) {
            (Some(before), Some(now)) if !before.format().looks_like(now) => SetsChange::Format,
            _ => SetsChange::Sets,
        }
    }
}

fn put<T>(sets: &mut Vec<Set<T>>, set: Set<T>) {
    match sets.binary_search_by_key(&set.id, |set| set.id) {
        Ok(at) => sets[at] = set,
        Err(at) => sets.insert(at, set),
    }
}

#[cfg(test)]
mod tests;
