"""The engines that run the networks: ONNX Runtime on a CPU where there is a model file, torch otherwise."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.model_file import ModelFile
from magsd_cli.console import counted, noted, say
from magsd_cli.data.ingest import IngestTask
from magsd_cli.errors import UsageError
from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.decision import appearance_of
from magsd_cli.inference.model import Model, export_command
from magsd_cli.inference.onnx_engine import onnx_worker, open_ensemble, predict_onnx
from magsd_cli.inference.out_of_distribution import TrainingDistribution
from magsd_cli.inference.scoring import (
    FileAnswer,
    chunk_of,
    count_of,
    crashed_answer,
    files_in_words,
    one_by_one,
    processes_for,
    score_files,
    tasks_for,
)
from magsd_cli.runtime.worker_pool import cores, run_isolated
from magsd_cli.settings import Engine

Images = npt.NDArray[np.uint8]

#: (uint8 [1,1,S,S], folds) -> probabilities [1,K] and attention [1,h,w] of the networks of these folds
AttentionEngine = Callable[[Images, tuple[int, ...]], Prediction]
CHUNK = 4


def choose_engine(
    model: Model, engine: str = Engine.auto, device: str = "auto", gpus: int | None = None
) -> str:
    """`torch` or `onnxruntime`. Raises `UsageError` where the one that is asked for cannot be."""
    on_cpu = device == "cpu" or (device == "auto" and gpus is None and not _has_nvidia())
    if model.run is None and (
        engine == Engine.torch or not (device == "cpu" or (device == "auto" and gpus is None))
    ):
        raise UsageError(
            f"{model.name}: a model file runs on the CPU with ONNX Runtime; name its run for torch"
        )
    if engine == Engine.onnxruntime and model.model_file is None:
        assert model.run is not None
        command = export_command(model.run, model.network)
        raise UsageError(f"--engine onnxruntime: the run has no model file; make it with `{command}`")
    if engine == Engine.onnxruntime and not (on_cpu or device == "auto"):
        raise UsageError("--engine onnxruntime: it runs on the CPU; omit --device and --gpus")
    if engine == Engine.auto:
        return (
            Engine.onnxruntime
            if model.model_file is not None and (on_cpu or model.run is None)
            else Engine.torch
        )
    return engine


def precision_of(model: Model, engine: str) -> str | None:
    """Return the precision of the networks where it is not float32: their answers differ, so no table may mix
    them.
    """
    if engine != Engine.onnxruntime or model.model_file is None or model.model_file.precision == "fp32":
        return None
    return model.model_file.precision


def _has_nvidia() -> bool:
    """Return whether a CUDA driver is loaded: asking torch would cost seconds where there is none."""
    return Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()


def score_with_onnx(
    model: Model, files: Iterable[Path], workers: int | None, gpus: int | None = None
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order: worker processes that each decode and infer, and share nothing.

    Their number is `workers`, else `gpus` (which stands for processes on a CPU), else that of the cores.
    """
    assert model.model_file is not None
    hands = processes_for(files, workers or gpus)
    how = f"ONNX Runtime ({model.model_file.precision})"
    words = f"{files_in_words(files)} with {how} in {counted(hands, 'process')}"
    say(words, files=count_of(files), engine=Engine.onnxruntime.value, processes=hands)
    chunk = chunk_of(files, hands, CHUNK)
    tasks = tasks_for(files, model.preprocessing)
    arguments = (model.model_file.networks_alone(), appearance_of(model), _spare_cores(hands))
    yield from run_isolated(onnx_worker, arguments, tasks, crashed_answer, hands, chunk)


def _spare_cores(hands: int) -> int:
    """Return how many cores each of `hands` processes has for itself."""
    return max(1, cores() // max(1, hands))


def score_with_torch(
    model: Model,
    files: Iterable[Path],
    device: str,
    gpus: int | None,
    batch_size: int | None,
    workers: int | None,
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order: worker processes decode, torch infers here, on as many GPUs as are asked
    for; on a CPU `gpus` stands for processes that each do both.
    """
    from concurrent.futures import ThreadPoolExecutor

    with noted("loading torch"):
        from magsd_cli.inference.torch_engine import load_ensemble, predict_images
        from magsd_cli.runtime.device import choose_devices, describe

    assert model.run is not None
    devices = choose_devices(device, gpus)
    if devices[0].type == "cpu" and len(devices) > 1:
        yield from _score_in_processes(model, files, processes_for(files, len(devices)))
        return
    # On a CPU one image at a time is as fast as a batch, and then a row is the same bits whatever else is
    # scored beside it, today or when an interrupted run is continued.
    size = batch_size or (1 if devices[0].type == "cpu" else 16)
    hands = processes_for(files, workers or (max(1, cores() // 2) if devices[0].type == "cpu" else None))
    words = ", ".join(describe(device) for device in devices)
    say(f"{files_in_words(files)} on {words}", files=count_of(files), devices=words)
    replicas = [(load_ensemble(model.run, model.folds, device), device) for device in devices]

    with ThreadPoolExecutor(len(devices)) as threads:

        def score(images: Images) -> npt.NDArray[np.floating]:
            shares = np.array_split(images, len(devices))
            answers = threads.map(
                lambda one, share: predict_images(one[0], share, size, one[1]), replicas, shares
            )
            parts = [answer.of_each_network() for answer in answers if len(answer.probabilities)]
            return np.concatenate(parts)

        together = size * len(devices)
        yield from score_files(files, model.preprocessing, score, hands, together, appearance_of(model))


def _score_in_processes(
    model: Model, files: Iterable[Path], hands: int
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order, from `hands` processes on the CPU that each decode and run torch."""
    assert model.run is not None
    say(
        f"{files_in_words(files)} on the CPU in {counted(hands, 'process')}",
        files=count_of(files),
        processes=hands,
    )
    arguments = (model.run.path, model.folds, appearance_of(model))
    tasks = tasks_for(files, model.preprocessing)
    yield from run_isolated(torch_worker, arguments, tasks, crashed_answer, hands, CHUNK)


def torch_worker(
    run: Path, folds: tuple[int, ...], appearance: TrainingDistribution | None
) -> Callable[[IngestTask], FileAnswer]:
    """Make a worker's function as `onnx_worker` does, with torch and the networks of `folds` of `run`."""
    from magsd_cli.artifacts.runs import open_run
    from magsd_cli.inference.torch_engine import load_ensemble, predict_images

    ensemble = load_ensemble(open_run(run), folds)
    return one_by_one(lambda image: predict_images(ensemble, image, 1).of_each_network()[0], appearance)


def score_one_by_one(
    model: Model, engine: str, files: Iterable[Path], workers: int = 1
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order, while `files` is still coming: only some are under way at a time.

    On the CPU, in `workers` processes that each decode and infer. A row is the same bits as in any other call
    of this engine there.
    """
    tasks = (IngestTask(path, model.preprocessing, fingerprints=False) for path in files)
    appearance = appearance_of(model)
    if engine == Engine.onnxruntime:
        assert model.model_file is not None
        networks = (model.model_file.networks_alone(), appearance, _spare_cores(workers))
        yield from run_isolated(onnx_worker, networks, tasks, crashed_answer, workers, 1)
        return
    assert model.run is not None
    arguments = (model.run.path, model.folds, appearance)
    yield from run_isolated(torch_worker, arguments, tasks, crashed_answer, workers, 1)


def open_attention_engine(model: Model, device: str) -> AttentionEngine:
    """Open an engine that answers about single images, with attention, from the networks of some folds."""
    if choose_engine(model, device=device) == Engine.onnxruntime:
        assert model.model_file is not None
        say("running ONNX Runtime on the CPU", engine=Engine.onnxruntime.value)
        return _onnx_attention_engine(model.model_file)
    with noted("loading torch"):
        from magsd_cli.inference.torch_engine import load_ensemble, predict_images
        from magsd_cli.runtime.device import choose_devices, describe

    assert model.run is not None
    chosen = choose_devices(device)[0]
    ensemble = load_ensemble(model.run, model.folds, chosen)
    say(f"running torch on {describe(chosen)}", engine=Engine.torch.value)

    def ask(image: Images, folds: tuple[int, ...]) -> Prediction:
        asked = ensemble if folds == ensemble.folds else ensemble.only(folds)
        return predict_images(asked, image, 1, chosen, with_attention=True)

    return ask


def _onnx_attention_engine(model_file: ModelFile) -> AttentionEngine:
    threads = cores()
    ensemble = open_ensemble(model_file, threads=threads, at_once=threads)

    def ask(image: Images, asked: tuple[int, ...]) -> Prediction:
        chosen = ensemble if asked == ensemble.folds else ensemble.only(asked)
        return predict_onnx(chosen, image, with_attention=True)

    return ask
