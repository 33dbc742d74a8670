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


#: Where `.ci/run` puts axe-core, from npm's registry.
AXE = Path(__file__).resolve().parents[1] / ".axe/node_modules/axe-core/axe.min.js"


def _browser() -> str:
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return browser


def axe() -> str:
    """JavaScript that puts axe-core into the page; skips the test where it is missing."""
    if not AXE.exists():
        pytest.skip(f"no axe-core: {AXE} is missing; .ci/run fetches it from npm's registry")
    return f"""const script = page.createElement("script");
    script.textContent = {_quoted(AXE.read_text(encoding="utf-8"))};
    page.head.append(script);"""


def _quoted(text: str) -> str:
    return json.dumps(text).replace("<", "\\u003c")


def to_pdf(page: str, folder: Path) -> list[list[tuple[float, str]]]:
    """The lines of each sheet of the page as it is printed, in the order of their heights.

    Each has its height as a share of the sheet's (0: its top). Skips without a browser or pdftotext.
    """
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext: poppler-utils is not installed")
    source, printed = folder / "page.html", folder / "page.pdf"
    source.write_text(page, encoding="utf-8")
    command = [_browser(), *QUIET, f"--user-data-dir={folder / 'profile'}", "--no-pdf-header-footer"]
    subprocess.run(
        [*command, f"--print-to-pdf={printed}", source.as_uri()], capture_output=True, timeout=240, check=True
    )
    read = subprocess.run(
        [reader, "-bbox-layout", printed, "-"], capture_output=True, text=True, timeout=60, check=True
    )
    sheets = []
    for sheet in read.stdout.split("<page ")[1:]:
        height = float(re.search(r'height="([\d.]+)"', sheet)[1])
        lines = re.findall(r'<line [^>]*yMin="([\d.]+)"[^>]*>(.*?)</line>', sheet, re.DOTALL)
        words = [(float(y) / height, re.findall(r"<word [^>]*>(.*?)</word>", line)) for y, line in lines]
        sheets.append(sorted((y, html.unescape(" ".join(line))) for y, line in words))
    return sheets


def drive(page: str, steps: str, folder: Path, width: int = 375, *, dark: bool = False) -> Any:
    """What the JavaScript `steps` return (they see `page`, its document, `view`, its window, and `tick`).

    dark: as for those who ask for dark pages. Skips the test where there is no browser.
    """
    browser = _browser()
    quoted = _quoted(page)
    harness = folder / "harness.html"
    harness.write_text(_HARNESS.format(width=width, steps=steps, page=quoted), encoding="utf-8")
    scheme = [] if not dark else ["--blink-settings=preferredColorScheme=0"]
    command = [browser, *QUIET, *scheme, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, harness.as_uri()], capture_output=True, text=True, timeout=240, check=True
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[:500] + done.stderr[-500:]
    return json.loads(html.unescape(found.group(1)))
