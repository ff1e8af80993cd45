// SPDX-License-Identifier: GPL-2.0
//! A guest that takes VMGEXITs from a table: the VMM writes the pages, and sees what each brought.

use crate::exit::Exit;
use crate::page::{GuestPage, PageImage};
use crate::request::{Reply, Request};
use crate::vm::{set_word, word, Config, Mail, Vcpu, Vm};
use crate::watchdog::Watchdog;
use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::page::Field;
use mailbox::{doorbell, map, step, Mailbox, Role, Step, PAGE, TAKEN};
use std::fmt;
use std::mem::offset_of;
use std::time::Duration;
use vm_memory::GuestMemoryMmap;

/// Longest that one table may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Exits of one step after which the guest counts as stuck: more than 64 KiB of MMIO take.
const TOO_MANY: usize = 10_000;

/// One VMGEXIT to be taken.
#[derive(Clone, Debug)]
pub struct Attempt {
    msr: u64,
    flags: u64,
    page: Option<PageImage>,
    /// Whether SW_SCRATCH counts from the page.
    scratch_inside: bool,
    /// Address of a page that the guest copies over the GHCB first.
    template: u64,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flags & step::RING3 != 0 {
            f.write_str("in ring 3: ")?;
        }
        let Some(page) = &self.page else {
            return write!(f, "GHCB MSR {:#x}", self.msr);
        };
        let [code, scratch, rax, rcx] =
            [Field::SwExitCode, Field::SwScratch, Field::Rax, Field::Rcx]
                .map(|field| page.word(field.offset()));
        let from = if self.scratch_inside { "page + " } else { "" };
        let reply = Reply::of(page);
        write!(
            f,
            "exit code {code:#x}, infos {:#x} {:#x}, scratch {from}{scratch:#x}, RAX {rax:#x}, RCX {rcx:#x}, {:?}",
            reply.info1, reply.info2, reply.valid
        )
    }
}

impl Attempt {
    /// A request through a page of its own.
    pub fn page(request: &Request) -> Self {
        Self {
            scratch_inside: request.is_scratch_inside(),
            ..Self::image(request.image())
        }
    }

    /// Any contents of a page of its own.
    pub fn image(image: PageImage) -> Self {
        Self {
            msr: 0,
            flags: 0,
            page: Some(image),
            scratch_inside: false,
            template: 0,
        }
    }

    /// A value of the GHCB MSR.
    pub fn msr(msr: u64) -> Self {
        Self {
            msr,
            flags: 0,
            page: None,
            scratch_inside: false,
            template: 0,
        }
    }

    /// The value for the GHCB MSR, if the attempt has no page of its own.
    pub fn msr_value(&self) -> Option<u64> {
        self.page.is_none().then_some(self.msr)
    }

    /// The contents of the attempt's own page, if it has one.
    pub fn own_page(&self) -> Option<&PageImage> {
        self.page.as_ref()
    }

    /// A request at `gpa`, which the guest copies there from `template` itself.
    pub fn copied(gpa: u64, template: u64) -> Self {
        Self {
            template,
            ..Self::msr(gpa)
        }
    }

    /// Execute VMGEXIT in ring 3.
    pub fn in_ring3(mut self) -> Self {
        self.flags |= step::RING3;
        self
    }

    /// Leave the GHCB MSR as it is.
    pub fn keep_msr(mut self) -> Self {
        self.flags |= step::KEEP_MSR;
        self
    }
}

/// What a VMGEXIT brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the guest went on behind it.
    pub went_on: bool,
    /// The GHCB MSR afterwards.
    pub msr: u64,
    /// Vector and error code of an exception that it brought.
    pub exception: Option<(u8, u32)>,
    /// Exits to userspace on the way.
    pub exits: Vec<Exit>,
    /// The page before and after, where the attempt had one.
    pub pages: Option<Pages>,
    /// Both infos of the reply, where the guest copied the request.
    pub infos: (u64, u64),
}

/// A page before and after a VMGEXIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pub before: PageImage,
    pub after: PageImage,
}

impl Outcome {
    /// The reply in the page; all zeros where the attempt had none.
    pub fn reply(&self) -> Reply {
        match &self.pages {
            Some(pages) => Reply::of(&pages.after),
            None => Reply::of(&PageImage::default()),
        }
    }
}

/// A VM whose first vCPU takes steps.
pub struct StepVm {
    vm: Vm,
    dead: Option<String>,
}

impl StepVm {
    /// Launch it with nothing special.
    pub fn new() -> Result<Self> {
        Self::with(Config::default(), &[])
    }

    /// Launch it with `others` as roles of the further vCPUs.
    pub fn with(config: Config, others: &[Role]) -> Result<Self> {
        let mut roles = vec![Role::Steps];
        roles.extend(others);
        let mut vm = Vm::launch(
            Config {
                vcpus: roles.len() as u64,
                ..config
            },
            &roles,
        )?;
        let watchdog = Watchdog::start(PATIENCE)?;
        let exit = vm.vcpu(0).run();
        ensure!(
            is_doorbell(&exit) && !watchdog.barked(),
            "the guest's first exit is {exit:?}"
        );
        Ok(Self { vm, dead: None })
    }

    /// The VM.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Why the guest can take no more steps, if so.
    pub fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }

    /// Guest-physical address of the page of the `index`th attempt of a table.
    pub fn page_of(index: usize) -> u64 {
        map::page(index as u64)
    }

    /// Take one step.
    pub fn take(&mut self, attempt: Attempt) -> Result<Outcome> {
        match self.take_all(std::slice::from_ref(&attempt))?.pop() {
            Some(outcome) => Ok(outcome),
            None => bail!("no outcome"),
        }
    }

    /// Take one step, and let `at_exit` see the VM at each exit to userspace.
    pub fn take_with(
        &mut self,
        attempt: Attempt,
        mut at_exit: impl FnMut(&mut Vm, &Exit),
    ) -> Result<Outcome> {
        let table = [attempt];
        let run = Table::offer(self.vm.memory(), &table);
        let watchdog = Watchdog::start(PATIENCE)?;
        let mut exits = Vec::new();
        loop {
            let exit = self.vm.vcpu(0).run();
            if is_doorbell(&exit) {
                break;
            }
            at_exit(&mut self.vm, &exit);
            exits.push(exit);
            ensure!(!watchdog.barked(), "no end after {PATIENCE:?}: {exits:?}");
        }
        match run.outcomes(self.vm.memory(), &table, vec![exits]).pop() {
            Some(outcome) => Ok(outcome),
            None => bail!("no outcome"),
        }
    }

    /// Take steps in turn. Fewer outcomes than attempts mean that the guest died of the last.
    pub fn take_all(&mut self, attempts: &[Attempt]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for table in attempts.chunks(map::PAGE_COUNT as usize) {
            if self.dead.is_some() {
                break;
            }
            let (vcpus, memory) = self.vm.split();
            let [vcpu, ..] = vcpus else {
                bail!("no vCPU");
            };
            let (mut taken, dead) = take_table(vcpu, memory, table)?;
            outcomes.append(&mut taken);
            self.dead = dead;
        }
        Ok(outcomes)
    }
}

/// Whether `exit` says that the guest waits for the VMM.
pub fn is_doorbell(exit: &Exit) -> bool {
    match exit {
        Exit::Hlt => true,
        Exit::Io { port, out, .. } => *out && *port == doorbell::PORT,
        _ => false,
    }
}

/// Let `vcpu`, which waits at its doorbell, take `table`; the text says why it died, if it did.
pub fn take_table(
    vcpu: &mut Vcpu,
    memory: &GuestMemoryMmap,
    table: &[Attempt],
) -> Result<(Vec<Outcome>, Option<String>)> {
    let mail = Mail::new(memory, 0);
    let run = Table::offer(memory, table);
    let mut exits = vec![Vec::new(); table.len()];
    let watchdog = Watchdog::start(PATIENCE)?;
    let dead = loop {
        let exit = vcpu.run();
        let index = mail.get(offset_of!(Mailbox, step)) as usize;
        let done = word(memory, step_address(index) + offset_of!(Step, done) as u64) != 0;
        if is_doorbell(&exit) && done {
            break None;
        }
        if watchdog.barked() {
            break Some(format!("no end after {PATIENCE:?}"));
        }
        let Some(list) = exits.get_mut(index) else {
            bail!("the guest is at step {index} of {}", table.len());
        };
        let stuck = list.len() >= TOO_MANY || list.last() == Some(&exit) && is_fatal(&exit);
        list.push(exit);
        if stuck {
            break Some(format!("{:?} again and again", list.last()));
        }
    };
    drop(watchdog);
    Ok((run.outcomes(memory, table, exits), dead))
}

/// A table in the guest's memory.
struct Table {
    before: Vec<Option<PageImage>>,
}

impl Table {
    /// Write it, and tell the guest.
    fn offer(memory: &GuestMemoryMmap, table: &[Attempt]) -> Self {
        let before = write_table(memory, table);
        let mail = Mail::new(memory, 0);
        mail.set(offset_of!(Mailbox, step), 0);
        mail.set(offset_of!(Mailbox, step_count), table.len() as u64);
        Self { before }
    }

    /// What came back, up to the first step behind which the guest did not go on.
    fn outcomes(
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

/// Whether a vCPU that exits so twice in one step will do so for ever.
fn is_fatal(exit: &Exit) -> bool {
    matches!(
        exit,
        Exit::Errno(_)
            | Exit::InternalError { .. }
            | Exit::FailEntry { .. }
            | Exit::Shutdown
            | Exit::SystemEvent { .. }
            | Exit::Other(_)
    )
}

fn step_address(index: usize) -> u64 {
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
                GuestPage::new(memory, gpa).write(image);
                gpa
            }
            None => attempt.msr,
        };
        set_word(memory, address + offset_of!(Step, msr) as u64, msr);
        set_word(
            memory,
            address + offset_of!(Step, flags) as u64,
            attempt.flags,
        );
        let template = address + offset_of!(Step, template) as u64;
        set_word(memory, template, attempt.template);
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
            after: GuestPage::new(memory, map::PAGES + index as u64 * PAGE).copy(),
        }),
    }
}
