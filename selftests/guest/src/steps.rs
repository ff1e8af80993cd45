// SPDX-License-Identifier: GPL-2.0
//! Role `Steps`: one VMGEXIT for each row of the table, and a record of what it brought.

use crate::cpu::{self, Vcpu};
use crate::ghcb::OwnPage;
use crate::trap;
use crate::vmsa;
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrInfo};
use ghcb_rs::ghcb_abi::page::{Field, Qword, SharedPage};
use mailbox::{map, step, Mailbox, Step, PAGE};

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
    if flags & step::MAKE_VMSA != 0 {
        let vmpl = step.vmpl.load(Ordering::Relaxed);
        let result = vmsa::make(step.msr.load(Ordering::Relaxed), vmpl);
        step.info1.store(result, Ordering::Relaxed);
        step.done.store(1, Ordering::Release);
        return;
    }
    let template = step.template.load(Ordering::Relaxed);
    let page = OwnPage::new(step.msr.load(Ordering::Relaxed));
    if template != 0 {
        copy_unless_raced(vcpu.index + 1, &OwnPage::new(template), &page);
    }
    vcpu.mailbox.vector.store(0, Ordering::Relaxed);
    if flags & step::KEEP_MSR == 0 {
        let value = step.msr.load(Ordering::Relaxed);
        if GhcbMsr(value).info() == MsrInfo::GHCB_GPA && flags & step::UNREGISTERED == 0 {
            vcpu.name_ghcb(value);
        } else {
            cpu::write_ghcb_msr(value);
        }
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
    if flags & step::TELL != 0 {
        step.info1
            .store(Field::SwExitInfo1.load(&page), Ordering::Relaxed);
        step.info2
            .store(Field::SwExitInfo2.load(&page), Ordering::Relaxed);
    }
    step.done.store(1, Ordering::Release);
}

/// Words that a reply overwrites: a request needs them anew.
const OF_REPLY: [Field; 4] = [
    Field::SwExitInfo1,
    Field::SwExitInfo2,
    Field::ValidBitmapLow,
    Field::ValidBitmapHigh,
];

/// Copy `from` to `to`, except words that the vCPU `other` changes: those stay as it left them.
fn copy_unless_raced(other: u64, from: &OwnPage, to: &OwnPage) {
    let mailbox = (map::MAILBOXES + other * PAGE) as *const Mailbox;
    // SAFETY: The memory of all mailboxes is mapped, and they hold atomics only.
    let flips = unsafe { &(*mailbox).flips };
    let raced = |word: Qword| {
        flips.iter().any(|flip| {
            let address = flip.address.load(Ordering::Relaxed);
            address & !7 == to.gpa() + word.offset() as u64
        })
    };
    let of_reply = |word: Qword| OF_REPLY.iter().any(|field| field.qword() == word);
    for word in Qword::all().filter(|word| of_reply(*word) || !raced(*word)) {
        to.store(word, from.load(word));
    }
}
