"""Quantization of a small network: int8 inside, about the same answers, no float weights left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from magsd_cli.export.onnx_network import quantize
from magsd_cli.inference.onnx_engine import open_session, run_session


def small_network(activation: str = "Relu") -> bytes:
    """Return softmax(linear(mean(activation(conv(image / 255))))); activation "Clip" is a ReLU6."""
    rng = np.random.default_rng(0)

    def constant(name: str, values: object) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(values, np.float32), name)

    constants = [
        constant("scale", 255.0),
        constant("kernel", rng.normal(0, 0.3, (8, 1, 3, 3))),
        constant("weights", rng.normal(0, 1.0, (8, 3))),
        constant("bias", [0.1, 0.0, -0.1]),
        constant("zero", 0.0),
        constant("six", 6.0),
    ]
    bounds = {"Relu": [], "Clip": ["zero", "six"]}[activation]
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["unit"]),
        helper.make_node("Conv", ["unit", "kernel"], ["maps"]),
        helper.make_node(activation, ["maps", *bounds], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 1, 32, 32])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_the_answers_are_about_the_same(activation: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (12, 1, 32, 32), dtype=np.uint8)
    data = small_network(activation)
    smaller = quantize(data, images)
    answers = [run_session(open_session(one), images, False).probabilities for one in (data, smaller)]
    assert answers[0] == pytest.approx(answers[1], abs=0.03)
    assert not np.array_equal(*answers)
    graph = onnx.load_from_string(smaller).graph
    names = {node.op_type for node in graph.node}
    assert "QuantizeLinear" in names
    assert activation not in names  # the range of the 8 bits does its work
    kinds = {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) > 8}
    assert kinds == {TensorProto.INT8}


def test_the_same_images_give_the_same_bytes() -> None:
    images = np.random.default_rng(2).integers(0, 256, (4, 1, 32, 32), dtype=np.uint8)
    assert quantize(small_network(), images) == quantize(small_network(), images)
