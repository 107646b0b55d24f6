//! A model: an ONNX file and the manifest beside it that says what goes in and what comes out.
//!
//! The file itself stays as its makers published it, so that its checksum proves it: what Detektor leaves out of the
//! graph (NMS, a last layer of sigmoids) it leaves out in memory, by the names that the manifest gives.

mod error;
mod graph;
mod input;
mod labels;
mod manifest;
mod output;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use detektor_contract::Digest;
use prost::Message;
use sha2::{Digest as _, Sha256};
use tract_onnx::pb::ModelProto;

pub use error::ModelError;
pub use input::{Channels, InputSpec, Layout, Padding};
pub use labels::Labels;
pub use manifest::{Manifest, Thresholds};
pub use output::{Activation, AnchorSpec, OutputSpec, YoloxTensors};

/// A model that loaded: its file is the one its manifest means, and its graph has what the manifest names.
/// Cheap to clone; engines share it.
#[derive(Clone, Debug)]
pub struct Model {
    manifest: Arc<Manifest>,
    digest: Digest,
    graph: Arc<ModelProto>,
}

impl Model {
    /// Loads a model by its manifest, or by its `.onnx` file with the manifest beside it (`x.onnx`, `x.toml`).
    ///
    /// # Errors
    /// Whatever is wrong, with the file that it is in; all mistakes of a manifest at once.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = manifest_path(path.as_ref());
        let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let manifest =
            Manifest::parse(&text).map_err(|mistakes| ModelError::Manifest { path: path.clone(), mistakes })?;
        let file = path.parent().unwrap_or(Path::new("")).join(&manifest.file);
        let bytes = std::fs::read(&file).map_err(|source| ModelError::Read { path: file.clone(), source })?;
        Self::from_parts(manifest, &bytes, &file)
    }

    /// A model out of a manifest and the bytes of its file; `file` is named in errors.
    ///
    /// # Errors
    /// A wrong checksum, bytes that are not ONNX, a graph that does not fit the manifest.
    pub fn from_parts(manifest: Manifest, bytes: &[u8], file: &Path) -> Result<Self, ModelError> {
        let found = hex(&Sha256::digest(bytes));
        if found != manifest.sha256 {
            return Err(ModelError::Checksum { path: file.to_owned(), expected: manifest.sha256, found });
        }
        let mut graph =
            ModelProto::decode(bytes).map_err(|source| ModelError::NotOnnx { path: file.to_owned(), source })?;
        graph::prepare(&mut graph, &manifest)
            .map_err(|mistakes| ModelError::Graph { path: file.to_owned(), mistakes })?;
        Ok(Self { manifest: Arc::new(manifest), digest: Digest::of(bytes), graph: Arc::new(graph) })
    }

    /// What goes in and what comes out.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the model's file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The part of the graph that is run: one input, and the outputs that the manifest names, in its order.
    pub(crate) fn graph(&self) -> &ModelProto {
        &self.graph
    }
}

fn manifest_path(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|e| e == "onnx") { path.with_extension("toml") } else { path.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
