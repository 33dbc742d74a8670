"""Files scored on a Ray cluster: shards of them are tasks, and each worker keeps the model it loaded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.console import say
from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.errors import MagsdError
from magsd_cli.inference.decision import appearance_of
from magsd_cli.inference.engines import score_with_onnx, score_with_torch
from magsd_cli.inference.model import Model
from magsd_cli.inference.onnx_engine import onnx_worker
from magsd_cli.inference.out_of_distribution import TrainingDistribution
from magsd_cli.inference.scoring import FileAnswer, count_of, files_in_words, score_pictures, tasks_for
from magsd_cli.runtime.cluster import RETRIES, connected, device_kind, in_order, task_resources
from magsd_cli.runtime.worker_pool import Wire, chunks, from_wire, to_wire
from magsd_cli.settings import Engine

SHARD = 32  # files that travel together
Handler = Callable[[list[IngestTask]], list[FileAnswer]]
_LOADED: dict[str, Handler] = {}  # in a worker: the model is loaded once, not for every shard


def score_on_cluster(
    model: Model, engine: str, files: Iterable[Path], address: str, device: str, batch_size: int | None
) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order: shards of them are tasks, and each worker keeps the model it loaded.

    A shard that killed its worker `RETRIES` times is scored here, in processes that may crash.
    """
    with connected(address) as ray:
        needs = {"num_cpus": 1} if engine == Engine.onnxruntime else task_resources(ray, device, 1)
        task = ray.remote(shard_task).options(max_retries=RETRIES, **needs)
        model = _anywhere(model)
        known = ray.put((model, engine, appearance_of(model), batch_size, device_kind(needs)))
        say(f"{files_in_words(files)} on the cluster {address}", files=count_of(files), cluster=address)

        def submit(shard: list[Path]) -> Any:
            # No identity goes through Ray's store: it is read here where it is asked for.
            tasks = tasks_for([path.absolute() for path in shard], model.preprocessing, identity=False)
            return task.remote(known, list(tasks))

        for mine, outcome in in_order(ray, submit, chunks(files, SHARD)):
            if isinstance(outcome, ray.exceptions.RayError):
                yield from _score_here(model, engine, mine, device, batch_size)
                continue
            answers, failure = outcome
            if failure is not None:
                raise from_wire(failure)
            yield [replace(answer, path=path) for answer, path in zip(answers, mine, strict=True)]


def _anywhere(model: Model) -> Model:
    """The model with absolute paths: tasks run in other folders."""
    run = None if model.run is None else replace(model.run, path=model.run.path.resolve())
    of = None if model.model_file is None else replace(model.model_file, path=model.model_file.path.resolve())
    how = model.preprocessing
    there = None if how.lung_file is None else how.lung_file.resolve()
    return replace(model, run=run, model_file=of, preprocessing=replace(how, lung_file=there))


def _score_here(
    model: Model, engine: str, files: Sequence[Path], device: str, batch_size: int | None
) -> Generator[list[FileAnswer], None, None]:
    if engine == Engine.onnxruntime:
        return score_with_onnx(model, files, 1)
    return score_with_torch(model, files, device, None, batch_size, 1)


def shard_task(known: Any, tasks: list[IngestTask]) -> tuple[list[FileAnswer], Wire | None]:
    """Answer one shard, in a worker."""
    model, engine, appearance, batch_size, kind = known
    key = f"{model.sha256} {engine} {batch_size}"
    try:
        if key not in _LOADED:
            _LOADED.clear()
            if engine == Engine.onnxruntime:
                one = onnx_worker(model.model_file, appearance)
                _LOADED[key] = lambda tasks: [one(task) for task in tasks]
            else:
                _LOADED[key] = _torch_handler(model, appearance, batch_size, kind)
        return _LOADED[key](tasks), None
    except MagsdError as error:
        return [], to_wire(error)


def _torch_handler(
    model: Model, appearance: TrainingDistribution | None, batch_size: int | None, kind: str
) -> Handler:
    """Decode and score a list of files in this process, on its GPU where Ray gave it one."""
    import torch

    from magsd_cli.inference.torch_engine import load_ensemble, predict_images

    assert model.run is not None
    device = torch.device(kind)
    torch.set_num_threads(1)
    ensemble = load_ensemble(model.run, model.folds, device)
    size = batch_size or (1 if device.type == "cpu" else 16)

    def score(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        return predict_images(ensemble, images, size, device).of_each_network()

    def handle(tasks: list[IngestTask]) -> list[FileAnswer]:
        pictures = [ingest(task) for task in tasks]
        return score_pictures([task.path for task in tasks], pictures, score, appearance)

    return handle
