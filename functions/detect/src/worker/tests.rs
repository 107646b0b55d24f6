#![allow(clippy::unwrap_used, clippy::expect_used)]

use detektor_contract::{DetectPolicy, Failed, Fault, Faulty, Sampling};
use detektor_runtime::Metrics;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{footage, stub};

/// Four seconds at ten frames a second; a white square comes in after two seconds, 40 pixels a second.
const SCENE: &str = "color=c=0x404040:s=256x144:r=10:d=4[b];color=c=white:s=40x40:r=10:d=4[w];\
    [b][w]overlay=x='if(gte(t,2),40*(t-2),-60)':y=60";
const GRAINY: &str = "color=c=0x404040:s=256x144:r=10:d=4[b];color=c=white:s=40x40:r=10:d=4[w];\
    [b][w]overlay=x='if(gte(t,2),40*(t-2),-60)':y=60,noise=alls=10:allf=t:all_seed=1";
const X264: [&str; 10] = ["-c:v", "libx264", "-g", "10", "-sc_threshold", "0", "-bf", "2", "-pix_fmt", "yuv420p"];

fn worker() -> Worker {
    stub::worker(&Numbers::new(&Metrics::new()).unwrap(), stub::Manner::Well)
}

fn policy(gate: bool, sampling: Sampling) -> DetectPolicy {
    DetectPolicy { gate, sampling, ..DetectPolicy::default() }
}

fn look(worker: &mut Worker, job: &SegmentJob) -> Looked {
    worker.look(job, &footage::video(job), &Call::default()).unwrap()
}

/// How many frames were looked at, by segment.
fn looks(looked: &[Looked]) -> Vec<usize> {
    let seen = |looked: &Looked| looked.frames.iter().filter(|f| matches!(f.fate, Fate::Detected(_))).count();
    looked.iter().map(seen).collect()
}

fn run(scene: &str, policy: &DetectPolicy) -> (Vec<SegmentJob>, Vec<Looked>) {
    let file = footage::encode(scene, &X264);
    let jobs = footage::jobs(&file, "c", policy);
    let mut worker = worker();
    let looked: Vec<Looked> = jobs.iter().map(|job| look(&mut worker, job)).collect();
    for (job, looked) in jobs.iter().zip(&looked) {
        assert_eq!(looked.frames.len(), job.span.frames as usize);
        assert!(looked.frames.is_sorted_by_key(|frame| frame.at));
        assert_eq!(looked.frames[0].at, job.span.start);
    }
    (jobs, looked)
}

#[test]
fn every_frame_is_looked_at_and_the_square_is_where_it_is() {
    let (_, looked) = run(SCENE, &policy(false, Sampling::All));
    assert_eq!(looks(&looked), [10; 4]);
    let frames: Vec<&Frame> = looked.iter().flat_map(|l| &l.frames).collect();
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.at.0, n as i64 * 100_000);
        let Fate::Detected(seen) = &frame.fate else { panic!("frame {n}: {:?}", frame.fate) };
        if n < 20 {
            assert!(seen.is_empty(), "frame {n}");
        } else {
            let [x, y, w, h] = seen[0].bounds.pixels();
            let expected = 4.0 * (n as f64 - 20.0);
            assert!((x - expected).abs() <= 2.0 && (y - 60.0).abs() <= 2.0, "frame {n}: {x}, {y}");
            assert!((w - 40.0).abs() <= 3.0 && (h - 40.0).abs() <= 3.0, "frame {n}: {w} x {h}");
        }
    }
}

#[test]
fn motion_is_seen_however_few_pictures_are_looked_at() {
    for scene in [SCENE, GRAINY] {
        let (jobs, looked) = run(scene, &policy(true, Sampling::PerSecond(1)));
        let due: Vec<bool> = jobs.iter().map(|job| gate::due(&job.id.camera, &job.span)).collect();
        assert_eq!(looks(&looked), [usize::from(due[0]), usize::from(due[1]), 1, 1]);
    }
}

#[test]
fn a_picture_that_nothing_can_be_compared_with_is_looked_at() {
    let file = footage::encode("color=c=0x404040:s=128x96:r=1:d=2", &["-c:v", "libx264", "-g", "1"]);
    let jobs = footage::jobs(&file, "c", &policy(true, Sampling::PerSecond(5)));
    let mut worker = worker();
    let looked: Vec<Looked> = jobs.iter().map(|job| look(&mut worker, job)).collect();
    assert_eq!(looks(&looked), [1, 1]);
}

#[test]
fn quiet_segments_are_skipped_and_motion_is_looked_at() {
    for scene in [SCENE, GRAINY] {
        let (jobs, looked) = run(scene, &policy(true, Sampling::PerSecond(5)));
        let due: Vec<bool> = jobs.iter().map(|job| gate::due(&job.id.camera, &job.span)).collect();
        let counts = looks(&looked);
        assert_eq!(counts[..2], [usize::from(due[0]), usize::from(due[1])]);
        assert_eq!(counts[2..], [5, 5]);
        let quiet = looked[0].frames.iter().filter(|f| f.fate == Fate::Skipped(Skipped::Quiet)).count();
        let sampling = looked[0].frames.iter().filter(|f| f.fate == Fate::Skipped(Skipped::Sampling)).count();
        assert_eq!((quiet, sampling), (5 - counts[0], 5));
    }
}

#[test]
fn a_quiet_segment_that_is_due_gets_one_look() {
    let file = footage::encode(SCENE, &X264);
    let mut jobs = footage::jobs(&file, "c", &policy(true, Sampling::PerSecond(5)));
    let job = &mut jobs[0];
    while !gate::due(&job.id.camera, &job.span) {
        job.span.start = job.span.start.plus(1_000_000);
        job.span.end = job.span.end.plus(1_000_000);
    }
    assert_eq!(looks(&[look(&mut worker(), job)]), [1]);
}

#[test]
fn masked_motion_is_quiet() {
    let masks = vec![[0, 0, 10_000, 10_000]];
    let (jobs, looked) = run(GRAINY, &DetectPolicy { masks, ..policy(true, Sampling::All) });
    for (job, count) in jobs.iter().zip(looks(&looked)) {
        assert_eq!(count, usize::from(gate::due(&job.id.camera, &job.span)));
    }
}

#[test]
fn snapshots_show_what_is_worth_it() {
    let (_, looked) = run(SCENE, &policy(false, Sampling::PerSecond(5)));
    assert!(looked[0].snapshots.is_empty() && looked[1].snapshots.is_empty());
    // At first the square touches the border; one frame shows it whole.
    assert_eq!(looked[2].snapshots.len(), 1);
    let (index, jpeg) = &looked[2].snapshots[0];
    assert!(jpeg.starts_with(&[0xff, 0xd8]));
    assert!(matches!(&looked[2].frames[*index as usize].fate, Fate::Detected(seen) if seen.len() == 1));
}

#[test]
fn labels_and_scores_that_nobody_wants_are_forgotten() {
    let base = policy(false, Sampling::PerSecond(5));
    let wanted = |policy: &DetectPolicy| {
        let (_, looked) = run(SCENE, policy);
        looked.iter().flat_map(|l| &l.frames).any(|f| matches!(&f.fate, Fate::Detected(seen) if !seen.is_empty()))
    };
    assert!(wanted(&DetectPolicy { labels: vec!["thing".into()], ..base.clone() }));
    assert!(!wanted(&DetectPolicy { labels: vec!["car".into()], ..base.clone() }));
    let store_score = detektor_contract::Score::from_f32(0.9);
    assert!(!wanted(&DetectPolicy { store_score, ..base }));
}

#[test]
fn crops_see_the_same_thing_once() {
    // More than twice the stub's input across and down.
    let scene = SCENE.replace("256x144", "640x360");
    let (_, looked) = run(&scene, &policy(true, Sampling::PerSecond(5)));
    for frame in looked[2..].iter().flat_map(|l| &l.frames) {
        if let Fate::Detected(seen) = &frame.fate {
            assert!(seen.len() <= 1, "{seen:?}");
        }
    }
    assert_eq!(looks(&looked)[2..], [5, 5]);
}

#[test]
fn the_same_segment_gives_the_same_answer() {
    let file = footage::encode(GRAINY, &X264);
    let jobs = footage::jobs(&file, "c", &policy(true, Sampling::PerSecond(5)));
    let mut used = worker();
    let first: Vec<Looked> = jobs.iter().map(|job| look(&mut used, job)).collect();
    for (job, first) in jobs.iter().zip(&first).rev() {
        assert_eq!(&look(&mut used, job), first);
        assert_eq!(&look(&mut worker(), job), first);
    }
}

#[test]
fn pictures_that_do_not_come_out_are_failed() {
    let file = footage::encode(SCENE, &["-c:v", "libx264", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"]);
    let job = footage::jobs(&file, "c", &policy(false, Sampling::All)).remove(3);
    let timeline = Timeline::read(&job, &footage::video(&job)).unwrap();
    let mut video = footage::video(&job).to_vec();
    let last = &timeline.samples[9].data;
    let at = video.len() - last.len();
    // A NAL unit of a reserved type instead of the slice: no picture, and nothing wrong with the others.
    video[at + 4] = 0x60 | 30;
    let looked = worker().look(&job, &video.into(), &Call::default()).unwrap();
    assert_eq!(looked.frames[9].fate, Fate::Failed(Failed::Decode));
    assert_eq!(looks(&[looked]), [9]);
}

#[test]
fn video_that_is_not_what_the_job_says_is_refused_for_good() {
    let file = footage::encode(SCENE, &X264);
    let job = footage::jobs(&file, "c", &DetectPolicy::default()).remove(0);
    let video = footage::video(&job);
    let refuse = |job: &SegmentJob, video: Bytes| {
        let error = worker().look(job, &video, &Call::default()).unwrap_err();
        assert_eq!(error.fault(), Fault::Permanent, "{error:?}");
    };
    refuse(&job, Bytes::from_static(b"no video at all"));
    refuse(&job, video.slice(..video.len() - 1));
    let mut other = job.clone();
    other.span.frames += 1;
    refuse(&other, video.clone());
    other = job.clone();
    other.media.samples += 1;
    refuse(&other, video.clone());
    other = job.clone();
    other.media.codec = detektor_contract::Codec::H265;
    refuse(&other, video);
}

#[test]
fn whoever_gives_up_stops_the_worker() {
    let file = footage::encode(SCENE, &X264);
    let job = footage::jobs(&file, "c", &policy(false, Sampling::All)).remove(0);
    let stop = CancellationToken::new();
    stop.cancel();
    let error = worker().look(&job, &footage::video(&job), &Call::new(stop, || {})).unwrap_err();
    assert!(matches!(error, DetectError::Stopped));
    assert_eq!(error.fault(), Fault::Transient);
}
