# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The emulated host's disk: the stable release with Debian's own QEMU and OVMF, and the modules of the kernel that it
# boots; and the initial RAM disk that mounts it.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"
kernel=$(cat /cache/kernel/release)

grep '^deb ' /etc/apt/sources.list | grep -v backports |
	mmdebstrap --mode=root --variant=essential \
		--include=mount,kmod,procps,less,strace,util-linux,openssl,qemu-system-x86,ovmf \
		--aptopt='APT::Install-Recommends "false"' --aptopt='APT::Sandbox::User "root"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		trixie tree -
cp -a /cache/kernel/modules tree/usr/lib/modules
mkdir -p tree/payload
: >tree/etc/machine-id
echo sev-es-host >tree/etc/hostname

# Never written to: an overlay in memory takes the changes.
size=$(du -sm --apparent-size tree | cut -f 1)
mke2fs -q -t ext4 -O '^has_journal' -m 0 -L host -d tree disk.img "$((size * 6 / 5 + 64))M"
rm -rf --one-file-system tree

mkdir -p initrd/bin initrd/dev initrd/modules
cp /usr/bin/busybox initrd/bin/
modprobe --show-depends -S "$kernel" -a virtio_pci virtio_blk ext4 overlay |
	sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
	name=$(basename "$module" .xz)
	xz -dc "$module" >"initrd/modules/$name"
	echo "$name" >>initrd/modules/order
done
cp /checkout/scripts/host/initrd initrd/init
(cd initrd && find . | cpio -o -H newc --quiet) >initrd.cpio
rm -r initrd
