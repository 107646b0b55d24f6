//! tract: pure Rust, inside the binary, always there.

use tract_onnx::prelude::*;

use super::EngineError;
use super::cpu::{Output, Runner};
use crate::model::Model;

/// The engine's name.
pub(super) const NAME: &str = "tract";

/// A graph that tract has optimised for its one input shape.
pub(super) struct TractRunner {
    model: Model,
    shape: [usize; 4],
    state: TypedSimpleState,
}

impl TractRunner {
    pub(super) fn new(model: &Model) -> Result<Self, EngineError> {
        let shape = model.manifest().input.shape();
        let state = optimise(model, shape).map_err(|source| EngineError::Unsuitable {
            engine: NAME,
            model: model.manifest().name.clone(),
            source: source.into_boxed_dyn_error(),
        })?;
        Ok(Self { model: model.clone(), shape, state })
    }
}

fn optimise(model: &Model, shape: [usize; 4]) -> TractResult<TypedSimpleState> {
    tract_onnx::onnx()
        .model_for_proto_model(model.graph())?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?
        .spawn()
}

impl Runner for TractRunner {
    fn run(
        &mut self,
        input: &[f32],
        read: &mut dyn FnMut(&[Output<'_>]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let failed = |source: TractError| EngineError::Run {
            engine: NAME,
            model: self.model.manifest().name.clone(),
            source: source.into_boxed_dyn_error(),
        };
        let input = Tensor::from_shape(&self.shape, input).map_err(failed)?;
        let values = self.state.run(tvec![input.into_tvalue()]).map_err(failed)?;
        let outputs: Result<Vec<_>, _> = values
            .iter()
            .map(|value| {
                Ok(Output { shape: value.shape().to_vec(), data: value.try_as_plain_ram()?.as_slice::<f32>()? })
            })
            .collect();
        read(&outputs.map_err(failed)?)
    }
}
