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

/// What RMPADJUST gives a VMPL below the caller's: APM volume 3, "RMPADJUST".
#[derive(Clone, Copy)]
pub enum Access {
    /// Nothing, and the page is a VMSA.
    Vmsa,
    /// To read, write and execute, in supervisor mode and in user mode.
    All,
}

/// RMPADJUST: give `vmpl` its access to the 4 KiB page at `address`. RAX.
pub fn rmpadjust(address: u64, vmpl: u64, access: Access) -> u64 {
    let access = match access {
        Access::Vmsa => 1 << 16,
        Access::All => 0xf << 8,
    };
    let result: u64;
    // SAFETY: The caller names a page of its own that nothing else uses.
    unsafe {
        asm!(".byte 0xf3, 0x0f, 0x01, 0xfe", inout("rax") address => result, in("rcx") 0,
            in("rdx") vmpl | access, options(nostack));
    }
    result
}
