//! Engines: what runs a model over pictures.
//!
//! The seam is [`Engine`]: decoded pictures in, boxes in source pixels out, a batch at a time. Letterboxing, the
//! graph and the decoding of its output lie behind it together, because a GPU engine does all three where the picture
//! already is; what they share on the CPU is shared by composition.

mod error;
mod look;

pub use error::EngineError;
pub use look::{Look, Prepare, PrepareError, RawBox, Region, ToSource};

use detektor_contract::EngineId;

/// Runs one model. Lives as long as its worker thread, and gives the same answer to the same look in the same batch.
pub trait Engine: Send {
    /// What runs which model.
    fn id(&self) -> &EngineId;

    /// Looks at each region and answers in the same order. Boxes are in pixels of the whole source picture, best
    /// first, within the picture, above the manifest's store threshold, one class's overlaps suppressed.
    ///
    /// # Errors
    /// The batch as a whole fails: one look that cannot be read, or the engine itself.
    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError>;
}
