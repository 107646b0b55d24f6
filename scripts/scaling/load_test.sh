#!/usr/bin/env bash
# A hotspot is seen and goes: --uneven --duration=300. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/uneven.py" "$@"
