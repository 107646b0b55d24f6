//! What the gate costs: `gate_loss MODEL ENGINE FPS|all FILE...` prints one JSON object a file.
//!
//! Every sampled frame is looked at once without the gate; then the gate says which it would have looked at. A detection
//! counts as lost where its frame would have been skipped as quiet. One that moves is counted apart: nothing of its
//! class covers the same place a second before or after.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cpu;
#[path = "../tests/footage/mod.rs"]
mod footage;

use std::path::Path;

use detektor_contract::{DetectPolicy, Detection, Digest, EngineId, Fate, Frame, Sampling, Score, SegmentJob};
use detektor_detect::Numbers;
use detektor_detect::engine::{Detector, Engine, EngineError, EngineOptions, Look, RawBox};
use detektor_detect::letterbox::Letterbox;
use detektor_detect::model::{Labels, Model, Thresholds};
use detektor_detect::worker::{Call, Worker};
use detektor_runtime::Metrics;

/// Sees nothing, in no time.
struct Blind(EngineId);

impl Engine for Blind {
    fn id(&self) -> &EngineId {
        &self.0
    }

    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError> {
        Ok(vec![Vec::new(); looks.len()])
    }
}

fn frames(worker: &mut Worker, jobs: &[SegmentJob], gate: bool) -> Vec<Frame> {
    let each = jobs.iter().flat_map(|job| {
        let job = SegmentJob { policy: DetectPolicy { gate, ..job.policy.clone() }, ..job.clone() };
        worker.look(&job, &footage::video(&job), &Call::default()).expect("a segment").frames
    });
    each.collect()
}

fn seen(frame: &Frame) -> &[Detection] {
    match &frame.fate {
        Fate::Detected(seen) => seen,
        _ => &[],
    }
}

/// Whether nothing of the class covers the same place a second before, or a second after.
fn moves(frames: &[Frame], frame: &Frame, detection: &Detection) -> bool {
    let there = |shift: i64| {
        let at = frame.at.plus(shift);
        let index = frames.partition_point(|f| f.at < at).min(frames.len() - 1);
        let near = &frames[index.saturating_sub(6)..(index + 7).min(frames.len())];
        near.iter().flat_map(seen).any(|d| d.label == detection.label && d.bounds.iou(detection.bounds) > 7_000)
    };
    !there(-1_000_000) || !there(1_000_000)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let usage = "usage: gate_loss MODEL ENGINE FPS|all FILE...";
    let (model, engine, fps) = (args.next().expect(usage), args.next().expect(usage), args.next().expect(usage));
    let sampling = if fps == "all" { Sampling::All } else { Sampling::PerSecond(fps.parse().expect(usage)) };
    let model = Model::load(model).expect("a model");
    let input = (model.manifest().input.width, model.manifest().input.height);
    let numbers = Numbers::new(&Metrics::new()).expect("metrics");
    let id = EngineId { engine: "blind".into(), model: "none".into(), digest: Digest::of(b"") };
    let blind = Detector::of(Box::new(Blind(id)), Labels::new(["thing"]), Thresholds::default());
    let mut gate = Worker::new(blind, input, 1, numbers.clone());
    let detector = || {
        let letterbox = Box::new(Letterbox::default());
        Detector::with(&model, engine.parse().expect(usage), &EngineOptions::default(), letterbox).expect("an engine")
    };
    for file in args {
        let policy = DetectPolicy { sampling, ..DetectPolicy::default() };
        let jobs = footage::jobs(Path::new(&file), "camera", &policy);
        let all = frames(&mut Worker::new(detector(), input, 1, numbers.clone()), &jobs, false);
        let start = cpu::thread();
        let gated = frames(&mut gate, &jobs, true);
        let spent = cpu::thread() - start;
        let looked = |frame: &Frame| matches!(frame.fate, Fate::Detected(_));
        let count = |frames: &[Frame]| frames.iter().filter(|frame| looked(frame)).count();
        let mut detections = serde_json::Map::new();
        for (score, moving) in [(0.3, false), (0.3, true), (0.5, false), (0.5, true)] {
            let least = Score::from_f32(score);
            let (mut total, mut lost) = (0, 0);
            for (frame, gated) in all.iter().zip(&gated) {
                let counts = |d: &&Detection| d.score >= least && (!moving || moves(&all, frame, d));
                let seen = seen(frame).iter().filter(counts).count();
                total += seen;
                lost += if looked(gated) { 0 } else { seen };
            }
            let kind = if moving { "moving, from" } else { "from" };
            detections.insert(format!("{kind} {score}"), serde_json::json!({ "seen": total, "lost": lost }));
        }
        println!(
            "{}",
            serde_json::json!({
                "file": file, "frames": all.len(), "sampled": count(&all), "looked_at": count(&gated),
                "gate_cpu_ms": spent.as_millis() as u64, "detections": detections,
            })
        );
    }
}
