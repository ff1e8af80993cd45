# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The demo's guest: an initial RAM disk with some files to work on and the checksums that the work must give. Its kernel
# is the one that the host runs, from which it has the driver of an SNP guest's firmware.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir -p tree/bin tree/data tree/proc tree/sys tree/dev tree/tmp
cp /usr/bin/busybox tree/bin/
cp /checkout/scripts/guest/init tree/init
mkdir tree/modules
modprobe --show-depends -S "$(cat /cache/kernel/release)" sev_guest |
	sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r module; do
	name=$(basename "$module" .xz)
	xz -dc "$module" >"tree/modules/$name"
	echo "$name" >>tree/modules/order
done
for i in $(seq 1 16); do
	head -c 262144 /dev/zero | openssl enc -aes-128-ctr -pass "pass:$i" -nosalt -pbkdf2 -iter 1 >"tree/data/file$i"
done
(cd tree/data && sha256sum file*) >tree/sums
# What the guest has to arrive at, by the same step on this machine.
cat tree/data/file* | tr '0-4' '5-9' | sha256sum | cut -d ' ' -f 1 >expected
cp tree/sums .
(cd tree && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
rm -r tree
