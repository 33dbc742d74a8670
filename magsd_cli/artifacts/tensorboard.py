"""Training curves for TensorBoard, beside the history that is always kept.

A run whose folder ``tensorboard`` exists wants them; whatever process trains a fold then writes them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from magsd_cli.artifacts.runs import network_name
from magsd_cli.console import say
from magsd_cli.errors import UsageError

#: Takes the history so far, a row an epoch; writes the rows that it has not written yet.
WriteScalars = Callable[[Sequence[Mapping[str, float]]], None]


def scalars_path(run: Path) -> Path:
    """Return the folder of a run's curves for TensorBoard."""
    return run / "tensorboard"


def check_tensorboard() -> None:
    """Raise `UsageError` where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise UsageError(
            "--tensorboard: TensorBoard is not installed; run `pip install '.[tensorboard]'`, or read "
            "history.parquet"
        ) from None


@contextmanager
def scalar_writer(run: Path, fold: int, known: int, wanted: bool) -> Iterator[WriteScalars]:
    """Yield what writes the curves of `fold`, whose first `known` epochs are written.

    Epochs after `known` that a killed process wrote are withdrawn: they are trained again. Where they are not
    `wanted`, or TensorBoard is not installed, nothing is written.
    """
    if not wanted:
        yield lambda _history: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed here; the curves are in history.parquet only", level="warning")
        yield lambda _history: None
        return
    written = known
    writer = SummaryWriter(str(scalars_path(run) / network_name(fold)), purge_step=known + 1)

    def write(history: Sequence[Mapping[str, float]]) -> None:
        nonlocal written
        for row in history[written:]:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(row["epoch"]))
        written = max(written, len(history))
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
