// SPDX-License-Identifier: GPL-2.0
//! The guest that the test programs run.
//!
//! The VMM starts each vCPU in 64-bit mode at [`_start`], on the tables of vmm/src/launch/paging.rs, with its mailbox as
//! argument. The mailbox names the role; what a role does stands in the file of that name.

#![no_std]
#![no_main]

mod cpu;
mod events;
mod flip;
mod ghcb;
mod hold;
mod instructions;
mod mem;
mod openbsd;
mod pages;
mod replies;
mod snp;
mod steps;
mod trap;
mod vc;
mod vmsa;

use mailbox::{Mailbox, Role};

/// First instruction of each vCPU.
///
/// # Safety
///
/// Called by the VMM only, once a vCPU, with the address of its mailbox.
#[no_mangle]
pub unsafe extern "C" fn _start(mailbox: *const Mailbox) -> ! {
    // SAFETY: The VMM keeps the mailbox mapped as long as the guest runs; all its words are atomics.
    let mailbox: &'static Mailbox = unsafe { &*mailbox };
    let vcpu = cpu::Vcpu::new(mailbox);
    trap::install(&vcpu);
    match Role::from_word(mailbox.role.load(core::sync::atomic::Ordering::Acquire)) {
        Some(Role::Steps) => steps::run(&vcpu),
        Some(Role::Events) => events::run(&vcpu),
        Some(Role::Instructions) => instructions::run(&vcpu),
        Some(Role::Flip) => flip::run(&vcpu),
        Some(Role::Hold) => hold::run(&vcpu),
        Some(Role::Replies) => replies::run(&vcpu),
        Some(Role::OpenBsd) => openbsd::run(&vcpu),
        Some(Role::Pages) => pages::run(&vcpu),
        None => vcpu.terminate(cpu::reason::NO_ROLE),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cpu::terminate(cpu::reason::PANIC)
}
