// SPDX-License-Identifier: GPL-2.0
//! The table of steps in the guest's memory.

use super::attempt::{Attempt, Outcome, Pages};
use crate::exchange::exit::Exit;
use crate::exchange::page_image::{PageImage, PageInMemory};
use crate::launch::vm::{set_word, word, Mail};
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::{map, step, Mailbox, Step, PAGE, TAKEN};
use std::mem::offset_of;
use vm_memory::GuestMemoryMmap;

/// A table in the guest's memory.
pub(super) struct Table {
    before: Vec<Option<PageImage>>,
}

impl Table {
    /// Write it, and tell the guest's vCPU `stepper`.
    pub(super) fn offer(memory: &GuestMemoryMmap, stepper: u64, table: &[Attempt]) -> Self {
        let before = write_table(memory, table);
        let mail = Mail::new(memory, stepper);
        mail.set(offset_of!(Mailbox, step), 0);
        mail.set(offset_of!(Mailbox, step_count), table.len() as u64);
        Self { before }
    }

    /// What came back, up to the first step behind which the guest did not go on.
    pub(super) fn outcomes(
        self,
        memory: &GuestMemoryMmap,
        table: &[Attempt],
        exits: Vec<Vec<Exit>>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for ((index, attempt), (exits, before)) in table
            .iter()
            .enumerate()
            .zip(exits.into_iter().zip(self.before))
        {
            let outcome = outcome(memory, index, attempt, exits, before);
            let went_on = outcome.went_on;
            outcomes.push(outcome);
            if !went_on {
                break;
            }
        }
        outcomes
    }
}

/// Where the step of that number is.
pub(super) fn step_address(index: usize) -> u64 {
    map::STEPS + (index * size_of::<Step>()) as u64
}

fn write_table(memory: &GuestMemoryMmap, table: &[Attempt]) -> Vec<Option<PageImage>> {
    let mut before = Vec::new();
    for (index, attempt) in table.iter().enumerate() {
        let address = step_address(index);
        for offset in (0..size_of::<Step>() as u64).step_by(8) {
            set_word(memory, address + offset, 0);
        }
        let gpa = map::page(index as u64);
        let mut image = attempt.page.clone();
        if let (Some(image), true) = (&mut image, attempt.scratch_inside) {
            let at = Field::SwScratch.offset();
            image.set_word(at, image.word(at).wrapping_add(gpa));
        }
        let msr = match &image {
            Some(image) => {
                PageInMemory::new(memory, gpa).write(image);
                gpa
            }
            None => attempt.msr,
        };
        set_word(memory, address + offset_of!(Step, msr) as u64, msr);
        let tell = if image.is_some() || attempt.template != 0 {
            step::TELL
        } else {
            0
        };
        set_word(
            memory,
            address + offset_of!(Step, flags) as u64,
            attempt.flags | tell,
        );
        for (offset, value) in [
            (offset_of!(Step, template), attempt.template),
            (offset_of!(Step, vmpl), attempt.vmpl),
        ] {
            set_word(memory, address + offset as u64, value);
        }
        before.push(image);
    }
    before
}

fn outcome(
    memory: &GuestMemoryMmap,
    index: usize,
    attempt: &Attempt,
    exits: Vec<Exit>,
    before: Option<PageImage>,
) -> Outcome {
    let field = |offset: usize| word(memory, step_address(index) + offset as u64);
    let vector = field(offset_of!(Step, vector));
    debug_assert_eq!(before.is_some(), attempt.page.is_some());
    Outcome {
        went_on: field(offset_of!(Step, done)) != 0,
        msr: field(offset_of!(Step, msr_after)),
        exception: (vector & TAKEN != 0)
            .then(|| (vector as u8, field(offset_of!(Step, error)) as u32)),
        exits,
        infos: (
            field(offset_of!(Step, info1)),
            field(offset_of!(Step, info2)),
        ),
        pages: before.map(|before| Pages {
            before,
            after: PageInMemory::new(memory, map::PAGES + index as u64 * PAGE).copy(),
        }),
    }
}
