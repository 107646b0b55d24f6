//! Toy models whose prediction is their own input, reshaped: a test writes the answer into the picture.

use std::path::Path;

use detektor_detect::model::{Manifest, Model, ModelError};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{self, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType,
};

/// A graph in the making.
pub struct Toy {
    graph: GraphProto,
    /// What the last node made.
    last: String,
}

pub fn tensor(name: &str, kind: DataType, shape: &[i64]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|n| Dimension { value: Some(dimension::Value::DimValue(*n)), ..Dimension::default() })
        .collect();
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

impl Toy {
    /// A graph with a float input of this shape.
    pub fn new(shape: &[i64]) -> Self {
        let graph = GraphProto {
            name: "toy".to_owned(),
            input: vec![tensor("input", DataType::Float, shape)],
            ..GraphProto::default()
        };
        Self { graph, last: "input".to_owned() }
    }

    pub fn node(mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> Self {
        self.graph.node.push(NodeProto {
            name: format!("make {output}"),
            op_type: op.to_owned(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        self.last = output.to_owned();
        self
    }

    pub fn integers(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            data_type: DataType::Int64 as i32,
            dims: vec![values.len() as i64],
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    /// The input in another shape, as `name`.
    pub fn reshaped(self, name: &str, shape: &[i64]) -> Self {
        let to = format!("{name} shape");
        self.integers(&to, shape).node("Reshape", &["input", &to], name, vec![])
    }

    /// Columns `from..to` of a tensor's last axis, as `name`.
    pub fn columns(self, of: &str, from: i64, to: i64, name: &str) -> Self {
        let [a, b, c] = ["from", "to", "axis"].map(|what| format!("{name} {what}"));
        let with = self.integers(&a, &[from]).integers(&b, &[to]).integers(&c, &[2]);
        with.node("Slice", &[of, &a, &b, &c], name, vec![])
    }

    /// The model's bytes; the last node's output is the graph's.
    pub fn bytes(mut self) -> Vec<u8> {
        let unknown = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
        self.graph.output = vec![ValueInfoProto {
            name: self.last,
            r#type: Some(TypeProto { value: Some(Value::TensorType(unknown)), ..TypeProto::default() }),
            ..ValueInfoProto::default()
        }];
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }
}

pub fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

/// A manifest for a toy: pixels are tenths.
pub fn manifest(bytes: &[u8], size: [u32; 2], layout: &str, output: &str) -> String {
    let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    let [width, height] = size;
    format!(
        r#"
name = "toy"
file = "toy.onnx"
sha256 = "{sha256}"
licence = "Apache-2.0"
source = "this test"
labels = ["a", "", "c"]
[input]
size = [{width}, {height}]
layout = "{layout}"
channels = "rgb"
scale = 0.1
padding = "top-left"
pad_value = 0
[output]
{output}
"#
    )
}

pub fn load(bytes: &[u8], manifest: &str) -> Result<Model, ModelError> {
    let manifest = Manifest::parse(manifest).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Model::from_parts(manifest, bytes, Path::new("toy.onnx"))
}
