//! What an access unit is, by its NAL unit types and the beginning of its slice headers.

use detektor_contract::Codec;

use crate::nal::units;
use crate::{ParameterSets, h264, h265};

/// Why decoding can begin at an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// Nothing behind it refers to anything before it (H.264 and H.265).
    Idr,
    /// H.264: intra, with a recovery point of 0 frames: what follows it on screen is right. Pictures that follow it
    /// in decode order and precede it on screen are leading.
    RecoveryPoint,
    /// H.265: clean random access; may have leading pictures.
    Cra,
    /// H.265: broken link access; its leading pictures cannot be decoded by anybody.
    Bla,
}

/// A picture that follows a border in decode order and precedes it on screen, by its NAL unit type. H.265 only: in
/// H.264 presentation times alone tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leading {
    /// Skipped: needs pictures from before the border.
    Rasl,
    /// Decodable from the border on.
    Radl,
}

/// How much of a frame an access unit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Structure {
    /// A frame, or it cannot be told.
    #[default]
    Frame,
    /// H.264: the top or bottom field alone.
    Field {
        /// Which one.
        bottom: bool,
    },
    /// H.264: both fields of a frame, one behind the other.
    FieldPair,
}

/// What an access unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessUnitInfo {
    /// Whether it has a picture at all.
    pub picture: bool,
    /// Set where decoding can begin.
    pub border: Option<Border>,
    /// H.264: after so many reference frames from here on, pictures are right (gradual refresh; 0 in a `RecoveryPoint`).
    pub recovery: Option<u32>,
    /// Set in H.265's leading pictures.
    pub leading: Option<Leading>,
    /// Whether other pictures may need it. Where it cannot be told, they may.
    pub reference: bool,
    /// How much of a frame it holds.
    pub structure: Structure,
    /// Whether parameter sets are in it.
    pub parameter_sets: bool,
    frame_num: Option<u32>,
}

impl AccessUnitInfo {
    /// Whether this is the second field of the frame whose first field is `previous`, the access unit before it in
    /// decode order (H.264, 3.30 and 7.4.1.2.4): the other parity, the same frame number, both references or neither.
    pub fn is_second_field_of(&self, previous: &AccessUnitInfo) -> bool {
        let (Structure::Field { bottom }, Structure::Field { bottom: before }) = (self.structure, previous.structure)
        else {
            return false;
        };
        bottom != before
            && self.frame_num == previous.frame_num
            && self.reference == previous.reference
            && self.border != Some(Border::Idr)
    }
}

/// Says what an access unit (4-byte lengths) is. `sets` must be those in force, so give it to
/// [`ParameterSets::update`] first; without them fields cannot be told from frames.
pub fn classify(sets: &ParameterSets, access_unit: &[u8]) -> AccessUnitInfo {
    match sets.codec() {
        Codec::H264 => classify_h264(sets, access_unit),
        Codec::H265 => classify_h265(sets, access_unit),
    }
}

fn classify_h264(sets: &ParameterSets, access_unit: &[u8]) -> AccessUnitInfo {
    let mut info = AccessUnitInfo::default();
    let (mut idr, mut intra) = (false, true);
    for unit in units(access_unit) {
        match h264::unit_type(unit) {
            unit_type @ (h264::SLICE | h264::PARTITION_A | h264::IDR) => {
                info.reference |= h264::is_reference(unit);
                let Some(slice) = h264::parse_slice(unit, |pps| sets.h264_sps_of_pps(pps)) else {
                    intra = false;
                    continue;
                };
                let field = slice.bottom_field;
                if !info.picture {
                    info.frame_num = slice.frame_num;
                    info.structure = field.map_or(Structure::Frame, |bottom| Structure::Field { bottom });
                } else if let (Structure::Field { bottom }, Some(now)) = (info.structure, field)
                    && bottom != now
                {
                    info.structure = Structure::FieldPair;
                }
                info.picture = true;
                idr |= unit_type == h264::IDR;
                // A second field may be predicted from the first.
                intra &= slice.intra || info.structure == Structure::FieldPair;
            }
            h264::SEI => info.recovery = info.recovery.or_else(|| h264::recovery_frames(unit)),
            h264::SPS | h264::PPS => info.parameter_sets = true,
            _ => {}
        }
    }
    if idr {
        info.border = Some(Border::Idr);
    } else if info.picture && intra && info.recovery == Some(0) {
        info.border = Some(Border::RecoveryPoint);
    }
    info
}

fn classify_h265(sets: &ParameterSets, access_unit: &[u8]) -> AccessUnitInfo {
    let mut info = AccessUnitInfo::default();
    for unit in units(access_unit) {
        let unit_type = h265::unit_type(unit);
        if matches!(unit_type, h265::VPS | h265::SPS | h265::PPS) {
            info.parameter_sets = true;
        }
        if !h265::PICTURES.contains(&unit_type) || info.picture || !h265::is_base_layer(unit) {
            continue;
        }
        // All slices of a picture have one type (7.4.2.2).
        info.picture = true;
        info.border = match unit_type {
            t if h265::IDR.contains(&t) => Some(Border::Idr),
            t if h265::BLA.contains(&t) => Some(Border::Bla),
            h265::CRA => Some(Border::Cra),
            _ => None,
        };
        info.leading = match unit_type {
            h265::RASL_N | h265::RASL_R => Some(Leading::Rasl),
            h265::RADL_N | h265::RADL_R => Some(Leading::Radl),
            _ => None,
        };
        // Even types below 16 are not referred to within their temporal layer; only above the highest one is nobody.
        let alone_in_layer = unit_type < 16 && unit_type.is_multiple_of(2);
        let in_highest_layer = sets.highest_temporal_id().is_some_and(|highest| h265::temporal_id(unit) >= highest);
        info.reference = !(alone_in_layer && in_highest_layer);
    }
    info
}

#[cfg(test)]
mod tests;
