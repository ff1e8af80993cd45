# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The programs that test the emulator: under Linux, without an operating system; and a user of its firmware by the sev
# crate.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

make -C /checkout/emulator/tests CC=gcc-14 OUT="$1" "$1"/behaviours{,-harmless}
make -C /checkout/emulator/tests/bare CC=gcc-14 OUT="$1" "$1/bare"
export CARGO_TARGET_DIR=/cache/target/behaviours
cargo build --release --locked --manifest-path /checkout/emulator/tests/sev_owner/Cargo.toml
cp "$CARGO_TARGET_DIR/release/"{sev_owner,snp_owner} "$1/"
