//! What encoders really write goes through a segment and a clip and comes out as the same pictures.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{Cut, Stream, encode, picture_hashes, shown_times, stream, tool};
use detektor_contract::Codec;
use detektor_media::clip::{Clip, ClipSegment, Piece};
use detektor_media::{Border, Leading, segment};

const X264: &str = "bframes=3:b-adapt=0:keyint=25:min-keyint=25:scenecut=0";
const X264_OPEN: &str = "bframes=3:b-adapt=0:keyint=27:min-keyint=27:scenecut=0:open-gop=1";
// No option about GOPs but their length: x265's default is open ones.
const X265: &str = "keyint=25:min-keyint=25:scenecut=0:b-adapt=0";
const SIZE: &str = "320x180";

fn clip_of(cuts: &[&Cut]) -> (Clip, Vec<u8>) {
    let segments: Vec<ClipSegment<'_>> = cuts
        .iter()
        .map(|cut| ClipSegment {
            index: &cut.index,
            start_us: cut.start_us,
            pre_roll: cut.pre_roll,
            post_roll: cut.post_roll,
            hidden: &cut.hidden,
        })
        .collect();
    let clip = Clip::plan(&segments).unwrap();
    let mut file = Vec::new();
    for piece in clip.range(0..u64::MAX) {
        match piece {
            Piece::Made(bytes) => file.extend_from_slice(&bytes),
            Piece::Stored { segment, offset, length } => {
                let video = &cuts[segment].written.video;
                file.extend_from_slice(&video[offset as usize..(offset + length) as usize]);
            }
        }
    }
    assert_eq!(file.len() as u64, clip.total);
    (clip, file)
}

/// Writes `bytes` and decodes them: the hashes of the pictures that are shown, and when, in seconds from the first.
fn play(dir: &Path, bytes: &[u8]) -> (Vec<String>, Vec<f64>) {
    let file = dir.join("played.mp4");
    std::fs::write(&file, bytes).unwrap();
    tool("ffmpeg", &["-v", "error", "-i", file.to_str().unwrap(), "-f", "null", "-"]);
    let times = shown_times(&file);
    let first = times[0];
    (picture_hashes(&file), times.into_iter().map(|time| time - first).collect())
}

fn assert_times(times: &[f64], wanted: impl Iterator<Item = f64>) {
    for (i, (time, wanted)) in times.iter().zip(wanted).enumerate() {
        assert!((time - wanted).abs() < 0.001, "picture {i} is shown at {time}, not at {wanted}");
    }
}

fn steady(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(|i| i as f64 / 25.0)
}

/// Each segment decodes by itself and shows its own pictures (and the closing key frame); the clip shows all of them.
fn segments_and_clip_show_the_source(dir: &Path, stream: &Stream) {
    let cuts = stream.cut_at_borders();
    assert!(cuts.len() >= 3);
    let mut shown = Vec::new();
    for cut in &cuts {
        let read = segment::read(&cut.written.video).unwrap();
        assert_eq!((read.width, read.height), (320, 180));
        assert_eq!(read.samples.len(), cut.index.samples.len());
        let (mut pictures, times) = play(dir, &cut.written.video);
        assert_eq!(pictures.len(), read.samples.len());
        assert!(times.is_sorted());
        if cut.post_roll.is_some() {
            // The closing key frame is shown last: everything else in the segment comes before it.
            pictures.pop();
        }
        shown.extend(pictures);
    }
    assert_eq!(shown, stream.pictures, "all segments together show the source, each picture once");

    let (clip, file) = clip_of(&cuts.iter().collect::<Vec<_>>());
    assert_eq!(clip.cut_at, None);
    let (pictures, times) = play(dir, &file);
    assert_eq!(pictures, stream.pictures);
    assert_times(&times, steady(times.len()));
    assert_eq!(clip.duration_us, stream.pictures.len() as i64 * 40_000);
}

#[test]
fn x264_with_b_frames() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H264, X264, 4, SIZE);
    assert_eq!(stream.count(Border::Idr), 4);
    assert_eq!(stream.sets.size(), Some((320, 180)));
    assert_eq!(stream.sets.frame_rate().map(|(n, d)| n / d), Some(25));
    assert_eq!(stream.sets.max_reorder(), Some(2));
    let unreferenced = stream.units.iter().filter(|unit| !unit.info.reference).count();
    assert_eq!(unreferenced, stream.count_units(|unit| unit[0] == 1), "nal_ref_idc 0, type 1");
    assert!(unreferenced > 20);
    segments_and_clip_show_the_source(dir.path(), &stream);
}

#[test]
fn x264_with_open_gops() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H264, X264_OPEN, 4, SIZE);
    assert_eq!((stream.count(Border::Idr), stream.count(Border::RecoveryPoint)), (1, 3));
    assert!(stream.cut_at_borders().iter().any(|cut| cut.post_roll.is_some()));
    segments_and_clip_show_the_source(dir.path(), &stream);
}

#[test]
fn x264_intra_refresh_has_no_border_but_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H264, "intra-refresh=1:keyint=25:bframes=0", 3, SIZE);
    assert_eq!((stream.count(Border::Idr), stream.count(Border::RecoveryPoint)), (1, 0));
    let refreshes = stream.count_units(|unit| unit[0] & 31 == 6);
    assert!(refreshes > 1, "there are recovery points, of several frames each");
}

#[test]
fn x265_with_its_open_gops() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H265, X265, 4, SIZE);
    assert_eq!((stream.count(Border::Idr), stream.count(Border::Cra)), (1, 3));
    assert!(stream.units.iter().any(|unit| unit.info.leading == Some(Leading::Rasl)));
    assert_eq!(stream.sets.frame_rate().map(|(n, d)| n / d), Some(25));
    let unreferenced = stream.units.iter().filter(|unit| !unit.info.reference).count();
    assert!(unreferenced > 20 && unreferenced < stream.units.len() / 4 * 3, "{unreferenced}");
    segments_and_clip_show_the_source(dir.path(), &stream);
}

#[test]
fn our_configuration_records_are_those_of_ffmpeg() {
    for (codec, params) in [(Codec::H264, X264), (Codec::H265, X265)] {
        let dir = tempfile::tempdir().unwrap();
        let stream = encode(dir.path(), codec, params, 1, SIZE);
        let record = stream.sets.record().unwrap();
        let (sets, framing) = detektor_media::ParameterSets::from_extradata(codec, &record).unwrap();
        assert_eq!((&sets, framing), (&stream.sets, detektor_media::Framing::LengthPrefixed(4)));
        let theirs = std::fs::read(dir.path().join("source.mp4")).unwrap();
        // x265 puts an SEI unit into ffmpeg's record, and ffmpeg guesses at parallelism: only H.264 is equal throughout.
        let wanted = if codec == Codec::H264 { &record[..] } else { &record[1..13] };
        assert!(theirs.windows(wanted.len()).any(|bytes| bytes == wanted), "{codec:?}: {record:02x?}");
    }
}

#[test]
fn a_long_gop_that_was_cut_inside_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    for (codec, params) in [(Codec::H264, "bframes=3:b-adapt=0:keyint=100:scenecut=0"), (Codec::H265, "keyint=100")] {
        let stream = encode(dir.path(), codec, params, 4, SIZE);
        // Cut where nothing that is decoded later is shown earlier.
        let clean = |at: usize| {
            let earlier = stream.units[..at].iter().map(|unit| unit.pts).max();
            let later = stream.units[at..].iter().map(|unit| unit.pts).min();
            earlier < later
        };
        let cut = |near: usize| (near..).find(|at| clean(*at)).unwrap();
        let bounds = [0, cut(25), cut(50), cut(75), stream.units.len()];
        let part = |n: usize| {
            let pre: Vec<usize> = (0..bounds[n]).collect();
            let own: Vec<usize> = (bounds[n]..bounds[n + 1]).collect();
            stream.segment(&pre, &own, None)
        };
        let parts: Vec<Cut> = (0..4).map(part).collect();

        let (_, file) = clip_of(&parts.iter().collect::<Vec<_>>());
        let (pictures, times) = play(dir.path(), &file);
        assert_eq!(pictures, stream.pictures, "from the start");
        assert_times(&times, steady(times.len()));

        let (clip, file) = clip_of(&[&parts[2], &parts[3]]);
        let (pictures, times) = play(dir.path(), &file);
        assert_eq!(pictures, stream.pictures[bounds[2]..], "{codec:?}: the pre-roll is decoded, not shown");
        assert_times(&times, steady(times.len()));
        assert_eq!(clip.duration_us, (stream.pictures.len() - bounds[2]) as i64 * 40_000);

        // Without the second part, the third brings the packets that it needs, and those alone.
        let (clip, file) = clip_of(&[&parts[0], &parts[2]]);
        assert_eq!(play(dir.path(), &file).0, stream.pictures[..bounds[3]]);
        let packets: u64 = parts[2].index.samples.iter().map(|sample| u64::from(sample.size)).sum();
        assert_eq!(clip.total - clip.pieces[0].length(), packets);
    }
}

#[test]
fn a_hole_lasts_as_long_as_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H265, X265, 4, SIZE);
    let cuts = stream.cut_at_borders();
    let (_, file) = clip_of(&[&cuts[0], &cuts[2]]);
    let (pictures, times) = play(dir.path(), &file);
    // The closing key frame stays: the leading pictures before it need it, and it was captured.
    let first = cuts[0].index.samples.len();
    assert_eq!(pictures[..first], stream.pictures[..first]);
    let skipped = stream.pictures.iter().position(|picture| *picture == pictures[first]).unwrap();
    let later = (0..times.len()).map(|i| if i < first { i } else { i - first + skipped });
    assert_times(&times, later.map(|i| i as f64 / 25.0));
    assert!(times[first] - times[first - 1] > 0.5);
}

#[test]
fn parameter_sets_may_change_and_another_size_ends_the_clip() {
    let dir = tempfile::tempdir().unwrap();
    let one = encode(dir.path(), Codec::H264, X264, 1, SIZE);
    let other = encode(dir.path(), Codec::H264, "bframes=0:keyint=25:cabac=0:ref=1", 1, SIZE);
    let small = encode(dir.path(), Codec::H264, X264, 1, "160x90");
    let whole = |stream: &Stream| stream.segment(&[], &(0..stream.units.len()).collect::<Vec<_>>(), None);
    let (one_cut, mut other_cut, small_cut) = (whole(&one), whole(&other), whole(&small));
    let mut one_again = whole(&one);
    other_cut.start_us = 1_000_000;
    one_again.start_us = 2_000_000;
    let (clip, file) = clip_of(&[&one_cut, &other_cut, &one_again, &small_cut]);
    assert_eq!(clip.cut_at, Some(3));
    let (pictures, times) = play(dir.path(), &file);
    assert_eq!(pictures, [&one.pictures[..], &other.pictures[..], &one.pictures[..]].concat());
    assert_times(&times, steady(75));
}

#[test]
fn what_an_edit_list_hides_stays_hidden() {
    let dir = tempfile::tempdir().unwrap();
    encode(dir.path(), Codec::H264, "bframes=3:b-adapt=0:keyint=50:min-keyint=50:scenecut=0", 6, SIZE);
    let (source, edited) = (dir.path().join("source.mp4"), dir.path().join("edited.mov"));
    let (source, name) = (source.to_str().unwrap(), edited.to_str().unwrap());
    // The file begins with the key frame at 2.0 s, and what is shown begins at 2.3 s.
    tool("ffmpeg", &["-v", "error", "-y", "-ss", "2.3", "-i", source, "-c", "copy", "-t", "3", name]);
    let mut stream = stream(&edited, Codec::H264);
    let flags = tool("ffprobe", &["-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0", name]);
    let hidden: Vec<bool> = flags.lines().map(|flags| flags.contains('D')).collect();
    let pre_roll = hidden.iter().take_while(|hidden| **hidden).count();
    assert!(pre_roll > 0 && hidden[pre_roll..].contains(&true), "{flags}");
    // As the dispatcher does it: no time is below 0.
    let least = stream.units.iter().map(|unit| unit.pts).min().unwrap();
    stream.units.iter_mut().for_each(|unit| unit.pts -= least);

    let keys: Vec<usize> = (0..hidden.len()).filter(|i| stream.units[*i].info.border.is_some()).collect();
    assert_eq!(keys.len(), 2);
    let cut = |from: usize, until: usize| {
        let pre: Vec<usize> = (from..until).take_while(|i| hidden[*i]).collect();
        let own: Vec<usize> = (from + pre.len()..until).collect();
        let mut cut = stream.segment(&pre, &own, None);
        cut.hidden = own.iter().filter(|i| hidden[**i]).map(|i| (i - from) as u32).collect();
        let shown = own.iter().filter(|i| !hidden[**i]).map(|i| stream.units[*i].pts).min().unwrap();
        cut.start_us = shown * 1_000_000 / i64::from(stream.time_scale);
        cut
    };
    let cuts = [cut(0, keys[1]), cut(keys[1], hidden.len())];
    let (clip, file) = clip_of(&[&cuts[0], &cuts[1]]);
    let (pictures, times) = play(dir.path(), &file);
    assert_eq!(pictures, stream.pictures);
    let shown = shown_times(&edited);
    let last = shown[shown.len() - 1] - shown[0];
    assert_times(&times, shown.iter().map(|time| time - shown[0]));
    assert!((clip.duration_us as f64 / 1e6 - last - 0.04).abs() < 0.001, "{} us", clip.duration_us);
}

/// What is hidden between two segments is decoded and takes no time, and a field that both have is there once.
#[test]
fn what_is_hidden_in_between_lasts_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let stream = encode(dir.path(), Codec::H264, "bframes=0:keyint=10:min-keyint=10:scenecut=0", 1, SIZE);
    let mut first = stream.segment(&[], &(0..10).collect::<Vec<_>>(), None);
    // All but its first two pictures are not shown, and the next segment comes right after those.
    first.hidden = (2..10).collect();
    let mut second = stream.segment(&[], &(10..20).collect::<Vec<_>>(), None);
    second.start_us = first.start_us + 2 * 40_000;
    let (clip, file) = clip_of(&[&first, &second]);
    assert_eq!(clip.duration_us, 12 * 40_000);
    let path = dir.path().join("clip.mp4");
    std::fs::write(&path, file).unwrap();
    let mut times: Vec<i64> = shown_times(&path).iter().map(|time| (time * 1000.0).round() as i64).collect();
    assert_eq!(times.len(), 20);
    times.dedup();
    assert_eq!(times, (0..12).map(|n| n * 40).collect::<Vec<_>>());

    // The closing key frame and its neighbour, as if that were its second field, stand in both.
    let mut first = stream.segment(&[], &(0..12).collect::<Vec<_>>(), None);
    (first.post_roll, first.hidden) = (Some(10), vec![11]);
    let second = stream.segment(&[], &(10..20).collect::<Vec<_>>(), None);
    let (_, file) = clip_of(&[&first, &second]);
    assert_eq!(play(dir.path(), &file).0, stream.pictures[..20]);
}
