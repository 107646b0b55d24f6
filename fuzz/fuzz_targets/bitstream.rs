//! Any bytes as an access unit, as parameter sets, and as a decoder configuration.
#![no_main]

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::{Framing, ParameterSets, classify, nal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let codec = if choice & 1 == 0 { Codec::H264 } else { Codec::H265 };
    let framing = if choice & 2 == 0 { Framing::AnnexB } else { Framing::LengthPrefixed(choice >> 4) };
    if let Ok((sets, _)) = ParameterSets::from_extradata(codec, data)
        && let Ok(record) = sets.record()
    {
        let (read, framing) = ParameterSets::from_extradata(codec, &record).unwrap();
        assert_eq!((read, framing), (sets, Framing::LengthPrefixed(4)));
    }
    let Ok(access_unit) = nal::to_length_prefixed(&Bytes::copy_from_slice(data), framing) else { return };
    let bytes: usize = nal::units(&access_unit).map(|unit| unit.len() + nal::LENGTH_BYTES).sum();
    assert_eq!(bytes, access_unit.len());
    let mut sets = ParameterSets::new(codec);
    let _ = sets.update(&access_unit);
    let _ = (sets.size(), sets.frame_rate(), sets.max_reorder());
    let info = classify(&sets, &access_unit);
    assert!(info.picture || info.border.is_none());
});
