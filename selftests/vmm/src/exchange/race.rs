// SPDX-License-Identifier: GPL-2.0
//! A request whose page another vCPU changes while it is handled.

use crate::exchange::page_image::PageInMemory;
use crate::exchange::request::Request;
use crate::exchange::steps::{take_table, Attempt, Outcome, StepVm};
use crate::launch::crew::{pin, wait_for, Hand};
use crate::launch::vm::{set_word, Config, Mail};
use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::{map, Flip, Mailbox, Role, PAGE};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::thread;
use std::time::Duration;

/// The GHCB that is raced for, and the page that the guest copies into it before each VMGEXIT.
pub const PAGE_RACED: u64 = map::page(0);
const TEMPLATE: u64 = map::page(1);

/// A word of the raced page that changes.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Offset in the page.
    pub offset: usize,
    /// Width in bytes.
    pub width: u64,
    /// Both values.
    pub values: (u64, u64),
}

impl Change {
    /// The whole field alternates between two values.
    pub fn field(field: Field, even: u64, odd: u64) -> Self {
        Self {
            offset: field.offset(),
            width: field.size() as u64,
            values: (even, odd),
        }
    }
}

/// What a race brought.
pub struct Race {
    /// One outcome for each VMGEXIT.
    pub outcomes: Vec<Outcome>,
    /// Times that the other vCPU changed all words while the request was handled.
    pub changes: u64,
}

/// A VM with a vCPU that takes steps and one that changes words.
pub fn machine(config: Config) -> Result<StepVm> {
    pin(0);
    StepVm::with(config, &[Role::Flip])
}

/// Raise `request` `count` times while `changes` go on.
pub fn run(vm: &mut StepVm, request: &Request, changes: &[Change], count: usize) -> Result<Race> {
    let mut image = request.image();
    if request.is_scratch_inside() {
        let at = Field::SwScratch.offset();
        image.set_word(at, image.word(at).wrapping_add(PAGE_RACED));
    }
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        bail!("not two vCPUs");
    };
    PageInMemory::new(memory, TEMPLATE).write(&image);
    PageInMemory::new(memory, PAGE_RACED).write(&image);
    let mail = Mail::new(memory, 1);
    write_flips(memory, changes);
    mail.set(offset_of!(Mailbox, stop), 0);
    let progress = || mail.get(offset_of!(Mailbox, progress));
    let begin = progress();
    let table = vec![Attempt::copied(PAGE_RACED, TEMPLATE); count];
    thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        let runs = wait_for(Duration::from_secs(5), || progress() > begin);
        let taken = take_table(boss, memory, &table);
        let changes = progress() - begin;
        mail.set(offset_of!(Mailbox, stop), 1);
        hand.stop();
        ensure!(runs, "the second vCPU does not run");
        let (outcomes, dead) = taken?;
        ensure!(
            dead.is_none(),
            "the guest died after {} VMGEXITs: {}",
            outcomes.len(),
            dead.unwrap_or_default()
        );
        Ok(Race { outcomes, changes })
    })
}

fn write_flips(memory: &vm_memory::GuestMemoryMmap, changes: &[Change]) {
    let base = map::MAILBOXES + PAGE + offset_of!(Mailbox, flips) as u64;
    for index in 0..8 {
        let at = base + index * size_of::<Flip>() as u64;
        let change = changes.get(index as usize);
        let field = |offset: usize, value| set_word(memory, at + offset as u64, value);
        field(
            offset_of!(Flip, address),
            change.map_or(0, |change| PAGE_RACED + change.offset as u64),
        );
        if let Some(change) = change {
            field(offset_of!(Flip, width), change.width);
            field(offset_of!(Flip, even), change.values.0);
            field(offset_of!(Flip, odd), change.values.1);
        }
    }
}

impl Race {
    /// How often each pair of infos was the reply.
    pub fn replies(&self) -> BTreeMap<(u64, u64), usize> {
        let mut replies = BTreeMap::new();
        for outcome in &self.outcomes {
            *replies.entry(outcome.infos).or_default() += 1;
        }
        replies
    }

    /// One line on how often the race was hit.
    pub fn summary(&self) -> String {
        let replies: Vec<String> = self
            .replies()
            .iter()
            .map(|((info1, info2), count)| format!("reply {info1:#x}:{info2:#x} {count} times"))
            .collect();
        format!(
            "{} VMGEXITs, {} changes of the page: {}",
            self.outcomes.len(),
            self.changes,
            replies.join(", ")
        )
    }
}
