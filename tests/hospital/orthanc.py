"""A real Orthanc on loopback, its data in a folder of the test's."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing() -> str:
    """Why there is no Orthanc here; "" where there is one."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        return "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"
    return ""


class Orthanc:
    """Its REST interface, by which a test looks at what the DICOMweb client did."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.web = f"http://127.0.0.1:{port}/dicom-web"

    def ask(self, path: str, data: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def upload(self, path: Path) -> None:
        self.ask("/instances", path.read_bytes())

    def objects(self, modality: str) -> list[dict[str, Any]]:
        """The tags of every object in series of `modality`."""
        series = [one for one in self.ask("/series?expand") if one["MainDicomTags"]["Modality"] == modality]
        uids = [uid for one in series for uid in one["Instances"]]
        return [self.ask(f"/instances/{uid}/tags?simplify") for uid in uids]


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc until the block ends."""
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, dicom_port = free.getsockname()[1], other.getsockname()[1]
    settings = {
        "Name": "TEST", "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"), "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "HttpPort": port, "DicomPort": dicom_port,
        "HttpBindAddresses": ["127.0.0.1"], "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "orthanc.log").open("wb")
    command = ["Orthanc", str(folder / "orthanc.json")]
    process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"LC_ALL": "C.UTF-8"})
    try:
        server = Orthanc(port)
        for _ in range(300):
            try:
                server.ask("/system")
                break
            except OSError:
                assert process.poll() is None, (folder / "orthanc.log").read_text()[-2000:]
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()
