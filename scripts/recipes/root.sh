# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The Debian root in which everything is built: the stable release with compilers for C and Rust. The one recipe that
# runs outside of it.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
dir=$1
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

packages=(
	# The kernel tree. Without openssl and libxxhash-dev it still builds, but with another .config and a lesser objtool.
	make gcc-14 gcc libc6-dev flex bison bc openssl libelf-dev libssl-dev zlib1g-dev libxxhash-dev pahole kmod
	rustc rust-src rustfmt rust-clippy cargo bindgen rsync gawk xz-utils cpio patch pkgconf file
	# QEMU.
	python3 python3-venv python3-setuptools meson ninja-build libglib2.0-dev nettle-dev uuid-dev dpkg-dev seabios
	qemu-system-data
	# Images and checks.
	mount mmdebstrap busybox-static e2fsprogs ca-certificates llvm libclang-rt-dev shellcheck
)

# option NAME: hand on a setting of the machine's apt.
options=()
for name in Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until; do
	value=$(apt-config shell value "$name")
	value=${value#value=\'}
	value=${value%\'}
	[ -z "$value" ] || options+=("--aptopt=$name \"$value\"")
done

# mirror LABEL SUITE: where this machine gets Debian's packages of that label from, if SUITE is there too.
mirror() {
	local uri
	apt-get indextargets --format "\$(ORIGIN)|\$(LABEL)|\$(REPO_URI)" 'Created-By: Packages' |
		sed -n "s/^Debian|$1|//p" | sort -u | while read -r uri; do
		if /usr/lib/apt/apt-helper download-file "${uri%/}/dists/$2/InRelease" "$dir/.probe" >/dev/null 2>&1; then
			printf '%s\n' "${uri%/}"
			break
		fi
	done
	rm -f "$dir/.probe"
}

# Nothing found leaves `lines` empty, and mmdebstrap takes its own defaults.
lines=()
main=$(mirror Debian "$suite")
security=$(mirror Debian-Security "$suite-security")
if [ -n "$main" ]; then
	lines+=("deb $main $suite main" "deb $main $suite-updates main")
	[ -z "$security" ] || lines+=("deb $security $suite-security main")
fi

mmdebstrap --mode=root --variant=apt --keyring="$keyring" --skip=cleanup/apt/lists \
	--include="$(printf '%s\n' "${packages[@]}" | paste -s -d ,)" \
	--aptopt='APT::Install-Recommends "false"' --aptopt='APT::Sandbox::User "root"' "${options[@]}" \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$suite" "$dir" "${lines[@]}"
rm -f "$dir"/var/cache/apt/archives/*.deb

# Sources of the same suites, and backports from where the suite itself came from.
targets=$(in_root apt-get indextargets --format "\$(REPO_URI) \$(CODENAME)" 'Created-By: Packages' | sort -u)
rm -f "$dir"/etc/apt/sources.list.d/*
while read -r uri codename; do
	printf '%s [signed-by=%s] %s %s main\n' deb "$keyring" "$uri" "$codename" deb-src "$keyring" "$uri" "$codename"
	if [ "$codename" = "$suite" ]; then
		printf 'deb [signed-by=%s] %s %s-backports main\n' "$keyring" "$uri" "$suite"
	fi
done <<<"$targets" >"$dir/etc/apt/sources.list"
cat "$dir/etc/apt/sources.list"
in_root apt-get update

in_root dpkg-query -W -f "\${Package} \${Version}\n" >"$dir/versions"
ln -s /cache/kernel/modules "$dir/usr/lib/modules"
mkdir -p "$dir/cache" "$dir/checkout"
