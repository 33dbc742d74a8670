"""The place where `magsd prepare` does its work: processes of this machine, or tasks of a Ray cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from magsd_cli.console import say
from magsd_cli.data.identity import keyed_hash
from magsd_cli.data.ingest import Ingested, IngestTask, ingest
from magsd_cli.preparation.duplicates import BLOCK, Packed, Pairs, compare_rows
from magsd_cli.preparation.shards import images_of_shard
from magsd_cli.runtime.cluster import RETRIES, connected, in_order, task_result
from magsd_cli.runtime.worker_pool import Crash, Limits, chunks, even_chunk, hands_for, plain, run_isolated

CHUNK = 8  # files that travel to a worker together
DECODING = Limits(memory=2 * 2**30)


@dataclass(frozen=True)
class Workplace:
    """`read` decodes files, giving outcomes in order, some at a time; `compare` is for `near_pairs`.

    `read` is told how many files there are and the side in pixels of their images.
    """

    read: Callable[[Iterable[IngestTask], int, int], Generator[list[Ingested], None, None]]
    compare: Callable[[Packed, int], Pairs] | None = None


def here(workers: int | None = None) -> Workplace:
    """Worker processes of this machine that may crash: one file each; None: as many as it has cores."""

    def read(tasks: Iterable[IngestTask], count: int, side: int) -> Generator[list[Ingested], None, None]:
        hands = hands_for(count, workers)
        chunk = even_chunk(count, hands, min(CHUNK, images_of_shard(side)))
        return run_isolated(plain, (ingest,), tasks, _crashed, hands, chunk, DECODING)

    return Workplace(read)


@contextmanager
def on_cluster(address: str, site_key: Callable[[], bytes]) -> Iterator[Workplace]:
    """Tasks of the Ray cluster at `address`.

    Patient ids of headers stay in the task that reads them: it gets the site key with its call, not through
    the object store, and gives keyed hashes back. A task whose machine dies goes elsewhere, `RETRIES` times;
    after that its files are read here, where one that ends its decoder costs its own row. Raises `UsageError`
    without Ray, `DeviceError` where no cluster answers.
    """
    with connected(address) as ray:
        say(f"prepare: on the cluster {address}, {int(ray.cluster_resources().get('CPU', 1))} cores")

        def read(
            tasks: Iterable[IngestTask], _count: int, side: int
        ) -> Generator[list[Ingested], None, None]:
            key = site_key()
            task = ray.remote(ingest_task).options(max_retries=RETRIES, num_cpus=1)
            shards = chunks(tasks, images_of_shard(side))
            for shard, outcome in in_order(ray, lambda shard: task.remote(shard, key), shards):
                if not isinstance(outcome, ray.exceptions.RayError):
                    yield outcome
                    continue
                yield from here(1).read(shard, len(shard), side)

        def compare(packed: Packed, most: int) -> Pairs:
            known = ray.put(packed)
            task = ray.remote(compare_rows).options(max_retries=RETRIES, num_cpus=1)
            references = [task.remote(known, start, most) for start in range(0, len(packed), BLOCK)]
            return (task_result(ray, reference, "prepare: comparing hashes") for reference in references)

        yield Workplace(read, compare)


def ingest_task(tasks: Sequence[IngestTask], site_key: bytes) -> list[Ingested]:
    """Return, in a Ray task, what came of each file, with ids of its header as keyed hashes.

    An alarm ends the process where a file takes longer than `DECODING` allows.
    """
    outcomes = []
    for task in tasks:
        signal.setitimer(signal.ITIMER_REAL, DECODING.seconds)
        outcomes.append(_with_hashed_ids(ingest(task), site_key))
    signal.setitimer(signal.ITIMER_REAL, 0)
    return outcomes


def _with_hashed_ids(outcome: Ingested, site_key: bytes) -> Ingested:
    hashed = {
        name: keyed_hash(getattr(outcome.meta, name), lambda: site_key) for name in ("patient_id", "exam_id")
    }
    return replace(outcome, meta=replace(outcome.meta, **hashed), ids_are_hashed=True)


def _crashed(_task: IngestTask, crash: Crash) -> Ingested:
    if crash.code == "timeout":
        return Ingested(error_code="decoder_timeout", error=f"decoding took more than {crash.cause}")
    if crash.code == "unexpected":
        return Ingested(error_code="decoder_crashed", error=crash.reason)
    return Ingested(error_code="decoder_crashed", error=f"decoding it ended its process ({crash.cause})")
