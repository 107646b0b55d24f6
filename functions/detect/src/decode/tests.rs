#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use detektor_contract::{DetectPolicy, Digest, SegmentJob};
use ffmpeg::frame;

use super::*;
use crate::footage;
use crate::picture::Picture;
use crate::segment::{Plan, Timeline};

const SOURCE: &str = "testsrc2=size=192x108:rate=25:duration=4";

/// A picture's planes without what lies between their rows.
fn pixels(frame: &frame::Video) -> Vec<u8> {
    let picture = Picture::of(frame).unwrap();
    let mut bytes = Vec::new();
    for component in picture.components.iter().flatten() {
        let mut row = vec![0.0; component.width];
        for y in 0..component.height {
            row.fill(0.0);
            component.add_row(y, 0, 1.0, &mut row);
            bytes.extend(row.iter().flat_map(|v| (*v as u16).to_le_bytes()));
        }
    }
    bytes
}

/// Digests of the pictures of a job's counted frames, by presentation index, decoded as far as `wanted` needs.
fn decode(decoder: &mut Decoder, job: &SegmentJob, wanted: impl Fn(u32) -> bool) -> Vec<Option<Digest>> {
    let timeline = Timeline::read(job, &footage::video(job)).unwrap();
    let frames = timeline.frames.len() as u32;
    let plan = Plan::new(&timeline, (0..frames).filter(|i| wanted(*i)));
    let mut found = vec![None; frames as usize];
    let mut latest = None;
    for decoded in decoder.run(plan.packets(&timeline)) {
        let Decoded { ordinal, frame } = decoded.unwrap();
        let Some(index) = timeline.frame_of(ordinal).filter(|i| wanted(*i)) else { continue };
        assert!(latest < Some(index), "out of order");
        latest = Some(index);
        found[index as usize] = Some(Digest::of(&pixels(&frame)));
    }
    found
}

fn open(job: &SegmentJob) -> Decoder {
    let timeline = Timeline::read(job, &footage::video(job)).unwrap();
    Decoder::open(timeline.codec, &timeline.extradata).unwrap()
}

/// Digests of a file's pictures as the ffmpeg program decodes them, in the form of [`pixels`].
fn reference(path: &Path, format: &str, frame_bytes: usize) -> Vec<Digest> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(path);
    ffmpeg.args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", format, "-"]);
    let raw = ffmpeg.output().unwrap().stdout;
    let widen = |bytes: &[u8]| bytes.iter().flat_map(|v| u16::from(*v).to_le_bytes()).collect::<Vec<u8>>();
    let digest = |bytes: &[u8]| Digest::of(&if format.contains("10") { bytes.to_vec() } else { widen(bytes) });
    assert_eq!(raw.len() % frame_bytes, 0);
    raw.chunks(frame_bytes).map(digest).collect()
}

/// Every frame of every segment, through one decoder, is the frame that the file has there.
fn same_pictures(encoder: &[&str], format: &str, frame_bytes: usize) -> Vec<SegmentJob> {
    let file = footage::encode(SOURCE, encoder);
    let jobs = footage::jobs(&file, "c", &DetectPolicy::default());
    let mut decoder = open(&jobs[0]);
    let found: Vec<_> = jobs.iter().flat_map(|job| decode(&mut decoder, job, |_| true)).collect();
    let expected: Vec<_> = reference(&file, format, frame_bytes).into_iter().map(Some).collect();
    assert_eq!(found.len(), expected.len());
    let wrong: Vec<usize> = (0..found.len()).filter(|i| found[*i] != expected[*i]).collect();
    assert!(wrong.is_empty(), "frames {wrong:?} of {}", found.len());
    jobs
}

const YUV420: usize = 192 * 108 * 3 / 2;

#[test]
fn reordered_pictures() {
    let encoder = ["-c:v", "libx264", "-bf", "3", "-g", "25", "-pix_fmt", "yuv420p"];
    assert_eq!(same_pictures(&encoder, "yuv420p", YUV420).len(), 4);
}

/// The bits of an SPS of profile Main up to its VUI (7.3.2.1.1), and then none: nothing says how far pictures are
/// reordered. Holds no emulation prevention, as its sizes are small.
fn without_vui(sps: &[u8]) -> Vec<u8> {
    let bit = |at: usize| usize::from(sps[at / 8] >> (7 - at % 8) & 1);
    let mut at = 32;
    let exp_golomb = |at: &mut usize| {
        let zeros = (0..).take_while(|i| bit(*at + i) == 0).count();
        let value = (0..=zeros).fold(0, |value, i| value << 1 | bit(*at + zeros + i)) - 1;
        *at += 2 * zeros + 1;
        value
    };
    let (_id, _frame_num) = (exp_golomb(&mut at), exp_golomb(&mut at));
    if exp_golomb(&mut at) == 0 {
        exp_golomb(&mut at);
    }
    let _references = exp_golomb(&mut at);
    at += 1;
    let (_width, _height) = (exp_golomb(&mut at), exp_golomb(&mut at));
    at += 1 + usize::from(bit(at) == 0) + 1;
    let cropped = bit(at) == 1;
    at += 1;
    for _ in 0..if cropped { 4 } else { 0 } {
        exp_golomb(&mut at);
    }
    let mut bits: Vec<usize> = (0..at).map(bit).collect();
    // No VUI, then the trailing bits.
    bits.extend([0, 1]);
    bits.resize(bits.len().next_multiple_of(8), 0);
    bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | *bit as u8)).collect()
}

#[test]
fn reordered_pictures_although_the_stream_does_not_say_how_far() {
    let file = footage::encode(SOURCE, &["-c:v", "libx264", "-profile:v", "main", "-bf", "3", "-pix_fmt", "yuv420p"]);
    let jobs = footage::jobs(&file, "c", &DetectPolicy::default());
    let record = Timeline::read(&jobs[0], &footage::video(&jobs[0])).unwrap().extradata;
    let length = usize::from(u16::from_be_bytes([record[6], record[7]]));
    let bare = without_vui(&record[8..8 + length]);
    assert!(bare.len() < length);
    let record = [&record[..6], &(bare.len() as u16).to_be_bytes(), &bare, &record[8 + length..]].concat();
    let mut decoder = Decoder::open(detektor_contract::Codec::H264, &record).unwrap();
    let found: Vec<_> = jobs.iter().flat_map(|job| decode(&mut decoder, job, |_| true)).collect();
    let expected: Vec<_> = reference(&file, "yuv420p", YUV420).into_iter().map(Some).collect();
    assert_eq!(found, expected);
}

#[test]
fn open_gops_with_leading_pictures() {
    let encoder = ["-c:v", "libx265", "-x265-params", "log-level=none:keyint=25:min-keyint=25", "-pix_fmt", "yuv420p"];
    let jobs = same_pictures(&encoder, "yuv420p", YUV420);
    assert!(jobs.iter().any(|job| job.media.post_roll.is_some()), "x265 makes open GOPs by default");
}

#[test]
fn parts_of_a_long_gop_with_pre_roll() {
    let source = "testsrc2=size=192x108:rate=5:duration=14";
    let file = footage::encode(source, &["-c:v", "libx264", "-bf", "0", "-g", "1000", "-pix_fmt", "yuv420p"]);
    let jobs = footage::jobs(&file, "c", &DetectPolicy::default());
    assert!(jobs.len() == 4 && jobs[1].media.pre_roll > 0);
    let mut decoder = open(&jobs[0]);
    let found: Vec<_> = jobs.iter().flat_map(|job| decode(&mut decoder, job, |_| true)).collect();
    let expected: Vec<_> = reference(&file, "yuv420p", YUV420).into_iter().map(Some).collect();
    assert_eq!(found, expected);
}

#[test]
fn ten_bits() {
    let encoder = ["-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p10le"];
    same_pictures(&encoder, "yuv420p10le", 2 * YUV420);
}

#[test]
fn what_is_left_out_changes_nothing_in_what_is_not() {
    for encoder in [
        ["-c:v", "libx264", "-bf", "3", "-x264-params", "b-pyramid=normal:keyint=50", "-pix_fmt", "yuv420p"],
        ["-c:v", "libx265", "-bf", "4", "-x265-params", "log-level=none:keyint=50", "-pix_fmt", "yuv420p"],
    ] {
        let file = footage::encode(SOURCE, &encoder);
        for job in footage::jobs(&file, "c", &DetectPolicy::default()) {
            let mut decoder = open(&job);
            let all = decode(&mut decoder, &job, |_| true);
            let timeline = Timeline::read(&job, &footage::video(&job)).unwrap();
            for step in [5, 7] {
                let some = decode(&mut decoder, &job, |i| i % step == 0);
                let plan = Plan::new(&timeline, (0..job.span.frames).step_by(step as usize));
                let packets = plan.packets(&timeline).count();
                assert!(packets < timeline.samples.len(), "{packets} packets: nothing was left out");
                for (index, picture) in some.iter().enumerate().step_by(step as usize) {
                    assert_eq!(picture, &all[index], "frame {index}");
                }
            }
        }
    }
}

#[test]
fn a_used_decoder_is_as_good_as_a_fresh_one_also_after_damage() {
    let encoder = ["-c:v", "libx264", "-bf", "3", "-g", "25", "-pix_fmt", "yuv420p"];
    let file = footage::encode(SOURCE, &encoder);
    let jobs = footage::jobs(&file, "c", &DetectPolicy::default());
    let fresh: Vec<_> = jobs.iter().map(|job| decode(&mut open(job), job, |_| true)).collect();
    let mut used = open(&jobs[0]);
    for round in 0..20 {
        let at = round * 7 % jobs.len();
        // A segment given up half-way, and one whose packets are noise.
        let timeline = Timeline::read(&jobs[at], &footage::video(&jobs[at])).unwrap();
        let plan = Plan::new(&timeline, 0..jobs[at].span.frames);
        let some = used.run(plan.packets(&timeline)).take(round % 5).count();
        assert_eq!(some, round % 5);
        let noise: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        used.run((0..9).map(|ordinal| Packet { ordinal, data: &noise })).for_each(|decoded| drop(decoded.unwrap()));
        assert_eq!(decode(&mut used, &jobs[at], |_| true), fresh[at], "round {round}");
    }
}

#[test]
fn a_damaged_packet_costs_its_neighbours_no_more_than_it_must() {
    let file = footage::encode(SOURCE, &["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"]);
    let job = &footage::jobs(&file, "c", &DetectPolicy::default())[0];
    let timeline = Timeline::read(job, &footage::video(job)).unwrap();
    let mut decoder = open(job);
    let plan = Plan::new(&timeline, 0..25);
    let packets = plan.packets(&timeline).map(|packet| match packet.ordinal {
        24 => Packet { data: &[], ..packet },
        _ => packet,
    });
    let ordinals: Vec<u32> = decoder.run(packets).map(|d| d.unwrap().ordinal).collect();
    assert_eq!(ordinals, (0..24).collect::<Vec<_>>());
}

#[test]
fn parameter_sets_that_are_none_are_refused_or_useless() {
    let noise = [0x01, 0x64, 0x00, 0x1f, 0xff, 0xe1, 0x00, 0x04, 0x67, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00];
    if let Ok(mut decoder) = Decoder::open(detektor_contract::Codec::H264, &noise) {
        let packet = Packet { ordinal: 0, data: &[0, 0, 0, 2, 0x65, 0x88] };
        assert_eq!(decoder.run([packet].into_iter()).count(), 0);
    }
}

#[test]
fn the_cache_keeps_the_latest_decoders() {
    let file = footage::encode("testsrc2=size=64x64:rate=5:duration=1", &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    let job = &footage::jobs(&file, "c", &DetectPolicy::default())[0];
    let timeline = Timeline::read(job, &footage::video(job)).unwrap();
    let mut decoders = Decoders::new(2);
    for n in [1, 2, 1, 3, 1] {
        // What stands behind the parameter sets in an avcC record does not matter to a decoder.
        let extradata = [&timeline.extradata[..], &[n]].concat();
        decoders.get(timeline.codec, &extradata).unwrap();
        assert!(decoders.len() <= 2);
    }
    decoders.close_latest();
    assert_eq!(decoders.len(), 1);
    assert!(!decoders.is_empty());
}
