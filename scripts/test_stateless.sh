#!/usr/bin/env bash
# Where the specification looks for it; see scripts/scaling/test_stateless.sh.
set -euo pipefail
exec "$(dirname -- "${BASH_SOURCE[0]}")/scaling/test_stateless.sh" "$@"
