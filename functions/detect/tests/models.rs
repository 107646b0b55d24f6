//! What is wrong with a model is told clearly, all of it at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::toy::{self, Toy};
use detektor_contract::{Fault, Faulty};
use detektor_detect::model::{Manifest, Model, ModelError};

const OUTPUT: &str = "kind = 'yolov8'\npredictions = 'out'\nactivation = 'probabilities'";

fn toy_bytes() -> Vec<u8> {
    Toy::new(&[1, 1, 7, 3]).reshaped("out", &[1, 7, 3]).bytes()
}

fn mistakes(manifest: &str) -> Vec<String> {
    Manifest::parse(manifest).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_bundled_model_loads_by_either_name() {
    let by_manifest = common::bundled();
    let by_file = Model::load(common::root().join("models/efficientdet-lite0.onnx")).unwrap();
    assert_eq!(by_manifest.digest(), by_file.digest());
    assert_eq!(by_manifest.manifest().labels.iter().count(), 80);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let told = mistakes(
        "name = ''\nfile = '../x.onnx'\nsha256 = 'ABC'\nlicense = 'MIT'\nlabels = ['']\n\
         [input]\nsize = [0, 10]\nlayout = 'nhcw'\nscale = [1, 0, 1]\npadding = 'left'\npad_value = 300\n\
         [output]\nkind = 'efficientdet'\nlevels = [7, 3]\noctaves = 0\nratios = []\n\
         [thresholds]\nstore = 0\niou = 2",
    );
    let fields: Vec<_> = told.iter().map(|m| m.split(':').next().unwrap()).collect();
    let expected = [
        "name",
        "file",
        "sha256",
        "licence",
        "source",
        "labels",
        "input.size",
        "input.layout",
        "input.channels",
        "input.scale",
        "input.padding",
        "input.pad_value",
        "output.activation",
        "output.scores",
        "output.boxes",
        "output.levels",
        "output.octaves",
        "output.ratios",
        "output.anchor_scale",
        "thresholds.store",
        "thresholds.iou",
        "license",
    ];
    assert_eq!(fields, expected, "{told:#?}");
    assert!(told.contains(&"input.layout: expected \"nhwc\" or \"nchw\", found \"nhcw\"".to_owned()), "{told:#?}");
    assert!(told.contains(&"license: unknown; did you mean `licence`?".to_owned()), "{told:#?}");
}

#[test]
fn a_grid_without_measure_is_refused() {
    let output = "kind = 'yolox'\npredictions = 'out'\nactivation = 'logits'\ndecoded = true\nstrides = [1]";
    let told = mistakes(&toy::manifest(&[], [4096, 4096], "nhwc", output));
    assert_eq!(told, ["output: 16777216 boxes for an input of this size, expected at most 1000000"]);
}

#[test]
fn what_is_no_manifest_is_refused() {
    assert!(mistakes("name = ")[0].starts_with("TOML: "));
    assert!(mistakes("").contains(&"input: missing: expected a table".to_owned()));
    assert!(mistakes("input = 3").contains(&"input: expected a table, found 3".to_owned()));
}

#[test]
fn a_missing_file_is_named_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.toml");
    let error = Model::load(&path).unwrap_err();
    assert!(error.to_string().contains("toy.toml"), "{error}");
    std::fs::write(&path, toy::manifest(&toy_bytes(), [7, 1], "nhwc", OUTPUT)).unwrap();
    let error = Model::load(&path).unwrap_err();
    assert!(error.to_string().contains("toy.onnx"), "{error}");
    assert_eq!(error.fault(), Fault::Transient);
    std::fs::write(folder.path().join("toy.onnx"), toy_bytes()).unwrap();
    Model::load(&path).unwrap();
}

#[test]
fn a_damaged_file_is_told_by_its_checksum() {
    let mut bytes = toy_bytes();
    let manifest = toy::manifest(&bytes, [7, 1], "nhwc", OUTPUT);
    bytes[20] ^= 1;
    let error = toy::load(&bytes, &manifest).unwrap_err();
    assert!(matches!(error, ModelError::Checksum { .. }));
    assert!(error.to_string().contains("damaged, or another file"), "{error}");
}

#[test]
fn what_is_not_onnx_is_refused() {
    let noise = b"\xff\xff\xff\xff not a model".to_vec();
    let error = toy::load(&noise, &toy::manifest(&noise, [7, 1], "nhwc", OUTPUT)).unwrap_err();
    assert!(matches!(error, ModelError::NotOnnx { .. }), "{error:?}");
    let empty = toy::load(&[], &toy::manifest(&[], [7, 1], "nhwc", OUTPUT)).unwrap_err();
    assert!(empty.to_string().contains("graph: the model has none"), "{empty}");
}

fn graph_error(toy: Toy, size: [u32; 2], layout: &str) -> String {
    let bytes = toy.bytes();
    let error = toy::load(&bytes, &toy::manifest(&bytes, size, layout, OUTPUT)).unwrap_err();
    assert!(matches!(error, ModelError::Graph { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn a_graph_that_does_not_fit_says_where() {
    let toy = || Toy::new(&[1, 1, 7, 3]).reshaped("out", &[1, 7, 3]);
    let error = graph_error(toy(), [8, 1], "nhwc");
    assert!(error.contains("the manifest means [1, 1, 8, 3], the graph takes [1, 1, 7, 3]"), "{error}");
    let error = graph_error(toy(), [7, 1], "nchw");
    assert!(error.contains("the manifest means [1, 3, 1, 7]"), "{error}");
    let error = graph_error(Toy::new(&[1, 1, 7, 3]).reshaped("other", &[1, 7, 3]), [7, 1], "nhwc");
    assert!(error.contains("no tensor \"out\"; its outputs are [\"other\"]"), "{error}");
}

#[test]
fn suppression_inside_the_graph_names_where_to_cut() {
    let toy = Toy::new(&[1, 1, 7, 3]).reshaped("scores", &[1, 7, 3]).reshaped("boxes", &[1, 7, 3]);
    let toy = toy.node("NonMaxSuppression", &["boxes", "scores"], "kept", vec![]);
    let toy = toy.node("Cast", &["kept"], "out", vec![toy::integer("to", 1)]);
    let error = graph_error(toy, [7, 1], "nhwc");
    assert!(error.contains("suppresses overlaps: name tensors before it, [\"boxes\", \"scores\"]"), "{error}");
}
