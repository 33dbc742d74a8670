"""The systemd units of docs/hospital, as systemd-analyze reads them, and the script, as a shell does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HOSPITAL = Path(__file__).resolve().parents[2] / "docs" / "hospital"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
def test_the_units_are_whole(tmp_path: Path) -> None:
    script = tmp_path / "magsd-screen"
    script.symlink_to(HOSPITAL / "screen")
    for name in ("magsd-screen.service", "magsd-screen.timer"):
        text = (HOSPITAL / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/magsd-screen", str(script)))
    units = [str(tmp_path / name) for name in ("magsd-screen.service", "magsd-screen.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "magsd" in line]
    assert ours == []


def test_the_script_is_whole() -> None:
    subprocess.run(["sh", "-n", str(HOSPITAL / "screen")], check=True)
