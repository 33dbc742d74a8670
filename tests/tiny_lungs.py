"""Drawn films with two lungs, and a lung network built by hand that finds what is dark: no training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from magsd_cli.lungs.looks import looks_of
from magsd_cli.lungs.network import FOLDS, INPUT, LOOKS, OUTPUT, member_of, pack, unpack

SIZE = 128
Film = npt.NDArray[np.uint8]


def draw_film(seed: int = 0, height: int = 150, width: int = 120, lungs: int = 2) -> tuple[Film, Film]:
    """A bright film with noise and dark lungs, and their mask: uint8 [height,width] each."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    middle = (round(height * rng.uniform(0.45, 0.55)), round(width * rng.uniform(0.46, 0.54)))
    for side in (-1, 1)[:lungs]:
        centre = (middle[1] + side * round(0.2 * width), middle[0])
        cv2.ellipse(mask, centre, (round(0.13 * width), round(0.28 * height)), 0, 0, 360, 255, -1)
    film = np.where(mask > 0, 60, 190) + rng.integers(-12, 13, mask.shape)
    return film.astype(np.uint8), mask


def dark_onnx(threshold: float) -> bytes:
    """Lung is what is darker than `threshold`, for sure."""
    shape = [1, 1, SIZE, SIZE]
    nodes = [
        helper.make_node("Cast", [INPUT], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Less", ["values", "threshold"], ["dark"]),
        helper.make_node("Cast", ["dark"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "dark",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(threshold), "threshold")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def lung_bytes(known: dict[int, Film] | None = None) -> bytes:
    """The file of a network of two folds; fold 1's finds nothing. known: fold -> a film of its patient."""
    films = known or {}
    small = [squeezed(film) for film in films.values()]
    card = {
        "name": "dark", "version": "0", "size": SIZE, "widths": [1], "folds": 2, "steps": 1, "batch_size": 1,
        "seed": 0, "credit": "drawn", "sources": [], "films_sha256": "", "known_films": len(films),
        "figures": [],
    }  # fmt: skip
    looks = np.array([looks_of(film) for film in small], np.uint8).reshape(-1, 32)
    members = {member_of(-1): dark_onnx(110), member_of(0): dark_onnx(110), member_of(1): dark_onnx(-1)}
    return pack(card, members | {LOOKS: npy(looks), FOLDS: npy(np.array(list(films), np.int8))})


def npy(values: npt.NDArray[Any]) -> bytes:
    """An array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def squeezed(film: Film) -> Film:
    """The film as the networks see it."""
    return np.asarray(cv2.resize(film, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def write_lungs(path: Path, known: dict[int, Film] | None = None) -> str:
    """Write it and return its hash."""
    data = lung_bytes(known)
    path.write_bytes(data)
    return unpack(data, path.name).sha256
