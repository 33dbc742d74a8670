"""A network in ONNX built by hand: no training, no exporter, milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: What `write_model_file` says of a model of these networks.
HEAD: dict[str, Any] = {
    "name": "deployed", "version": "0", "model_sha256": "a" * 64, "classes": ["a", "b"], "size": 64,
    "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "",
    "trained_on": None,
}  # fmt: skip


def tiny_onnx(
    slope: float = 1.0, size: int = 64, attention: bool = True, bias: float = 0.0, class_maps: bool = False
) -> bytes:
    """p = softmax([slope * (mean / 255 - 0.5) + bias, 0]); attention: the means of the four quarters, and the
    map of each class the same below zero.
    """

    def constant(name: str, values: object, kind: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, kind), name)

    constants = [
        constant("scale", 255.0),
        constant("half", 0.5),
        constant("weights", [[slope, 0.0]]),
        constant("bias", [bias, 0.0]),
        constant("one", [1], np.int64),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["unit"]),
        helper.make_node("GlobalAveragePool", ["unit"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Sub", ["mean", "half"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node(
            "AveragePool", ["unit"], ["quarters"], kernel_shape=[size // 2] * 2, strides=[size // 2] * 2
        ),
        helper.make_node("Squeeze", ["quarters", "one"], ["attention"]),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])]
    if attention:
        outputs.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["n", 2, 2]))
    else:
        nodes = nodes[:-2]
    if class_maps:
        nodes += [
            helper.make_node("Neg", ["quarters"], ["below"]),
            helper.make_node("Concat", ["below", "below"], ["class_maps"], axis=1),
        ]
        outputs.append(helper.make_tensor_value_info("class_maps", TensorProto.FLOAT, ["n", 2, 2, 2]))
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 1, size, size])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())
