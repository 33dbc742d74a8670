"""Several machines by Ray: folds and shards of files as tasks, on storage that every machine sees.

What is finished stands where one machine would have put it (fold folders, the table's journal), so a run that
was begun on a laptop is finished on a cluster, and the other way round. Ray gives a task to another machine
when its own dies.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli import errors
from magsd_cli.artifacts.runs import Run, open_run
from magsd_cli.console import say
from magsd_cli.data.appearance import Appearance
from magsd_cli.data.ingest import Order, ingest
from magsd_cli.errors import DeviceError, Interrupted, LockedError, MagsdError, UsageError
from magsd_cli.inference.scoring import Scored, orders_for, score_pictures
from magsd_cli.stages.engines import ONNX, onnx_worker, score_with_onnx, score_with_torch
from magsd_cli.stages.judgement import appearance_of
from magsd_cli.stages.signals import stop_requests
from magsd_cli.stages.trained import Model

RETRIES = 3
SHARD = 32  # files that travel together
LOCK_SECONDS = 120.0  # how long a fold waits for the process that had it on a machine that died
#: The name and text of an error that a task explains, or None.
Failure = tuple[str, str] | None
Handler = Callable[[list[Order]], list[Scored]]
_LOADED: dict[str, Handler] = {}  # in a worker: the model is loaded once, not for every shard


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at `address` (auto, host:port or ray://host:port).

    Raises `UsageError` where Ray is not installed, `DeviceError` where no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    try:
        import ray
    except ImportError:
        raise UsageError("--cluster: needs Ray; install it with `pip install 'magsd[ray]'`") from None
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(
            f"--cluster {address}: no Ray cluster answers ({reason}); start one with `ray start --head`"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def train_on_cluster(run: Run, cache: Path, folds: Sequence[int], address: str, device: str) -> None:
    """Train `folds` of `run` as tasks, each on a GPU of the cluster, or on `run.threads` cores of it.

    A fold whose machine dies goes on from its checkpoint on another. Raises the error that a task explains,
    `DeviceError` when a fold's process died too often, `Interrupted` on a signal.
    """
    with connected(address) as ray, stop_requests() as asked:
        needs = _resources(ray, device, run.threads)
        task = ray.remote(fold_task).options(max_retries=RETRIES, **needs)
        place = run.path.resolve()
        waiting = {task.remote(place, cache.resolve(), fold, _kind(needs)): fold for fold in folds}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=0.5)
            number = asked()
            if number is not None:
                for reference in waiting:
                    ray.cancel(reference)
                raise Interrupted(number, "stopped; run the same command again to go on from the checkpoints")
            for reference in done:
                fold = waiting.pop(reference)
                _raise(_result(ray, reference, f"fold {fold}"))
                say(f"fold {fold}: done on the cluster")


def _resources(ray: Any, device: str, threads: int) -> dict[str, float]:
    """What a task asks for: a GPU where the cluster has any and `device` is not cpu, otherwise cores."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(node.get("GPU", 0) for node in nodes)
    if device.startswith("cuda") and not gpus:
        raise DeviceError(f"--device {device}: the cluster has no GPU; leave --device away to use its cores")
    if gpus and device != "cpu":
        return {"num_gpus": 1}
    return {"num_cpus": max(1, min(threads, int(max(node.get("CPU", 1) for node in nodes))))}


def _kind(needs: Mapping[str, float]) -> str:
    return "cuda:0" if "num_gpus" in needs else "cpu"  # Ray shows a task its own GPU alone


def fold_task(run: Path, cache: Path, fold: int, kind: str) -> Failure:
    """In a worker: train one fold from where it stands."""
    import torch

    from magsd_cli.artifacts.cache import open_cache
    from magsd_cli.stages.fold import train_fold

    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            opened = open_run(run)
            train_fold(opened, open_cache(cache), opened.folds(), fold, torch.device(kind), os.getppid())
        except LockedError as error:
            if time.monotonic() > deadline:
                return type(error).__name__, str(error)
            time.sleep(1)
        except Interrupted:
            raise SystemExit(1) from None  # the machine's Ray is gone: another one takes the fold
        except MagsdError as error:
            return type(error).__name__, str(error)
        else:
            return None


def _result(ray: Any, reference: Any, what: str) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(
            f"{what}: its task failed on the cluster ({reason}); run it again to continue"
        ) from error


def _raise(failure: Failure) -> None:
    if failure is not None:
        name, text = failure
        raise getattr(errors, name)(text)


def score_on_cluster(
    model: Model, engine: str, files: Sequence[Path], address: str, device: str, batch_size: int | None
) -> Generator[list[Scored], None, None]:
    """Answers for `files`, in order: shards of them are tasks, and each worker keeps the model it loaded.

    A shard that killed its worker `RETRIES` times is scored here, in processes that may crash.
    """
    with connected(address) as ray:
        needs = {"num_cpus": 1} if engine == ONNX else _resources(ray, device, 1)
        task = ray.remote(shard_task).options(max_retries=RETRIES, **needs)
        known = ray.put((_anywhere(model), engine, appearance_of(model), batch_size, _kind(needs)))
        orders = orders_for([path.absolute() for path in files], model.preparation)
        window = 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        say(f"{len(files)} files on the cluster {address}")
        places = (slice(start, start + SHARD) for start in range(0, len(files), SHARD))
        under_way = [(place, task.remote(known, orders[place])) for place in islice(places, window)]
        while under_way:
            place, reference = under_way.pop(0)
            mine = files[place]
            try:
                answers, failure = ray.get(reference)
            except ray.exceptions.RayError:
                yield from _score_here(model, engine, mine, device, batch_size)
            else:
                _raise(failure)
                yield [replace(answer, path=path) for answer, path in zip(answers, mine, strict=True)]
            under_way += [
                (following, task.remote(known, orders[following])) for following in islice(places, 1)
            ]


def _anywhere(model: Model) -> Model:
    """The model with absolute paths: tasks run in other folders."""
    run = None if model.run is None else replace(model.run, path=model.run.path.resolve())
    of = None if model.deployed is None else replace(model.deployed, path=model.deployed.path.resolve())
    return replace(model, run=run, deployed=of)


def _score_here(
    model: Model, engine: str, files: Sequence[Path], device: str, batch_size: int | None
) -> Generator[list[Scored], None, None]:
    if engine == ONNX:
        return score_with_onnx(model, files, 1)
    return score_with_torch(model, files, device, None, batch_size, 1)


def shard_task(known: Any, orders: list[Order]) -> tuple[list[Scored], Failure]:
    """In a worker: the answers for one shard."""
    model, engine, appearance, batch_size, kind = known
    key = f"{model.sha256} {engine} {batch_size}"
    try:
        if key not in _LOADED:
            _LOADED.clear()
            loaded = onnx_worker(model.deployed.path, appearance) if engine == ONNX else None
            _LOADED[key] = loaded or _torch_handler(model, appearance, batch_size, kind)
        return _LOADED[key](orders), None
    except MagsdError as error:
        return [], (type(error).__name__, str(error))


def _torch_handler(model: Model, appearance: Appearance | None, batch_size: int | None, kind: str) -> Handler:
    """Decode and score a list of files in this process, on its GPU where Ray gave it one."""
    import torch

    from magsd_cli.inference.prediction import predict_images
    from magsd_cli.stages.networks import load_ensemble

    assert model.run is not None
    device = torch.device(kind)
    torch.set_num_threads(1)
    ensemble = load_ensemble(model.run, device=device)
    size = batch_size or (1 if device.type == "cpu" else 16)

    def score(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        return predict_images(ensemble, images, size, device).of_each_network()

    def handle(orders: list[Order]) -> list[Scored]:
        pictures = [ingest(order) for order in orders]
        return score_pictures([order.path for order in orders], pictures, score, appearance)

    return handle
