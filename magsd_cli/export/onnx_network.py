"""A network as ONNX, with z-score and softmax inside: uint8 pixels in, probabilities and maps out."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from magsd_cli.errors import ArtifactError, DeviceError
from magsd_cli.inference.onnx_engine import (
    ATTENTION,
    CLASS_MAPS,
    INPUT,
    PROBABILITIES,
    open_session,
    run_session,
)
from magsd_cli.inference.torch_engine import explain
from magsd_cli.method.zscore import z_score

#: Largest difference of a probability between torch and ONNX Runtime; a larger one refuses the export.
TOLERANCE = 1e-4

#: The z-score before the first convolution and the softmax after the last layer stay in float32.
QUANTIZED = ("Conv", "Relu", "Clip", "Add", "MaxPool", "GlobalAveragePool", "AveragePool", "Gemm", "Concat")
BATCH = 8


class _Deployed(nn.Module):
    """uint8 [B,1,S,S] -> what of `OUTPUTS` the network has, by name.

    Probabilities [B,K]; where there is attention, its mean over maps [B,h,w]; class-aware maps [B,K,h,w].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        output = explain(self.network, z_score(images))
        found = {PROBABILITIES: output.logits.softmax(dim=1)}
        if output.attention is not None:
            found[ATTENTION] = output.attention.mean(dim=1)
        if output.class_maps is not None:
            found[CLASS_MAPS] = output.class_maps
        return found


def export_network(network: nn.Module, images: npt.NDArray[np.uint8]) -> bytes:
    """`network` (on the CPU, in eval mode) as ONNX bytes, checked on `images` uint8 [N,1,S,S] of its size.

    Raises `ArtifactError` where it has no ONNX form, or ONNX Runtime's probabilities are not torch's to
    `TOLERANCE`, `DeviceError` where the packages that export are missing.
    """
    if network.training:
        raise ValueError("a network is exported in eval mode")
    deployed = _Deployed(network).eval()
    data = _export(deployed, torch.from_numpy(images[:1]).repeat(2, 1, 1, 1))
    with torch.inference_mode():
        expected = np.concatenate(
            [deployed(torch.from_numpy(image[None]))[PROBABILITIES].numpy() for image in images]
        )
    session = open_session(data)
    found = np.concatenate([run_session(session, image[None], False).probabilities for image in images])
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ArtifactError(
            f"export: ONNX Runtime's probabilities differ from torch's by {difference:.1e} "
            f"(at most {TOLERANCE:g}); predict with --engine torch, and report this network"
        )
    return data


def _export(deployed: nn.Module, example: Tensor) -> bytes:
    names = list(deployed(example))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notes to its own developers
            program = torch.onnx.export(
                deployed,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes={INPUT: {0: torch.export.Dim("n", min=1, max=4096)}},
                verbose=False,
            )
    except ImportError as error:
        raise DeviceError(
            f"export: {error.name} is missing; install it with `pip install onnxscript`"
        ) from error
    except Exception as error:  # the exporter's own have no common class
        raise ArtifactError(
            f"export: this network has no ONNX form ({type(error).__name__}); predict with --engine torch"
        ) from error
    assert program is not None
    buffer = io.BytesIO()
    buffer.write(program.model_proto.SerializeToString())
    return buffer.getvalue()


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
        """The images that the ranges are measured on, a few at a time."""

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
