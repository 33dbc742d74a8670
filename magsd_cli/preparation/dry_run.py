"""`magsd prepare --dry-run`: what would be read and made, how long, how much disk. Writes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from magsd_cli.console import counted, in_bytes, in_time, say
from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.errors import NoInputError
from magsd_cli.preparation.prepare import PrepareOptions, checked_settings, list_inputs_of
from magsd_cli.preparation.samples import choose
from magsd_cli.preparation.shards import done_cache, work_folder
from magsd_cli.preparation.sources import source_key
from magsd_cli.preparation.workplace import DECODING
from magsd_cli.runtime.worker_pool import hands_for, plain, run_isolated
from magsd_cli.settings import Preprocessing

MEASURED = 12  # files, evenly spread over the listing


def dry_run(options: PrepareOptions) -> None:
    """Say on stderr what `prepare` would do with `options`.

    Raises what `prepare` raises for sources that cannot be read; single files are not judged.
    """
    listed, settings = list_inputs_of(options)[0], checked_settings(options.preprocessing)
    positions = choose(listed.records, listed.per_class, listed.seed, set())
    files = [listed.records[position].path for position in positions]
    if not files:
        raise NoInputError(f"{', '.join(map(str, options.sources))}: no images there to prepare")
    labels = Counter(listed.records[position].label or "no label" for position in positions)
    words = ", ".join(f"{name} {count}" for name, count in sorted(labels.items()))
    size = sum(_size(path) for path in files)
    say(f"would read {counted(len(files), 'file')}, {in_bytes(size)}: {words}", files=len(files), bytes=size)
    made = len(files) * settings.size**2
    folder = options.runs / "cache"
    done = done_cache(work_folder(folder, source_key(listed, settings, options.name, options.view)))
    if done is not None and done.is_file():
        say(f"{done}: this cache is finished already; nothing would be left to do", cache=done)
        return
    name = options.name or "-".join(listed.names)
    say(
        f"would make {folder}/{name}-<hash>.h5 of {settings.size} px, at most {in_bytes(made)}; twice that "
        "while it is being written",
        bytes=made,
    )
    hands = hands_for(len(files), options.workers)
    seconds, sample = measure(files, settings, options.view == "all")
    total = seconds * len(files) / hands
    say(
        f"would take about {in_time(total)} in {counted(hands, 'process')}, estimated from "
        f"{counted(sample, 'file')}; "
        "nothing was written",
        seconds=round(total, 1),
    )


def measure(files: Sequence[Path], settings: Preprocessing, lateral: bool) -> tuple[float, int]:
    """The seconds that a file takes, decoded and prepared in a worker process, and how many were timed."""
    chosen = [files[k * len(files) // MEASURED] for k in range(MEASURED)] if len(files) > MEASURED else files
    tasks = [IngestTask(path, settings, lateral) for path in chosen]
    answers = run_isolated(plain, (_seconds,), tasks, lambda _task, _crash: 0.0, 1, 4, DECODING)
    found = [one for some in answers for one in some]
    return sum(found) / len(found), len(found)


def _seconds(task: IngestTask) -> float:
    start = time.perf_counter()
    ingest(task)
    return time.perf_counter() - start


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
