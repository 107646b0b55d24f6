//! Any access units and times: what can be written can be read, in order and whole.
#![no_main]

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::segment::{Sample, read, write};
use detektor_media::{Framing, ParameterSets, nal};
use libfuzzer_sys::fuzz_target;

const SETS: &[u8] = b"\0\0\x01\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\
    \xf1\x42\x99\x60\0\0\x01\x68\xeb\xe3\xcb\x22\xc0";

fuzz_target!(|input: (u32, u32, Vec<(Vec<u8>, i64, bool)>)| {
    let (time_scale, last_duration, samples) = input;
    let (sets, _) = ParameterSets::from_extradata(Codec::H264, SETS).unwrap();
    let samples: Vec<Sample> = samples
        .into_iter()
        .filter_map(|(data, pts, key)| {
            let data = nal::to_length_prefixed(&Bytes::from(data), Framing::LengthPrefixed(1)).ok()?;
            Some(Sample { data, pts, key })
        })
        .collect();
    let Ok(written) = write(&sets, time_scale.max(1), 0, &samples, last_duration) else { return };
    let segment = read(&written.video).unwrap();
    assert_eq!(segment.samples.len(), samples.len());
    assert!(segment.samples.is_sorted_by_key(|sample| sample.dts));
    for (found, wanted) in segment.samples.iter().zip(&samples) {
        assert_eq!((found.pts, found.key), (wanted.pts, wanted.key));
        assert!(!found.data.is_empty() && found.data.len() <= wanted.data.len());
    }
});
