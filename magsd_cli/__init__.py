"""magsd: classify COVID-19 and other pneumonia on chest X-rays with MAG-SD, and prove how good it is."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magsd_cli.api import Model, load, read_film
    from magsd_cli.errors import MagsdError

__all__ = ["MagsdError", "Model", "__version__", "load", "read_film"]
__version__ = "0.1.0"

#: Libraries that report on their own how they are used, and what tells them not to. This is the first module
#: that every child process, Ray task and notebook imports, so it is set before any of them. A choice that the
#: person made in the environment stands.
SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.29 and later
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # timm's hub client
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
for _name, _value in SILENT.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> Any:
    """Import what Python users need (docs/python.md) when it is first asked for: `magsd --help` does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("magsd_cli.errors" if name == "MagsdError" else "magsd_cli.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
