"""The engines that run the networks: ONNX Runtime on a CPU where there is a model file, torch otherwise."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.model_file import ModelFile, open_model_file, read_network
from magsd_cli.console import counted, noted, say
from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.errors import UsageError
from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.decision import appearance_of
from magsd_cli.inference.model import Model, export_command
from magsd_cli.inference.out_of_distribution import TrainingDistribution
from magsd_cli.inference.scoring import FileAnswer, answer_to, crashed_answer, score_files, tasks_for
from magsd_cli.runtime.worker_pool import cores, even_chunk, hands_for, run_isolated
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
    model: Model, files: Sequence[Path], workers: int | None, gpus: int | None = None
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order: worker processes that each decode and infer, and share nothing.

    Their number is `workers`, else `gpus` (which stands for processes on a CPU), else that of the cores.
    """
    assert model.model_file is not None
    hands = hands_for(len(files), workers or gpus)
    how = f"ONNX Runtime ({model.model_file.precision})"
    words = f"{counted(len(files), 'file')} with {how} in {counted(hands, 'process')}"
    say(words, files=len(files), engine=Engine.onnxruntime.value, processes=hands)
    chunk = even_chunk(len(files), hands, CHUNK)
    tasks = tasks_for(files, model.preprocessing)
    arguments = (model.model_file.path, appearance_of(model))
    yield from run_isolated(onnx_worker, arguments, tasks, crashed_answer, hands, chunk)


def onnx_worker(path: Path, appearance: TrainingDistribution | None) -> Callable[[IngestTask], FileAnswer]:
    """Make a worker's function, which decodes a file and infers at once."""
    from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx

    model = open_model_file(path)
    folds = tuple(sorted(model.networks))
    ensemble = OnnxEnsemble(
        tuple(open_session(read_network(model, fold)) for fold in folds), model.size, folds
    )

    return _one_by_one(lambda image: predict_onnx(ensemble, image).of_each_network()[0], appearance)


def _one_by_one(
    infer: Callable[[Images], npt.NDArray[np.floating]], appearance: TrainingDistribution | None
) -> Callable[[IngestTask], FileAnswer]:
    """Decode a file and `infer` (uint8 [1,1,S,S] -> each network's [M,K]) at once."""

    def score(task: IngestTask) -> FileAnswer:
        picture = ingest(task)
        if picture.image is None:
            return answer_to(task.path, picture, None)
        return answer_to(task.path, picture, infer(picture.image[None, None]), appearance)

    return score


def score_with_torch(
    model: Model,
    files: Sequence[Path],
    device: str,
    gpus: int | None,
    batch_size: int | None,
    workers: int | None,
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order: worker processes decode, torch infers here, on as many GPUs as are asked
    for; on a CPU `gpus` stands for processes that each do both.
    """
    with noted("loading torch"):
        from magsd_cli.inference.torch_engine import load_ensemble, predict_images
        from magsd_cli.runtime.device import choose_devices, describe

    assert model.run is not None
    devices = choose_devices(device, gpus)
    if devices[0].type == "cpu" and len(devices) > 1:
        yield from _score_in_processes(model, files, min(len(devices), len(files)))
        return
    # On a CPU one image at a time is as fast as a batch, and then a row is the same bits whatever else is
    # scored beside it, today or when an interrupted run is continued.
    size = batch_size or (1 if devices[0].type == "cpu" else 16)
    hands = hands_for(len(files), workers or (max(1, cores() // 2) if devices[0].type == "cpu" else None))
    words = ", ".join(describe(device) for device in devices)
    say(f"{counted(len(files), 'file')} on {words}", files=len(files), devices=words)
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
    model: Model, files: Sequence[Path], hands: int
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order, from `hands` processes on the CPU that each decode and run torch."""
    assert model.run is not None
    say(
        f"{counted(len(files), 'file')} on the CPU in {counted(hands, 'process')}",
        files=len(files),
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
    return _one_by_one(lambda image: predict_images(ensemble, image, 1).of_each_network()[0], appearance)


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
        arguments = (model.model_file.path, appearance)
        yield from run_isolated(onnx_worker, arguments, tasks, crashed_answer, workers, 1)
        return
    assert model.run is not None
    yield from run_isolated(torch_worker, (model.run.path, appearance), tasks, crashed_answer, workers, 1)


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
    from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx

    folds = tuple(sorted(model_file.networks))
    threads = cores()
    sessions = tuple(open_session(read_network(model_file, fold), threads) for fold in folds)
    ensemble = OnnxEnsemble(sessions, model_file.size, folds)

    def ask(image: Images, asked: tuple[int, ...]) -> Prediction:
        return predict_onnx(ensemble if asked == folds else ensemble.only(asked), image, with_attention=True)

    return ask
