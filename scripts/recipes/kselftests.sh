# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The kernel's own KVM selftests for x86, but for those of Intel's processors.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

source=/cache/kernel/source/tools/testing/selftests/kvm
mapfile -t names < <(sed -n 's/^TEST_GEN_PROGS_x86 += \(x86\/\)/\1/p' "$source/Makefile.kvm" | grep -vE '/(vmx_|hyperv_evmcs|evmcs_|amx_)')
mkdir objects
# libvfio belongs to a test of device assignment, and needs a network driver's headers.
make -s -j"$(nproc)" -C "$source" ARCH=x86 CC=gcc-14 LIBVFIO_O= \
	KHDR_INCLUDES="-isystem /cache/kernel/build/usr/include" OUTPUT="$PWD/objects" "${names[@]/#/$PWD/objects/}"
mkdir x86
for name in "${names[@]}"; do
	strip -o "$name" "objects/$name"
done
rm -r objects
