# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Payloads for the emulated host, and runs of it: for on-host, and for the programs that boot several hosts.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# new_run NAME: an empty payload for a run whose logs will lie in $logs/NAME.
new_run() {
	run=$logs/$1
	rm -rf --one-file-system "$run"
	mkdir -p "$run/payload"
	cp "$top"/scripts/host/{init,lib.sh,ktap.sh,module.sh} "$run/payload/"
	# A debugging kernel is slow, and its reports are told from those that C's handler brings as well.
	factor=1
	if [ -f "$own/kernel/factor" ]; then
		factor=$(cat "$own/kernel/factor")
		cp "$own/kernel/factor" "$top/scripts/debug/"{reports.awk,inherited} "$run/payload/"
	fi
}

# add_module: put ghcb_rs.ko into the payload.
add_module() { cp "$own/module/ghcb_rs.ko" "$run/payload/"; }

# add_tools: put the tools for operators into the payload, what they look at besides the running kernel, and a small guest.
add_tools() {
	cp -r "$cache/operator" "$run/payload/tools"
	cp "$own/kernel/headers/.config" "$run/payload/config"
	mkdir "$run/payload/kselftests"
	cp "$own/kselftests/x86/sev_smoke_test" "$run/payload/kselftests/"
}

# add_guests GUESTS: put whole guests into the payload, and what runs and verifies them (emulator/tests/guests).
add_guests() {
	cp "$own/kernel/vmlinuz" "$own/guest/initrd.gz" "$own/guest/expected" "$cache/behaviours/snp_owner" \
		"$top/emulator/tests/guests" "$run/payload/"
	mkdir "$run/payload/certificates"
	cp "$cache/certificates"/*.pem "$run/payload/certificates/"
	cat >"$run/payload/run" <<-END
		#!/bin/bash
		. /payload/lib.sh
		load_kvm && exec /payload/guests $1
	END
	chmod +x "$run/payload/run"
}

# boot_host SECONDS [OPTION...]: run the payload for at most that long; its output goes to $run/output too.
boot_host() {
	local limit=$1 status=0
	shift
	in_root timeout --foreground "$((limit * factor))" bash /checkout/scripts/boot "/cache/log/${run##*/}" "$@" \
		</dev/null 2>"$run/emulator" | tee "$run/output" || status=${PIPESTATUS[0]}
	rm -rf --one-file-system "$run/payload"
	return "$status"
}

passed=0
failed=0

# count FILE: add up a run's KTAP lines; what was planned and did not run has failed. A terminal ends lines with a carriage
# return, too.
count() {
	local planned ok not_ok missing
	planned=$(sed -n 's/^1\.\.\([0-9]*\)\r\{0,1\}$/\1/p' "$1" | head -n 1)
	ok=$(grep -cE '^ok [0-9]' "$1" || true)
	not_ok=$(grep -cE '^not ok [0-9]' "$1" || true)
	missing=$((${planned:-1} - ok - not_ok))
	if [ "$missing" -ne 0 ]; then
		say "error: of ${planned:-an unknown number of} planned tests, $((ok + not_ok)) ran: see $1 and $run/console"
	fi
	passed=$((passed + ok))
	failed=$((failed + not_ok + ${missing#-}))
}

# check_hosts NAME: ghcb-check on a host with SEV-ES that lacks one thing after the other, and on one without SEV.
check_hosts() {
	echo "# ghcb-check on a host with SEV-ES, which lacks one thing after the other"
	new_run "$1-check"
	add_module
	add_tools
	cp "$own/module"/{other-kvm-amd,other-kvm,for-other-vmlinux,second_patch,dead_ftrace}.ko "$run/payload/"
	cp "$top/scripts/host/check-host" "$run/payload/run"
	boot_host 900 || true
	count "$run/output"

	echo "# ghcb-check on a host without SEV"
	new_run "$1-check-plain"
	add_module
	add_tools
	cp "$top/scripts/host/check-plain" "$run/payload/run"
	boot_host 300 --plain || true
	count "$run/output"
}

# beside NAME GUEST [OPTION...]: ghcbstat on a host with a guest of that kind.
beside() {
	echo "# ghcbstat beside a guest with ${2^^}"
	new_run "$1-stat-$2"
	add_module
	add_tools
	cp -r "$cache/selftests/out" "$run/payload/selftests"
	cp "$own/kernel/vmlinuz" "$own/guest/initrd.gz" "$own/blind/judge-at-a-loss.ko" "$run/payload/"
	echo "$2" >"$run/payload/kind"
	cp "$top/scripts/host/stat" "$run/payload/run"
	boot_host 1500 "${@:3}" || true
	count "$run/output"
}

# end_of_run STATUS: say where the logs are when a run went wrong, and end with its exit code.
end_of_run() {
	case $1 in
	0) exit 0 ;;
	124) say "error: the emulated host did not end in time." ;;
	125)
		say "error: the emulated host ended by itself; the end of its console:"
		tail -n 30 "$run/console" "$run/emulator" | sed 's/^/    /' >&2
		;;
	esac
	say "The whole logs: $run/output (what ran), $run/console (the host's kernel), $run/emulator"
	exit "$1"
}
