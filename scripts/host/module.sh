# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The module beside kvm_amd, each step a test: in before and after it, beside another one, refused.

# $module, $patch and the like are those of lib.sh, which whoever sources this has sourced.
# shellcheck disable=SC2154

# answered_in_rust COMMAND...: COMMAND passes, and at least one VMGEXIT of it was answered in Rust.
answered_in_rust() {
	local before after
	before=$(total 2)
	"$@" || return
	after=$(total 2)
	echo "answered in Rust: $((after - before))"
	[ "$after" -gt "$before" ]
}

# as_nobody COMMAND...: without any right.
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

# may_read COMMAND...: without any right but to read every file.
may_read() { as_nobody --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"; }

smoke() { limited 120 kselftests/sev_smoke_test; }

# answered_in_c: the smoke test passes, with the module out.
answered_in_c() { [ ! -e "$patch" ] && smoke; }

unload_kvm() { modprobe -r kvm_amd; }

# clean: neither the module nor kvm_amd is there, whatever the last test left.
clean() {
	[ ! -e "$patch" ] || disable || return
	! lsmod | grep -q '^kvm_amd' || unload_kvm
}

# A kvm_amd that was told to leave SEV-ES alone: the module waits beside it, and changes nothing.
without_sev_es() {
	clean && load_kvm sev=1 sev_es=0 && enable && limited 60 kselftests/set_sregs_test && [ "$(total 2)" = 0 ]
}

# load_other: a kvm_amd that has another build ID.
load_other() { modprobe ccp && modprobe kvm && insmod other-kvm-amd.ko sev_es=1; }

# Where it is there already, the module is refused, and nothing has changed.
other_kvm_amd() { clean && load_other && refused 'Invalid' 'this kvm_amd is not the one' && smoke; }

# The same for a kvm that was built again, beside the right kvm_amd.
other_kvm() {
	clean && modprobe -r kvm && modprobe irqbypass && insmod other-kvm.ko && load_kvm || return
	refused 'Invalid' 'this kvm is not the one' && smoke && unload_kvm
}

# The same for a kernel that was built again, also where kvm_amd is not loaded.
other_vmlinux() {
	local module=for-other-vmlinux.ko
	clean && refused 'Invalid' 'this vmlinux is not the one' && load_kvm &&
		refused 'Invalid' 'this vmlinux is not the one' && smoke
}

# Where it comes later, it is kept out. The kernel then wants the livepatch out and in again before the right one.
other_kvm_amd_later() { clean && enable && ! load_other && disable && load_kvm && enable && answered_in_rust smoke; }

# said MESSAGE...: these are the module's messages since `dmesg -C`, in this order.
said() { diff <(printf '%s\n' "$@") <(dmesg | sed -n '/taint\|kvm \[/!s/^.*\] ghcb_rs: //p'); }

waits='waiting for kvm_amd'
answers='VMGEXITs of SEV-ES and SEV-SNP guests are answered in Rust'
given_back="VMGEXITs are kvm_amd's again"
gone='kvm_amd has gone: waiting for it'

# The module waits for a kvm_amd that is not there yet, and takes over as soon as it comes; and says so.
before_kvm() {
	clean && dmesg -C && enable && said "$waits" && load_kvm && settled && answered_in_rust smoke &&
		said "$waits" "$answers"
}

# It logs when kvm_amd is unloaded and loaded again, and when VMGEXITs are given back to it.
says_what_happens() {
	clean && load_kvm && dmesg -C && enable && said "$answers" && unload_kvm && said "$answers" "$gone" && load_kvm &&
		said "$answers" "$gone" "$answers" && disable && said "$answers" "$gone" "$answers" "$given_back"
}

after_kvm() { clean && load_kvm && enable && answered_in_rust smoke; }

again() { ! insmod "$module" 2>again && grep -q 'File exists' again && [ "$(cat "$patch/enabled")" = 1 ]; }

# A host where ftrace has shut itself down: the module is refused, with kvm_amd there and without it.
dead_ftrace() {
	local status=0
	clean && load_kvm && insmod dead_ftrace.ko || return
	refused 'No such device' 'ftrace has shut itself down' && smoke && unload_kvm &&
		refused 'No such device' 'ftrace has shut itself down' || status=1
	rmmod dead_ftrace && load_kvm && enable && answered_in_rust smoke && return "$status"
}

# The same under the module: functions cannot be given back, so it stays, says so once, and answers. The livepatch core
# warns of its own function, which it cannot give back either. What comes after this is a new host.
stays_when_ftrace_is_gone() {
	local stays='ftrace has shut itself down and does not give functions of kvm_amd back'
	clean && load_kvm && enable && insmod dead_ftrace.ko && answered_in_rust smoke && dmesg -C || return
	echo 0 >"$patch/enabled"
	for _ in $(seq 1 "$((100 * factor))"); do
		[ -e "$patch" ] || break
		sleep 0.1
	done
	# Longer than the module waits before it looks again.
	sleep 3
	[ ! -e "$patch" ] && [ "$(dmesg | grep -c "$stays")" = 1 ] && ! dmesg | grep -F "$given_back" || return
	! rmmod ghcb_rs && answered_in_rust smoke && cat "${events%/*}/pending" || return
	! dmesg | grep 'WARNING' | grep -vF kernel/livepatch/patch.c && dmesg -C
}

rmmod_while_enabled() { ! rmmod ghcb_rs && [ "$(cat "$patch/enabled")" = 1 ]; }
