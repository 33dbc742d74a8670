"""`magsd predict --dry-run`: what would be read and made, how long, how much disk. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magsd_cli.console import counted, in_bytes, in_time, say
from magsd_cli.inference.decision import appearance_of
from magsd_cli.inference.model import Model
from magsd_cli.inference.onnx_engine import onnx_worker
from magsd_cli.inference.predict import PredictOptions, check_options, plan_of
from magsd_cli.inference.scoring import tasks_for
from magsd_cli.runtime.worker_pool import hands_for
from magsd_cli.settings import Engine

MEASURED = 6  # files, evenly spread over the inputs
ROW_BYTES = 300  # of a table, about


def dry_run(options: PredictOptions) -> None:
    """Say on stderr what `predict` would do with `options`.

    Raises what `predict` raises for a model, a table or inputs that it cannot take.
    """
    check_options(options)
    with plan_of(options, writes=False) as plan:
        missing = [path for path in plan.inputs if not plan.store.keep(path)]
        kept, rows = sum(1 for _ in plan.store.files()) - len(missing), len(plan.store)
    size = sum(path.stat().st_size for path in missing if path.is_file())
    say(
        f"would score {counted(len(missing), 'file')}, {in_bytes(size)}, keep {counted(kept, 'row')}",
        files=len(missing),
        bytes=size,
    )
    where = f"write {options.out}" if options.out is not None else "write the table to standard output"
    made = 4000 + ROW_BYTES * rows
    say(f"would {where}, about {in_bytes(made)} for at most {counted(rows, 'row')}", rows=rows, bytes=made)
    if missing:
        say(f"{_time_in_words(missing, plan.model, plan.engine, options)}; nothing was written")


def _time_in_words(files: Sequence[Path], model: Model, engine: str, options: PredictOptions) -> str:
    if engine != Engine.onnxruntime:
        return "the time is estimated only for a model file on the CPU"
    assert model.model_file is not None
    hands = hands_for(len(files), options.workers or options.gpus)
    start = time.perf_counter()
    score: Callable[[Any], Any] = onnx_worker(model.model_file, appearance_of(model))
    opening = time.perf_counter() - start
    chosen = [files[k * len(files) // MEASURED] for k in range(MEASURED)] if len(files) > MEASURED else files
    start = time.perf_counter()
    for task in tasks_for(chosen, model.preprocessing):
        score(task)
    each = (time.perf_counter() - start) / len(chosen)
    total = opening + each * len(files) / hands
    processes, sample = counted(hands, "process"), counted(len(chosen), "file")
    return f"would take about {in_time(total)} in {processes}, estimated from {sample}"
