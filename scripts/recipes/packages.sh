# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Debian packages of the module's source, for DKMS, and of the tools.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

/checkout/tools/debian/build "$1" /cache/operator /cache/selftests/out
