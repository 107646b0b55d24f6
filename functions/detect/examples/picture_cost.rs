//! What is done to a decoded picture beside inference: `picture_cost FILE` prints one JSON object, CPU in microseconds.
//!
//! `motion`: its thumbnail and what moved in it; `letterbox`: the model's input; `planes` and `jpeg`: a snapshot.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cpu;
#[path = "../tests/footage/mod.rs"]
mod footage;

use std::path::Path;
use std::time::Duration;

use detektor_contract::DetectPolicy;
use detektor_detect::decode::Decoders;
use detektor_detect::engine::{Look, Prepare};
use detektor_detect::gate::Watch;
use detektor_detect::letterbox::Letterbox;
use detektor_detect::model::Model;
use detektor_detect::picture::Picture;
use detektor_detect::segment::{Plan, Timeline};
use detektor_detect::snapshot::{JpegEncoder, jpeg_planes};

const MODEL: &str = "models/efficientdet-lite0.toml";

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = cpu::thread();
    let done = work();
    *sum += cpu::thread() - start;
    done
}

fn main() {
    let file = std::env::args().nth(1).expect("usage: picture_cost FILE");
    let model = Model::load(MODEL).expect("the bundled model");
    let spec = &model.manifest().input;
    let mut input = vec![0.0; spec.len()];
    let (mut decoders, mut letterbox, mut encoder) = (Decoders::new(1), Letterbox::default(), JpegEncoder::default());
    let [mut motion, mut boxed, mut planes, mut jpeg] = [Duration::ZERO; 4];
    let (mut pictures, mut bytes) = (0u32, 0);
    for job in footage::jobs(Path::new(&file), "bench", &DetectPolicy::default()) {
        let timeline = Timeline::read(&job, &footage::video(&job)).expect("a segment");
        let plan = Plan::new(&timeline, 0..job.span.frames);
        let mut watch = Watch::new(&[]);
        let decoder = decoders.get(timeline.codec, &timeline.extradata).expect("a decoder");
        for decoded in decoder.run(plan.packets(&timeline)) {
            let decoded = decoded.expect("a picture");
            let Some(index) = timeline.frame_of(decoded.ordinal) else { continue };
            let picture = Picture::of(&decoded.frame).expect("planes");
            timed(&mut motion, || watch.next(timeline.frames[index as usize].at, &picture));
            timed(&mut boxed, || letterbox.prepare(&Look::whole(&decoded.frame), spec, &mut input)).expect("an input");
            let mut copy = timed(&mut planes, || jpeg_planes(&picture));
            bytes += timed(&mut jpeg, || encoder.encode(&mut copy)).expect("a JPEG").len();
            pictures += 1;
        }
    }
    let each = |sum: Duration| (sum / pictures.max(1)).as_micros() as u64;
    println!(
        "{}",
        serde_json::json!({
            "pictures": pictures, "motion_us": each(motion), "letterbox_us": each(boxed),
            "planes_us": each(planes), "jpeg_us": each(jpeg), "jpeg_bytes": bytes / pictures.max(1) as usize,
        })
    );
}
