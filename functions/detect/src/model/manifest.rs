//! The manifest: a TOML file beside a model's .onnx file. docs/models.md is its reference.

use toml::Value;

use super::fields::{Log, Section, exactly, list, number, number_in, text, whole_in, word};
use super::{Activation, AnchorSpec, Channels, InputSpec, Labels, Layout, Mistakes, OutputSpec, Padding, YoloxTensors};

/// The longest side of an input, in pixels.
const MAX_SIDE: u32 = 4096;
/// How many boxes a look may speak of: fifty times the bundled model's, and no more memory than there should be.
const MAX_PREDICTIONS: u64 = 1_000_000;

/// What a model's file cannot say about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The model's name, part of every result.
    pub name: String,
    /// The .onnx file's name; it lies in the manifest's folder.
    pub file: String,
    /// The file's SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Where the file came from.
    pub source: String,
    /// What goes in.
    pub input: InputSpec,
    /// What comes out.
    pub output: OutputSpec,
    /// Names of the classes.
    pub labels: Labels,
    /// What is worth keeping.
    pub thresholds: Thresholds,
}

/// What is worth keeping of a model's answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Scores below this are forgotten; above 0, below 1.
    pub store: f32,
    /// Of two boxes of one class that overlap by more than this (intersection over union), the better one stays.
    pub iou: f32,
    /// At most this many boxes a look, the best ones.
    pub max_detections: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { store: 0.1, iou: 0.5, max_detections: 100 }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Every mistake in it; a text that is not TOML is one.
    pub fn parse(toml: &str) -> Result<Self, Mistakes> {
        let mut log = Log::default();
        let table = match toml.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                log.add("TOML", error.to_string().trim().replace('\n', " "));
                toml::Table::new()
            }
        };
        let not_toml = log.finish();
        not_toml?;

        let mut log = Log::default();
        let mut root = Section::root(&table);
        let name = root.text("name", &mut log);
        let file = root.required("file", "the name of a file in the manifest's folder", &mut log, file_name);
        let sha256 = root.required("sha256", "64 lower-case hexadecimal digits", &mut log, sha256);
        let licence = root.text("licence", &mut log);
        let source = root.text("source", &mut log);
        let labels = root.required("labels", "coco-80, coco-90, or a list of texts", &mut log, labels);
        let input = input(root.section("input", true, &mut log), &mut log);
        let output = output(root.section("output", true, &mut log), &mut log);
        let thresholds = thresholds(root.section("thresholds", false, &mut log), &mut log);
        root.finish(&mut log);
        if let (Some(input), Some(output)) = (&input, &output)
            && let Some(n) = output.predictions(input).filter(|n| *n > MAX_PREDICTIONS)
        {
            log.add("output", format!("{n} boxes for an input of this size, expected at most {MAX_PREDICTIONS}"));
        }
        log.finish()?;
        let all = || {
            Some(Self {
                name: name?,
                file: file?,
                sha256: sha256?,
                licence: licence?,
                source: source?,
                input: input?,
                output: output?,
                labels: labels?,
                thresholds,
            })
        };
        // Whatever is missing here has been reported above.
        all().ok_or_else(|| Mistakes(Vec::new()))
    }
}

fn file_name(value: &Value) -> Option<String> {
    text(value).filter(|name| !name.contains(['/', '\\', '\0']) && name != "." && name != "..")
}

fn sha256(value: &Value) -> Option<String> {
    text(value).filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn labels(value: &Value) -> Option<Labels> {
    if let Some(set) = value.as_str() {
        return Labels::named(set);
    }
    let names = list(value, |name| name.as_str().map(str::to_owned))?;
    let usable = names.len() <= usize::from(u16::MAX) && names.iter().any(|name| !name.is_empty());
    usable.then(|| Labels::new(names.iter().map(String::as_str)))
}

/// A number for all channels, or one for each.
fn per_channel(value: &Value) -> Option<[f32; 3]> {
    number(value).map(|n| [n; 3]).or_else(|| exactly(value, number))
}

fn input(mut section: Section<'_>, log: &mut Log) -> Option<InputSpec> {
    let size = section
        .required("size", "[width, height], each 1 to 4096", log, |value| exactly(value, whole_in(1..=MAX_SIDE)));
    let layout =
        section.required("layout", "nhwc or nchw", log, word(&[("nhwc", Layout::Nhwc), ("nchw", Layout::Nchw)]));
    let channels =
        section.required("channels", "rgb or bgr", log, word(&[("rgb", Channels::Rgb), ("bgr", Channels::Bgr)]));
    let mean = section.optional("mean", "a number, or three", log, per_channel).unwrap_or([0.0; 3]);
    let scale = section.required("scale", "a number, or three, not 0", log, |value| {
        per_channel(value).filter(|scale| !scale.contains(&0.0))
    });
    let pad = section.required(
        "padding",
        "top-left or centre",
        log,
        word(&[("top-left", Padding::TopLeft), ("centre", Padding::Centre)]),
    );
    let pad_value = section.required("pad_value", "a number from 0 to 255", log, number_in(0.0..=255.0));
    section.finish(log);
    let [width, height] = size?;
    Some(InputSpec {
        width,
        height,
        layout: layout?,
        channels: channels?,
        mean,
        scale: scale?,
        pad_value: pad_value?,
        pad: pad?,
    })
}

#[derive(Clone, Copy)]
enum Kind {
    EfficientDet,
    Yolox,
    Yolov8,
}

fn output(mut section: Section<'_>, log: &mut Log) -> Option<OutputSpec> {
    let kinds = [("efficientdet", Kind::EfficientDet), ("yolox", Kind::Yolox), ("yolov8", Kind::Yolov8)];
    // Which other fields there are depends on this one, so without it they cannot be judged.
    let kind = section.required("kind", "efficientdet, yolox or yolov8", log, word(&kinds))?;
    let activation = section.required(
        "activation",
        "logits or probabilities",
        log,
        word(&[("logits", Activation::Logits), ("probabilities", Activation::Probabilities)]),
    );
    let spec = match kind {
        Kind::EfficientDet => efficientdet(&mut section, activation, log),
        Kind::Yolox => yolox(&mut section, activation, log),
        Kind::Yolov8 => {
            let predictions = section.text("predictions", log);
            (|| Some(OutputSpec::Yolov8 { predictions: predictions?, activation: activation? }))()
        }
    };
    section.finish(log);
    spec
}

fn efficientdet(section: &mut Section<'_>, activation: Option<Activation>, log: &mut Log) -> Option<OutputSpec> {
    let scores = section.text("scores", log);
    let boxes = section.text("boxes", log);
    let levels = section.required("levels", "[first, last], rising, each 0 to 12", log, |value| {
        exactly(value, whole_in(0..=12)).filter(|[first, last]| first <= last)
    });
    let octaves = section.required("octaves", "a whole number from 1 to 16", log, whole_in(1..=16));
    let ratios = section.required("ratios", "at most 16 numbers above 0", log, |value| {
        list(value, number_in(1e-3..=1e3)).filter(|ratios| ratios.len() <= 16)
    });
    let scale = section.required("anchor_scale", "a number above 0", log, number_in(1e-3..=1e3));
    Some(OutputSpec::EfficientDet {
        scores: scores?,
        boxes: boxes?,
        activation: activation?,
        anchors: AnchorSpec { levels: levels?, octaves: octaves?, ratios: ratios?, scale: scale? },
    })
}

fn yolox(section: &mut Section<'_>, activation: Option<Activation>, log: &mut Log) -> Option<OutputSpec> {
    let tensors = if section.has("predictions") {
        section.text("predictions", log).map(YoloxTensors::Joined)
    } else {
        let [boxes, objectness, scores] = ["boxes", "objectness", "scores"].map(|field| section.text(field, log));
        (|| Some(YoloxTensors::Split { boxes: boxes?, objectness: objectness?, scores: scores? }))()
    };
    let decoded = section.required("decoded", "true or false", log, Value::as_bool);
    let strides = section.required("strides", "at most 8 whole numbers from 1 to 4096", log, |value| {
        list(value, whole_in(1..=MAX_SIDE)).filter(|strides| strides.len() <= 8)
    });
    Some(OutputSpec::Yolox { tensors: tensors?, activation: activation?, decoded: decoded?, strides: strides? })
}

fn thresholds(mut section: Section<'_>, log: &mut Log) -> Thresholds {
    let usual = Thresholds::default();
    let store = section.optional("store", "a number from 0.001 to 0.999", log, number_in(0.001..=0.999));
    let iou = section.optional("iou", "a number from 0 to 1", log, number_in(0.0..=1.0));
    let max = section.optional("max_detections", "a whole number from 1 to 1000", log, whole_in(1..=1000));
    section.finish(log);
    Thresholds {
        store: store.unwrap_or(usual.store),
        iou: iou.unwrap_or(usual.iou),
        max_detections: max.unwrap_or(usual.max_detections),
    }
}
