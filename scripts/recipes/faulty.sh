# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko with faults on purpose, see ../debug/faults.rs: it commits one instead of refusing a value of `takeover`.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir source
module_sources /checkout | (cd /checkout && cpio -pdm --quiet "$1/source")
cp /checkout/scripts/debug/faults.rs source/
sed -i -e 's/^mod kvm;/mod faults;\n&/' \
	-e 's/^\( *\)if takeover > 1 {$/&\n\1    faults::commit(takeover);/' source/ghcb_rs.rs
[ "$(grep -c 'faults' source/ghcb_rs.rs)" = 2 ] || die "the faults do not fit into ghcb_rs.rs any more."
/cache/kernel/make M="$1/source" KERNEL_IMAGE=/cache/kernel/vmlinuz modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/ghcb_rs.ko
mv source/ghcb_rs.ko .
rm -r source
