"""Pictures of a run's report.html, as a reader sees it: docs/example-report/*.png, by a headless browser.

python docs/make_example_report.py RUN [OUT]    (RUN: with a report; needs chromium or chrome)

The gallery is shown for class Pneumonia alone: its films are ChestX-ray8's, whose licence allows it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Picture: width of the page, height of the picture, heading that the picture begins with ("" for the top).
PICTURES = {
    "top": (1100, 1250, ""),
    "shortcuts": (1100, 700, "Shortcut audit"),
    "gallery": (1100, 1000, "Case gallery"),
    "phone": (390, 1100, "Case gallery"),
}
#: At the end of a page: the gallery's filter is set, where there is one.
ONE_CLASS = """<script>
const classes = [...document.querySelectorAll("#gallery-truth option")];
const wanted = classes.find((one) => one.text === "Pneumonia");
if (wanted) { wanted.selected = true; wanted.closest("form").dispatchEvent(new Event("input")); }
</script>"""
COLOURS = 64  # of a picture: keeps it under 400 kB


def main(run: Path, out: Path) -> None:
    """Write the pictures of ``run/report.html`` into `out`."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(NAMES)}")
    page = (run / "report.html").read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for name, (width, height, heading) in PICTURES.items():
        path = out / f"{name}.png"
        with tempfile.TemporaryDirectory() as folder:
            _shoot(browser, page, Path(folder), path, width, height, heading)
        _shrink(path)
        print(path, path.stat().st_size)


def _shoot(browser: str, page: str, folder: Path, path: Path, width: int, height: int, heading: str) -> None:
    """A picture of the page in a frame of `width`: a browser's window may not be as narrow as a phone."""
    if heading:  # what stands before the section is left out, so that the picture begins with it
        start = re.search(rf'<h2 id="[^"]*">{re.escape(heading)}</h2>', page)
        if start is None:
            sys.exit(f"the report has no section {heading!r}; make it again with `magsd report`")
        page = page[: page.index("<h1>")] + page[start.start() :]
    (folder / "page.html").write_text(page + ONE_CLASS, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(
        "<!DOCTYPE html><style>body{margin:0}iframe{border:0;display:block}</style>"
        f'<iframe width="{width}" height="{height}" src="page.html"></iframe>',
        encoding="utf-8",
    )
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={max(width, 500)},{height}", "--virtual-time-budget=10000",
        f"--screenshot={path.resolve()}", frame.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603
    picture = cv2.imread(str(path))
    cv2.imwrite(str(path), picture[:height, :width])


def _shrink(path: Path) -> None:
    """The picture in few colours."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent / "example-report"),
    )
