// SPDX-License-Identifier: GPL-2.0
//! Role `Instructions`: real instructions, which the #VC handler emulates with the hypervisor's help.

use crate::cpu::{reason, Vcpu};
use core::arch::asm;
use core::sync::atomic::Ordering;
use mailbox::device::PORT;
use mailbox::{device, map, TAKEN};

/// The base of the first variable MTRR.
const MTRR_BASE: u32 = 0x200;
/// A number that no MSR has.
const NO_MSR: u32 = 0x4000_4000;

/// Execute everything once, then ask for the end.
pub fn run(vcpu: &Vcpu) -> ! {
    cpuid(vcpu);
    ports(vcpu);
    strings(vcpu);
    msrs(vcpu);
    mmio(vcpu);
    rest(vcpu);
    vcpu.terminate(reason::DONE)
}

fn cpuid(vcpu: &Vcpu) {
    for function in device::CPUID_OWN..device::CPUID_OWN + 4 {
        // SAFETY: CPUID has no effect but on these registers.
        #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
        let leaf = unsafe { core::arch::x86_64::__cpuid(function) };
        for (index, got) in (0..).zip([leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]) {
            let want = u64::from(device::cpuid(function, index));
            vcpu.same(
                "CPUID: a register of a leaf of the VMM",
                u64::from(got),
                want,
            );
        }
    }
}

fn ports(vcpu: &Vcpu) {
    let full = 0x1122_3344_5566_7788u64;
    let (byte, word, dword): (u64, u64, u64);
    // SAFETY: The VMM's device answers at this port; nothing but RAX changes.
    unsafe {
        asm!("out dx, al", "out dx, ax", "out dx, eax", in("dx") PORT, in("rax") full,
            options(nostack, preserves_flags));
        asm!("in al, dx", in("dx") PORT, inout("rax") full => byte, options(nostack));
        asm!("in ax, dx", in("dx") PORT, inout("rax") full => word, options(nostack));
        asm!("in eax, dx", in("dx") PORT, inout("rax") full => dword, options(nostack));
    }
    let value = |size| device::port_value(PORT, size);
    vcpu.same(
        "IN AL: the rest of RAX stays",
        byte,
        full & !0xff | value(1),
    );
    vcpu.same(
        "IN AX: the rest of RAX stays",
        word,
        full & !0xffff | value(2),
    );
    vcpu.same("IN EAX: the rest of RAX is cleared", dword, value(4));
}

fn strings(vcpu: &Vcpu) {
    const COUNT: usize = 300;
    let mut data = [0u8; COUNT];
    for (offset, byte) in data.iter_mut().enumerate() {
        *byte = offset as u8 ^ 0x33;
    }
    let (sent, received): (u64, u64);
    // SAFETY: The instructions read and write `data` only.
    unsafe {
        asm!("rep outsb", in("dx") PORT, inout("rsi") data.as_ptr() => _,
            inout("rcx") COUNT as u64 => sent, options(nostack));
        asm!("rep insb", in("dx") PORT, inout("rdi") data.as_mut_ptr() => _,
            inout("rcx") COUNT as u64 => received, options(nostack));
    }
    vcpu.same("REP OUTSB: RCX counts down to zero", sent, 0);
    vcpu.same("REP INSB: RCX counts down to zero", received, 0);
    let wrong = data
        .iter()
        .enumerate()
        .filter(|(offset, byte)| **byte != device::port_byte(PORT, *offset))
        .count();
    vcpu.same("REP INSB: wrong bytes", wrong as u64, 0);
}

fn msrs(vcpu: &Vcpu) {
    let (low, high): (u32, u32);
    vcpu.mailbox.vector.store(0, Ordering::Relaxed);
    // SAFETY: The guest uses no MTRRs; an MSR that does not exist only raises #GP, which the handler notes.
    unsafe {
        asm!("wrmsr", in("ecx") MTRR_BASE, in("eax") 0x7654_3006u32, in("edx") 3, options(nostack));
        asm!("rdmsr", in("ecx") MTRR_BASE, out("eax") low, out("edx") high, options(nostack));
    }
    vcpu.same("WRMSR, RDMSR: low half", u64::from(low), 0x7654_3006);
    vcpu.same("WRMSR, RDMSR: high half", u64::from(high), 3);
    vcpu.same(
        "WRMSR, RDMSR: exception",
        vcpu.mailbox.vector.load(Ordering::Relaxed),
        0,
    );
    // SAFETY: As above.
    unsafe {
        asm!("rdmsr", in("ecx") NO_MSR, out("eax") _, out("edx") _, options(nostack));
    }
    let vector = vcpu.mailbox.vector.load(Ordering::Relaxed);
    vcpu.same("RDMSR of none: #GP", vector, 13 | TAKEN);
}

fn mmio(vcpu: &Vcpu) {
    let full = 0x1122_3344_5566_7788u64;
    let gpa = map::MMIO + 0x80;
    let at = map::MMIO_GVA + 0x80;
    let (byte, word, dword, qword): (u64, u64, u64, u64);
    // SAFETY: The VMM's device answers at this address; nothing but RAX changes.
    unsafe {
        asm!("mov [rsi], al", "mov [rsi], ax", "mov [rsi], eax", "mov [rsi], rax",
            in("rsi") at, in("rax") full, options(nostack, preserves_flags));
        asm!("mov al, [rsi]", in("rsi") at, inout("rax") full => byte, options(nostack));
        asm!("mov ax, [rsi]", in("rsi") at, inout("rax") full => word, options(nostack));
        asm!("mov eax, [rsi]", in("rsi") at, inout("rax") full => dword, options(nostack));
        asm!("mov rax, [rsi]", in("rsi") at, inout("rax") full => qword, options(nostack));
    }
    let value = |size| device::mmio_value(gpa, size);
    vcpu.same("MMIO read of 1 byte", byte, full & !0xff | value(1));
    vcpu.same("MMIO read of 2 bytes", word, full & !0xffff | value(2));
    vcpu.same("MMIO read of 4 bytes", dword, value(4));
    vcpu.same("MMIO read of 8 bytes", qword, value(8));
}

fn rest(vcpu: &Vcpu) {
    let before = vcpu.mailbox.vc.load(Ordering::Relaxed);
    let (called, unknown): (u64, u64);
    // SAFETY: None of these changes memory or registers that the code uses; the hypercalls have no effect.
    unsafe {
        asm!("wbinvd", options(nostack));
        asm!("monitor", in("rax") map::SHARED, in("rcx") 0, in("rdx") 0, options(nostack));
        asm!("mwait", in("rax") 0, in("rcx") 0, options(nostack));
        asm!("vmmcall", inout("rax") 1u64 => called, options(nostack));
        asm!("vmmcall", inout("rax") 0xdeadu64 => unknown, options(nostack));
    }
    vcpu.same("VMMCALL: a hypercall without effect", called, 0);
    vcpu.same("VMMCALL: an unknown hypercall", unknown, -1000i64 as u64);
    let taken = vcpu.mailbox.vc.load(Ordering::Relaxed) - before;
    vcpu.same("WBINVD, MONITOR, MWAIT, VMMCALL: #VC for each", taken, 5);
}
