"""A Ray cluster: how to connect, and what a task may ask for."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

from magsd_cli.console import KEEP_STATE_VARIABLE, OFFLINE_VARIABLE
from magsd_cli.errors import DeviceError, UsageError
from magsd_cli.runtime.signals import own_signals

RETRIES = 3
PATIENCE = 5.0  # seconds between two looks at the cluster while a task is awaited
LOOKS = 3  # in vain, and the cluster is gone
#: Ray's own patience with a head that does not answer: one attempt takes it 40 seconds, and it makes 20.
_ATTEMPTS = ("RAY_gcs_server_port_wait_time_s", "1")
GONE = "--cluster: the Ray cluster is gone; run it again to continue, with or without --cluster"
Item = TypeVar("Item")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at `address` (auto, host:port or ray://host:port).

    Raises `UsageError` where Ray is not installed, `DeviceError` where no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    os.environ.setdefault(*_ATTEMPTS)
    try:
        import ray
    except ImportError:
        words = "install it with `pip install '.[ray]'` in the checkout"
        raise UsageError(f"--cluster: needs Ray; {words}") from None
    try:
        _knock(address)
        with own_signals():
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


def _knock(address: str) -> None:
    """Raise `ConnectionError` where host:port does not answer: Ray would take most of a minute to say so."""
    place = _place(address)
    if place is not None and not _answers(place):
        raise ConnectionError(f"nothing listens at {address}")


def _place(address: str) -> tuple[str, int] | None:
    """Host and port of an address; None where it has another form (auto, ray://)."""
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and "/" not in host and port.isdigit() else None


def _answers(place: tuple[str, int]) -> bool:
    """Return whether something listens there; it is tried `LOOKS` times."""
    for look in range(LOOKS):
        if look:
            time.sleep(PATIENCE)
        with suppress(OSError), socket.create_connection(place, timeout=PATIENCE):
            return True
    return False


def task_resources(ray: Any, device: str, threads: int) -> dict[str, float]:
    """Return the resources of a task: a GPU where the cluster has any and `device` is not cpu, otherwise
    cores.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(node.get("GPU", 0) for node in nodes)
    if device.startswith("cuda") and not gpus:
        raise DeviceError(f"--device {device}: the cluster has no GPU; omit --device to use its cores")
    if gpus and device != "cpu":
        return {"num_gpus": 1}
    return {"num_cpus": max(1, min(threads, int(max(node.get("CPU", 1) for node in nodes))))}


def task_environment() -> dict[str, Any]:
    """A task's environment is its machine's own: it is told what --offline and --keep-state ask for."""
    asked = {name: os.environ[name] for name in (OFFLINE_VARIABLE, KEEP_STATE_VARIABLE) if name in os.environ}
    return {"runtime_env": {"env_vars": asked}} if asked else {}


def device_kind(needs: Mapping[str, float]) -> str:
    """The torch device of a task that asked for `needs`."""
    return "cuda:0" if "num_gpus" in needs else "cpu"  # Ray shows a task its own GPU alone


def in_order(
    ray: Any, submit: Callable[[Item], Any], items: Iterable[Item]
) -> Generator[tuple[Item, Any], None, None]:
    """Each of `items` with what the task that `submit` starts for it returned, in order, some tasks ahead.

    Where a task failed for good the `RayError` stands in place of its result. Raises `DeviceError` where the
    cluster is gone.
    """
    waiting, window = iter(items), 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    under_way = deque((item, submit(item)) for item in islice(waiting, window))
    while under_way:
        item, reference = under_way.popleft()
        try:
            outcome = _awaited(ray, reference)
        except ray.exceptions.RayError as error:
            if not is_there(ray):
                raise DeviceError(GONE) from error
            outcome = error
        yield item, outcome
        under_way += ((following, submit(following)) for following in islice(waiting, 1))


def _awaited(ray: Any, reference: Any) -> Any:
    """Return a task's result; meanwhile ask now and then whether the cluster is still there.

    A minute after its head is gone Ray would end this process without a word.
    """
    while True:
        try:
            return ray.get(reference, timeout=PATIENCE)
        except ray.exceptions.GetTimeoutError:
            if not is_there(ray):
                raise DeviceError(GONE) from None


def is_there(ray: Any) -> bool:
    """Return whether the cluster's head still answers; True where its address is not known (ray://)."""
    try:
        place = _place(str(ray.get_runtime_context().gcs_address))
    except (AttributeError, RuntimeError):
        place = None
    return bool(ray.is_initialized()) if place is None else _answers(place)


def task_result(ray: Any, reference: Any, what: str) -> Any:
    """Return what a task returned. Raises `DeviceError` where it failed for good; `what` names it in the
    message.
    """
    try:
        return _awaited(ray, reference)
    except ray.exceptions.RayError as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(
            f"{what}: its task failed on the cluster ({reason}); run it again to continue"
        ) from error
