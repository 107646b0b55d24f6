#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;

// x264's, for 320x180 and 25 frames a second.
const AVC: [&[u8]; 2] = [
    b"\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60",
    b"\x68\xeb\xe3\xcb\x22\xc0",
];
// x264's, interlaced.
const INTERLACED: &[u8] =
    b"\x67\x64\x00\x15\xac\xe4\x05\x0c\xfc\x98\x08\x80\x00\x00\x03\x00\x80\x00\x00\x19\x0f\x8a\x15\x24";
// x265's, likewise.
const HEVC: [&[u8]; 3] = [
    b"\x40\x01\x0c\x01\xff\xff\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x3c\x95\x98\x09",
    b"\x42\x01\x01\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x3c\xa0\x0a\x08\x0b\x9f\x79\x65\x66\x92\
      \x4c\xaf\x01\x68\x08\x00\x00\x03\x00\x08\x00\x00\x03\x00\xc8\x40",
    b"\x44\x01\xc1\x72\xb4\x62\x40",
];

fn access_unit(units: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    units.iter().for_each(|unit| push(&mut out, unit));
    out
}

fn sets(codec: Codec, units: &[&[u8]]) -> ParameterSets {
    let mut sets = ParameterSets::new(codec);
    sets.update(&access_unit(units)).unwrap();
    sets
}

#[test]
fn sizes_rates_and_records() {
    for (codec, units) in [(Codec::H264, &AVC[..]), (Codec::H265, &HEVC[..])] {
        let sets = sets(codec, units);
        assert!(sets.complete());
        assert_eq!(sets.size(), Some((320, 180)), "{codec:?}");
        assert_eq!(sets.frame_rate().map(|(n, d)| f64::from(n) / f64::from(d)), Some(25.0), "{codec:?}");
        assert_eq!(sets.max_reorder(), Some(2), "{codec:?}");
        let read = ParameterSets::from_extradata(codec, &sets.record().unwrap()).unwrap();
        assert_eq!(read, (sets.clone(), Framing::LengthPrefixed(4)));
        let annex_b: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect();
        assert_eq!(ParameterSets::from_extradata(codec, &annex_b).unwrap(), (sets, Framing::AnnexB));
    }
}

#[test]
fn a_change_says_whether_it_matters() {
    let mut sets = sets(Codec::H264, &AVC);
    assert_eq!(sets.update(&access_unit(&AVC)).unwrap(), SetsChange::None);
    assert_eq!(sets.update(&access_unit(&[&[0x65, 0x88, 1]])).unwrap(), SetsChange::None);
    let other_pps = b"\x68\xfb\x83\xcb\x22\xc0";
    assert_eq!(sets.update(&access_unit(&[other_pps])).unwrap(), SetsChange::Sets);
    let mut smaller = AVC[0].to_vec();
    // The interlaced stream is as large; the same with another level is no other picture either.
    smaller[3] = 0x15;
    assert_eq!(sets.update(&access_unit(&[&smaller])).unwrap(), SetsChange::Sets);
    assert_eq!(sets.update(&access_unit(&[INTERLACED])).unwrap(), SetsChange::Sets);
    assert_eq!(sets.size(), Some((320, 180)));
    let hd = b"\x67\x42\xc0\x1f\xda\x01\x40\x16\xe8\x06\xd0\xa1\x35";
    assert_eq!(sets.update(&access_unit(&[hd])).unwrap(), SetsChange::Format);
    assert_eq!(sets.size(), Some((1280, 720)));
}

#[test]
fn an_understated_level_is_forgiven() {
    let mut sps = AVC[0].to_vec();
    sps[3] = 10;
    assert_eq!(sets(Codec::H264, &[&sps, AVC[1]]).size(), Some((320, 180)));
}

#[test]
fn incomplete_sets_make_no_record() {
    assert!(matches!(sets(Codec::H264, &AVC[..1]).record(), Err(MediaError::NoParameterSets(Codec::H264))));
    assert!(matches!(sets(Codec::H265, &HEVC[1..]).record(), Err(MediaError::NoParameterSets(Codec::H265))));
}

#[test]
fn broken_sps_name_themselves() {
    let error = ParameterSets::new(Codec::H264).update(&access_unit(&[&AVC[0][..6]])).unwrap_err();
    assert!(error.to_string().starts_with("the H.264 SPS cannot be read"), "{error}");
    let error = ParameterSets::new(Codec::H265).update(&access_unit(&[&HEVC[1][..20]])).unwrap_err();
    assert!(error.to_string().starts_with("the H.265 SPS cannot be read"), "{error}");
    assert!(ParameterSets::from_extradata(Codec::H264, b"neither of them").is_err());
}

proptest! {
    #[test]
    fn damaged_sets_do_no_harm(at in 0usize..40, value in any::<u8>(), cut in 1usize..45, hevc in any::<bool>()) {
        let (codec, units) = if hevc { (Codec::H265, &HEVC[..]) } else { (Codec::H264, &AVC[..]) };
        let damaged: Vec<Vec<u8>> = units.iter().map(|unit| {
            let mut unit = unit[..unit.len().min(cut)].to_vec();
            if let Some(byte) = unit.get_mut(at) {
                *byte = value;
            }
            unit
        }).collect();
        let damaged: Vec<&[u8]> = damaged.iter().map(Vec::as_slice).collect();
        let mut sets = ParameterSets::new(codec);
        if sets.update(&access_unit(&damaged)).is_ok() && let Ok(record) = sets.record() {
            let (read, _) = ParameterSets::from_extradata(codec, &record).unwrap();
            prop_assert_eq!(read, sets);
        }
    }

    #[test]
    fn any_extradata_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80), start in 0usize..3) {
        let bytes = [[&[1][..], &[0, 0, 1], &[]][start], &bytes[..]].concat();
        for codec in [Codec::H264, Codec::H265] {
            if let Ok((sets, _)) = ParameterSets::from_extradata(codec, &bytes) {
                let _ = (sets.record(), sets.size(), sets.frame_rate());
            }
        }
    }
}
