#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::nal::push;

// x264's for 320x180, interlaced: frame_mbs_only_flag is 0.
const SPS: &[u8] = b"\x67\x64\x00\x15\xac\xe4\x05\x0c\xfc\x98\x08\x80\x00\x00\x03\x00\x80\x00\x00\x19\x0f\x8a\x15\x24";
const PPS: &[u8] = b"\x68\xfb\x83\xcb\x22\xc0";
const RECOVERY_POINT: &[u8] = b"\x06\x06\x01\xc4\x80";
const RECOVERY_IN_5_FRAMES: &[u8] = b"\x06\x06\x02\x32\xc0\x80";

fn access_unit(units: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    units.iter().for_each(|unit| push(&mut out, unit));
    out
}

fn sets() -> ParameterSets {
    let mut sets = ParameterSets::new(Codec::H264);
    sets.update(&access_unit(&[SPS, PPS])).unwrap();
    sets
}

#[derive(Clone, Copy)]
enum Slice {
    I,
    P,
}

/// A slice with this NAL header; `bottom` is set in field pictures.
fn slice(header: u8, kind: Slice, frame_num: u32, bottom: Option<bool>) -> Vec<u8> {
    let sets = sets();
    let width = sets.h264_sps_of_pps(0).unwrap().frame_num_bits as usize;
    let kind = match kind {
        Slice::P => "1",
        Slice::I => "011",
    };
    let field = bottom.map_or("0".to_owned(), |bottom| format!("1{}", u8::from(bottom)));
    let mut bits = format!("1{kind}1{frame_num:0width$b}{field}1");
    bits.push_str(&"0".repeat(8 - bits.len() % 8));
    let bytes = bits.as_bytes().chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')));
    std::iter::once(header).chain(bytes).chain([0xff]).collect()
}

fn info(units: &[&[u8]]) -> AccessUnitInfo {
    classify(&sets(), &access_unit(units))
}

#[test]
fn only_intra_pictures_with_an_immediate_recovery_point_are_borders() {
    let (i, p) = (slice(0x61, Slice::I, 3, None), slice(0x61, Slice::P, 3, None));
    assert_eq!(info(&[RECOVERY_POINT, &i]).border, Some(Border::RecoveryPoint));
    assert_eq!(info(&[&i]).border, None);
    assert_eq!(info(&[RECOVERY_POINT, &p]).border, None);
    assert_eq!(info(&[RECOVERY_POINT, &i, &p]).border, None);
    assert_eq!(info(&[RECOVERY_IN_5_FRAMES, &i]).border, None);
    assert_eq!(info(&[&slice(0x65, Slice::I, 0, None)]).border, Some(Border::Idr));
    assert_eq!(info(&[RECOVERY_POINT]).border, None, "no picture");
}

#[test]
fn fields_are_paired() {
    let top = info(&[&slice(0x65, Slice::I, 0, Some(false))]);
    assert_eq!((top.structure, top.border), (Structure::Field { bottom: false }, Some(Border::Idr)));
    let second = |header, frame_num, bottom| info(&[&slice(header, Slice::P, frame_num, Some(bottom))]);
    assert!(second(0x61, 0, true).is_second_field_of(&top));
    assert!(!second(0x61, 1, true).is_second_field_of(&top), "another frame");
    assert!(!second(0x61, 0, false).is_second_field_of(&top), "the same parity");
    assert!(!second(0x01, 0, true).is_second_field_of(&top), "no reference");
    assert!(!info(&[&slice(0x61, Slice::P, 0, None)]).is_second_field_of(&top), "a frame");
}

#[test]
fn both_fields_may_share_an_access_unit() {
    let (top, bottom) = (slice(0x61, Slice::I, 2, Some(false)), slice(0x61, Slice::P, 2, Some(true)));
    let pair = info(&[RECOVERY_POINT, &top, &bottom]);
    assert_eq!((pair.structure, pair.border), (Structure::FieldPair, Some(Border::RecoveryPoint)));
}

#[test]
fn without_parameter_sets_the_types_still_tell() {
    let bare = ParameterSets::new(Codec::H264);
    let idr = classify(&bare, &access_unit(&[&slice(0x65, Slice::I, 0, None)]));
    assert_eq!((idr.border, idr.structure, idr.reference), (Some(Border::Idr), Structure::Frame, true));
    let loose = classify(&bare, &access_unit(&[&slice(0x01, Slice::P, 0, None)]));
    assert!(loose.picture && !loose.reference);
    assert!(classify(&bare, &access_unit(&[SPS])).parameter_sets);
}

#[test]
fn h265_types() {
    let bare = ParameterSets::new(Codec::H265);
    let of = |unit_type: u8| classify(&bare, &access_unit(&[&[unit_type << 1, 1, 0x80, 0xff]]));
    assert_eq!(of(19).border, Some(Border::Idr));
    assert_eq!(of(20).border, Some(Border::Idr));
    assert_eq!(of(21).border, Some(Border::Cra));
    assert!([16, 17, 18].iter().all(|kind| of(*kind).border == Some(Border::Bla)));
    assert_eq!((of(8).leading, of(9).leading), (Some(Leading::Rasl), Some(Leading::Rasl)));
    assert_eq!((of(6).leading, of(7).leading), (Some(Leading::Radl), Some(Leading::Radl)));
    assert_eq!((of(1).leading, of(1).border), (None, None));
    assert!(of(0).reference, "without an SPS nobody knows whether there is a higher layer");
    assert!(!of(39).picture);
    let other_layer = classify(&bare, &access_unit(&[&[21 << 1, 0x09, 0x80]]));
    assert!(!other_layer.picture);
}
