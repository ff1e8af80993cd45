# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A machine on which the packages are installed, and which can boot: the stable release with the kernel of the emulated host, its
# headers and its source, all that ghcb-rs-dkms depends on, systemd, lintian, and a firmware for virtual machines with what writes
# to its variables. Beside it, packages of a second kernel: the other flavour of the same version, for which the source is the same.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"
kernel=$(cat /cache/kernel/release)
version=$(sed -n "s/^$kernel //p" /checkout/scripts/kernels)
[ -n "$version" ] || version=$(apt-cache madison "linux-headers-$kernel" | awk -F ' *\\| *' 'NR == 1 { print $2 }')

case $kernel in
*-rt-amd64) second=${kernel%-rt-amd64}-amd64 ;;
*) second=${kernel%-amd64}-rt-amd64 ;;
esac
series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$kernel")

# What the package depends on, but for versions.
mapfile -t packages < <(sed -n 's/^Depends: //p' /checkout/tools/debian/dkms/control | sed 's/([^)]*)//g' | tr -d ' ' | tr , '\n')
for package in "linux-source-$series" "linux-"{headers,image}"-$kernel"; do
	packages+=("$package=$version")
done
# The kernel's packages ask for a newer one than the release has.
packages+=("linux-base=$(apt-cache madison linux-base | awk -F ' *\\| *' '{ print $2 }' | sort -rV | head -n 1)")

grep '^deb ' /etc/apt/sources.list |
	mmdebstrap --mode=root --variant=apt --skip=cleanup/apt/lists \
		--include="$(printf '%s\n' "${packages[@]}" systemd-sysv udev initramfs-tools zstd lintian ovmf python3-virt-firmware | paste -s -d ,)" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='APT::Sandbox::User "root"' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		trixie tree -
rm -f tree/var/cache/apt/archives/*.deb

mkdir second
echo "$second" >second/release
(cd second && apt-get download -q "linux-"{base,binary,headers,image,modules}"-$second=$version")
