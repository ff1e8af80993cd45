# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Certificates of the emulated chip, with which those of the demo verify an attestation report.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

bash /checkout/emulator/kds /cache/emulator/qemu-system-x86_64 "$1"
