import platform
import subprocess
import sys

import pytest
import torch

from magsd_cli.errors import DeviceError, UsageError
from magsd_cli.runtime.device import choose_devices


@pytest.fixture
def gpus(monkeypatch):
    def have(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


def test_without_a_gpu(gpus):
    gpus(0)
    assert choose_devices() == [torch.device("cpu")]
    assert choose_devices("cpu", 2) == [torch.device("cpu")] * 2
    with pytest.raises(DeviceError) as error:
        choose_devices("auto", 2)
    assert str(error.value) == "--gpus 2: this machine has 0 CUDA GPUs; omit --gpus to train on the CPU"
    assert error.value.exit_code == 8
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        choose_devices("cuda")
    with pytest.raises(DeviceError, match="cuda:1"):
        choose_devices("cuda:1")


def test_with_gpus(gpus):
    gpus(2)
    assert choose_devices() == [torch.device("cuda:0")]
    assert choose_devices("auto", 2) == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert choose_devices("cuda:1") == [torch.device("cuda:1")]
    with pytest.raises(DeviceError, match="has 2 CUDA GPUs; use --gpus 2"):
        choose_devices("auto", 3)
    with pytest.raises(DeviceError, match="use --device cuda:0 to cuda:1"):
        choose_devices("cuda:2")


@pytest.mark.parametrize(
    ("device", "number"), [("gpu", None), ("cpu:1", None), ("cuda:x", None), ("cuda:0", 2), ("auto", 0)]
)
def test_words_that_mean_nothing(device, number):
    with pytest.raises(UsageError):
        choose_devices(device, number)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    script = """
import resource, sys
import torch
from magsd_cli.runtime.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(30):  # until the heap is as large as it needs to be
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for word in ("keep", "leave"):
        command = [sys.executable, "-c", script, word]
        faults[word] = int(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert faults["keep"] < faults["leave"] / 2, faults
