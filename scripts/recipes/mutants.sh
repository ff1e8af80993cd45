# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A module for each deliberate fault. What is there and still fits stays: this fills a directory that exists.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Debug information takes a quarter of the time, and no fault needs it.
OBJTOOL=/cache/kernel/build/tools/objtool/objtool \
	sh /checkout/selftests/mutants/build "$1" "${2:-}" /cache/kernel/make KERNEL_IMAGE=/cache/kernel/vmlinuz \
	KRUSTFLAGS=-Cdebuginfo=0
