//! The part of a model's graph that is run: from its input to the tensors that the manifest names.

use std::collections::{HashMap, HashSet};

use detektor_runtime::fields::Mistakes;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::{self, Value as TypeValue};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};

use super::{InputSpec, Manifest};

/// Makes the tensors that the manifest names the graph's outputs, drops what does not lead to them, and checks that
/// what is left can be run.
pub(super) fn prepare(model: &mut ModelProto, manifest: &Manifest) -> Result<(), Mistakes> {
    let mut mistakes = Mistakes::default();
    let Some(graph) = &mut model.graph else {
        mistakes.add("graph", "the model has none");
        return mistakes.finish();
    };
    let names = manifest.output.tensors();
    let made: HashSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    for name in &names {
        if !made.contains(name) {
            let outputs: Vec<_> = graph.output.iter().map(|output| output.name.as_str()).collect();
            mistakes.add("output", format!("the graph has no tensor {name:?}; its outputs are {outputs:?}"));
        }
    }
    cut(graph, &names);
    for node in graph.node.iter().filter(|node| node.op_type == "NonMaxSuppression") {
        mistakes.add(
            "output",
            format!("node {:?} suppresses overlaps: name tensors before it, {:?}", node.name, node.input),
        );
    }
    check_input(graph, &manifest.input, &mut mistakes);
    mistakes.finish()
}

/// Drops every node and initialiser that the tensors `outputs` do not depend on.
fn cut(graph: &mut GraphProto, outputs: &[&str]) {
    let makers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)))
        .collect();
    let mut needed: HashSet<String> = HashSet::new();
    let mut kept = vec![false; graph.node.len()];
    let mut open: Vec<&str> = outputs.to_vec();
    while let Some(name) = open.pop() {
        if !needed.insert(name.to_owned()) {
            continue;
        }
        if let Some(&index) = makers.get(name)
            && !std::mem::replace(&mut kept[index], true)
        {
            collect_inputs(&graph.node[index], &mut open);
        }
    }
    let mut index = 0..;
    graph.node.retain(|_| index.next().is_some_and(|i: usize| kept[i]));
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    // Older models list their initialisers among the inputs; what is left must be fed.
    let initialised: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.retain(|input| !initialised.contains(input.name.as_str()));
    graph.output = outputs.iter().map(|name| float_tensor(name)).collect();
}

/// All that a node reads, within its subgraphs too. (Names that a subgraph makes itself do no harm here.)
fn collect_inputs<'a>(node: &'a NodeProto, names: &mut Vec<&'a str>) {
    names.extend(node.input.iter().filter(|name| !name.is_empty()).map(String::as_str));
    for inner in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        names.extend(inner.output.iter().map(|output| output.name.as_str()));
        for node in &inner.node {
            collect_inputs(node, names);
        }
    }
}

/// A float tensor of a shape that the engine works out.
fn float_tensor(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn check_input(graph: &GraphProto, spec: &InputSpec, mistakes: &mut Mistakes) {
    let [input] = graph.input.as_slice() else {
        let names: Vec<_> = graph.input.iter().map(|input| input.name.as_str()).collect();
        mistakes.add("input", format!("expected one, the graph has {names:?}"));
        return;
    };
    let Some(TypeValue::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        mistakes.add("input", format!("{:?} is not a tensor", input.name));
        return;
    };
    if tensor.elem_type != DataType::Float as i32 {
        let found = DataType::try_from(tensor.elem_type).map_or("unknown", |t| t.as_str_name());
        mistakes.add("input", format!("expected 32-bit floats, the graph takes {found}"));
    }
    let Some(shape) = &tensor.shape else { return };
    let dims: Vec<Option<i64>> = shape
        .dim
        .iter()
        .map(|dim| match dim.value {
            Some(Dim::DimValue(n)) if n > 0 => Some(n),
            _ => None,
        })
        .collect();
    let wanted = spec.shape();
    let fits = dims.len() == 4 && dims.iter().zip(wanted).all(|(dim, wanted)| dim.is_none_or(|n| n == wanted as i64));
    if !fits {
        let dims: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |n| n.to_string())).collect();
        mistakes.add("input.size", format!("the manifest means {wanted:?}, the graph takes [{}]", dims.join(", ")));
    }
}
