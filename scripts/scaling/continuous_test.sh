#!/usr/bin/env bash
# Runs until it is signalled, and ends at the first breach. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/continuous.py" "$@"
