# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The emulator: Debian's QEMU with SEV and SEV-ES for its TCG.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Objects stay in the cache, so that a change compiles what it changes.
mkdir -p /cache/emulator-build
JOBS=$(nproc) /checkout/emulator/build /cache/qemu/source /cache/emulator-build
strip -o "$1/qemu-system-x86_64" /cache/emulator-build/qemu-system-x86_64
