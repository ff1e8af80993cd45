// SPDX-License-Identifier: GPL-2.0
//! Role `Steps`: one VMGEXIT for each row of the table, and a record of what it brought.

use crate::cpu::{self, Vcpu};
use crate::trap;
use core::sync::atomic::Ordering;
use mailbox::{map, step, Step};

/// Ring the doorbell, then take each table that the VMM offers.
pub fn run(vcpu: &Vcpu) -> ! {
    loop {
        vcpu.ring_doorbell();
        let count = vcpu.mailbox.step_count.load(Ordering::Acquire);
        for index in 0..count {
            vcpu.mailbox.step.store(index, Ordering::Release);
            take(vcpu, index);
        }
    }
}

fn take(vcpu: &Vcpu, index: u64) {
    let address = map::STEPS + index * size_of::<Step>() as u64;
    // SAFETY: The VMM keeps as many steps there as it announced; all words are atomics.
    let step = unsafe { &*(address as *const Step) };
    let flags = step.flags.load(Ordering::Acquire);
    vcpu.mailbox.vector.store(0, Ordering::Relaxed);
    if flags & step::KEEP_MSR == 0 {
        cpu::write_ghcb_msr(step.msr.load(Ordering::Relaxed));
    }
    if flags & step::RING3 == 0 {
        cpu::vmgexit();
    } else {
        trap::vmgexit_in_ring3();
    }
    step.msr_after
        .store(cpu::read_ghcb_msr(), Ordering::Relaxed);
    step.vector.store(
        vcpu.mailbox.vector.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    step.error.store(
        vcpu.mailbox.error.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    step.done.store(1, Ordering::Release);
}
