//! Engines: what runs a model over pictures.
//!
//! The seam is [`Engine`]: decoded pictures in, boxes in source pixels out, a batch at a time. Letterboxing, the
//! graph and the decoding of its output lie behind it together, because a GPU engine does all three where the picture
//! already is; what they share on the CPU is shared by composition.

mod cpu;
mod decode;
mod depthwise;
mod detector;
mod error;
mod library;
mod look;
mod nms;
mod ort;
mod tract;

pub use detector::Detector;
pub use error::EngineError;
pub use look::{Look, Prepare, PrepareError, RawBox, Region, ToSource};
pub use nms::{combine, suppress};

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use detektor_contract::EngineId;

use crate::model::Model;
use cpu::CpuEngine;

/// Runs one model. Lives as long as its worker thread, and gives the same answer to the same look in the same batch.
pub trait Engine: Send {
    /// What runs which model.
    fn id(&self) -> &EngineId;

    /// Looks at each region and answers in the same order. Boxes are in pixels of the whole source picture, best
    /// first, within the look's region, above the manifest's store threshold, one class's overlaps suppressed.
    ///
    /// # Errors
    /// The batch as a whole fails: one look that cannot be read, or the engine itself.
    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError>;
}

/// The engines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Pure Rust; needs nothing else.
    #[default]
    Tract,
    /// ONNX Runtime, two to three times as fast; needs its library.
    Ort,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [EngineKind; 2] = [EngineKind::Tract, EngineKind::Ort];

    /// The name that options and results use.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Tract => tract::NAME,
            EngineKind::Ort => ort::NAME,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no engine of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine {0:?}: expected tract or ort")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;
    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// What engines need beside a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// The ONNX Runtime library; where none is named, `ORT_DYLIB_PATH` and the usual places are searched.
    pub ort_library: Option<PathBuf>,
}

/// Makes an engine and runs its graph once.
///
/// # Errors
/// A model that this engine cannot run, a missing library.
pub fn open(
    model: &Model,
    kind: EngineKind,
    options: &EngineOptions,
    prepare: Box<dyn Prepare>,
) -> Result<Box<dyn Engine>, EngineError> {
    let runner: Box<dyn cpu::Runner> = match kind {
        EngineKind::Tract => Box::new(tract::TractRunner::new(model)?),
        EngineKind::Ort => Box::new(ort::OrtRunner::new(model, options.ort_library.as_deref())?),
    };
    Ok(Box::new(CpuEngine::new(kind.name(), model, runner, prepare)?))
}
