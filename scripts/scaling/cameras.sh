#!/usr/bin/env bash
# The load test: --cameras=N --minutes=M. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/camera_load.py" "$@"
