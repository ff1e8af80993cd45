# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko, against the prepared kernel tree.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir source
module_sources /checkout | (cd /checkout && cpio -pdm --quiet /cache/module/source)
/cache/kernel/make M=/cache/module/source modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/ghcb_rs.ko
mv source/ghcb_rs.ko .
rm -r source
