// SPDX-License-Identifier: GPL-2.0
//! Role `Flip`: change words of memory without pause, to race the handler of another vCPU's VMGEXIT.

use crate::cpu::Vcpu;
use core::sync::atomic::Ordering;
use mailbox::{map, Flip, PAGE};

/// Ring the doorbell, then flip all words until told to stop; over and over.
pub fn run(vcpu: &Vcpu) -> ! {
    let mail = vcpu.mailbox;
    loop {
        vcpu.ring_doorbell();
        while mail.stop.load(Ordering::Acquire) == 0 {
            for flip in &mail.flips {
                write(flip, &flip.even);
            }
            for flip in &mail.flips {
                write(flip, &flip.odd);
            }
            let round = mail.progress.fetch_add(1, Ordering::Relaxed);
            touch(round, mail.argument.load(Ordering::Relaxed));
        }
    }
}

/// Write to one of the first `count` pages that may be private, in turn; the #VC handler accepts those that are new.
fn touch(round: u64, count: u64) {
    if count != 0 {
        let address = map::CONVERTED_GVA + round % count * PAGE;
        // SAFETY: The page is mapped, and no Rust reference covers it.
        unsafe { (address as *mut u64).write_volatile(round) };
    }
}

fn write(flip: &Flip, value: &core::sync::atomic::AtomicU64) {
    let address = flip.address.load(Ordering::Relaxed);
    if address == 0 {
        return;
    }
    let value = value.load(Ordering::Relaxed);
    // SAFETY: The VMM names addresses of shared memory that no Rust reference of this guest covers.
    unsafe {
        match flip.width.load(Ordering::Relaxed) {
            1 => (address as *mut u8).write_volatile(value as u8),
            2 => (address as *mut u16).write_volatile(value as u16),
            4 => (address as *mut u32).write_volatile(value as u32),
            _ => (address as *mut u64).write_volatile(value),
        }
    }
}
