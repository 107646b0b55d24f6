//! Any bytes given as a segment, and a well-formed one with any bytes written over it.
#![no_main]

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::segment::{Sample, SegmentIndex, read, write};
use detektor_media::{Framing, ParameterSets, nal};
use libfuzzer_sys::fuzz_target;

const SETS: &[u8] = b"\0\0\x01\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\
    \xf1\x42\x99\x60\0\0\x01\x68\xeb\xe3\xcb\x22\xc0";

fuzz_target!(|data: &[u8]| {
    check(Bytes::copy_from_slice(data));
    let Some((at, patch)) = data.split_first_chunk::<2>() else { return };
    let mut video = example();
    let at = usize::from(u16::from_be_bytes(*at)) % video.len();
    let end = video.len().min(at + patch.len());
    video[at..end].copy_from_slice(&patch[..end - at]);
    check(video.into());
});

fn example() -> Vec<u8> {
    let (sets, _) = ParameterSets::from_extradata(Codec::H264, SETS).unwrap();
    let data = nal::to_length_prefixed(&Bytes::from_static(b"\0\0\x01\x65\x88\x84"), Framing::AnnexB).unwrap();
    let sample = |pts| Sample { data: data.clone(), pts, key: pts == 0 };
    write(&sets, 90_000, 0, &[sample(0), sample(7200), sample(3600)], 3600).unwrap().video.to_vec()
}

fn check(video: Bytes) {
    let Ok(segment) = read(&video) else { return };
    let index = SegmentIndex::read(&video[..]).unwrap();
    assert_eq!(index.samples.len(), segment.samples.len());
    for sample in &segment.samples {
        assert!(sample.data.len() <= video.len());
        let _ = nal::units(&sample.data).count();
    }
    let _ = ParameterSets::from_extradata(segment.codec, &segment.extradata);
}
