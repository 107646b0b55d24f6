#!/usr/bin/env bash
# Whether a cluster has what the scaling tests need. See --help.
set -euo pipefail
exec python3 "$(dirname -- "${BASH_SOURCE[0]}")/prerequisites.py" "$@"
