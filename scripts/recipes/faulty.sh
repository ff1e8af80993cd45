# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko with faults on purpose, see ../debug.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir source
module_sources /checkout | (cd /checkout && cpio -pdm --quiet "$1/source")
cp /checkout/scripts/debug/faults.rs source/
/checkout/scripts/debug/put-faults </checkout/ghcb_rs.rs >source/ghcb_rs.rs
/cache/kernel/make M="$1/source" KERNEL_IMAGE=/cache/kernel/vmlinuz modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/ghcb_rs.ko
mv source/ghcb_rs.ko .
rm -r source
