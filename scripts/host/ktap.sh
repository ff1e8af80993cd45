# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Tests on the emulated host, one KTAP line each.

# shellcheck source=scripts/host/lib.sh
. /payload/lib.sh
cd /payload || exit 1
log=/tmp/log
mkdir -p "$log"
# The third serial line takes the whole logs of all tests.
stty -F /dev/ttyS2 raw -echo
number=0
# Whether any test failed, for the exit code of whoever sources this.
# shellcheck disable=SC2034
failed=0

# plan COUNT: how many tests there will be. What the kernel has lost before them is not theirs.
plan() {
	[ "${#of_debugging[@]}" -eq 0 ] || { scan_for_leaks && echo clear >"$leaks"; }
	echo "KTAP version 1"
	echo "1..$1"
}

# test_that NAME SECONDS COMMAND...: one test, its output shown if it fails. COMMAND is a function, or a program with its
# arguments; it passes with 0 only: what kselftest skips with 4 is to be had on this host.
test_that() {
	local name=$1 limit=$(($2 * factor)) status=0 began=$SECONDS reason='' subtests
	shift 2
	number=$((number + 1))
	echo "ghcb_rs: test $number: $name" >/dev/kmsg
	if [ "$(type -t "$1")" = function ]; then
		"$@" >"$log/$name" 2>&1 || status=$?
	else
		timeout "$limit" "$@" >"$log/$name" 2>&1 || status=$?
	fi
	kernel_is_well >>"$log/$name" || status=kernel
	{
		echo "===== $number $name: $status"
		cat "$log/$name"
	} >/dev/ttyS2
	subtests=$(grep -cE '^(# )?(not )?ok [0-9]' "$log/$name")
	case $status in
	0) ;;
	4) reason=" # skipped, which nothing may be here" ;;
	124) reason=" # TIMEOUT $limit s" ;;
	kernel) reason=" # the kernel reported a bug of its own" ;;
	*) reason=" # exit=$status" ;;
	esac
	case $status in
	0) echo "ok $number $name" ;;
	*)
		# shellcheck disable=SC2034
		failed=1
		echo "not ok $number $name$reason"
		tail -n 60 "$log/$name" | sed 's/^/#   /'
		dmesg | tail -n 25 | sed 's/^/#   kernel: /'
		;;
	esac
	[ "$subtests" -eq 0 ] || subtests=", $subtests subtests"
	echo "# $name: $((SECONDS - began)) s${subtests#0}"
	if [ "$status" = kernel ] && [ ! -f /payload/reports.awk ]; then
		echo "Bail out! The host's kernel is not well any more."
		exit 1
	fi
}

# What a debugging kernel tells at the end alone.
of_debugging=()
# shellcheck disable=SC2034
[ ! -f /payload/reports.awk ] || of_debugging=(nothing_has_leaked locks_are_watched_to_the_end)

leaks=/sys/kernel/debug/kmemleak

# scan_for_leaks: twice, since an object is reported when it was without a reference in both.
scan_for_leaks() {
	for _ in 1 2; do
		echo scan >"$leaks" || return
		sleep 6
	done
}

nothing_has_leaked() { scan_for_leaks && ! grep . "$leaks"; }

# Lockdep goes silent after a report, and when it has no room left.
locks_are_watched_to_the_end() { grep -E '^ *debug_locks: +1$' /proc/lockdep_stats; }

# refused ERRNO WORD [PARAMETER...]: insmod of the module fails with that error and says a sentence that has WORD.
refused() {
	local errno=$1 word=$2 output
	shift 2
	dmesg -C
	if output=$(insmod "$module" "$@" 2>&1); then
		echo "the module was not refused"
		rmmod ghcb_rs
		return 1
	fi
	echo "$output"
	dmesg
	grep -q "$errno" <<<"$output" || return
	dmesg | grep 'ghcb_rs:' | grep -q "$word" || return
	[ ! -e "$patch" ] && [ ! -e "$events" ]
}

