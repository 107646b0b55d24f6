use detektor_contract::{Box2, Detection, EngineId, Label, Score};

use super::{Engine, EngineError, EngineKind, EngineOptions, Look, Prepare, RawBox, combine, open};
use crate::letterbox::Letterbox;
use crate::model::{Labels, Model, Thresholds};

/// An engine, and what turns its boxes into detections. One a worker thread.
pub struct Detector {
    engine: Box<dyn Engine>,
    labels: Labels,
    thresholds: Thresholds,
}

impl Detector {
    /// A detector whose engine, where it runs on the CPU, letterboxes host pictures.
    ///
    /// # Errors
    /// See [`open`].
    pub fn new(model: &Model, kind: EngineKind, options: &EngineOptions) -> Result<Self, EngineError> {
        Self::with(model, kind, options, Box::new(Letterbox::default()))
    }

    /// A detector whose engine prepares pictures by `prepare`, where it does not do that itself.
    ///
    /// # Errors
    /// See [`open`].
    pub fn with(
        model: &Model,
        kind: EngineKind,
        options: &EngineOptions,
        prepare: Box<dyn Prepare>,
    ) -> Result<Self, EngineError> {
        let manifest = model.manifest();
        let engine = open(model, kind, options, prepare)?;
        Ok(Self::of(engine, manifest.labels.clone(), manifest.thresholds))
    }

    /// A detector out of an engine that is there already.
    pub fn of(engine: Box<dyn Engine>, labels: Labels, thresholds: Thresholds) -> Self {
        Self { engine, labels, thresholds }
    }

    /// What looks.
    pub fn id(&self) -> &EngineId {
        self.engine.id()
    }

    /// See [`Engine::detect`].
    ///
    /// # Errors
    /// See [`Engine::detect`].
    pub fn detect(&mut self, looks: &[Look<'_>]) -> Result<Vec<Vec<RawBox>>, EngineError> {
        self.engine.detect(looks)
    }

    /// What was seen in one picture, out of all looks at it: overlaps between looks suppressed, scores below `store`
    /// and classes not in `labels` (where it is not empty) left out, rounded, best first.
    pub fn detections(&self, looks: &[Vec<RawBox>], store: Score, labels: &[Label]) -> Vec<Detection> {
        let wanted = |label: &Label| labels.is_empty() || labels.contains(label);
        let mut boxes = combine(looks, self.thresholds.iou);
        boxes.retain(|b| Score::from_f32(b.score) >= store && self.labels.get(b.class).is_some_and(wanted));
        boxes.truncate(self.thresholds.max_detections as usize);
        boxes.iter().filter_map(|b| self.round(b)).collect()
    }

    fn round(&self, b: &RawBox) -> Option<Detection> {
        Some(Detection {
            label: self.labels.get(b.class)?.clone(),
            score: Score::from_f32(b.score),
            bounds: Box2::from_pixels(b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0),
        })
    }
}
