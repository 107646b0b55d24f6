#!/usr/bin/env python3
"""Makes scripts/bench/blank.onnx, which sees nothing and costs nothing: for measuring everything but the model."""

import hashlib
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
SIDE, VALUES = 16, 5

nodes = [
    helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
    helper.make_node("Conv", ["mean", "weights"], ["values"]),
    helper.make_node("Reshape", ["values", "shape"], ["predictions"]),
]
constants = [
    numpy_helper.from_array(numpy.zeros((VALUES, 3, 1, 1), numpy.float32), "weights"),
    numpy_helper.from_array(numpy.array([1, VALUES, 1], numpy.int64), "shape"),
]
graph = helper.make_graph(
    nodes,
    "blank",
    [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
    [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [1, VALUES, 1])],
    constants,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
file = HERE.parent / "bench" / "blank.onnx"
file.write_bytes(model.SerializeToString())
print(hashlib.sha256(file.read_bytes()).hexdigest())
