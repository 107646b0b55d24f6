//! The model that looks, and the engine that runs it.

use std::path::Path;

use anyhow::Context;
use detektor_contract::EngineId;
use detektor_detect::engine::{EngineKind, EngineOptions};
use detektor_detect::model::{Manifest, Model};

use crate::config::Config;

const BUNDLED_MANIFEST: &str = include_str!("../../models/efficientdet-lite0.toml");
/// In the binary, so that it works wherever it is copied to.
static BUNDLED_GRAPH: &[u8] = include_bytes!("../../models/efficientdet-lite0.onnx");

/// The model that the configuration names, or the bundled one.
pub fn load(config: &Config) -> anyhow::Result<Model> {
    match &config.model {
        Some(path) => Model::load(path).with_context(|| format!("model {}", path.display())),
        None => {
            let manifest = Manifest::parse(BUNDLED_MANIFEST).context("the bundled model's manifest")?;
            Ok(Model::from_parts(manifest, BUNDLED_GRAPH, Path::new("efficientdet-lite0.onnx"))?)
        }
    }
}
