#!/usr/bin/env bash
# Every request and segment succeeds while random pods die: --kill-random-pods. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/stateless.py" "$@"
