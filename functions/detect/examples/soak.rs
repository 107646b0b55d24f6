//! Memory before and after many segments: `soak FILE [SEGMENTS] [MODEL] [ENGINE]`.
//!
//! Without a model only decoding and the gate run, which is quick; with one (a manifest or .onnx file) every segment is
//! looked at. The file's segments are taken over and over, every 50th of them damaged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/footage/mod.rs"]
mod footage;

use std::path::Path;

use bytes::Bytes;
use detektor_contract::{DetectPolicy, Digest, EngineId, Sampling};
use detektor_detect::Numbers;
use detektor_detect::engine::{Detector, Engine, EngineError, EngineKind, EngineOptions, Look, RawBox};
use detektor_detect::letterbox::Letterbox;
use detektor_detect::model::{Labels, Model, Thresholds};
use detektor_detect::worker::{Call, Worker};
use detektor_runtime::Metrics;

/// Sees one thing in the middle of every picture, so that snapshots are made.
struct Always(EngineId);

impl Engine for Always {
    fn id(&self) -> &EngineId {
        &self.0
    }

    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError> {
        let one = |look: &Look<'_>| {
            let (w, h) = (look.region.w as f32, look.region.h as f32);
            let (x, y) = (look.region.x as f32, look.region.y as f32);
            let (x0, y0, x1, y1) = (x + w * 0.25, y + h * 0.25, x + w * 0.75, y + h * 0.75);
            vec![RawBox { class: 0, score: 0.9, x0, y0, x1, y1 }]
        };
        Ok(looks.iter().map(one).collect())
    }
}

fn detector(model: Option<String>, engine: Option<String>) -> (Detector, (u32, u32)) {
    let Some(path) = model else {
        let id = EngineId { engine: "always".into(), model: "none".into(), digest: Digest::of(b"") };
        return (Detector::of(Box::new(Always(id)), Labels::new(["thing"]), Thresholds::default()), (320, 320));
    };
    let model = Model::load(path).expect("a model");
    let kind: EngineKind = engine.map_or(EngineKind::Tract, |name| name.parse().expect("tract or ort"));
    let input = (model.manifest().input.width, model.manifest().input.height);
    let letterbox = Box::new(Letterbox::default());
    (Detector::with(&model, kind, &EngineOptions::default(), letterbox).expect("an engine"), input)
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("usage: soak FILE [SEGMENTS] [MODEL] [ENGINE]");
    let segments: usize = args.next().map_or(10_000, |n| n.parse().expect("a number of segments"));
    let (detector, input) = detector(args.next(), args.next());
    let policy = DetectPolicy { sampling: Sampling::PerSecond(5), gate: false, ..DetectPolicy::default() };
    let jobs = footage::jobs(Path::new(&file), "soak", &policy);
    let mut worker = Worker::new(detector, input, 4, Numbers::new(&Metrics::new()).expect("metrics"));
    let (mut snapshots, mut refused) = (0, 0);
    for done in 0..segments {
        if done == segments / 10 || (done > 0 && done % (segments / 5).max(1) == 0) {
            println!("{done:>7} segments: {} KiB resident", resident());
        }
        let job = &jobs[done % jobs.len()];
        let mut video = footage::video(job);
        if done % 50 == 49 {
            let mut damaged = video.to_vec();
            let middle = damaged.len() / 2;
            damaged[middle..].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x5a);
            video = Bytes::from(damaged);
        }
        match worker.look(job, &video, &Call::default()) {
            Ok(looked) => snapshots += looked.snapshots.len(),
            Err(_) => refused += 1,
        }
    }
    println!("{segments:>7} segments: {} KiB resident; {snapshots} snapshots, {refused} refused", resident());
}
