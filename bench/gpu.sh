#!/usr/bin/env bash
# All that only a GPU can show, within 40 minutes, as one Markdown table: bench/gpu.sh [--pretend] [--out DIR] ...
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" bench/gpu.py "$@"
