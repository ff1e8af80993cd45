# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A kernel of Debian's that takes modules in Rust, see ../kernels: its packages unpacked, its source, and the tree that Debian's
# headers package lacks: prepared for modules in Rust, and the same as the kernel that Debian ships.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

rustc=$(rustc --version)
apt-get update -q

known=/checkout/scripts/kernels
# versions RELEASE: those of its headers package that the archive has, newest first.
versions() { apt-cache madison "linux-headers-$1" 2>/dev/null | awk -F ' *\\| *' '{ print $2 }' | sort -rVu; }

# candidates: lines "RELEASE VERSION", the best first: the one that was asked for; those that are known to work, as they are
# listed; then any other, newest first.
candidates() {
	local release version
	if [ -n "${GHCB_RS_KERNEL:-}" ]; then
		versions "$GHCB_RS_KERNEL" | sed "s/^/$GHCB_RS_KERNEL /"
		return
	fi
	grep -v '^#' "$known" | while read -r release version; do
		! versions "$release" | grep -qxF "$version" || echo "$release $version"
	done
	apt-cache search --names-only '^linux-headers-[0-9][^-]*-amd64$' | cut -d ' ' -f 1 | sort -rV | head -n 8 |
		while read -r release; do versions "${release#linux-headers-}" | head -n 1 | sed "s/^/${release#linux-headers-} /"; done
}

# The first that has Rust and was built by the compiler that is here.
found=
while read -r kernel version; do
	package=linux-headers-$kernel
	apt-get download -q "$package=$version"
	mkdir pkg
	dpkg-deb -x "$package"_*.deb pkg
	rm "$package"_*.deb
	config=pkg/usr/src/$package/.config
	if grep -qx 'CONFIG_RUST=y' "$config" && grep -qxF "CONFIG_RUSTC_VERSION_TEXT=\"$rustc\"" "$config"; then
		found=$package
		break
	fi
	why="$package: $(grep '^CONFIG_RUST=\|^CONFIG_RUSTC_VERSION_TEXT=' "$config" | paste -s -d ' ')"
	echo "$why"
	rm -rf pkg
done < <(candidates)
if [ -z "$found" ] && [ -n "${GHCB_RS_KERNEL:-}" ]; then
	[ -z "${why:-}" ] || die "KERNEL=$GHCB_RS_KERNEL was not built with Rust by $rustc: set-up knows no tree for it."
	die "KERNEL=$GHCB_RS_KERNEL is no kernel of Debian's archive: apt-cache search linux-headers names those that are."
fi
[ -n "$found" ] || die "none of Debian's kernels was built with Rust by $rustc: set-up knows no tree for it."
echo "kernel $kernel, version $version"
echo "$version" >version
newest=$(apt-cache search --names-only '^linux-headers-[0-9][^-]*-amd64$' | sed 's/^linux-headers-//; s/ .*//' | sort -rV | head -n 1)
echo "$newest $(versions "$newest" | head -n 1)" >newest

series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$kernel")
apt-get download -q "linux-source-$series=$version" \
	"linux-base-$kernel=$version" "linux-binary-$kernel=$version" "linux-modules-$kernel=$version"
for deb in linux-base-*.deb linux-binary-*.deb linux-modules-*.deb; do
	dpkg-deb -x "$deb" pkg
	rm "$deb"
done
mv "pkg/usr/src/$found" headers
mv pkg/usr/lib/modules modules
mv "modules/$kernel/vmlinuz" vmlinuz
rm -rf pkg
mkdir -p depmod/lib
ln -s ../../modules depmod/lib/modules
depmod -b depmod "$kernel"
rm -r depmod

# The source without what no module of ours and no tool needs: a tenth of its files.
tree=linux-source-$series
dpkg-deb --fsys-tarfile "$tree"_*.deb | tar -xO "./usr/src/$tree.tar.xz" | xz -dcT2 |
	tar -x --no-same-owner --wildcards \
		--exclude="$tree/Documentation/*/*" --exclude="$tree/drivers/*.[cS]" --exclude="$tree/drivers/gpu/*.h" \
		--exclude="$tree/drivers/net/*.h" --exclude="$tree/drivers/media/*.h" --exclude="$tree/sound/*.[ch]" \
		--exclude="$tree/fs/*.c" --exclude="$tree/net/*.c" --exclude="$tree/arch/[a-wyz]*/*.[chS]" \
		--exclude="$tree/arch/[a-wyz]*/*.dts*" --exclude="$tree/tools/perf/*"
rm "$tree"_*.deb
mv "$tree" source

mkdir build
cp headers/.config headers/Module.symvers headers/vmlinux build/
# The compiler is spelled as Debian spells it: its name is a part of .config.
cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\) .*/\1/p' headers/.config)
cat >./make <<END
#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The kernel's make as this tree was prepared.
exec make -C /cache/kernel/source O=/cache/kernel/build ARCH=x86 CROSS_COMPILE=${cc%gcc*} CC=$cc KERNELRELEASE=$kernel "\$@"
END
chmod +x make
./make -s olddefconfig
cmp build/.config headers/.config ||
	die "this root turns Debian's kernel configuration into another one: a package that the configuration asks for is missing."
./make -s -j"$(nproc)" modules_prepare
./make -s headers

# A module in Rust links to the kernel's Rust symbols by names that hold hashes of the crates: all must be Debian's.
awk -F '\t' '$2 ~ /^(_R|rust_helper_)/ { print $2 }' headers/Module.symvers | sort -u >theirs
cat build/rust/exports_*_generated.h | grep -oE '\b(_R|rust_helper_)[A-Za-z0-9_]+' | sort -u >ours
same=$(comm -12 ours theirs | wc -l)
echo "exported Rust symbols: $same of $(wc -l <theirs) as Debian's, $(wc -l <ours) here"
if [ ! -s theirs ] || ! cmp -s ours theirs; then
	die "only $same of $(wc -l <theirs) exported Rust symbols are those of Debian's kernel $kernel: no module built here would load."
fi
rm ours theirs

[[ $(build/tools/objtool/objtool klp 2>&1) == *post-link* ]] ||
	die "the kernel tree's objtool cannot link livepatches: libxxhash-dev is missing."

echo "$kernel" >release
