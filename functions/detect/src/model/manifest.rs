//! The manifest: a TOML file beside a model's .onnx file. docs/models.md is its reference.

use std::ops::RangeInclusive;

use detektor_runtime::fields::{Fields, Form, Mistakes, boolean, exactly, list, number, text, whole, word};
use toml::Value;

use super::{Activation, AnchorSpec, Channels, InputSpec, Labels, Layout, OutputSpec, Padding, YoloxTensors};

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
        let mut mistakes = Mistakes::default();
        let table = match toml.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                mistakes.add("TOML", error.to_string().trim().replace('\n', " "));
                return Err(mistakes);
            }
        };
        let mut fields = Fields::root(table, &mut mistakes);
        let name = fields.need("name", text());
        let file = fields.need("file", file_name());
        let sha256 = fields.need("sha256", sha256());
        let licence = fields.need("licence", text());
        let source = fields.need("source", text());
        let labels = fields.need("labels", labels());
        let input = input(fields.need_section("input"));
        let output = output(fields.need_section("output"));
        let thresholds = thresholds(fields.section("thresholds"));
        fields.finish();
        if let (Some(input), Some(output)) = (&input, &output)
            && let Some(n) = output.predictions(input).filter(|n| *n > MAX_PREDICTIONS)
        {
            mistakes.add("output", format!("{n} boxes for an input of this size, expected at most {MAX_PREDICTIONS}"));
        }
        mistakes.finish()?;
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
        all().ok_or_else(Mistakes::default)
    }
}

fn file_name() -> Form<String> {
    text().filter("the name of a file in the manifest's folder", |name| {
        !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
    })
}

fn sha256() -> Form<String> {
    text().filter("64 lower-case hexadecimal digits", |hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn labels() -> Form<Labels> {
    Form::new("\"coco-80\", \"coco-90\", or a list of texts", |value| {
        if let Some(set) = value.as_str() {
            return Labels::named(set);
        }
        let names: Vec<&str> = value.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
        let usable = names.len() <= usize::from(u16::MAX) && names.iter().any(|name| !name.is_empty());
        usable.then(|| Labels::new(names))
    })
}

/// A number within a range.
fn within(expected: &str, range: RangeInclusive<f64>) -> Form<f32> {
    number().filter(expected, move |number| range.contains(number)).map(|number| number as f32)
}

/// A number for all channels, or one for each.
fn per_channel() -> Form<[f32; 3]> {
    let channel = || within("a number", f64::from(f32::MIN)..=f64::from(f32::MAX));
    channel().map(|n| [n; 3]).or(exactly("three", channel()))
}

fn input(mut fields: Fields<'_>) -> Option<InputSpec> {
    let size = fields.need("size", exactly("[width, height], each 1 to 4096", whole(1..=MAX_SIDE)));
    let layout = fields.need("layout", word([("nhwc", Layout::Nhwc), ("nchw", Layout::Nchw)]));
    let channels = fields.need("channels", word([("rgb", Channels::Rgb), ("bgr", Channels::Bgr)]));
    let mean = fields.take("mean", per_channel()).unwrap_or([0.0; 3]);
    let scale = fields.need("scale", per_channel().filter("a number, or three, not 0", |scale| !scale.contains(&0.0)));
    let pad = fields.need("padding", word([("top-left", Padding::TopLeft), ("centre", Padding::Centre)]));
    let pad_value = fields.need("pad_value", within("a number from 0 to 255", 0.0..=255.0));
    fields.finish();
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

fn output(mut fields: Fields<'_>) -> Option<OutputSpec> {
    let kinds = [("efficientdet", Kind::EfficientDet), ("yolox", Kind::Yolox), ("yolov8", Kind::Yolov8)];
    // Which other fields there are depends on this one, so without it they cannot be judged.
    let kind = fields.need("kind", word(kinds))?;
    let activations = [("logits", Activation::Logits), ("probabilities", Activation::Probabilities)];
    let activation = fields.need("activation", word(activations));
    let spec = match kind {
        Kind::EfficientDet => efficientdet(&mut fields, activation),
        Kind::Yolox => yolox(&mut fields, activation),
        Kind::Yolov8 => {
            let predictions = fields.need("predictions", text());
            (|| Some(OutputSpec::Yolov8 { predictions: predictions?, activation: activation? }))()
        }
    };
    fields.finish();
    spec
}

fn efficientdet(fields: &mut Fields<'_>, activation: Option<Activation>) -> Option<OutputSpec> {
    let scores = fields.need("scores", text());
    let boxes = fields.need("boxes", text());
    let expected = "[first, last], rising, each 0 to 12";
    let levels = exactly(expected, whole(0..=12)).filter(expected, |[first, last]| first <= last);
    let levels = fields.need("levels", levels);
    let octaves = fields.need("octaves", whole(1..=16));
    let ratios = list(within("a number above 0", 1e-3..=1e3));
    let ratios = ratios.filter("1 to 16 numbers above 0", |ratios| (1..=16).contains(&ratios.len()));
    let ratios = fields.need("ratios", ratios);
    let scale = fields.need("anchor_scale", within("a number above 0", 1e-3..=1e3));
    Some(OutputSpec::EfficientDet {
        scores: scores?,
        boxes: boxes?,
        activation: activation?,
        anchors: AnchorSpec { levels: levels?, octaves: octaves?, ratios: ratios?, scale: scale? },
    })
}

fn yolox(fields: &mut Fields<'_>, activation: Option<Activation>) -> Option<OutputSpec> {
    let tensors = if fields.has("predictions") {
        fields.need("predictions", text()).map(YoloxTensors::Joined)
    } else {
        let [boxes, objectness, scores] = ["boxes", "objectness", "scores"].map(|field| fields.need(field, text()));
        (|| Some(YoloxTensors::Split { boxes: boxes?, objectness: objectness?, scores: scores? }))()
    };
    let decoded = fields.need("decoded", boolean());
    let strides = list(whole(1..=MAX_SIDE));
    let strides = strides.filter("1 to 8 whole numbers from 1 to 4096", |strides| (1..=8).contains(&strides.len()));
    let strides = fields.need("strides", strides);
    Some(OutputSpec::Yolox { tensors: tensors?, activation: activation?, decoded: decoded?, strides: strides? })
}

fn thresholds(mut fields: Fields<'_>) -> Thresholds {
    let mut thresholds = Thresholds::default();
    fields.set(&mut thresholds.store, "store", within("a number from 0.001 to 0.999", 0.001..=0.999));
    fields.set(&mut thresholds.iou, "iou", within("a number from 0 to 1", 0.0..=1.0));
    fields.set(&mut thresholds.max_detections, "max_detections", whole(1..=1000));
    fields.finish();
    thresholds
}
