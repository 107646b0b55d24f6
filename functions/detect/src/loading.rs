//! The model that looks, the engine that runs it, and the workers that hold them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use detektor_backends::bucket::Bucket;
use detektor_contract::EngineId;
use detektor_runtime::Metrics;
use detektor_runtime::metrics::MetricsError;

use crate::engine::{Detector, EngineError, EngineKind, EngineOptions};
use crate::handler::{Detect, DetectConfig};
use crate::letterbox::Letterbox;
use crate::metrics::Numbers;
use crate::model::{Manifest, Model, ModelError};
use crate::worker::Worker;

const BUNDLED_MANIFEST: &str = include_str!("../../../models/efficientdet-lite0.toml");
/// In the binary, so that it works wherever it is copied to.
static BUNDLED_GRAPH: &[u8] = include_bytes!("../../../models/efficientdet-lite0.onnx");
/// Decoders that a worker keeps for streams it may see again.
const DECODERS: usize = 16;

/// What looks: which model, on which engine, on how many threads.
#[derive(Clone, Debug, Default)]
pub struct Looking {
    /// The model's manifest, or its `.onnx` file with the manifest beside it; none takes the bundled model.
    pub model: Option<PathBuf>,
    /// Which engine runs it.
    pub engine: EngineKind,
    /// Threads that decode and infer; none takes one a core.
    pub workers: Option<usize>,
}

/// Why the detect function does not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model cannot be read.
    #[error("the model {0}")]
    Model(String, #[source] ModelError),
    /// Its metrics cannot be registered.
    #[error("the detect function")]
    Metrics(#[from] MetricsError),
    /// The engine or its workers do not start.
    #[error("the {0} engine")]
    Start(&'static str, #[source] detektor_runtime::blocking::StartError),
}

impl Looking {
    /// The model.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn load(&self) -> Result<Model, LoadError> {
        let loaded = match &self.model {
            Some(path) => Model::load(path),
            None => Manifest::parse(BUNDLED_MANIFEST)
                .map_err(|mistakes| ModelError::Manifest { path: PathBuf::from("efficientdet-lite0.toml"), mistakes })
                .and_then(|manifest| Model::from_parts(manifest, BUNDLED_GRAPH, Path::new("efficientdet-lite0.onnx"))),
        };
        let name = || self.model.as_ref().map_or_else(|| "bundled".to_owned(), |path| path.display().to_string());
        loaded.map_err(|error| LoadError::Model(name(), error))
    }

    /// How many threads decode and look.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or(DetectConfig::default().workers)
    }

    /// The detect function, with its workers' engines started.
    ///
    /// # Errors
    /// Where the model cannot be read or an engine does not start.
    pub async fn start(&self, bucket: Arc<dyn Bucket>, metrics: &Metrics) -> Result<Detect, LoadError> {
        let model = self.load()?;
        let input = (model.manifest().input.width, model.manifest().input.height);
        let (engine, numbers) = (self.engine, Numbers::new(metrics)?);
        let build = move || Ok(Worker::new(detector(&model, engine)?, input, DECODERS, numbers.clone()));
        let started = Detect::start(&DetectConfig { workers: self.workers() }, bucket, build).await;
        started.map_err(|error| LoadError::Start(self.engine.name(), error))
    }
}

/// Starts an engine, which runs the model once, and says what it is.
///
/// # Errors
/// The engine's.
pub fn try_engine(model: &Model, engine: EngineKind) -> Result<EngineId, EngineError> {
    Ok(detector(model, engine)?.id().clone())
}

fn detector(model: &Model, engine: EngineKind) -> Result<Detector, EngineError> {
    Detector::with(model, engine, &EngineOptions::default(), Box::new(Letterbox::default()))
}
