"""A network in 8-bit integers: about half the time of float32 on a CPU, at the price of other answers.

Static quantization: the range of every activation is measured once on images, and written into the graph as
pairs of QuantizeLinear and DequantizeLinear (QDQ). Whether the answers are good enough, others must judge.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from magsd_cli.errors import DeviceError
from magsd_cli.inference.onnx_engine import INPUT

#: The z-score before the first convolution and the softmax after the last layer stay in float32.
QUANTIZED = ("Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool", "AveragePool", "Gemm", "Concat")
BATCH = 8


def quantize(data: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """`data`, a network as `export_network` gives it, in int8; ranges from `images` uint8 [N,1,S,S], N >= 1.

    Weights have one scale for each output channel and use 7 bits: with 8, processors without VNNI overflow in
    silence, and the file would answer otherwise there. Raises `DeviceError` where a package is missing.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise DeviceError(
            f"export --int8: {error.name} is missing; install it with `pip install onnx`"
        ) from error

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """What the ranges are measured on, a few images at a time."""

        def __init__(self) -> None:
            self._batches = iter(range(0, len(images), BATCH))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self._batches, None)
            return None if start is None else {INPUT: images[start : start + BATCH]}

    with tempfile.TemporaryDirectory(prefix="magsd-int8-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # advice for its own developers
        try:
            folded, final = Path(scratch, "folded.onnx"), Path(scratch, "int8.onnx")
            # Batch normalisation goes into the convolution before it, so that one rounding does for both.
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(folded)
            onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            quantization.quantize_static(
                str(folded),
                str(final),
                Images(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return final.read_bytes()
        finally:
            logging.disable(logging.NOTSET)
