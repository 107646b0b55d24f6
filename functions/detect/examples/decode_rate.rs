//! Decoding from memory beside the ffmpeg program on the same file: `decode_rate FILE [ROUNDS]` prints one JSON object.
//!
//! Both on one thread, turn by turn; the rates are frames a second of CPU time, and of each the best round counts. A
//! file's GOPs of more than four seconds are cut as the dispatcher cuts them, and their later parts decode pre-roll again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cpu;
#[path = "../tests/footage/mod.rs"]
mod footage;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use detektor_contract::{DetectPolicy, SegmentJob};
use detektor_detect::decode::Decoders;
use detektor_detect::segment::{Plan, Timeline};

/// Decodes every frame; says what that took, and how many samples it was fed.
fn ours(jobs: &[SegmentJob]) -> (Duration, usize) {
    let mut decoders = Decoders::new(1);
    let mut fed = 0;
    let start = cpu::thread();
    for job in jobs {
        let timeline = Timeline::read(job, &footage::video(job)).expect("a segment");
        let plan = Plan::new(&timeline, 0..job.span.frames);
        let decoder = decoders.get(timeline.codec, &timeline.extradata).expect("a decoder");
        let pictures = decoder.run(plan.packets(&timeline).inspect(|_| fed += 1)).filter(Result::is_ok).count();
        assert!(pictures >= job.span.frames as usize, "{}: {pictures} pictures", job.id);
    }
    (cpu::thread() - start, fed)
}

fn theirs(file: &Path) -> Duration {
    let start = cpu::children();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "quiet", "-nostdin", "-threads", "1", "-i"]).arg(file);
    let status = ffmpeg.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"]).status();
    assert!(status.expect("ffmpeg is installed").success());
    cpu::children() - start
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("usage: decode_rate FILE [ROUNDS]");
    let rounds: u32 = args.next().map_or(5, |n| n.parse().expect("a number of rounds"));
    let jobs = footage::jobs(Path::new(&file), "bench", &DetectPolicy::default());
    let frames: u32 = jobs.iter().map(|job| job.span.frames).sum();
    let (mut best, mut reference, mut fed) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..rounds {
        let (time, samples) = ours(&jobs);
        (best, fed) = (best.min(time), samples);
        reference = reference.min(theirs(Path::new(&file)));
    }
    let rate = |time: Duration| (f64::from(frames) / time.as_secs_f64()).round();
    println!(
        "{}",
        serde_json::json!({
            "frames": frames, "segments": jobs.len(), "decoded": fed,
            "frames_per_cpu_s": rate(best), "ffmpeg_frames_per_cpu_s": rate(reference),
            "rate": reference.as_secs_f64() / best.as_secs_f64(),
        })
    );
}
