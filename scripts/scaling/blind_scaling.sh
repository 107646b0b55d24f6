#!/usr/bin/env bash
# No pod goes because KEDA cannot see what waits, or is away itself. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/blind.py" "$@"
