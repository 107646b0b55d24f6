//! What a model's output tensors mean.

use super::InputSpec;

/// What the scores in a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Before the sigmoid. Cheaper: the threshold is turned into a logit once, and only survivors are converted.
    Logits,
    /// From 0 to 1.
    Probabilities,
}

/// EfficientDet's anchors: on each level, in each cell of `2^level` pixels, each octave with each ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorSpec {
    /// First and last level, both included; the stride is 2 to the level.
    pub levels: [u32; 2],
    /// Sizes within a level: 2^(i / octaves) for i below `octaves`.
    pub octaves: u32,
    /// Width over height.
    pub ratios: Vec<f32>,
    /// Side of the first octave's square anchor, in strides.
    pub scale: f32,
}

/// Where YOLOX's predictions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YoloxTensors {
    /// One tensor `[1, n, 5 + classes]`: box, objectness, scores.
    Joined(String),
    /// Three tensors `[1, n, 4]`, `[1, n, 1]` and `[1, n, classes]`.
    Split {
        /// Boxes.
        boxes: String,
        /// Whether there is anything.
        objectness: String,
        /// What it is.
        scores: String,
    },
}

/// What a model's output tensors mean.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputSpec {
    /// `[1, n, classes]` scores and `[1, n, 4]` boxes (ty, tx, th, tw) over n anchors.
    EfficientDet {
        /// Name of the tensor of scores.
        scores: String,
        /// Name of the tensor of boxes.
        boxes: String,
        /// What the scores are.
        activation: Activation,
        /// What the boxes are relative to.
        anchors: AnchorSpec,
    },
    /// Boxes (centre x, centre y, width, height) on grids of the given strides, rows first.
    Yolox {
        /// Names of the tensors.
        tensors: YoloxTensors,
        /// What objectness and scores are.
        activation: Activation,
        /// Whether boxes are in input pixels already; else relative to their cell, sizes as logarithms.
        decoded: bool,
        /// Cell sizes in pixels, in the tensor's order.
        strides: Vec<u32>,
    },
    /// `[1, 4 + classes, n]`: boxes (centre x, centre y, width, height) in input pixels, and scores.
    Yolov8 {
        /// Name of the tensor.
        predictions: String,
        /// What the scores are.
        activation: Activation,
    },
}

impl OutputSpec {
    /// The tensors' names, in the order in which engines hand them over.
    pub fn tensors(&self) -> Vec<&str> {
        match self {
            OutputSpec::EfficientDet { scores, boxes, .. } => vec![scores, boxes],
            OutputSpec::Yolox { tensors: YoloxTensors::Joined(all), .. } => vec![all],
            OutputSpec::Yolox { tensors: YoloxTensors::Split { boxes, objectness, scores }, .. } => {
                vec![boxes, objectness, scores]
            }
            OutputSpec::Yolov8 { predictions, .. } => vec![predictions],
        }
    }

    /// How many boxes a look's tensors speak of; none where only the tensors know.
    pub fn predictions(&self, input: &InputSpec) -> Option<u64> {
        let cells = |side: u32| u64::from(input.width.div_ceil(side)) * u64::from(input.height.div_ceil(side));
        match self {
            OutputSpec::EfficientDet { anchors, .. } => {
                let [first, last] = anchors.levels;
                let each = u64::from(anchors.octaves) * anchors.ratios.len() as u64;
                Some((first..=last).map(|level| cells(1 << level) * each).sum())
            }
            OutputSpec::Yolox { strides, .. } => Some(strides.iter().map(|stride| cells(*stride)).sum()),
            OutputSpec::Yolov8 { .. } => None,
        }
    }
}
