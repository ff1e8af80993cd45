# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko, against the prepared kernel tree; and for the tests, another livepatch of kvm_amd, a module that makes
# allocations fail, one that counts assigned pages, one that shuts ftrace down, a kvm_amd and a kvm that the module was not
# built for, and the module built for another kernel.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"
objtool=/cache/kernel/build/tools/objtool/objtool

sh /checkout/scripts/kernel-fits /cache/kernel/build
mkdir source
module_sources /checkout | (cd /checkout && cpio -pdm --quiet /cache/module/source)
/cache/kernel/make M=/cache/module/source KERNEL_IMAGE=/cache/kernel/vmlinuz modules
"$objtool" klp post-link source/ghcb_rs.ko
# The assertions of a debugging kernel panic: they are its own check.
grep -q '^CONFIG_RUST_DEBUG_ASSERTIONS=y' /cache/kernel/build/.config || bash /checkout/scripts/panic-check source/ghcb_rs.ko
mv source/ghcb_rs.ko .
# The same for another kernel: anything else that has a build ID.
/cache/kernel/make M=/cache/module/source KERNEL_IMAGE="/usr/lib/modules/$(cat /cache/kernel/release)/kernel/arch/x86/kvm/kvm.ko.xz" modules
"$objtool" klp post-link source/ghcb_rs.ko
mv source/ghcb_rs.ko for-other-vmlinux.ko
rm -r source

for name in second_patch no_memory rmp_count dead_ftrace; do
	mkdir source
	cp "/checkout/selftests/$name"/* source/
	/cache/kernel/make M=/cache/module/source modules
	[ "$name" != dead_ftrace ] || "$objtool" klp post-link source/dead_ftrace.ko
	mv "source/$name.ko" .
	rm -r source
done

# Debian's own, each with one bit of its build ID turned.
for name in kvm-amd kvm; do
	xz -dc "/usr/lib/modules/$(cat /cache/kernel/release)/kernel/arch/x86/kvm/$name.ko.xz" >"$name.ko"
	objcopy --dump-section .note.gnu.build-id=note "$name.ko"
	last=$(tail -c 1 note | od -An -tu1)
	printf '%b' "\\x$(printf %02x $((last ^ 1)))" |
		dd of=note bs=1 seek=$(($(stat -c %s note) - 1)) conv=notrunc status=none
	objcopy --update-section .note.gnu.build-id=note "$name.ko" "other-$name.ko"
	rm "$name.ko" note
done
