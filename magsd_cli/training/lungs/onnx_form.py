"""A lung network's weights as ONNX: uint8 films in, the probability of lung out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from magsd_cli.lungs.network import INPUT, OUTPUT

OPSET, IR_VERSION = 18, 10


def to_onnx(weights: bytes, size: int) -> bytes:
    """The network of `LungUNet.plain_weights`, as safetensors, for films uint8 [1,1,size,size].

    Weights stay float16 and are computed with as float32. The same weights give the same bytes.
    """
    return _Graph(safetensors.numpy.load(weights), size).built()


class _Graph:
    """An ONNX graph in the making; each step takes and gives the name of a tensor."""

    def __init__(self, weights: Mapping[str, npt.NDArray[np.float16]], size: int) -> None:
        self.weights, self.size = weights, size
        self.nodes: list[Any] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def built(self) -> bytes:
        x, skips = self._z_score(INPUT), []
        levels = 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith("down."))
        for level in range(levels):
            pooled = x if level == 0 else self._add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = self._twice(pooled, f"down.{level}")
            skips.append(x)
        for step, skip in enumerate(skips[-2::-1]):
            wide = self._layer("ConvTranspose", x, f"up.{step}", kernel_shape=[2, 2], strides=[2, 2])
            x = self._twice(self._add("Concat", skip, wide, axis=1), f"join.{step}")
        logits = self._layer("Conv", x, "lung", kernel_shape=[1, 1])
        self.nodes.append(helper.make_node("Sigmoid", [logits], [OUTPUT]))
        return bytes(self._model().SerializeToString(deterministic=True))

    def _model(self) -> Any:
        shape = [1, 1, self.size, self.size]
        graph = helper.make_graph(
            self.nodes,
            "lungs",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _z_score(self, films: str) -> str:
        """As `method.zscore.z_score`: mean 0 and deviation 1 for each film."""
        values = self._add("Cast", films, to=TensorProto.FLOAT)
        values = self._add("Div", values, self._constant("highest", np.float32(255)))
        axes = self._constant("axes", np.array([1, 2, 3], np.int64))
        centred = self._add("Sub", values, self._add("ReduceMean", values, axes, keepdims=1))
        variance = self._add("ReduceMean", self._add("Mul", centred, centred), axes, keepdims=1)
        least = self._constant("least", np.float32(1e-4))
        return self._add("Div", centred, self._add("Max", self._add("Sqrt", variance), least))

    def _twice(self, x: str, name: str) -> str:
        for place in (0, 1):
            layer = self._layer("Conv", x, f"{name}.{place}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            x = self._add("Relu", layer)
        return x

    def _layer(self, kind: str, x: str, name: str, **attributes: Any) -> str:
        values = [
            self._add("Cast", self._constant(f"{name}.{part}", self.weights[f"{name}.{part}"]), to=1)
            for part in ("weight", "bias")
        ]
        return self._add(kind, x, *values, **attributes)

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name
