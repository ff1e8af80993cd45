// SPDX-License-Identifier: GPL-2.0
//! The guest whose round trips are measured: takes an order, carries it out, halts, takes the next.
//!
//! A round trip is WRMSR to the GHCB MSR and VMGEXIT, between two RDTSC. What a guest does around it (its #VC handler,
//! the fields of the request) stays outside.

#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use mailbox::Mailbox;
use order::{Order, Row, Store};

/// First instruction of each vCPU.
///
/// # Safety
///
/// Called by the VMM only, once a vCPU, with the address of its mailbox.
#[no_mangle]
unsafe extern "C" fn _start(mailbox: *const Mailbox) -> ! {
    // SAFETY: The VMM keeps the mailbox mapped as long as the guest runs; all its words are atomics.
    let vcpu = unsafe { &*mailbox }.vcpu.load(Relaxed);
    // SAFETY: As above, for the order.
    let order = unsafe { &*(order::order(vcpu) as *const Order) };
    loop {
        carry_out(order, order::page(vcpu), order::samples(vcpu));
        // SAFETY: Leaves to the VMM, which writes the next order before it enters again.
        unsafe { asm!("hlt", options(nostack)) };
    }
}

fn carry_out(order: &Order, page: u64, samples: u64) {
    let msr = order.msr.load(Relaxed);
    let stores = order.store_count.load(Relaxed) as usize;
    for sample in 0..order.count.load(Relaxed) {
        for Store { offset, value } in order.stores.iter().take(stores) {
            word(page + offset.load(Relaxed)).store(value.load(Relaxed), Relaxed);
        }
        write_row(page, &order.row);
        let time = round_trip(msr);
        word(samples + sample * 8).store(time, Relaxed);
    }
    order.msr_after.store(ghcb_msr(), Relaxed);
}

fn write_row(page: u64, row: &Row) {
    let mut value = row.first.load(Relaxed);
    for number in 0..row.count.load(Relaxed) {
        word(page + row.offset.load(Relaxed) + number * 8).store(value, Relaxed);
        value = value.wrapping_add(row.step.load(Relaxed));
    }
}

/// The shared word at `address`.
fn word(address: u64) -> &'static AtomicU64 {
    // SAFETY: The VMM names aligned addresses in shared memory, which stays mapped as long as the guest runs.
    unsafe { &*(address as *const AtomicU64) }
}

/// One request; returns what the time stamp counter says that it took.
fn round_trip(msr: u64) -> u64 {
    let (before, after): (u64, u64);
    // SAFETY: The hypervisor changes shared memory and the GHCB MSR only; the asm counts as touching all memory.
    unsafe {
        asm!(
            "rdtsc",
            "shl rdx, 32",
            "lea {before}, [rax + rdx]",
            "mov eax, {low:e}",
            "mov rdx, {msr}",
            "shr rdx, 32",
            "wrmsr",
            ".byte 0xf3, 0x0f, 0x01, 0xd9",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            before = out(reg) before,
            low = in(reg) msr,
            msr = in(reg) msr,
            in("ecx") GHCB_MSR,
            out("rax") after,
            out("rdx") _,
            options(nostack),
        );
    }
    after - before
}

const GHCB_MSR: u32 = 0xc001_0130;

/// The GHCB MSR; reads of it are never intercepted.
fn ghcb_msr() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The MSR exists for each SEV-ES guest.
    unsafe {
        asm!("rdmsr", in("ecx") GHCB_MSR, out("eax") low, out("edx") high, options(nostack));
    }
    (u64::from(high) << 32) | u64::from(low)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        // SAFETY: A triple fault follows, which the VMM reports.
        unsafe { asm!("ud2") };
    }
}

/// The precompiled core library refers to an unwinder's personality, although nothing here unwinds.
#[no_mangle]
extern "C" fn rust_eh_personality() {}
