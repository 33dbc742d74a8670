"""ONNX Runtime on the CPU: the same answers as torch's, about twice as fast, without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.model_file import ModelFile, read_network
from magsd_cli.data.clahe import resize_images
from magsd_cli.data.ingest import IngestTask
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.answer import Prediction, joined
from magsd_cli.inference.out_of_distribution import TrainingDistribution
from magsd_cli.inference.scoring import FileAnswer, one_by_one

INPUT = "images"
PROBABILITIES, ATTENTION, CLASS_MAPS = OUTPUTS = ("probabilities", "attention", "class_maps")
Session = Any  # onnxruntime has no types
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class OnnxEnsemble:
    """Networks that predict together; `size` is the side they see, `folds` whose images each never saw."""

    sessions: tuple[Session, ...]
    size: int
    folds: tuple[int, ...]

    def only(self, folds: Sequence[int]) -> OnnxEnsemble:
        """Return an ensemble of only the networks of `folds`. Raises `ValueError` for a fold it has not."""
        chosen = tuple(self.sessions[self.folds.index(fold)] for fold in folds)
        return OnnxEnsemble(chosen, self.size, tuple(folds))


def onnx_worker(
    model: ModelFile, appearance: TrainingDistribution | None, at_once: int = 1
) -> Callable[[IngestTask], FileAnswer]:
    """Make a worker's function, which decodes a file and infers at once. `at_once`: see `open_ensemble`.

    Raises `ArtifactError` as `open_ensemble` does.
    """
    ensemble = open_ensemble(model, at_once=at_once)
    return one_by_one(lambda image: predict_onnx(ensemble, image).of_each_network()[0], appearance)


def open_ensemble(model: ModelFile, threads: int = 1, at_once: int = 1) -> OnnxEnsemble:
    """The networks of a model file on the CPU, `threads` for each; `at_once` are opened beside each other.

    Raises `ArtifactError` for a network that does not match its hash or cannot be run.
    """
    folds = tuple(sorted(model.networks))

    def opened(fold: int) -> Session:
        return open_session(read_network(model, fold), threads)

    if at_once == 1 or len(folds) == 1:
        return OnnxEnsemble(tuple(map(opened, folds)), model.size, folds)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(at_once) as opening:  # ONNX Runtime lets go of the interpreter meanwhile
        return OnnxEnsemble(tuple(opening.map(opened, folds)), model.size, folds)


def open_session(data: bytes, threads: int = 1) -> Session:
    """A session on the CPU. Raises `ArtifactError` when `data` is not a network that this version can run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class
        raise ArtifactError(
            f"model: ONNX Runtime cannot open it ({type(error).__name__}); export the run again"
        ) from error


def run_session(session: Session, images: Images, with_attention: bool) -> Prediction:
    """Probabilities of uint8 `images` [N,1,S,S] at the network's size, and the maps that the network has."""
    import onnxruntime

    names = [output.name for output in session.get_outputs()]
    wanted = [name for name in OUTPUTS if name in names and (with_attention or name == PROBABILITIES)]
    options = onnxruntime.RunOptions()
    # Maps that nobody asked for are not worked out.
    options.only_execute_path_to_fetches = True
    answers = dict(zip(wanted, session.run(wanted, {INPUT: images}, options), strict=True))
    return Prediction(answers[PROBABILITIES], answers.get(ATTENTION), class_maps=answers.get(CLASS_MAPS))


def predict_onnx(ensemble: OnnxEnsemble, images: Images, with_attention: bool = False) -> Prediction:
    """Predict as `predict_images` does with torch: the mean over the networks, of prepared images uint8
    [N,1,S,S].

    One image at a time, so that a row is the same bits whatever stands beside it; that costs nothing here.
    Raises `ArtifactError` for outputs that are not finite.
    """
    if images.shape[-1] < ensemble.size:
        raise ValueError(f"images of side {images.shape[-1]} for networks of side {ensemble.size}")
    if images.shape[-1] != ensemble.size:
        images = resize_images(images, ensemble.size)
    return joined([_predict_one(ensemble.sessions, image[None], with_attention) for image in images])


def _predict_one(sessions: Sequence[Session], image: Images, with_attention: bool) -> Prediction:
    answers = [run_session(session, image, with_attention) for session in sessions]
    # In float64 the mean of five rows still sums to 1 within one float32 rounding.
    mean = np.mean([answer.probabilities.astype(np.float64) for answer in answers], axis=0)
    if not np.isfinite(mean).all():
        raise ArtifactError("model: its output is not finite, the weights are damaged; train it again")
    members = np.stack([answer.probabilities for answer in answers], axis=1)
    return Prediction(
        mean.astype(np.float32),
        _mean_map([answer.attention for answer in answers]),
        members,
        _mean_map([answer.class_maps for answer in answers]),
    )


def _mean_map(maps: Sequence[npt.NDArray[np.float32] | None]) -> npt.NDArray[np.float32] | None:
    """The mean of the networks' maps; None where one of them has none."""
    known = [one for one in maps if one is not None]
    return np.asarray(np.stack(known).mean(axis=0, dtype=np.float32)) if len(known) == len(maps) else None
