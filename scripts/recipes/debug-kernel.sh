# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A kernel that finds fault, of the source of Debian's: see ../debug. It is built in /cache/tree, which stays, so that a
# build that was interrupted goes on.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

tree=/cache/tree
read -r debian version < <(grep -v '^#' /checkout/scripts/kernels)
series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$debian")

# The whole source, but for what no option below asks for.
if [ "$(cat "$tree/version" 2>/dev/null)" != "$version" ]; then
	find "$tree" -mindepth 1 -delete
	apt-get update -q
	apt-get download -q "linux-headers-$debian=$version" "linux-source-$series=$version"
	dpkg-deb --fsys-tarfile "linux-headers-$debian"_*.deb | tar -xO "./usr/src/linux-headers-$debian/.config" >"$tree/debian.config"
	name=linux-source-$series
	dpkg-deb --fsys-tarfile "$name"_*.deb | tar -xO "./usr/src/$name.tar.xz" | xz -dcT2 |
		tar -x -C "$tree" --no-same-owner --wildcards --exclude="$name/Documentation/*/*" \
			--exclude="$name/arch/[a-wyz]*/*.[chS]" --exclude="$name/arch/[a-wyz]*/*.dts*" \
			--exclude="$name/drivers/gpu/*.[ch]" --exclude="$name/drivers/media/*.[ch]" --exclude="$name/sound/*.[ch]"
	rm ./*.deb
	mv "$tree/$name" "$tree/source"
	echo "$version" >"$tree/version"
fi

cat >./make <<'END'
#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The kernel's make as this tree was prepared.
exec make -C /cache/tree/source O=/cache/tree/build ARCH=x86 LLVM=-19 "$@"
END
chmod +x make

# Debian's options but for drivers, file systems, network, security and cryptography; and no modules.
mkdir -p "$tree/build" config
awk '
/^CONFIG_NET=y/ { skip = 1 }
/^# Device Drivers$/ { skip = 1 }
/^# end of Device Drivers$/ { skip = 0; next }
/^# (File systems|Security options)$/ { skip = 1 }
/^# end of (File systems|Security options)$/ { skip = 0; next }
/^CONFIG_CRYPTO=y/ { skip = 1 }
/^# Library routines$/ { skip = 1 }
/^# Kernel hacking$/ { skip = 0 }
!skip && !/^CONFIG_CC_VERSION_TEXT|^CONFIG_RUSTC_VERSION_TEXT|=m$/' "$tree/debian.config" >all.config
cat /checkout/scripts/debug/*.config >>all.config
make -s -C "$tree/source" O="$PWD/config" ARCH=x86 LLVM=-19 KCONFIG_ALLCONFIG="$PWD/all.config" allnoconfig
# What was asked for and is not there would find nothing.
missing=$(grep -hE '^CONFIG_[A-Z0-9_]+=' /checkout/scripts/debug/*.config | grep -vxFf config/.config || true)
[ -z "$missing" ] || die "the debugging kernel's configuration does not take $(paste -s -d ' ' <<<"$missing")."
# The versions of Rust's symbols come with its objects, which are not made anew for another way to make them.
if ! cmp -s config/.config "$tree/build/.config"; then
	cp config/.config "$tree/build/.config"
	rm -f "$tree/build/rust/"*.o
fi
rm -r config all.config

./make -s olddefconfig
./make -j"$(nproc)" bzImage modules

release=$(cat "$tree/build/include/config/kernel.release")
./make -s modules_install INSTALL_MOD_PATH="$PWD/installed" INSTALL_MOD_STRIP=1 DEPMOD=/usr/sbin/depmod
mv installed/lib/modules modules
rm -r installed
rm -f "modules/$release/build" "modules/$release/source"
cp "$tree/build/arch/x86/boot/bzImage" vmlinuz
ln -s "$tree/build" build
ln -s "$tree/source" source
./make -s headers

# Without it, KASAN is silent after its first report.
echo kasan_multi_shot >arguments
# How many times as long as on Debian's kernel all takes, and its limits therefore are.
echo 8 >factor
echo "$release" >release
