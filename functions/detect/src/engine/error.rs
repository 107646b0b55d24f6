use std::path::PathBuf;

use detektor_contract::{Fault, Faulty};

use super::PrepareError;

/// Why an engine could not be made, or could not look.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A picture is of no use to this engine.
    #[error("preparing a picture")]
    Prepare(#[from] PrepareError),
    /// The ONNX Runtime library is nowhere.
    #[error(
        "engine ort: no ONNX Runtime library at {}; run scripts/fetch-onnxruntime, or name it in ORT_DYLIB_PATH",
        looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoLibrary {
        /// Where it could have been.
        looked_at: Vec<PathBuf>,
    },
    /// The ONNX Runtime library is there and cannot be used.
    #[error("engine ort: library {path} cannot be loaded; run scripts/fetch-onnxruntime for one that can")]
    Library {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine cannot run the model's graph.
    #[error("engine {engine} cannot run model {model}")]
    Unsuitable {
        /// The engine's name.
        engine: &'static str,
        /// The model's name.
        model: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The graph's outputs are not what the manifest says they are.
    #[error("model {model}: output {tensor} has shape {found:?}, the manifest means {expected}")]
    OutputShape {
        /// The model's name.
        model: String,
        /// The tensor's name.
        tensor: String,
        /// Its shape; what depends on the input is missing.
        found: Vec<usize>,
        /// What it should be.
        expected: String,
    },
    /// Running the graph failed.
    #[error("engine {engine}: running model {model}")]
    Run {
        /// The engine's name.
        engine: &'static str,
        /// The model's name.
        model: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Faulty for EngineError {
    fn fault(&self) -> Fault {
        match self {
            EngineError::Prepare(_) => Fault::Permanent,
            // None of these is the picture's doing: the input is innocent.
            EngineError::NoLibrary { .. }
            | EngineError::Library { .. }
            | EngineError::Unsuitable { .. }
            | EngineError::OutputShape { .. }
            | EngineError::Run { .. } => Fault::Transient,
        }
    }
}
