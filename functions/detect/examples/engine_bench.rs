//! How fast each engine is, as a share of ONNX Runtime running the model's file as it was published, on one thread.
//!
//! `ORT_DYLIB_PATH="$(scripts/fetch-onnxruntime)" cargo run --release -p detektor-detect --example engine_bench
//! [MANIFEST] [ROUNDS]` prints one JSON object. The engines take turns, so that what else the machine does hits them
//! alike; times are medians of CPU time. An engine's includes decoding its output and suppressing overlaps, ONNX
//! Runtime's alone is the graph and nothing else, in a process of its own, since there is one environment a process.

mod cpu;

use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use detektor_detect::engine::{Engine, EngineKind, EngineOptions, Look, Prepare, PrepareError, ToSource, open};
use detektor_detect::model::{InputSpec, Model};
use ffmpeg::format::Pixel;
use ffmpeg::frame;
use ort::session::Session;
use ort::value::TensorRef;

/// Leaves the input as it is: letterboxing is measured elsewhere.
struct Nothing;

impl Prepare for Nothing {
    fn prepare(&mut self, _: &Look<'_>, _: &InputSpec, _: &mut [f32]) -> Result<ToSource, PrepareError> {
        Ok(ToSource { scale: [1.0; 2], offset: [0.0; 2] })
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bare", manifest] => serve(&Model::load(manifest)?, manifest),
        [] => compare("models/efficientdet-lite0.toml", 50),
        [manifest] => compare(manifest, 50),
        [manifest, rounds, ..] => compare(manifest, rounds.parse().context("ROUNDS: expected a number")?),
    }
}

fn compare(manifest: &str, rounds: usize) -> Result<()> {
    let model = Model::load(manifest)?;
    let mut bare = Bare::start(manifest)?;
    let mut engines: Vec<(EngineKind, Box<dyn Engine>)> = Vec::new();
    for kind in EngineKind::ALL {
        engines.push((kind, open(&model, kind, &EngineOptions::default(), Box::new(Nothing))?));
    }
    let spec = &model.manifest().input;
    let picture = frame::Video::new(Pixel::RGB24, spec.width, spec.height);

    let mut bare_times = Vec::new();
    let mut times = vec![Vec::new(); engines.len()];
    for _ in 0..rounds {
        bare_times.push(bare.run()?);
        for ((_, engine), times) in engines.iter_mut().zip(&mut times) {
            times.push(timed(|| {
                engine.detect(&[Look::whole(&picture)])?;
                Ok(())
            })?);
        }
    }
    let base = Times::of(bare_times);
    let by_engine: serde_json::Map<_, _> = engines
        .iter()
        .zip(times)
        .map(|((kind, _), times)| (kind.to_string(), Times::of(times).against(&base)))
        .collect();
    let all = serde_json::json!({
        "model": model.manifest().name, "rounds": rounds, "engines": by_engine,
        "onnxruntime": { "median_ms": base.median, "best_ms": base.best },
    });
    println!("{all}");
    Ok(())
}

/// ONNX Runtime alone, in another process.
struct Bare {
    orders: ChildStdin,
    times: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    fn start(manifest: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bare", manifest])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("no pipe")?;
        let times = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        // It ends when its orders do.
        Ok(Self { orders, times })
    }

    fn run(&mut self) -> Result<Duration> {
        self.orders.write_all(b"run\n")?;
        let time = self.times.next().context("ONNX Runtime's process ended")??;
        Ok(Duration::from_nanos(time.parse()?))
    }
}

/// Runs the model's file once for each line of input, and answers with the time in nanoseconds.
fn serve(model: &Model, manifest: &str) -> Result<()> {
    let file = Path::new(manifest).with_file_name(&model.manifest().file);
    let mut session = bare_session(&file)?;
    let spec = &model.manifest().input;
    let input = vec![0.0f32; spec.len()];
    for order in stdin().lines() {
        order?;
        let time = timed(|| {
            session.run(ort::inputs![TensorRef::from_array_view((spec.shape(), &*input))?])?;
            Ok(())
        })?;
        println!("{}", time.as_nanos());
    }
    Ok(())
}

fn bare_session(file: &Path) -> ort::Result<Session> {
    let environment = ort::init().build()?;
    Session::builder(&environment)?.with_intra_threads(1)?.with_inter_threads(1)?.commit_from_file(file)
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = cpu::thread();
    run()?;
    Ok(cpu::thread() - start)
}

/// In milliseconds.
struct Times {
    median: f64,
    /// What the machine gives when nothing else runs.
    best: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |index: usize| times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        Self { median: at(times.len() / 2), best: at(0) }
    }

    /// With the rate as a share of `base`'s.
    fn against(&self, base: &Times) -> serde_json::Value {
        serde_json::json!({
            "median_ms": self.median, "best_ms": self.best,
            "rate": base.median / self.median, "rate_at_best": base.best / self.best,
        })
    }
}
