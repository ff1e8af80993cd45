// SPDX-License-Identifier: GPL-2.0
//! A vCPU as its own code sees it: instructions, and the ways back to the VMM.

use crate::ghcb::OwnPage;
use core::arch::asm;
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::msr::MsrRequest;
use mailbox::{doorbell, map, Check, Mailbox, PAGE};

/// Reason codes that this guest terminates with, in [`REASON_SET`].
pub mod reason {
    /// The mailbox names no role.
    pub const NO_ROLE: u64 = 1;
    /// Code of the guest panicked.
    pub const PANIC: u64 = 2;
    /// The same instruction faulted twice.
    pub const FAULT: u64 = 3;
    /// #VC for an instruction that the guest did not mean to execute.
    pub const UNEXPECTED_VC: u64 = 4;
    /// A doorbell was not answered as asked.
    pub const DOORBELL: u64 = 5;
    /// No room for another check.
    pub const ROOM: u64 = 6;
    /// The hypervisor did not carry out an event that the #VC handler needs.
    pub const CALL_FAILED: u64 = 7;
    /// All went well.
    pub const DONE: u64 = 0x42;
}

/// Reason set of this guest's own codes.
const REASON_SET: u64 = 0xe;

const GHCB_MSR: u32 = 0xc001_0130;
const SEV_STATUS_MSR: u32 = 0xc001_0131;
/// Bit of SEV_STATUS: the guest runs with SEV-SNP.
const SEV_STATUS_SNP: u64 = 1 << 2;
const TERMINATE: u64 = 0x100;

/// One vCPU.
pub struct Vcpu {
    /// Its mailbox.
    pub mailbox: &'static Mailbox,
    /// Its index.
    pub index: u64,
}

impl Vcpu {
    /// The vCPU that `mailbox` belongs to.
    pub fn new(mailbox: &'static Mailbox) -> Self {
        Self {
            mailbox,
            index: mailbox.vcpu.load(Ordering::Acquire),
        }
    }

    /// The vCPU that runs on the stack of the caller.
    pub fn current() -> Self {
        let rsp: u64;
        // SAFETY: Reads a register.
        unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) };
        // The top of a stack belongs to it, although its address is that of the next one.
        let index = (rsp - 1 - map::STACKS) / map::STACK_SIZE;
        let mailbox = (map::MAILBOXES + index * PAGE) as *const Mailbox;
        // SAFETY: The VMM keeps a mailbox mapped for each vCPU that it started.
        Self::new(unsafe { &*mailbox })
    }

    /// The GHCB for the guest's own needs.
    pub fn ghcb(&self) -> OwnPage {
        OwnPage::new(map::GHCBS + self.index * PAGE)
    }

    /// Have the GHCB at `gpa` be looked at by the next VMGEXIT. An SEV-SNP guest registers each before its first
    /// use, and again after another one.
    pub fn name_ghcb(&self, gpa: u64) {
        let registered = &self.mailbox.registered;
        if is_snp() && registered.load(Ordering::Relaxed) != gpa {
            let gfn = gpa / PAGE;
            write_ghcb_msr(MsrRequest::RegisterGpa { gfn }.encode().0);
            vmgexit();
            registered.store(gpa, Ordering::Relaxed);
        }
        write_ghcb_msr(gpa);
    }

    /// Give the vCPU to the VMM until it enters the guest again.
    pub fn ring_doorbell(&self) {
        if self.mailbox.doorbell.load(Ordering::Acquire) == doorbell::HLT {
            // SAFETY: Nothing to disturb; the VMM enters again behind the instruction.
            unsafe { asm!("hlt", options(nomem, nostack)) };
        } else if self.ghcb().out_byte(doorbell::PORT, 0).is_err() {
            self.terminate(reason::DOORBELL);
        }
    }

    /// Record the check `name`: `got` must be `want`.
    pub fn same(&self, name: &str, got: u64, want: u64) {
        let index = self.mailbox.check_count.load(Ordering::Relaxed);
        if index >= map::CHECK_ROOM {
            self.terminate(reason::ROOM);
        }
        let address = map::CHECKS + index * size_of::<Check>() as u64;
        // SAFETY: The table is mapped, has room for the entry, and holds atomics only.
        unsafe { &*(address as *const Check) }.record(name, got == want, got, want);
        self.mailbox.check_count.store(index + 1, Ordering::Release);
    }

    /// End the guest.
    pub fn terminate(&self, code: u64) -> ! {
        terminate(code)
    }
}

/// End the guest with `code` in the guest's own reason set.
pub fn terminate(code: u64) -> ! {
    loop {
        write_ghcb_msr(TERMINATE | (REASON_SET << 12) | ((code & 0xff) << 16));
        vmgexit();
    }
}

/// Value of XCR0.
pub fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The VMM set CR4.OSXSAVE.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    (u64::from(high) << 32) | u64::from(low)
}

/// Write the GHCB MSR; never intercepted.
pub fn write_ghcb_msr(value: u64) {
    // SAFETY: The MSR exists for each SEV-ES guest, and changes nothing but what the next VMGEXIT means.
    unsafe {
        asm!("wrmsr", in("ecx") GHCB_MSR, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Read the GHCB MSR.
pub fn read_ghcb_msr() -> u64 {
    read_msr(GHCB_MSR)
}

/// Whether the guest runs with SEV-SNP.
pub fn is_snp() -> bool {
    read_msr(SEV_STATUS_MSR) & SEV_STATUS_SNP != 0
}

/// Read one of the MSRs that are never intercepted.
fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The MSR exists for each SEV-ES guest.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high,
            options(nostack, preserves_flags));
    }
    (u64::from(high) << 32) | u64::from(low)
}

/// VMGEXIT: hand the event to the hypervisor.
pub fn vmgexit() {
    // SAFETY: The hypervisor changes shared memory and the GHCB MSR only; the asm counts as touching all memory.
    unsafe {
        asm!(
            ".byte 0xf3, 0x0f, 0x01, 0xd9",
            options(nostack, preserves_flags)
        )
    };
}
