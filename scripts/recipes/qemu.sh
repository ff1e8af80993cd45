# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Debian's QEMU source package, unpacked.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

apt-get source -q --download-only qemu/trixie
dpkg-source --no-check -x qemu_*.dsc source
sed -n 's/^Version: //p' qemu_*.dsc >version
rm -f qemu_*
