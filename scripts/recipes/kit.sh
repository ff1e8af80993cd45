# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The programs of the kit.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Where cargo finds their settings.
cd /checkout/tools
export CARGO_TARGET_DIR=/cache/target/tools
cargo build --release --locked --package ghcb-kit --package ghcb-check
cp "$CARGO_TARGET_DIR"/x86_64-unknown-linux-gnu/release/ghcb-{kit,check} "$1/"
