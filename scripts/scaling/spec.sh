#!/usr/bin/env bash
# Every line of the specification, by the command that shows it. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/spec.py" "$@"
