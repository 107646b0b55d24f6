//! What engines on the CPU share: letterbox, run the graph, decode its output, one look at a time.

use super::decode::Decoder;
use super::{Engine, EngineError, Look, Prepare, RawBox, suppress};
use crate::model::Model;
use detektor_contract::EngineId;

/// One output tensor.
pub(super) struct Output<'a> {
    /// Its shape, batch axis included.
    pub(super) shape: Vec<usize>,
    /// Its values, row by row.
    pub(super) data: &'a [f32],
}

/// Runs a graph on one prepared input.
///
/// One at a time also when more are there: on a CPU a batch is no faster, and since the answer to a picture may
/// depend on the batch size in its last bits, always the same size means always the same answer.
pub(super) trait Runner: Send {
    /// Runs the graph and shows its outputs, in the manifest's order, to `read`.
    fn run(
        &mut self,
        input: &[f32],
        read: &mut dyn FnMut(&[Output<'_>]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError>;
}

/// An engine on the CPU.
pub(super) struct CpuEngine {
    id: EngineId,
    model: Model,
    prepare: Box<dyn Prepare>,
    runner: Box<dyn Runner>,
    decoder: Decoder,
    input: Vec<f32>,
}

impl CpuEngine {
    /// Runs the graph once, so that a model that does not fit shows before there is work.
    pub(super) fn new(
        name: &'static str,
        model: &Model,
        runner: Box<dyn Runner>,
        prepare: Box<dyn Prepare>,
    ) -> Result<Self, EngineError> {
        let mut engine = Self {
            id: EngineId { engine: name.to_owned(), model: model.manifest().name.clone(), digest: model.digest() },
            decoder: Decoder::new(model.manifest()),
            input: vec![0.0; model.manifest().input.len()],
            model: model.clone(),
            prepare,
            runner,
        };
        engine.infer()?;
        Ok(engine)
    }

    /// Boxes in input pixels, best first, overlaps suppressed.
    fn infer(&mut self) -> Result<Vec<RawBox>, EngineError> {
        let Self { runner, decoder, input, model, .. } = self;
        let mut boxes = Vec::new();
        runner.run(input, &mut |outputs| decoder.decode(model.manifest(), outputs, &mut boxes))?;
        let thresholds = model.manifest().thresholds;
        suppress(&mut boxes, thresholds.iou);
        Ok(boxes)
    }
}

impl Engine for CpuEngine {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError> {
        let mut answers = Vec::with_capacity(looks.len());
        for look in looks {
            let to_source = self.prepare.prepare(look, &self.model.manifest().input, &mut self.input)?;
            let boxes = self.infer()?;
            answers.push(boxes.into_iter().filter_map(|b| to_source.map(b).clipped(look.region)).collect());
        }
        Ok(answers)
    }
}
