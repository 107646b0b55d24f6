use std::path::PathBuf;

use detektor_contract::{Fault, Faulty};
use detektor_runtime::fields::Mistakes;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The manifest or the file it names cannot be read.
    #[error("model file {path}: cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest has mistakes.
    #[error("model manifest {path}: {mistakes}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// All of them.
        mistakes: Mistakes,
    },
    /// The file is not the one that the manifest means.
    #[error("model file {path}: its SHA-256 is {found}, the manifest says {expected}: damaged, or another file")]
    Checksum {
        /// The model's file.
        path: PathBuf,
        /// In hexadecimal, from the manifest.
        expected: String,
        /// In hexadecimal, of the file.
        found: String,
    },
    /// The file is not an ONNX model.
    #[error("model file {path}: not an ONNX model")]
    NotOnnx {
        /// The model's file.
        path: PathBuf,
        /// What broke.
        source: prost::DecodeError,
    },
    /// The graph does not have what the manifest says.
    #[error("model file {path} does not fit its manifest: {mistakes}")]
    Graph {
        /// The model's file.
        path: PathBuf,
        /// All that does not fit.
        mistakes: Mistakes,
    },
}

impl Faulty for ModelError {
    fn fault(&self) -> Fault {
        match self {
            // A volume that is not mounted yet looks like this.
            ModelError::Read { .. } => Fault::Transient,
            ModelError::Manifest { .. }
            | ModelError::Checksum { .. }
            | ModelError::NotOnnx { .. }
            | ModelError::Graph { .. } => Fault::Permanent,
        }
    }
}
