//! Clips of any indices that can be read: a well-formed head with any bytes written over it, and any rolls and times.
#![no_main]

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::clip::{Clip, ClipSegment};
use detektor_media::segment::{Sample, SegmentIndex, write};
use detektor_media::{Framing, ParameterSets, nal};
use libfuzzer_sys::fuzz_target;

const SETS: &[u8] = b"\0\0\x01\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\
    \xf1\x42\x99\x60\0\0\x01\x68\xeb\xe3\xcb\x22\xc0";

fuzz_target!(|input: (i64, i64, u32, Option<u32>, Vec<u32>, u16, &[u8])| {
    let (start, step, pre_roll, post_roll, mut hidden, at, patch) = input;
    hidden.sort_unstable();
    let (sets, _) = ParameterSets::from_extradata(Codec::H264, SETS).unwrap();
    let data = nal::to_length_prefixed(&Bytes::from_static(b"\0\0\x01\x65\x88\x84"), Framing::AnnexB).unwrap();
    let sample = |pts| Sample { data: data.clone(), pts, key: pts == 0 };
    let video = write(&sets, 90_000, 0, &[0, 7200, 3600, 9000].map(sample), 3600).unwrap().video;
    let mut other = video.to_vec();
    let at = usize::from(at) % other.len();
    let end = other.len().min(at + patch.len());
    other[at..end].copy_from_slice(&patch[..end - at]);

    let (Ok(index), Ok(other)) = (SegmentIndex::read(&video), SegmentIndex::read(&other)) else { return };
    let segment = |n: i64, index| ClipSegment {
        index,
        start_us: start.saturating_add(step.saturating_mul(n)),
        pre_roll,
        post_roll,
        hidden: &hidden,
    };
    let segments = [segment(0, &other), segment(1, &index), segment(2, &other), segment(3, &other)];
    let Ok(clip) = Clip::plan(&segments) else { return };
    let ranged: u64 = clip.range(0..clip.total).iter().map(|piece| piece.length()).sum();
    assert_eq!(ranged, clip.total);
});
