// SPDX-License-Identifier: GPL-2.0
//! The VMSA of another vCPU, which starts as the VMM would start it.

use crate::snp::{self, Access};
use core::arch::asm;
use mailbox::{map, PAGE};

/// Offsets of words in a VMSA. C: `struct sev_es_save_area`.
mod at {
    pub const ES: u64 = 0x00;
    pub const CS: u64 = 0x10;
    pub const SS: u64 = 0x20;
    pub const DS: u64 = 0x30;
    pub const FS: u64 = 0x40;
    pub const GS: u64 = 0x50;
    pub const GDTR: u64 = 0x60;
    pub const LDTR: u64 = 0x70;
    pub const IDTR: u64 = 0x80;
    pub const TR: u64 = 0x90;
    /// The VMPL is the third byte, the CPL the fourth.
    pub const PRIVILEGE: u64 = 0xc8;
    pub const EFER: u64 = 0xd0;
    pub const CR4: u64 = 0x148;
    pub const CR3: u64 = 0x150;
    pub const CR0: u64 = 0x158;
    pub const DR7: u64 = 0x160;
    pub const DR6: u64 = 0x168;
    pub const RFLAGS: u64 = 0x170;
    pub const RIP: u64 = 0x178;
    pub const RSP: u64 = 0x1d8;
    pub const PAT: u64 = 0x268;
    pub const RDI: u64 = 0x338;
    pub const SEV_FEATURES: u64 = 0x3b0;
    pub const XCR0: u64 = 0x3e8;
    pub const MXCSR: u64 = 0x408;
    pub const X87_CONTROL: u64 = 0x410;
}

/// EFER: SYSCALL, long mode, SVM. The CPU wants the last of them in each VMSA.
const EFER: u64 = (1 << 0) | (1 << 8) | (1 << 10) | (1 << 12);
/// Attributes of segments: code, data, LDT and TSS.
const CODE: u64 = 0xa9b;
const DATA: u64 = 0xc93;
const LDT: u64 = 0x82;
const TSS: u64 = 0x8b;
/// Value of the page attribute table after a reset.
const PAT: u64 = 0x0007_0406_0007_0406;
/// The only feature of the VM: SEV-SNP.
const FEATURES: u64 = 1;

/// Make the page at [`map::VMSA`] that of `vcpu` at `vmpl`, which, if it is another one, may use all other private pages; the
/// result of RMPADJUST, or that of PVALIDATE with bit 63.
pub fn make(vcpu: u64, vmpl: u64) -> u64 {
    let private = (map::PRIVATE..map::PRIVATE + map::PRIVATE_SIZE).step_by(PAGE as usize);
    for page in private.filter(|page| *page == map::VMSA || vmpl != 0) {
        // Those that the launch left out have nothing in them yet.
        let (result, _) = snp::pvalidate(page, true);
        if result != 0 {
            return result | (1 << 63);
        }
        if page == map::VMSA {
            continue;
        }
        let result = snp::rmpadjust(page, vmpl, Access::All);
        if result != 0 {
            return result;
        }
    }
    for offset in (0..PAGE).step_by(8) {
        set(offset, 0);
    }
    let descriptors = map::DESCRIPTORS + vcpu * PAGE;
    segment(at::CS, 0x08, CODE, u32::MAX, 0);
    for data in [at::ES, at::SS, at::DS, at::FS, at::GS] {
        segment(data, 0x10, DATA, u32::MAX, 0);
    }
    segment(at::GDTR, 0, 0, 7 * 8 - 1, descriptors);
    segment(at::LDTR, 0, LDT, 0, 0);
    segment(at::IDTR, 0, 0, 0, 0);
    segment(at::TR, 0x28, TSS, 0x67, descriptors + 0x100);
    let [cr0, cr3, cr4] = control_registers();
    let stack = map::STACKS + (vcpu + 1) * map::STACK_SIZE - map::STACK_SIZE / 4;
    for (offset, value) in [
        (at::PRIVILEGE, vmpl << 16),
        (at::EFER, EFER),
        (at::CR0, cr0),
        (at::CR3, cr3),
        (at::CR4, cr4),
        (at::DR6, 0xffff_0ff0),
        (at::DR7, 0x400),
        (at::RFLAGS, 2),
        (at::RIP, crate::_start as *const () as u64),
        (at::RSP, stack - 8),
        (at::RDI, map::MAILBOXES + vcpu * PAGE),
        (at::PAT, PAT),
        (at::SEV_FEATURES, FEATURES),
        (at::XCR0, 1),
        (at::MXCSR, 0x1f80),
        (at::X87_CONTROL, 0x37f),
    ] {
        set(offset, value);
    }
    snp::rmpadjust(map::VMSA, 1, Access::Vmsa)
}

/// Selector, attributes, limit and base.
fn segment(offset: u64, selector: u64, attributes: u64, limit: u32, base: u64) {
    set(
        offset,
        selector | (attributes << 16) | (u64::from(limit) << 32),
    );
    set(offset + 8, base);
}

fn set(offset: u64, value: u64) {
    // SAFETY: The page is mapped and validated, and nothing else uses it.
    unsafe { ((map::VMSA + offset) as *mut u64).write_volatile(value) };
}

fn control_registers() -> [u64; 3] {
    let (cr0, cr3, cr4): (u64, u64, u64);
    // SAFETY: Reads registers.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4,
            options(nomem, nostack, preserves_flags));
    }
    [cr0, cr3, cr4]
}
