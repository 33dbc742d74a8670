"""What runs the network: ONNX Runtime on a CPU where there is a model file, torch otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.deployed import Deployed, open_deployed, read_network
from magsd_cli.console import say
from magsd_cli.data.appearance import Appearance
from magsd_cli.data.ingest import Order, ingest
from magsd_cli.errors import UsageError
from magsd_cli.inference.outcome import Prediction
from magsd_cli.inference.scoring import Scored, answer_to, crashed_answer, orders_for, score_files
from magsd_cli.inference.workers import run_isolated
from magsd_cli.stages.judgement import appearance_of
from magsd_cli.stages.trained import Model

Images = npt.NDArray[np.uint8]
#: (uint8 [1,1,S,S], folds) -> probabilities [1,K] and attention [1,h,w] of the networks of these folds
Ask = Callable[[Images, tuple[int, ...]], Prediction]
TORCH, ONNX = "torch", "onnxruntime"
CHUNK = 4


def choose_engine(model: Model, engine: str = "auto", device: str = "auto", gpus: int | None = None) -> str:
    """`torch` or `onnxruntime`. Raises `UsageError` where the one that is asked for cannot be."""
    on_cpu = device == "cpu" or (device == "auto" and gpus is None and not _has_nvidia())
    if model.run is None and (
        engine == TORCH or not (device == "cpu" or (device == "auto" and gpus is None))
    ):
        raise UsageError(
            f"{model.name}: a model file runs on the CPU with ONNX Runtime; name its run for torch"
        )
    if engine == ONNX and model.deployed is None:
        name = model.run.path if model.run else model.name
        raise UsageError(
            f"--engine onnxruntime: the run has no model file; make it with `magsd export {name}`"
        )
    if engine == ONNX and not (on_cpu or device == "auto"):
        raise UsageError("--engine onnxruntime: it runs on the CPU; leave --device and --gpus away")
    if engine == "auto":
        return ONNX if model.deployed is not None and (on_cpu or model.run is None) else TORCH
    return engine


def _has_nvidia() -> bool:
    """Whether a CUDA driver is loaded: asking torch would cost seconds where there is none."""
    return Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()


def score_with_onnx(
    model: Model, files: Sequence[Path], workers: int | None
) -> Generator[list[Scored], None, None]:
    """Answers for `files`, in order: worker processes that each decode and infer, and share nothing."""
    assert model.deployed is not None
    hands = min(workers or os.cpu_count() or 1, len(files))
    say(f"{len(files)} files with ONNX Runtime in {hands} {'process' if hands == 1 else 'processes'}")
    chunk = max(1, min(CHUNK, -(-len(files) // hands)))
    orders = orders_for(files, model.preparation)
    arguments = (model.deployed.path, appearance_of(model))
    yield from run_isolated(onnx_worker, arguments, orders, crashed_answer, hands, chunk)


def onnx_worker(path: Path, appearance: Appearance | None) -> Callable[[list[Order]], list[Scored]]:
    """What a worker does with a list of files: decode each and infer at once."""
    from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx

    model = open_deployed(path)
    folds = tuple(sorted(model.networks))
    ensemble = OnnxEnsemble(
        tuple(open_session(read_network(model, fold)) for fold in folds), model.size, folds
    )

    def score(order: Order) -> Scored:
        picture = ingest(order)
        if picture.image is None:
            return answer_to(order.path, picture, None)
        members = predict_onnx(ensemble, picture.image[None, None]).of_each_network()[0]
        return answer_to(order.path, picture, members, appearance)

    return lambda orders: [score(order) for order in orders]


def score_with_torch(
    model: Model,
    files: Sequence[Path],
    device: str,
    gpus: int | None,
    batch_size: int | None,
    workers: int | None,
) -> Generator[list[Scored], None, None]:
    """Answers for `files`, in order: worker processes decode, torch infers here."""
    from magsd_cli.inference.prediction import predict_images
    from magsd_cli.stages.device import choose_devices, describe
    from magsd_cli.stages.networks import load_ensemble

    assert model.run is not None
    chosen = choose_devices(device, gpus)[0]
    ensemble = load_ensemble(model.run, device=chosen)
    # On a CPU one image at a time is as fast as a batch, and then a row is the same bits whatever else is
    # scored beside it, today or when an interrupted run is continued.
    size = batch_size or (1 if chosen.type == "cpu" else 16)
    cores = os.cpu_count() or 1
    hands = workers or (max(1, cores // 2) if chosen.type == "cpu" else cores)
    say(f"{len(files)} files on {describe(chosen)}")

    def score(images: Images) -> npt.NDArray[np.floating]:
        return predict_images(ensemble, images, size, chosen).of_each_network()

    return score_files(files, model.preparation, score, min(hands, len(files)), size, appearance_of(model))


def asker(model: Model, device: str) -> Ask:
    """What answers about one image at a time, with attention, from the networks of some folds."""
    if choose_engine(model, device=device) == ONNX:
        assert model.deployed is not None
        say("with ONNX Runtime")
        return _onnx_asker(model.deployed)
    from magsd_cli.inference.prediction import predict_images
    from magsd_cli.stages.device import choose_devices, describe
    from magsd_cli.stages.networks import load_ensemble

    assert model.run is not None
    chosen = choose_devices(device)[0]
    ensemble = load_ensemble(model.run, device=chosen)
    say(f"on {describe(chosen)}")

    def ask(image: Images, folds: tuple[int, ...]) -> Prediction:
        asked = ensemble if folds == ensemble.folds else ensemble.only(folds)
        return predict_images(asked, image, 1, chosen, with_attention=True)

    return ask


def _onnx_asker(deployed: Deployed) -> Ask:
    from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx

    folds = tuple(sorted(deployed.networks))
    threads = os.cpu_count() or 1
    sessions = tuple(open_session(read_network(deployed, fold), threads) for fold in folds)
    ensemble = OnnxEnsemble(sessions, deployed.size, folds)

    def ask(image: Images, asked: tuple[int, ...]) -> Prediction:
        return predict_onnx(ensemble if asked == folds else ensemble.only(asked), image, with_attention=True)

    return ask
