"""A headless browser for tests of pages: drives a page by script and brings back what it saw."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-extensions", "--mute-audio", "--virtual-time-budget=20000",
)  # fmt: skip

#: The page stands in a frame of the wanted width, so that a phone's width is one on any machine.
_HARNESS = """<!DOCTYPE html><title>harness</title>
<iframe id="frame" style="width:{width}px;height:800px;border:0"></iframe><pre id="result"></pre>
<script>
const frame = document.getElementById("frame");
const tick = () => new Promise((done) => setTimeout(done, 20));
frame.addEventListener("load", async () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  let result;
  try {{ result = await (async () => {{ {steps} }})(); }}
  catch (error) {{ result = {{error: String(error)}}; }}
  document.getElementById("result").textContent = JSON.stringify(result);
}});
frame.srcdoc = {page};
</script>"""


def drive(page: str, steps: str, folder: Path, width: int = 375) -> Any:
    """What the JavaScript `steps` return (they see `page`, its document, `view`, its window, and `tick`).

    Skips the test where there is no browser.
    """
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    quoted = json.dumps(page).replace("<", "\\u003c")
    harness = folder / "harness.html"
    harness.write_text(_HARNESS.format(width=width, steps=steps, page=quoted), encoding="utf-8")
    command = [browser, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[:500] + done.stderr[-500:]
    return json.loads(html.unescape(found.group(1)))
