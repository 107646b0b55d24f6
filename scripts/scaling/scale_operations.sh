#!/usr/bin/env bash
# Detection pods follow the backlog, up and down, and nothing is lost. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/operations.py" "$@"
