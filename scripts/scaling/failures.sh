#!/usr/bin/env bash
# One thing after the other is broken under load, and nothing is lost. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/failures.py" "$@"
