# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What programs on the emulated host share: SEV, the module ghcb_rs, its counters.

module=/payload/ghcb_rs.ko
patch=/sys/kernel/livepatch/ghcb_rs
events=/sys/kernel/debug/ghcb_rs/events

# Test programs about events of SEV-SNP, for hosts with it.
# shellcheck disable=SC2034 # used by those who source this
snp_programs=(ghcb_{register,psc,psc_race,request,creation,features}_test)

# How many times as long as on Debian's kernel everything may take. A debugging kernel is slow.
factor=1
[ ! -f /payload/factor ] || factor=$(cat /payload/factor)

# limited SECONDS COMMAND...: end a program that takes longer.
limited() { timeout "$(($1 * factor))" "${@:2}"; }

# load_kvm [PARAMETER...]: Debian's own kvm_amd, with SEV-ES unless told otherwise.
load_kvm() {
	modprobe ccp || return
	modprobe kvm_amd "${@:-sev_es=1}"
}

# settled: wait until no task is between the two handlers any more.
settled() {
	for _ in $(seq 1 "$((100 * factor))"); do
		[ "$(cat "$patch/transition" 2>/dev/null || echo 0)" = 1 ] || return 0
		sleep 0.1
	done
	echo "ghcb_rs: still in transition after 10 s"
	return 1
}

# enable: put the module in, or refuse as it does.
enable() { insmod "$module" "$@" && settled; }

# disable: give the handler back and take the module out.
disable() {
	echo 0 >"$patch/enabled" || return
	for _ in $(seq 1 "$((100 * factor))"); do
		[ -e "$patch" ] || break
		sleep 0.1
	done
	[ ! -e "$patch" ] || return
	# The last reference goes a moment after the directory.
	for _ in $(seq 1 "$((20 * factor))"); do
		rmmod ghcb_rs 2>/dev/null && return
		sleep 0.1
	done
	rmmod ghcb_rs
}

# total FIELD: of the counters, summed over all events: 2 rust, 3 c, 4 errors.
total() { awk -F '\t' -v field="$1" '$1 == "total" { print $field }' "$events"; }

# kernel_is_well: the kernel has reported no bug of its own since it was booted.
kernel_is_well() {
	! dmesg | grep -E 'cut here|BUG:|Oops|general protection fault|Call Trace|rcu:.*stall|blocked for more'
}

# A debugging kernel reports in more ways, and C's part in a report is proved on the C handler: see scripts/debug. It goes
# on, so that one report does not hide another.
if [ -f /payload/reports.awk ]; then
	export REPORTS="awk -v inherited=/payload/inherited -f /payload/reports.awk"
	# Test programs leave the log to this.
	export GHCB_LOG_IS_JUDGED=1
	kernel_is_well() {
		local reports
		reports=$(dmesg | $REPORTS)
		[ -n "$reports" ] || return 0
		printf '%s\n' "$reports"
		dmesg -C
		return 1
	}
fi

# cbit: where the C-bit is, and how many address bits it costs, as QEMU wants it said. CPUID 0x8000001F, EBX.
cbit() {
	local ebx
	modprobe cpuid || return
	ebx=$(dd if=/dev/cpu/0/cpuid bs=16 count=1 iflag=skip_bytes skip=$((0x8000001f)) status=none |
		od -An -tu4 -j 4 -N 4)
	echo "cbitpos=$((ebx & 63)),reduced-phys-bits=$((ebx >> 6 & 63))"
}

# encrypted_guest VCPUS OPTION...: boot the kernel and initrd of the payload as the guest sev0, with $guest_parameters for
# its kernel, and $guest_name as its name; its console comes out. One that hangs is ended.
encrypted_guest() {
	timeout --foreground "$((1200 * factor))" qemu-system-x86_64 -enable-kvm -cpu host -smp "$1" -m 256 -nographic -nodefaults -no-reboot -serial stdio "${@:2}" \
		-name "guest=${guest_name:-guest}" \
		-kernel /payload/vmlinuz -initrd /payload/initrd.gz \
		-append "console=ttyS0 panic=-1 rdinit=/init ${guest_parameters:-}" </dev/null
}

# sev_guest VCPUS [POLICY]: an SEV guest, by default with a policy that forbids debugging.
sev_guest() {
	local bits
	bits=$(cbit) || return
	encrypted_guest "$1" -machine q35,confidential-guest-support=sev0 \
		-object "sev-guest,id=sev0,policy=${2:-1},$bits" \
		-drive if=pflash,format=raw,readonly=on,file=/usr/share/ovmf/OVMF.fd
}

# sev_es_guest VCPUS: an SEV-ES guest.
sev_es_guest() { sev_guest "$1" 5; }

# sev_snp_guest VCPUS: an SEV-SNP guest, on a host that was booted with --snp.
sev_snp_guest() {
	local bits
	bits=$(cbit) || return
	encrypted_guest "$1" -machine q35,confidential-guest-support=sev0,memory-backend=ram0 \
		-object memory-backend-memfd,id=ram0,size=256M,share=true -object "sev-snp-guest,id=sev0,$bits" \
		-bios /usr/share/ovmf/OVMF.fd
}
