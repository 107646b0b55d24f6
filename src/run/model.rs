//! The model that looks, the engine that runs it, and the workers that hold them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use detektor_backends::bucket::Bucket;
use detektor_contract::EngineId;
use detektor_detect::engine::{Detector, EngineError, EngineKind, EngineOptions};
use detektor_detect::letterbox::Letterbox;
use detektor_detect::model::{Manifest, Model};
use detektor_detect::worker::Worker;
use detektor_detect::{Detect, DetectConfig, Numbers};
use detektor_runtime::Metrics;

use crate::config::Config;

const BUNDLED_MANIFEST: &str = include_str!("../../models/efficientdet-lite0.toml");
/// In the binary, so that it works wherever it is copied to.
static BUNDLED_GRAPH: &[u8] = include_bytes!("../../models/efficientdet-lite0.onnx");
/// Decoders that a worker keeps for streams it may see again.
const DECODERS: usize = 16;

/// The model that the configuration names, or the bundled one.
pub fn load_model(config: &Config) -> anyhow::Result<Model> {
    match &config.model {
        Some(path) => Model::load(path).with_context(|| format!("the model {}", path.display())),
        None => {
            let wrong = |mistakes| anyhow::anyhow!("the bundled model's manifest: {mistakes}");
            let manifest = Manifest::parse(BUNDLED_MANIFEST).map_err(wrong)?;
            Ok(Model::from_parts(manifest, BUNDLED_GRAPH, Path::new("efficientdet-lite0.onnx"))?)
        }
    }
}

/// Starts an engine, which runs the model once, and says what it is.
pub fn try_engine(model: &Model, engine: EngineKind) -> Result<EngineId, EngineError> {
    Ok(detector(model, engine)?.id().clone())
}

fn detector(model: &Model, engine: EngineKind) -> Result<Detector, EngineError> {
    Detector::with(model, engine, &EngineOptions::default(), Box::new(Letterbox::default()))
}

/// How many threads decode and look.
pub fn workers(config: &Config) -> usize {
    config.workers.unwrap_or(DetectConfig::default().workers)
}

/// The detect function, with its workers' engines started.
pub async fn detect(config: &Config, bucket: Arc<dyn Bucket>, metrics: &Metrics) -> anyhow::Result<Detect> {
    let model = load_model(config)?;
    let input = (model.manifest().input.width, model.manifest().input.height);
    let (engine, numbers) = (config.engine, Numbers::new(metrics)?);
    let build = move || Ok(Worker::new(detector(&model, engine)?, input, DECODERS, numbers.clone()));
    let detect = Detect::start(&DetectConfig { workers: workers(config) }, bucket, build).await;
    detect.with_context(|| format!("the {} engine", config.engine.name()))
}
