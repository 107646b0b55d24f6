//! ONNX Runtime, through a library that is loaded at run time.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use prost::Message;

use super::cpu::{Output, Runner};
use super::{EngineError, library};
use crate::model::Model;

/// The engine's name.
pub(super) const NAME: &str = "ort";

/// The library holds one environment a process; it stays, so that engines may come and go.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A session of one thread.
pub(super) struct OrtRunner {
    model: Model,
    shape: [usize; 4],
    session: Session,
}

impl OrtRunner {
    pub(super) fn new(model: &Model, named: Option<&Path>) -> Result<Self, EngineError> {
        let environment = environment(named)?;
        let session = session(&environment, &model.graph().encode_to_vec()).map_err(|source| {
            EngineError::Unsuitable { engine: NAME, model: model.manifest().name.clone(), source: source.into() }
        })?;
        Ok(Self { model: model.clone(), shape: model.manifest().input.shape(), session })
    }
}

fn environment(named: Option<&Path>) -> Result<Environment, EngineError> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let path = library::find(named)?;
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Library { path: path.clone(), source };
    let builder = ort::init_from(&path).map_err(|error| broken(error.into()))?;
    let made = builder.with_name("detektor").build().map_err(|error| broken(error.into()))?;
    Ok(environment.insert(made).clone())
}

fn session(environment: &Environment, graph: &[u8]) -> Result<Session, ort::Error> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_deterministic_compute(true)?
        .commit_from_memory(graph)
}

impl Runner for OrtRunner {
    fn run(
        &mut self,
        input: &[f32],
        read: &mut dyn FnMut(&[Output<'_>]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let failed = |source: ort::Error| EngineError::Run {
            engine: NAME,
            model: self.model.manifest().name.clone(),
            source: source.into(),
        };
        let input = TensorRef::from_array_view((self.shape, input)).map_err(failed)?;
        let values = self.session.run(ort::inputs![input]).map_err(failed)?;
        let outputs: Result<Vec<_>, _> =
            self.model.manifest().output.tensors().into_iter().map(|name| output(&values, name)).collect();
        read(&outputs.map_err(failed)?)
    }
}

fn output<'a>(values: &'a SessionOutputs<'_>, name: &str) -> Result<Output<'a>, ort::Error> {
    let value = values.get(name).ok_or_else(|| ort::Error::new(format!("no output {name}")))?;
    let (shape, data) = value.try_extract_tensor::<f32>()?;
    Ok(Output { shape: shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect(), data })
}
