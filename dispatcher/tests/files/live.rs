//! What happens to live streams, on units of a real one: lost packets, clocks that jump, lost connections.

use std::time::{Duration, Instant};

use detektor_contract::{Clock, Epoch, GapCause, Marker, OutcomeBody, Payload, Seam, SegmentJob, TimeUs, wire};
use detektor_dispatcher::Cutting;
use detektor_dispatcher::ingest::{Ingest, Ingested};
use detektor_dispatcher::record::{Record, Recorder};
use detektor_dispatcher::source::{self, AccessUnit, Arrival, Item, OpenOptions, StreamInfo};
use detektor_media::segment;

use crate::common::encoded;
use crate::encoders::{Shown, orders, show_segment};

const UNIX_US: i64 = 1_795_500_000_000_000;
const FRAME_US: i64 = 40_000;

/// 12 s without B frames, a key frame a second, as if it came from a camera: evenly, 25 a second.
async fn units() -> (StreamInfo, Vec<AccessUnit>) {
    let params = "-c:v libx264 -preset veryfast -x264-params keyint=25:min-keyint=25:scenecut=0:bframes=0";
    let url = encoded("live.ts", 12, params).to_str().unwrap().parse().unwrap();
    let mut source = source::open(&url, OpenOptions::default()).await.unwrap().source;
    let (mut info, mut units) = (None, Vec::new());
    // Arrivals lie ahead of the test's own clock, so that each is after the stream was opened.
    let began = Instant::now() + Duration::from_secs(60);
    while let Some(item) = source.next().await.unwrap() {
        match item {
            Item::Stream(stream) => info = Some(stream),
            Item::Unit(mut unit) => {
                let after = units.len() as i64 * FRAME_US;
                let monotonic = began + Duration::from_micros(after as u64);
                unit.arrival = Some(Arrival { monotonic, unix_us: UNIX_US + after });
                units.push(unit);
            }
            Item::Lost { detail, .. } => panic!("{detail}"),
        }
    }
    (info.unwrap(), units)
}

enum Step {
    Job(Box<SegmentJob>),
    Marker(Marker),
}

fn published(ingest: &mut Ingest, recorder: &mut Recorder) -> Vec<Record> {
    let records = ingest.take().into_iter().filter_map(|ingested| match ingested {
        Ingested::Slice(slice, form) => recorder.slice(slice, form),
        Ingested::Gap(back, cause) => recorder.gap(Some(back), cause),
    });
    records.collect()
}

/// Feeds the units, each only if `before` says so of its number, and decodes every segment alone.
async fn watch(mut before: impl FnMut(&mut Ingest, usize, &mut AccessUnit) -> bool) -> (Vec<Step>, u64) {
    let (info, units) = units().await;
    let mut ingest = Ingest::new(Cutting::default(), true);
    let mut recorder = Recorder::new(orders(), Epoch(7), 0, true);
    ingest.stream(info);
    for (n, mut unit) in units.into_iter().enumerate() {
        if before(&mut ingest, n, &mut unit) {
            ingest.unit(unit);
        }
    }
    ingest.end();
    let records = published(&mut ingest, &mut recorder);
    let folder = tempfile::tempdir().unwrap();
    let mut shown = Shown::default();
    let mut steps = Vec::new();
    for record in &records {
        match wire::decode_job(&record.body) {
            Ok(job) => {
                show_segment(&job, &folder.path().join("segment.mp4"), &mut shown);
                steps.push(Step::Job(Box::new(job)));
            }
            Err(_) => match wire::decode_outcome(&record.body).unwrap().body {
                OutcomeBody::Marker(marker) => steps.push(Step::Marker(marker)),
                other => panic!("{other:?}"),
            },
        }
    }
    assert!(shown.times.windows(2).all(|w| w[0] < w[1]));
    (steps, recorder.frames())
}

/// The gaps, in microseconds since the first unit came.
fn gaps(steps: &[Step]) -> Vec<(i64, i64, GapCause)> {
    let gap = |step: &Step| match step {
        Step::Marker(Marker::Gap { from, until: Some(until), cause, clock: Clock::Unix }) => {
            Some((from.0 - UNIX_US, until.0 - UNIX_US, *cause))
        }
        Step::Marker(other) => panic!("{other:?}"),
        Step::Job(_) => None,
    };
    steps.iter().filter_map(gap).collect()
}

/// Each span begins where the one before it, or the gap before it, ended.
fn assert_contiguous(steps: &[Step]) {
    let (mut until, mut counted) = (None, 0);
    for step in steps {
        match step {
            Step::Job(job) => {
                assert!(until.is_none_or(|until| until == job.span.start), "{until:?} {:?}", job.span);
                assert_eq!(job.span.first_frame, counted);
                counted += u64::from(job.span.frames);
                until = Some(job.span.end);
            }
            Step::Marker(Marker::Gap { from, until: back, .. }) => {
                assert_eq!(until, Some(*from));
                until = *back;
            }
            Step::Marker(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_camera_is_captured_from_its_first_key_frame_on() {
    let (steps, frames) = watch(|_, n, _| n >= 10).await;
    assert_contiguous(&steps);
    assert_eq!(gaps(&steps), []);
    assert_eq!(frames, 300 - 25);
    let Step::Job(first) = &steps[0] else { panic!("it begins with a marker") };
    let at = TimeUs(UNIX_US + 25 * FRAME_US);
    assert_eq!((first.span.start, first.seam), (at, Some(Seam { at, key_frame: None })));
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_a_gap_and_the_rest_is_decoded() {
    let (steps, frames) = watch(|ingest, n, _| {
        if n == 112 {
            ingest.lost(GapCause::PacketLoss);
        }
        !(110..112).contains(&n)
    })
    .await;
    assert_contiguous(&steps);
    assert_eq!(gaps(&steps), [(110 * FRAME_US, 112 * FRAME_US, GapCause::PacketLoss)]);
    assert_eq!(frames, 298);
}

#[tokio::test]
async fn a_clock_that_follows_early_frames_leaves_every_frame_inside_its_span() {
    let (steps, _) = watch(|_, n, unit| {
        if n % 25 == 24 {
            unit.pts = unit.pts.map(|pts| pts + 90 * 35);
        }
        let early = n as i64 * FRAME_US / 10;
        unit.arrival = unit.arrival.map(|at| Arrival { unix_us: at.unix_us - early, ..at });
        true
    })
    .await;
    assert_contiguous(&steps);
    assert!(steps.len() > 5);
    for step in &steps {
        let Step::Job(job) = step else { panic!("nothing was lost") };
        let Payload::Inline { video, .. } = &job.payload else { panic!("it is small") };
        let times = segment::read(video).unwrap().samples.into_iter().map(|sample| sample.pts);
        let length = times.clone().max().unwrap() - times.min().unwrap();
        let last = job.span.start.plus(length * 1_000_000 / i64::from(job.media.time_scale));
        assert!(last < job.span.end, "{last:?} {:?}", job.span);
    }
}

#[tokio::test]
async fn a_clock_that_jumps_begins_a_new_timeline_and_loses_nothing() {
    for jump in [-90_000 * 3_600, 90_000 * 3_600] {
        let (steps, frames) = watch(|_, n, unit| {
            if n >= 130 {
                unit.pts = unit.pts.map(|pts| pts + jump);
                unit.dts = unit.dts.map(|dts| dts + jump);
            }
            true
        })
        .await;
        assert_contiguous(&steps);
        assert_eq!(gaps(&steps), [(130 * FRAME_US, 130 * FRAME_US, GapCause::Timeline)]);
        assert_eq!(frames, 300);
    }
}

#[tokio::test]
async fn a_lost_connection_is_a_gap_until_the_next_key_frame() {
    let (steps, frames) = watch(|ingest, n, unit| {
        if n == 60 {
            ingest.disconnected(GapCause::Silent);
        }
        if n >= 60 {
            // The camera begins anew at 0.
            unit.pts = Some((n as i64 - 180) * 3_600);
            unit.dts = None;
        }
        !(60..180).contains(&n)
    })
    .await;
    assert_contiguous(&steps);
    assert_eq!(gaps(&steps), [(60 * FRAME_US, 200 * FRAME_US, GapCause::Silent)]);
    assert_eq!(frames, 60 + 100);
}
