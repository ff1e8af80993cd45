# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The project's own test programs and the guests that they run.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

work_copy
CARGO_TARGET_DIR=/cache/target/selftests /cache/work/selftests/build "$1/out"
