# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Messages, numbered steps, the cache with its lock, and the way into the Debian root. Sourced by the programs beside
# this file and by recipes/.

set -euo pipefail
umask 022
export LC_ALL=C
unset APT_CONFIG MAKEFLAGS MFLAGS MAKELEVEL CDPATH

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${GHCB_RS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ghcb_rs}
case $cache in
/*) ;;
*) cache=$PWD/$cache ;;
esac
# The Debian root: that of the machine, or one with other compilers.
# shellcheck disable=SC2034 # used by those who source this
root=$cache/${GHCB_RS_ROOT:-root}
export GHCB_RS_CACHE=$cache

# What is made for a kernel that was asked for by KERNEL= lies in a folder of its own, which stays beside those of others.
# Inside the Debian root it is found at the same place as that for the default kernel.
asked=${KERNEL:-}

# own_of KERNEL: the folder for a kernel; "" is the default one.
own_of() {
	case $1 in
	'' | "$(cat "$cache/kernel/release" 2>/dev/null)") printf '%s\n' "$cache" ;;
	*) printf '%s\n' "$cache/kernels/$1" ;;
	esac
}

own=$(own_of "$asked")
# shellcheck disable=SC2034
of_kernel=(kernel kselftests host guest module faulty blind floor mutants tree log machine)
logs=$own/log

# The file that says "this directory is the cache": distclean removes nothing that lacks it.
marker=$cache/.ghcb_rs-cache

say() { printf '%s\n' "$*" >&2; }

# die SENTENCE: say what is wrong and what to do, and end.
die() {
	say "error: $*"
	exit 1
}

need_root() {
	[ "$(id -u)" -eq 0 ] || die "this needs root rights (a Debian root is built and mounted): run it again as root, or with sudo."
}

# kernels: those that are known to work, release and version, without the words about them.
kernels() { grep -v '^#' "$top/scripts/kernels"; }

# need_space GIB: refuse early where the cache cannot take what is to come.
need_space() {
	local free
	free=$(df --output=avail -B1G "$cache" | tail -n 1)
	[ "$free" -ge "$1" ] ||
		die "only $((free)) GiB are free for $cache, $1 are needed: make room, or set GHCB_RS_CACHE to a directory with more."
}

# open_cache: make the cache, and hold its lock until this program and all that it started have ended.
open_cache() {
	[[ $asked =~ ^[a-z0-9.+~-]*$ ]] || die "KERNEL=$asked is no release of a kernel, such as those in scripts/kernels."
	mkdir -p "$cache" "$logs" 2>/dev/null || die "$cache cannot be written: set GHCB_RS_CACHE to a directory that can."
	: >"$marker" || die "$cache cannot be written: set GHCB_RS_CACHE to a directory that can."
	exec {lock}>"$cache/lock"
	if ! flock -n "$lock"; then
		say "another make is using $cache: waiting for it to end"
		flock "$lock"
	fi
}

# key WORD... : one word that stands for the contents of all files and the text of all other words.
key() {
	local word
	for word in "$@"; do
		if [ -d "$word" ]; then
			(cd "$word" && find . -type f ! -name '*.md' ! -name '.*' ! -path './target/*' ! -path './out/*' -print0 |
				sort -z | xargs -0r sha256sum)
		elif [ -f "$word" ]; then
			sha256sum <"$word"
		else
			printf '%s\n' "$word"
		fi
	done | sha256sum | cut -c 1-16
}

# Steps are numbered: the program sets `steps` to how many there will be.
step=0
steps=0

begin() {
	step=$((step + 1))
	printf '[%d/%d] %s … ' "$step" "$steps" "$1" >&2
	begun=$SECONDS
}

end() { say "${1:-$((SECONDS - begun)) s}"; }

# explain LOG: why a step failed, in one sentence where the reason is known, else the end of its log.
explain() {
	local log=$1 error
	error=$(tail -n 1 "$log" | grep '^error: ') || true
	if grep -qi 'no space left on device' "$log"; then
		error="error: no space is left for $cache: make room and run it again, it goes on where it stopped."
	elif grep -qE 'Temporary failure resolving|Could not resolve|Unable to connect|Could not connect|Connection timed out|Network is unreachable|Connection refused|Failed to fetch|download of .* failed|spurious network error' "$log"; then
		error="error: the package mirror cannot be reached: see to the network (or http_proxy) and run it again, it goes on where it stopped."
	elif grep -qE 'unshare: .*(Operation not permitted|failed|cannot change)|mount: .*permission denied' "$log"; then
		error="error: this machine may not mount file systems (a container without the right, a plain chroot?): use a machine of its own, or a privileged container."
	fi
	if [ -n "$error" ]; then
		say "$error"
	else
		tail -n 20 "$log" | sed 's/^/    /' >&2
	fi
	say "The whole log: $log"
}

# place NAME: the folder of a component's folder.
place() {
	case " ${of_kernel[*]} " in
	*" $1 "*) printf '%s\n' "$own" ;;
	*) printf '%s\n' "$cache" ;;
	esac
}

# component NAME TITLE KEY [RECIPE]: make the folder NAME in the cache by recipes/NAME.sh, unless the one that is there was
# made from KEY. The recipe runs in the Debian root and fills a directory of its own, which takes the name only once it is
# complete.
component() {
	local name=$1 title=$2 key=$3 recipe=${4:-$1} dir new rc=0
	dir=$(place "$name")/$name new=$(place "$name")/new.$name
	if [ "$(cat "$dir/.key" 2>/dev/null)" = "$key" ]; then
		begin "$title"
		end ready
		return
	fi
	need_space 2
	begin "$title"
	rm -rf --one-file-system "$new"
	mkdir -p "$new" "$dir"
	export GHCB_RS_NEW=$name
	if [ "$name" = root ]; then
		unshare --mount --propagation private -- bash "$top/scripts/recipes/root.sh" "$new"
	else
		in_root bash "/checkout/scripts/recipes/$recipe.sh" "/cache/$name"
	fi >"$logs/$name" 2>&1 </dev/null || rc=$?
	unset GHCB_RS_NEW
	if [ "$rc" -ne 0 ]; then
		end failed
		explain "$logs/$name"
		exit 1
	fi
	printf '%s\n' "$key" >"$new/.key"
	rm -rf --one-file-system "$dir"
	mv "$new" "$dir"
	end
}

# in_root COMMAND...: run COMMAND inside the Debian root, where the cache is /cache and the checkout is /checkout
# (read-only). Mounts and processes live in namespaces of their own and are gone when COMMAND is, however it ends.
in_root() {
	unshare --mount --pid --fork --kill-child --propagation private -- bash "$top/scripts/enter" "$@"
}

# with_compilers COMMAND...: a COMMAND that goes into a Debian root goes into the one whose compilers have built the kernel.
with_compilers() {
	local GHCB_RS_ROOT
	GHCB_RS_ROOT=$(cat "$own/compilers" 2>/dev/null || echo root)
	export GHCB_RS_ROOT
	"$@"
}

# module_sources DIR: names of all files below DIR that ghcb_rs.ko is made of: the crate's root, a room for each of its
# parts, and what Kbuild calls.
module_sources() {
	local part
	(
		cd "$1"
		printf '%s\n' Kbuild ./*.rs
		grep -o 'scripts/[a-z-]*' Kbuild | sort -u
		for part in *.rs; do
			[ ! -d "${part%.rs}" ] || find "${part%.rs}" -type f ! -name '.*' \( -name '*.rs' -o -name '*.h' \)
		done
	)
}

# work_copy: bring /cache/work up to date with the checkout, for builds that write beside their sources. Runs in the
# Debian root.
work_copy() {
	rsync -a --delete --exclude=/.git --exclude=target --exclude='*.ko' /checkout/ /cache/work/
}
