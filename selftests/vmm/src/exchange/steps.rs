// SPDX-License-Identifier: GPL-2.0
//! A guest that takes VMGEXITs from a table: the VMM writes the pages, and sees what each brought.

mod attempt;
mod table;

pub use attempt::{Attempt, Outcome, Pages};

use crate::exchange::ap_creation;
use crate::exchange::exit::Exit;
use crate::launch::vm::{word, Config, Mail, Vcpu, Vm};
use crate::launch::watchdog::Watchdog;
use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::ap::ApOperation;
use mailbox::{doorbell, map, Mailbox, Role, Step};
use std::mem::offset_of;
use std::time::Duration;
use table::{step_address, Table};
use vm_memory::GuestMemoryMmap;

/// Longest that one table may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Exits of one step after which the guest counts as stuck: more than 64 KiB of MMIO take.
const TOO_MANY: usize = 10_000;

/// A VM of which one vCPU takes steps.
pub struct StepVm {
    vm: Vm,
    /// Which one it is.
    stepper: usize,
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
        Ok(Self {
            vm,
            stepper: 0,
            dead: None,
        })
    }

    /// Launch an SEV-SNP guest whose second vCPU takes the steps, at VMPL 1: the first, at VMPL 0, makes its VMSA and
    /// creates it.
    pub fn at_vmpl1() -> Result<Self> {
        const VCPU: u32 = 1;
        let mut vm = Self::with(Config::default(), &[Role::Steps])?;
        let made = vm.take(Attempt::make_vmsa(VCPU.into(), 1))?.infos.0;
        ensure!(
            made == 0 && vm.dead.is_none(),
            "the guest cannot make a VMSA: {made:#x}, {:?}",
            vm.dead
        );
        let request = ap_creation::request(ap_creation::info(ApOperation::CREATE, VCPU), map::VMSA);
        let reply = vm.take(Attempt::page(&request))?.reply();
        ensure!(
            (reply.info1, reply.info2) == (0, 0),
            "not created: {reply:?}"
        );
        vm.stepper = VCPU as usize;
        let exit = vm.vm.vcpu(vm.stepper).run();
        ensure!(is_doorbell(&exit), "its first exit is {exit:?}");
        Ok(vm)
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
        let run = Table::offer(self.vm.memory(), self.stepper as u64, &table);
        let watchdog = Watchdog::start(PATIENCE)?;
        let mut exits = Vec::new();
        loop {
            let exit = self.vm.vcpu(self.stepper).run();
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

    /// Offer one step, and run until its first exit to userspace, which is answered and not completed.
    pub fn begin(&mut self, attempt: &Attempt) -> Result<Exit> {
        let table = std::slice::from_ref(attempt);
        Table::offer(self.vm.memory(), self.stepper as u64, table);
        let exit = self.vm.vcpu(self.stepper).run();
        ensure!(!is_doorbell(&exit), "no exit to userspace");
        Ok(exit)
    }

    /// Run on from there until the guest is back at its doorbell; the exits meanwhile.
    pub fn finish(vcpu: &mut Vcpu) -> Result<Vec<Exit>> {
        let watchdog = Watchdog::start(PATIENCE)?;
        let mut exits = Vec::new();
        loop {
            let exit = vcpu.run();
            if is_doorbell(&exit) {
                return Ok(exits);
            }
            ensure!(
                !watchdog.barked() && !is_fatal(&exit),
                "no end: {exits:?}, then {exit:?}"
            );
            exits.push(exit);
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
            let Some(vcpu) = vcpus.get_mut(self.stepper) else {
                bail!("no vCPU");
            };
            let (mut taken, dead) = take_table_of(self.stepper, vcpu, memory, table)?;
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

/// Let `vcpu`, the VM's first, which waits at its doorbell, take `table`; the text says why it died, if it did.
pub fn take_table(
    vcpu: &mut Vcpu,
    memory: &GuestMemoryMmap,
    table: &[Attempt],
) -> Result<(Vec<Outcome>, Option<String>)> {
    take_table_of(0, vcpu, memory, table)
}

/// The same for the vCPU with that number.
fn take_table_of(
    number: usize,
    vcpu: &mut Vcpu,
    memory: &GuestMemoryMmap,
    table: &[Attempt],
) -> Result<(Vec<Outcome>, Option<String>)> {
    let mail = Mail::new(memory, number as u64);
    let run = Table::offer(memory, number as u64, table);
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

/// Whether a vCPU that exits so twice in one step will do so for ever.
fn is_fatal(exit: &Exit) -> bool {
    matches!(
        exit,
        Exit::Errno(_)
            | Exit::InternalError { .. }
            | Exit::FailEntry { .. }
            | Exit::Shutdown
            | Exit::SystemEvent { .. }
            | Exit::MemoryFault { .. }
            | Exit::Other(_)
    )
}
