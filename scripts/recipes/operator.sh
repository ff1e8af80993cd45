# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The tools for operators, their manual pages, and what completes their command lines.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Where cargo finds their settings.
cd /checkout/tools
export CARGO_TARGET_DIR=/cache/target/tools
cargo build --release --locked --workspace
built=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release
cp "$built"/{ghcbstat,ghcb-check} "$1/"
"$built/pages" "$1"
