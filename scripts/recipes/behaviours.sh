# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The program that tests the emulator.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

make -C /checkout/emulator/tests CC=gcc-14 OUT="$1" "$1/behaviours"
