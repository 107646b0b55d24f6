#!/usr/bin/env bash
# Where the specification looks for it; see scripts/scaling/continuous_test.sh.
set -euo pipefail
exec "$(dirname -- "${BASH_SOURCE[0]}")/scaling/continuous_test.sh" "$@"
