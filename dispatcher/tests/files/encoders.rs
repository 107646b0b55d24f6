//! What real encoders and containers make of a stream: every segment decodes by itself, and the frames of all segments
//! together are the frames of the source, each once.

use std::path::{Path, PathBuf};

use crate::common::{count_frames, encoded, pictures, remuxed};
use detektor_contract::names::{Queue, Work};
use detektor_contract::{
    CameraId, Clock, DetectPolicy, Epoch, EventRules, Failed, Marker, OutcomeBody, Payload, SegmentJob, Span, TimeUs,
    wire,
};
use detektor_dispatcher::Cutting;
use detektor_dispatcher::ingest::{Ingest, Ingested};
use detektor_dispatcher::record::{Orders, Record, Recorder};
use detektor_dispatcher::source::{self, Item, OpenOptions};
use detektor_media::segment;

pub fn orders() -> Orders {
    let camera = CameraId::new("gate").unwrap();
    let (policy, rules) = (DetectPolicy::default(), EventRules::default());
    Orders { camera, partition: 3, policy, rules, inline_bytes: usize::MAX }
}

/// Everything that a file is cut into.
struct Sliced {
    records: Vec<Record>,
    frames: u64,
    long_gop: bool,
}

async fn slice(file: &Path) -> Sliced {
    slice_in_a_row(&[file]).await
}

/// Slices files as one stream, each as much later as its place says.
async fn slice_in_a_row(files: &[&Path]) -> Sliced {
    let mut ingest = Ingest::new(Cutting::default(), false);
    for (n, file) in (0..).zip(files) {
        let url = file.to_str().unwrap().parse().unwrap();
        let mut opened = source::open(&url, OpenOptions::default()).await.unwrap();
        assert!(opened.content.is_some());
        let mut later = 0;
        loop {
            match opened.source.next().await.unwrap() {
                Some(Item::Stream(info)) => {
                    later = n * 600 * i64::from(info.time_scale);
                    ingest.stream(info);
                }
                Some(Item::Unit(mut unit)) => {
                    unit.pts = unit.pts.map(|pts| pts + later);
                    unit.dts = unit.dts.map(|dts| dts + later);
                    ingest.unit(unit);
                }
                Some(Item::Lost { detail, .. }) => panic!("{detail}"),
                None => break,
            }
        }
    }
    ingest.end();
    let long_gop = ingest.long_gop();
    let mut recorder = Recorder::new(orders(), Epoch(1), 0, false);
    let records = ingest.take().into_iter().filter_map(|ingested| match ingested {
        Ingested::Slice(slice, form) => recorder.slice(slice, form),
        Ingested::Gap(..) => panic!("a gap in a file"),
    });
    let records: Vec<Record> = records.collect();
    assert!(records.iter().all(|record| record.fault.is_none()));
    Sliced { records, frames: recorder.frames(), long_gop }
}

/// What a file's segments show.
#[derive(Default)]
pub struct Shown {
    pub jobs: Vec<SegmentJob>,
    pub undecodable: u64,
    pub hashes: Vec<String>,
    pub times: Vec<TimeUs>,
}

fn show(sliced: &Sliced) -> Shown {
    let mut shown = Shown::default();
    let folder = tempfile::tempdir().unwrap();
    let mut until = None;
    let mut counted = 0;
    for record in &sliced.records {
        let span: Span;
        if record.queue == Queue::Work(Work::Merge, 3) {
            let outcome = wire::decode_outcome(&record.body).unwrap();
            let OutcomeBody::Marker(Marker::Undecodable { reason: Failed::BeforeKeyFrame, .. }) = &outcome.body else {
                panic!("{outcome:?}");
            };
            span = *outcome.span().unwrap();
            shown.undecodable += u64::from(span.frames);
        } else {
            let job = wire::decode_job(&record.body).unwrap();
            span = job.span;
            show_segment(&job, &folder.path().join("segment.mp4"), &mut shown);
            shown.jobs.push(job);
        }
        assert_eq!(span.first_frame, counted);
        assert_eq!(span.clock, Clock::Media);
        assert!(until.is_none_or(|until| until == span.start), "{until:?} {span:?}");
        assert!(span.start < span.end);
        until = Some(span.end);
        counted += u64::from(span.frames);
    }
    assert_eq!(counted, sliced.frames);
    shown
}

/// Decodes a segment alone and takes those of its pictures that count.
pub fn show_segment(job: &SegmentJob, file: &Path, shown: &mut Shown) {
    let Payload::Inline { video, .. } = &job.payload else { panic!("{:?}", job.payload) };
    std::fs::write(file, video).unwrap();
    let samples = segment::read(video).unwrap().samples;
    let counted: Vec<i64> =
        (0..).zip(&samples).filter(|(ordinal, _)| job.media.counts(*ordinal)).map(|(_, sample)| sample.pts).collect();
    assert_eq!(counted.len(), job.span.frames as usize);
    let first = counted.iter().min().unwrap();
    // libav shows a file with signed composition offsets later, by the largest negative one.
    let late = crate::common::first_time(file) - samples.iter().map(|sample| sample.pts).min().unwrap();
    let decoded = pictures(file).into_iter().map(|(pts, hash)| (pts - late, hash));
    let decoded: Vec<(i64, String)> = decoded.filter(|(pts, _)| counted.contains(pts)).collect();
    assert_eq!(decoded.len(), counted.len(), "segment {} does not decode by itself", job.id);
    for (pts, hash) in decoded {
        shown.hashes.push(hash);
        shown.times.push(job.span.start.plus((pts - first) * 1_000_000 / i64::from(job.media.time_scale)));
    }
}

/// Slices a file and holds it against what ffmpeg sees in it.
async fn check(file: PathBuf) -> (Sliced, Shown) {
    let sliced = slice(&file).await;
    let shown = show(&sliced);
    let wanted = pictures(&file);
    let wanted_hashes: Vec<&String> = wanted.iter().map(|(_, hash)| hash).collect();
    assert_eq!(shown.hashes.len(), wanted.len());
    assert_eq!(shown.hashes.iter().collect::<Vec<_>>(), wanted_hashes);
    assert_eq!(sliced.frames - shown.undecodable, count_frames(&file));
    // AVI has no times of its own.
    if file.extension().is_none_or(|kind| kind != "avi") {
        let scale = crate::common::time_scale(&file);
        let wanted = wanted.iter().map(|(pts, _)| (pts - wanted[0].0) * 1_000_000 / scale);
        let times = shown.times.iter().map(|time| time.since(shown.times[0]));
        assert!(times.zip(wanted).all(|(time, wanted)| (time - wanted).abs() <= 1), "{:?}", shown.times);
    }
    if shown.undecodable == 0 {
        assert_eq!(shown.times.first(), Some(&TimeUs(0)));
    }
    // The same again is the same, byte for byte.
    let again = slice(&file).await;
    assert!(again.records.iter().map(|r| &r.body).eq(sliced.records.iter().map(|r| &r.body)));
    (sliced, shown)
}

/// Capture times that are one 25th of a second apart, but for rounding.
fn assert_even(shown: &Shown) {
    let steps = shown.times.windows(2).map(|w| w[1].since(w[0]));
    assert!(steps.into_iter().all(|step| (38_999..=41_001).contains(&step)), "{:?}", shown.times);
}

fn seconds(shown: &Shown) -> Vec<f64> {
    shown.jobs.iter().map(|job| job.span.end.since(job.span.start) as f64 / 1e6).collect()
}

const X264: &str = "-c:v libx264 -preset veryfast -x264-params";

fn b_frames() -> PathBuf {
    encoded("bframes.mp4", 6, &format!("{X264} bframes=3:b-adapt=0:keyint=25:min-keyint=25:scenecut=0:nal-hrd=none"))
}

#[tokio::test]
async fn x265_as_it_is_out_of_the_box() {
    let file = encoded("x265.mp4", 30, "-c:v libx265 -preset ultrafast -x265-params log-level=none");
    let (sliced, shown) = check(file).await;
    assert!(sliced.long_gop);
    assert!(shown.jobs.iter().any(|job| job.media.post_roll.is_some()), "x265 leaves GOPs open");
    assert!(shown.jobs.iter().any(|job| job.media.pre_roll > 0), "and makes them 10 s long");
    assert!(seconds(&shown).iter().all(|s| *s <= 4.2), "{:?}", seconds(&shown));
    assert_even(&shown);
}

#[tokio::test]
async fn x265_with_open_gops_of_a_second() {
    let params = "log-level=none:keyint=25:min-keyint=25:scenecut=0:bframes=4:b-adapt=0";
    let file = encoded("x265-open.mkv", 6, &format!("-c:v libx265 -preset medium -x265-params {params}"));
    let (_, shown) = check(file).await;
    assert!(shown.jobs.iter().filter(|job| job.media.post_roll.is_some()).count() >= 4);
    assert!(shown.jobs.iter().all(|job| job.media.pre_roll == 0));
    assert_even(&shown);
}

#[tokio::test]
async fn x264_with_b_frames_and_no_word_about_reordering() {
    let bare = remuxed("bframes-bare.mp4", &b_frames(), "", "-c copy -bsf:v h264_metadata=delete_filler=1");
    let (_, shown) = check(bare).await;
    assert_eq!(seconds(&shown), [1.0; 6]);
    assert_even(&shown);
}

#[tokio::test]
async fn x264_with_open_gops() {
    let params = "bframes=3:b-adapt=0:keyint=27:min-keyint=27:scenecut=0:open-gop=1";
    let (_, shown) = check(encoded("x264-open.mp4", 6, &format!("{X264} {params}"))).await;
    assert!(shown.jobs.iter().any(|job| job.media.post_roll.is_some()));
    assert!(shown.jobs.iter().all(|job| job.media.pre_roll == 0));
    assert_even(&shown);
}

#[tokio::test]
async fn intra_refresh_has_one_border() {
    let (_, shown) = check(encoded("refresh.mp4", 12, &format!("{X264} intra-refresh=1:keyint=30:bframes=0"))).await;
    assert_eq!(shown.jobs.len(), 3);
    assert!(shown.jobs[2].media.pre_roll < 100, "what came before a whole refresh is not repeated");
}

#[tokio::test]
async fn field_pairs() {
    let interlaced = "-vf tinterlace=interleave_top,fieldorder=tff -flags +ilme+ildct";
    let (_, shown) = check(encoded("fields.ts", 6, &format!("{interlaced} {X264} keyint=12:bframes=2:tff=1"))).await;
    assert!(shown.jobs.len() >= 4);
}

#[tokio::test]
async fn a_movie_with_an_edit_list() {
    // Cut at 1.3 s without encoding: the file begins with the key frame at 1.0 s and an edit list hides what is before.
    let file = remuxed("edited.mov", &b_frames(), "-ss 1.3", "-c copy -t 3.5");
    let packets = crate::common::tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=flags",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    assert!(packets.lines().filter(|flags| flags.contains('D')).count() > 3, "nothing is hidden:\n{packets}");
    let (_, shown) = check(file).await;
    assert!(shown.jobs[0].media.pre_roll > 0);
    assert!(shown.jobs.iter().any(|job| !job.media.hidden.is_empty()), "and none between those that are shown");
}

#[tokio::test]
async fn an_avi_with_b_frames() {
    let file = remuxed("bframes.avi", &b_frames(), "", "-c copy -bsf:v h264_mp4toannexb");
    let (_, shown) = check(file).await;
    assert_even(&shown);
    let params = "bframes=3:b-pyramid=normal:b-adapt=0:keyint=60:min-keyint=60:scenecut=0";
    let (_, shown) = check(encoded("pyramid.avi", 6, &format!("{X264} {params} -bsf:v h264_mp4toannexb"))).await;
    assert_even(&shown);
}

#[tokio::test]
async fn a_variable_frame_rate() {
    let filter = "-vf select='mod(n,7)*mod(n,5)',setpts='PTS+0.02/TB*mod(N,2)' -vsync vfr";
    let (_, shown) = check(encoded("variable.mkv", 8, &format!("{filter} {X264} keyint=10:bframes=2"))).await;
    let steps: std::collections::BTreeSet<i64> = shown.times.windows(2).map(|w| w[1].since(w[0])).collect();
    assert!(steps.len() >= 3, "{steps:?}");
}

#[tokio::test]
async fn a_transport_stream_that_begins_in_the_middle_of_a_gop() {
    let whole = remuxed("bframes.ts", &b_frames(), "", "-c copy");
    let file = crate::common::made("middle.ts", |to| {
        let bytes = std::fs::read(&whole).unwrap();
        // The tables, then from the middle of the first GOP on.
        let from = bytes.len() / 12 / 188 * 188;
        std::fs::write(to, [&bytes[..3 * 188], &bytes[from..]].concat()).unwrap();
    });
    let (_, shown) = check(file).await;
    assert!(shown.undecodable > 3, "{}", shown.undecodable);
}

#[tokio::test]
async fn timestamps_that_wrap() {
    // 95,443.7 s are 2^33 ticks of 90 kHz.
    let file = remuxed("wraps.ts", &b_frames(), "", "-c copy -output_ts_offset 95441.2 -muxdelay 0");
    let (_, shown) = check(file).await;
    assert_even(&shown);
}

#[tokio::test]
async fn a_long_gop_with_b_frames() {
    let params = "bframes=3:keyint=1000:min-keyint=1000:scenecut=0";
    let (sliced, shown) = check(encoded("long.mp4", 15, &format!("{X264} {params}"))).await;
    assert!(sliced.long_gop);
    assert_eq!(shown.jobs.len(), 4);
    assert!(shown.jobs[1..].iter().all(|job| job.media.pre_roll > 0));
    assert_even(&shown);
}

#[tokio::test]
async fn a_picture_size_that_changes() {
    let small = remuxed("small.ts", &b_frames(), "", &format!("-vf scale=128:96 {X264} keyint=25:bframes=3"));
    let first = remuxed("first.ts", &b_frames(), "", "-c copy");
    let file = crate::common::made("resized.ts", |to| {
        std::fs::write(to, [std::fs::read(&first).unwrap(), std::fs::read(&small).unwrap()].concat()).unwrap();
    });
    let sliced = slice(&file).await;
    let shown = show(&sliced);
    let sizes: Vec<(u32, u32)> = shown.jobs.iter().map(|job| (job.media.width, job.media.height)).collect();
    assert_eq!(sizes.first(), Some(&(160, 120)));
    assert_eq!(sizes.last(), Some(&(128, 96)));
    assert_eq!(sliced.frames, 300);
    assert!(shown.times.windows(2).all(|w| w[0] < w[1]));
}

/// Two encodes of equal size whose parameter sets differ: with CABAC and without.
fn of_equal_size(kind: &str) -> [PathBuf; 2] {
    [("cabac", 1), ("cavlc", 0)].map(|(name, cabac)| {
        // The first GOP of each is short: a segment that goes on over it must not reach into other sets.
        let params = format!("cabac={cabac}:keyint=25:min-keyint=5:scenecut=0:bframes=2");
        let keys = "-force_key_frames 0,0.4,1.4,2.4";
        encoded(&format!("{name}.{kind}"), 3, &format!("{X264} {params} {keys}"))
    })
}

fn assert_sets_change_between_segments(shown: &Shown, first: &[PathBuf; 2]) {
    let wanted: Vec<String> = first.iter().flat_map(|file| pictures(file)).map(|(_, hash)| hash).collect();
    assert_eq!(shown.hashes, wanted);
    let inits: Vec<_> = shown.jobs.iter().map(|job| job.media.init).collect();
    let changes = inits.windows(2).filter(|two| two[0] != two[1]).count();
    assert_eq!(changes, 1, "one init part for each: {inits:?}");
}

#[tokio::test]
async fn parameter_sets_that_change_in_the_stream_at_equal_size() {
    let files = of_equal_size("ts");
    let both = crate::common::made("equal-size.ts", |to| {
        std::fs::write(to, files.clone().map(|file| std::fs::read(file).unwrap()).concat()).unwrap();
    });
    assert_sets_change_between_segments(&show(&slice(&both).await), &files);
}

#[tokio::test]
async fn parameter_sets_that_change_beside_the_stream_at_equal_size() {
    let files = of_equal_size("mp4");
    let sliced = slice_in_a_row(&[&files[0], &files[1]]).await;
    assert_sets_change_between_segments(&show(&sliced), &files);
}
