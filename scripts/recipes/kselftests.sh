# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The kernel's own KVM selftests, those named in scripts/host/kselftests.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mapfile -t names < <(grep -v '^#' /checkout/scripts/host/kselftests)
mkdir objects
# libvfio belongs to a test of device assignment, and needs a network driver's headers.
make -s -j"$(nproc)" -C /cache/kernel/source/tools/testing/selftests/kvm ARCH=x86 CC=gcc-14 LIBVFIO_O= \
	KHDR_INCLUDES="-isystem /cache/kernel/build/usr/include" OUTPUT="$PWD/objects" \
	"${names[@]/#/$PWD/objects/x86/}"
mkdir x86
for name in "${names[@]}"; do
	strip -o "x86/$name" "objects/x86/$name"
done
rm -r objects
