# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A guest whose round trips are measured, and its VMM.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

work_copy
CARGO_TARGET_DIR=/cache/target/bench /cache/work/benches/emulated/build "$1"
