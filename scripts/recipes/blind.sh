# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko with a fault in its judge: it does not know the difference of reading DR7, and so meets an answer of C's that it cannot
# explain.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir source
module_sources /checkout | (cd /checkout && cpio -pdm --quiet "$1/source")
sed -i 's/(Expected::Dr7(_), Told::Done(0)) => Verdict::ReadDr7,/(Expected::Dr7(_), Told::Done(0)) => Verdict::Unexplained,/' source/vmgexit/judge.rs
! cmp -s /checkout/vmgexit/judge.rs source/vmgexit/judge.rs || die "the fault does not fit into vmgexit/judge.rs any more."
/cache/kernel/make M="$1/source" KERNEL_IMAGE=/cache/kernel/vmlinuz KRUSTFLAGS=-Cdebuginfo=0 modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/ghcb_rs.ko
mv source/ghcb_rs.ko blind.ko
rm -r source
