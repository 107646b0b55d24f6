//! What holds for any list of samples, and for any bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use detektor_contract::Codec;
use detektor_media::clip::{Clip, ClipSegment, Piece};
use detektor_media::segment::{Sample, SegmentIndex, Written, read, write};
use detektor_media::{Framing, MediaError, ParameterSets, nal};
use proptest::prelude::*;

// x264's, for 320x180.
const SPS: &[u8] =
    b"\x67\x64\x00\x0c\xac\xd9\x41\x41\x9f\x9f\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60";
const PPS: &[u8] = b"\x68\xeb\xe3\xcb\x22\xc0";
const OTHER_PPS: &[u8] = b"\x68\xfb\x83\xcb\x22\xc0";
const DELIMITER: &[u8] = b"\x09\xf0";

fn prefixed(units: &[&[u8]]) -> Bytes {
    let annex_b: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 1], *unit].concat()).collect();
    nal::to_length_prefixed(&annex_b.into(), Framing::AnnexB).unwrap()
}

fn sets() -> ParameterSets {
    let mut sets = ParameterSets::new(Codec::H264);
    sets.update(&prefixed(&[SPS, PPS])).unwrap();
    sets
}

fn sample(pts: i64) -> impl Strategy<Value = Sample> {
    (proptest::collection::vec(4u8.., 1..60), any::<bool>()).prop_map(move |(body, key)| {
        let slice = [&[if key { 0x65 } else { 0x41 }], &body[..]].concat();
        Sample { data: prefixed(&[&slice]), pts, key }
    })
}

/// Samples with any times in any order, not too far apart.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    (0i64..1 << 40, proptest::collection::vec(0i64..1 << 20, 1..40))
        .prop_flat_map(|(base, steps)| steps.into_iter().map(|step| sample(base + step)).collect::<Vec<_>>())
}

fn written(samples: &[Sample]) -> Written {
    write(&sets(), 90_000, 1, samples, 3600).unwrap()
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in samples()) {
        let Written { video, init_bytes } = written(&samples);
        let segment = read(&video).unwrap();
        prop_assert_eq!((segment.codec, segment.width, segment.height), (Codec::H264, 320, 180));
        prop_assert_eq!(segment.time_scale, 90_000);
        prop_assert_eq!(&segment.extradata, &sets().record().unwrap());
        prop_assert_eq!(segment.samples.len(), samples.len());
        let mut times: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
        times.sort_unstable();
        for ((found, wanted), dts) in segment.samples.iter().zip(&samples).zip(times) {
            prop_assert_eq!((&found.data, found.pts, found.key), (&wanted.data, wanted.pts, wanted.key));
            prop_assert_eq!(found.dts, dts);
        }
        prop_assert_eq!(segment.samples.last().unwrap().duration, 3600);
        let again = written(&samples[..1]);
        prop_assert_eq!(&video[..init_bytes as usize], &again.video[..again.init_bytes as usize], "one init part");
    }

    #[test]
    fn an_index_says_how_much_it_needs(samples in samples()) {
        let Written { video, .. } = written(&samples);
        let mut have = 0;
        let index = loop {
            match SegmentIndex::read(&video[..have]) {
                Ok(index) => break index,
                Err(MediaError::Incomplete { needed }) => {
                    prop_assert!(needed as usize > have && needed as usize <= video.len());
                    have = needed as usize;
                }
                Err(error) => panic!("{error}"),
            }
        };
        prop_assert!(have as u64 <= index.head_bytes());
        for (found, wanted) in index.samples.iter().zip(&samples) {
            let from = found.offset as usize;
            prop_assert_eq!(&video[from..from + found.size as usize], &wanted.data[..]);
        }
    }

    #[test]
    fn a_damaged_segment_does_no_harm(
        samples in samples(), damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6), cut in any::<u16>(),
    ) {
        let mut video = written(&samples).video.to_vec();
        for (at, value) in damage {
            let at = usize::from(at) % video.len();
            video[at] = value;
        }
        video.truncate(video.len().min(usize::from(cut) + 600));
        let video = Bytes::from(video);
        let _ = read(&video);
        if let Ok(index) = SegmentIndex::read(&video) {
            let segment = ClipSegment { index: &index, start_us: 0, pre_roll: 2, post_roll: Some(3), hidden: &[] };
            let _ = Clip::plan(&[segment, segment]);
        }
    }

    #[test]
    fn a_clip_has_every_packet_once_and_any_range(
        parts in proptest::collection::vec((samples(), 0i64..1 << 40), 1..5), a in any::<u16>(), b in any::<u16>(),
    ) {
        let videos: Vec<Bytes> = parts.iter().map(|(samples, _)| written(samples).video).collect();
        let indices: Vec<SegmentIndex> = videos.iter().map(|video| SegmentIndex::read(video).unwrap()).collect();
        let segment = |(index, (_, start_us)): (_, &(Vec<Sample>, i64))| {
            ClipSegment { index, start_us: *start_us, pre_roll: 0, post_roll: None, hidden: &[] }
        };
        let segments: Vec<ClipSegment<'_>> = indices.iter().zip(&parts).map(segment).collect();
        // Holes of many hours are refused: 31 bits of ticks.
        let Ok(clip) = Clip::plan(&segments) else { return Ok(()) };
        let bytes = |pieces: Vec<Piece>| -> Vec<u8> {
            pieces.into_iter().flat_map(|piece| match piece {
                Piece::Made(bytes) => bytes.to_vec(),
                Piece::Stored { segment, offset, length } => {
                    videos[segment][offset as usize..(offset + length) as usize].to_vec()
                }
            }).collect()
        };
        let file = bytes(clip.range(0..clip.total));
        prop_assert_eq!(file.len() as u64, clip.total);
        let packets: Vec<u8> = parts.iter().flat_map(|(samples, _)| samples).flat_map(|s| s.data.to_vec()).collect();
        prop_assert!(file.ends_with(&packets));
        let (from, to) = (u64::from(a.min(b)) % clip.total, u64::from(a.max(b)) % (clip.total + 10));
        let wanted = file.get(from as usize..(to as usize).min(file.len())).unwrap_or_default();
        prop_assert_eq!(bytes(clip.range(from..to)), wanted);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(read(&bytes).is_err());
        for codec in [Codec::H264, Codec::H265] {
            let mut sets = ParameterSets::new(codec);
            let _ = sets.update(&bytes);
            let _ = detektor_media::classify(&sets, &bytes);
        }
    }
}

#[test]
fn what_the_init_part_says_is_not_said_again() {
    let slice: &[u8] = b"\x65\x88\x84";
    let sample = |units: &[&[u8]], pts| Sample { data: prefixed(units), pts, key: true };
    let repeating = [sample(&[DELIMITER, SPS, PPS, slice], 0), sample(&[SPS, PPS, slice], 1)];
    let video = written(&repeating).video;
    assert!(read(&video).unwrap().samples.iter().all(|sample| sample.data == prefixed(&[slice])));
    assert!(video.windows(4).any(|name| name == b"avc1"));

    // Once other sets came, a repetition of the first ones means something.
    let changing = [sample(&[SPS, PPS, slice], 0), sample(&[OTHER_PPS, slice], 1), sample(&[PPS, slice], 2)];
    let video = written(&changing).video;
    let data: Vec<Bytes> = read(&video).unwrap().samples.into_iter().map(|sample| sample.data).collect();
    assert_eq!(data, [prefixed(&[slice]), prefixed(&[OTHER_PPS, slice]), prefixed(&[PPS, slice])]);
    assert!(video.windows(4).any(|name| name == b"avc3"));
}

#[test]
fn impossible_times_are_refused() {
    let sample = |pts| Sample { data: prefixed(&[b"\x65\x88"]), pts, key: true };
    let error = |samples: &[Sample]| write(&sets(), 90_000, 1, samples, 1).unwrap_err();
    assert!(matches!(error(&[]), MediaError::Empty));
    assert!(matches!(error(&[sample(-1)]), MediaError::Times(_)));
    assert!(matches!(error(&[sample(0), sample(i64::MAX - 1)]), MediaError::Times(_)));
    assert!(matches!(error(&[sample(i64::MAX)]), MediaError::Times(_)));
    let bare = ParameterSets::new(Codec::H264);
    assert!(matches!(write(&bare, 90_000, 1, &[sample(0)], 1), Err(MediaError::NoParameterSets(_))));
}

#[test]
fn deeply_nested_boxes_are_refused() {
    let mut video = written(&[Sample { data: prefixed(&[b"\x65\x88"]), pts: 0, key: true }]).video.to_vec();
    let moov = video.windows(4).position(|name| name == b"moov").unwrap() - 4;
    let nested: Vec<u8> = (1..=100_000u32).rev().flat_map(|n| [&(n * 8).to_be_bytes()[..], b"moov"].concat()).collect();
    let moof = video.windows(4).position(|name| name == b"moof").unwrap() - 4;
    video.splice(moov..moof, nested);
    assert!(matches!(read(&video.into()), Err(MediaError::Layout("boxes nest too deeply"))));
}
