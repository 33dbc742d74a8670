"""magsd: classify COVID-19 and other pneumonia on chest X-rays with MAG-SD, and prove how good it is."""

import os

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
