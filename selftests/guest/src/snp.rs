// SPDX-License-Identifier: GPL-2.0
//! Instructions of SEV-SNP guests.

use core::arch::asm;

/// PVALIDATE: accept the 4 KiB page at `address`, or give it up. RAX, and whether nothing changed (CF).
pub fn pvalidate(address: u64, valid: bool) -> (u64, bool) {
    let result: u64;
    let unchanged: u8;
    // SAFETY: The caller names a page of its own that no Rust reference covers.
    unsafe {
        asm!(".byte 0xf2, 0x0f, 0x01, 0xff", "setc {}", out(reg_byte) unchanged,
            inout("rax") address => result, in("rcx") 0, in("rdx") u64::from(valid), options(nostack));
    }
    (result & 0xffff_ffff, unchanged != 0)
}

/// RMPADJUST: permissions of VMPL 1 to the 4 KiB page at `address`, and whether it is a VMSA. RAX.
pub fn make_vmsa(address: u64) -> u64 {
    const VMPL1: u64 = 1;
    const VMSA: u64 = 1 << 16;
    let result: u64;
    // SAFETY: The caller names a page of its own that nothing else uses.
    unsafe {
        asm!(".byte 0xf3, 0x0f, 0x01, 0xfe", inout("rax") address => result, in("rcx") 0,
            in("rdx") VMPL1 | VMSA, options(nostack));
    }
    result
}
