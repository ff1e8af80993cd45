# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A Debian root with the compilers of kernels that the stable release's have not built. By its name:
#
#   compilers-sid    those of Debian's unstable release, for its kernels
#   compilers-clang  the stable release's, with LLVM for C, too

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
dir=$1

packages=(
	make gcc libc6-dev flex bison bc openssl libelf-dev libssl-dev zlib1g-dev libxxhash-dev pahole kmod python3
	rustc rust-src rustfmt cargo bindgen rsync gawk xz-utils cpio patch pkgconf file ca-certificates
)
case ${dir##*/compilers-} in
sid)
	suite=sid
	packages+=(gcc-16)
	;;
clang)
	suite=trixie
	packages+=(gcc-14 clang-19 lld-19 llvm-19 libdw-dev)
	;;
*) die "there are no compilers ${dir##*/compilers-}." ;;
esac

# From where the stable release came from. A mirror that is some weeks behind has an unstable release that has expired; what
# it serves is signed all the same.
lines=$(grep '^deb ' /etc/apt/sources.list)
[ "$suite" = trixie ] || lines=$(grep ' trixie main$' <<<"$lines" | sed "s/ trixie main\$/ $suite main/")
mmdebstrap --mode=root --variant=apt --skip=cleanup/apt/lists \
	--include="$(printf '%s\n' "${packages[@]}" | paste -s -d ,)" \
	--aptopt='APT::Install-Recommends "false"' --aptopt='APT::Sandbox::User "root"' \
	--aptopt='Acquire::Check-Valid-Until "false"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$suite" "$dir" - <<<"$lines"
rm -f "$dir"/var/cache/apt/archives/*.deb

chroot "$dir" dpkg-query -W -f "\${Package} \${Version}\n" >"$dir/versions"
ln -s /cache/kernel/modules "$dir/usr/lib/modules"
mkdir -p "$dir/cache" "$dir/checkout"
