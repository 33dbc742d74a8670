"""Several processes train each network together; torch's elastic launcher starts and restarts them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch

from magsd_cli.artifacts.files import write_json
from magsd_cli.console import say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError
from magsd_cli.runtime.worker_pool import from_wire, to_wire
from magsd_cli.training.ddp import local_device, process_group
from magsd_cli.training.fold import train_fold
from magsd_cli.training.plan import open_plan
from magsd_cli.training.run_bar import run_bar

RESTARTS = 3
ERROR, LAST_WORDS = "error.json", "last-words.txt"
STOP_SECONDS = 60  # how long a process may take to finish its batch and save


def train_together(run: Path, cache: Path, folds: Sequence[int], devices: Sequence[torch.device]) -> None:
    """Train `folds` of `run` one after another, each by one process for every one of `devices`.

    When a process dies, all are started again and go on from the last checkpoint, three times at most; then
    it is a `DeviceError`. An error that one of them explains is raised here; at a signal they save and stop.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we say it in one line
    with tempfile.TemporaryDirectory() as folder, _one_signal() as given:
        scratch = Path(folder)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=len(devices),
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=RESTARTS,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle="SIGTERM",
            shutdown_timeout=STOP_SECONDS,
        )
        try:
            elastic_launch(config, work)(run, cache, tuple(folds), devices[0].type, os.getpid(), scratch)
        except SignalException:
            number = given[0] if given else signal.SIGTERM
            raise Interrupted(number, "stopped, saved; run the same command again to continue") from None
        except ChildFailedError as error:
            _explain(scratch, [failure.exitcode for failure in error.failures.values()])
        if (scratch / ERROR).exists():
            _explain(scratch, [])


@contextlib.contextmanager
def _one_signal() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM both reach the launcher as SIGTERM, its children's signal; yield which it was."""
    given: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        given.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield given
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, pass_on)
    try:
        yield given
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(run: Path, cache: Path, folds: Sequence[int], kind: str, parent: int, scratch: Path) -> None:
    """Train `folds` with the other processes, as one of them. It writes down an error that a restart would
    meet again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides, and tells us by SIGTERM
    if (scratch / ERROR).exists():
        return
    try:
        with process_group(local_device(kind)) as ranks:
            restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
            if restart and ranks.rank == 0:
                say(
                    f"a process died; all go on from the last checkpoint ({restart} of {RESTARTS} restarts)",
                    level="warning",
                )
            plan = open_plan(run, cache)
            left = [fold for fold in folds if not plan.run.fold_is_done(fold)]
            with run_bar(plan, left, ranks.world) as bar:
                for fold in folds:
                    train_fold(plan, fold, local_device(kind), parent, ranks, bar.open(fold))
    except Interrupted as stop:
        raise SystemExit(stop.exit_code) from None
    except MagsdError as error:
        _note(scratch, error)
    except torch.OutOfMemoryError:
        text = "out of memory (OutOfMemoryError); try a smaller train.batch_size"
        _note(scratch, DeviceError(text))
    except Exception as error:
        (scratch / LAST_WORDS).write_text(f"{type(error).__name__}: {error}"[:500])
        raise SystemExit(1) from None


def _note(scratch: Path, error: MagsdError) -> None:
    if not (scratch / ERROR).exists():
        write_json(scratch / ERROR, to_wire(error))


def _explain(scratch: Path, codes: Sequence[int]) -> None:
    """Raise the error that a process wrote down, or say how they died."""
    if (scratch / ERROR).exists():
        raise from_wire(json.loads((scratch / ERROR).read_text()))
    causes = ", ".join(f"signal {-code}" if code < 0 else f"exit code {code}" for code in codes)
    words = scratch / LAST_WORDS
    said = f"; the last error: {words.read_text().splitlines()[0]}" if words.exists() else ""
    raise DeviceError(
        f"training: its processes died {RESTARTS + 1} times ({causes}; 9 is often a lack of memory){said}; "
        "try fewer --gpus or a smaller train.batch_size, and run it again to continue"
    )
