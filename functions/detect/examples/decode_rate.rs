//! Decoding rate from memory, beside the ffmpeg program's on the same file: `decode_rate FILE [ROUNDS]`.
//!
//! Both on one thread, turn by turn; of each, the best round counts. The ratio is what matters (aim: 0.95 or more), for
//! files whose GOPs are whole segments: pre-roll is decoded again, and only its dearer pictures are.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/footage/mod.rs"]
mod footage;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use detektor_contract::{DetectPolicy, SegmentJob};
use detektor_detect::decode::Decoders;
use detektor_detect::segment::{Plan, Timeline};

fn ours(jobs: &[SegmentJob]) -> f64 {
    let mut decoders = Decoders::new(1);
    let mut pictures = 0;
    let start = Instant::now();
    for job in jobs {
        let timeline = Timeline::read(job, &footage::video(job)).expect("a segment");
        let plan = Plan::new(&timeline, 0..job.span.frames);
        let decoder = decoders.get(timeline.codec, &timeline.extradata).expect("a decoder");
        pictures += decoder.run(plan.packets(&timeline)).filter(Result::is_ok).count();
    }
    pictures as f64 / start.elapsed().as_secs_f64()
}

fn theirs(file: &Path, frames: u64) -> f64 {
    let start = Instant::now();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "quiet", "-nostdin", "-threads", "1", "-i"]).arg(file);
    let status = ffmpeg.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"]).status();
    assert!(status.expect("ffmpeg is installed").success());
    frames as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("usage: decode_rate FILE [ROUNDS]");
    let rounds: u32 = args.next().map_or(5, |n| n.parse().expect("a number of rounds"));
    let jobs = footage::jobs(Path::new(&file), "bench", &DetectPolicy::default());
    let frames = jobs.iter().map(|job| u64::from(job.span.frames)).sum();
    let (mut best, mut reference) = (0.0f64, 0.0f64);
    for _ in 0..rounds {
        best = best.max(ours(&jobs));
        reference = reference.max(theirs(Path::new(&file), frames));
    }
    let decoded: u32 = jobs.iter().map(|job| job.media.samples).sum();
    println!("{file}: {frames} frames in {} segments ({decoded} samples with pre-roll and post-roll)", jobs.len());
    println!(
        "from memory {best:.0} frames/s, ffmpeg -threads 1 {reference:.0} frames/s, ratio {:.3}",
        best / reference
    );
}
