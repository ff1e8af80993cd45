// SPDX-License-Identifier: GPL-2.0
//! AP creation by SEV-SNP guests: each refusal, and an AP that is started, stopped, and started again.

use anyhow::{bail, ensure, Result};
use ghcb_rs::ghcb_abi::ap::{ApCreation, ApOperation};
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{hold, map, Mailbox, Role};
use std::mem::offset_of;
use std::process::ExitCode as Status;
use std::thread;
use std::time::Duration;
use vm_memory::GuestMemoryMmap;
use vmm::exchange::ap_creation::{info, request, FEATURES};
use vmm::exchange::request::Request;
use vmm::exchange::steps::{take_table, Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::Handler;
use vmm::launch::crew::{wait_for, Hand};
use vmm::launch::vm::{Config, Mail, Vcpu};
use vmm::report::ktap::{self, Report};

/// The vCPU that is created.
const AP: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a vCPU that stands still is looked at.
const LOOK: Duration = Duration::from_millis(20);
const ROUNDS: usize = 3;

/// Registers of the local APIC, and commands of its interrupt command register.
const APIC_ICR_LOW: u64 = 0xfee0_0300;
const APIC_ICR_HIGH: u64 = 0xfee0_0310;
const INIT: u32 = 0x4500;
const SIPI: u32 = 0x4608;

fn main() -> Status {
    ktap::snp_program(|report| {
        let mut vm = StepVm::with(Config::default(), &[Role::Hold])?;
        refusals(report, &mut vm);
        lives(report);
        Ok(())
    })
}

fn creation(operation: ApOperation, vmsa: u64) -> Request {
    request(info(operation, AP), vmsa)
}

const CREATIONS: [ApOperation; 2] = [ApOperation::CREATE_ON_INIT, ApOperation::CREATE];

fn refusals(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    let mut refused = |name: &str, requests: Vec<Request>, reason: ErrorReason| {
        report.test(&format!("AP creation: {name}: refused"), || {
            let mut check = Check::new();
            for request in requests {
                let attempt = Attempt::page(&request);
                for attempt in [attempt.clone(), attempt.in_ring3()] {
                    let outcome = vm.take(attempt)?;
                    check.about(format!("{:#x}", request.info1()));
                    check.refused(&outcome, handler, reason);
                }
            }
            Ok(check.done())
        });
    };
    let invalid = ErrorReason::INVALID_INPUT;
    let all = [
        ApOperation::CREATE_ON_INIT,
        ApOperation::CREATE,
        ApOperation::DESTROY,
    ];
    let each = |change: &dyn Fn(&mut ApCreation)| -> Vec<Request> {
        let changed = all.iter().map(|operation| {
            let mut info = info(*operation, AP);
            change(&mut info);
            request(info, map::VMSA)
        });
        changed.collect()
    };
    refused("another VMPL", each(&|info| info.vmpl = 1), invalid);
    refused("a reserved bit", each(&|info| info.reserved = 1), invalid);
    refused(
        "an APIC ID of nobody",
        each(&|info| info.apic_id = 2),
        invalid,
    );
    refused(
        "the last APIC ID",
        each(&|info| info.apic_id = u32::MAX),
        invalid,
    );
    let unknown = [3, 4, 0xffff].map(ApOperation);
    let unknown = unknown
        .map(|operation| creation(operation, map::VMSA))
        .into();
    refused("an operation that is none", unknown, invalid);
    let vmsas = [map::VMSA + 8, map::VMSA + 0x800, (1 << 60) | map::VMSA, !0];
    let unaligned = CREATIONS
        .iter()
        .flat_map(|operation| vmsas.map(|vmsa| creation(*operation, vmsa)));
    refused("a VMSA that is no page", unaligned.collect(), invalid);
    let huge = CREATIONS
        .iter()
        .flat_map(|operation| [0, 2 << 20, map::CONVERTED].map(|vmsa| creation(*operation, vmsa)));
    refused(
        "a VMSA at a multiple of 2 MiB (erratum)",
        huge.collect(),
        invalid,
    );
    let features = CREATIONS.iter().flat_map(|operation| {
        [0, 2, 3, (1 << 63) | FEATURES]
            .map(|features| creation(*operation, map::VMSA).with(Field::Rax, features))
    });
    refused(
        "features that the VM does not have",
        features.collect(),
        invalid,
    );
    let without = CREATIONS.map(|operation| creation(operation, map::VMSA).without(Field::Rax));
    refused("no features", without.into(), ErrorReason::MISSING_INPUT);
}

/// What one vCPU does to another that runs beside it.
struct Pair<'a> {
    handler: Handler,
    boss: &'a mut Vcpu,
    memory: &'a GuestMemoryMmap,
    check: Check,
}

impl Pair<'_> {
    fn take(&mut self, request: &Request, ring3: bool) -> Result<()> {
        let attempt = Attempt::page(request);
        let attempt = if ring3 { attempt.in_ring3() } else { attempt };
        let (outcomes, dead) = take_table(self.boss, self.memory, &[attempt])?;
        ensure!(dead.is_none(), "the guest died: {dead:?}");
        let [outcome] = outcomes.as_slice() else {
            bail!("no outcome");
        };
        self.check.quiet(outcome);
        self.check.answered(request, outcome, self.handler, 0);
        Ok(())
    }

    fn create(&mut self, operation: ApOperation, ring3: bool) -> Result<()> {
        self.check.about(format!("{operation:?}"));
        self.take(&creation(operation, map::VMSA), ring3)
    }

    fn send(&mut self, command: u32) -> Result<()> {
        for (gpa, value) in [(APIC_ICR_HIGH, AP << 24), (APIC_ICR_LOW, command)] {
            let request = Request::new(ExitCode::MMIO_WRITE, gpa, 4)
                .scratch_inside(SHARED_BUFFER_OFFSET)
                .buffer(&value.to_le_bytes());
            self.take(&request, false)?;
        }
        Ok(())
    }

    fn progress(&self) -> u64 {
        Mail::new(self.memory, AP.into()).get(offset_of!(Mailbox, progress))
    }

    /// The AP goes on from here.
    fn runs(&mut self) {
        let begin = self.progress();
        let runs = wait_for(PATIENCE, || self.progress() > begin);
        self.check.that("the AP runs", runs);
    }

    /// The AP comes to a stop, if it has not stopped before.
    fn stands(&mut self) {
        let stands = wait_for(PATIENCE, || {
            let begin = self.progress();
            thread::sleep(LOOK);
            self.progress() == begin
        });
        self.check.that("the AP stands still", stands);
    }
}

/// Do `steps` with a vCPU that has a VMSA to be created with, and that waits in a state which `wait` sets.
fn with_ap(
    handler: Handler,
    wait: impl FnOnce(&Vcpu) -> Result<()>,
    steps: impl FnOnce(&mut Pair<'_>) -> Result<()>,
) -> Result<Vec<String>> {
    let config = Config {
        irqchip: true,
        ..Config::default()
    };
    let mut vm = StepVm::with(config, &[Role::Hold])?;
    let made = vm.take(Attempt::make_vmsa(AP.into(), 0))?.infos.0;
    ensure!(made == 0, "the guest cannot make a VMSA: {made:#x}");
    let mail = vm.vm().mail(AP.into());
    mail.set(offset_of!(Mailbox, argument), hold::NONE);
    wait(vm.vm().vcpu(AP as usize))?;
    let (vcpus, memory) = vm.vm().split();
    let [boss, other] = vcpus else {
        bail!("not two vCPUs");
    };
    let mut pair = Pair {
        handler,
        boss,
        memory,
        check: Check::new(),
    };
    thread::scope(|scope| {
        let hand = Hand::start(scope, other)?;
        pair.stands();
        pair.check.same("progress before", pair.progress(), 0);
        let result = steps(&mut pair);
        let exits = hand.stop();
        pair.check
            .about("")
            .same("exits of the AP", exits, Vec::new());
        result
    })?;
    Ok(pair.check.done())
}

/// The whole life of an AP, several times.
fn life(pair: &mut Pair<'_>) -> Result<()> {
    for round in 0..ROUNDS {
        pair.create(ApOperation::CREATE, round == 1)?;
        pair.runs();
        // Once more, while it runs.
        pair.create(ApOperation::CREATE, false)?;
        pair.runs();
        pair.create(ApOperation::DESTROY, round == 1)?;
        pair.stands();
        pair.create(ApOperation::CREATE_ON_INIT, round == 1)?;
        pair.stands();
        pair.send(INIT)?;
        pair.send(SIPI)?;
        pair.runs();
        pair.create(ApOperation::DESTROY, false)?;
        pair.stands();
    }
    Ok(())
}

fn lives(report: &mut Report) {
    let handler = report.handler();
    report.test(
        "AP creation: an AP is started, stopped, and started at INIT",
        || with_ap(handler, Vcpu::set_halted, life),
    );
    report.test(
        "AP creation: at INIT alone, of a vCPU that has never run",
        || {
            with_ap(
                handler,
                |_| Ok(()),
                |pair| {
                    pair.create(ApOperation::CREATE_ON_INIT, false)?;
                    pair.stands();
                    pair.send(INIT)?;
                    pair.send(SIPI)?;
                    pair.runs();
                    Ok(())
                },
            )
        },
    );
    let name = "AP creation: now, of a vCPU that has never run (ap-that-waits)";
    if handler == Handler::C {
        report.skip(name, "kvm_amd does not start it");
        return;
    }
    report.test(name, || {
        with_ap(
            handler,
            |_| Ok(()),
            |pair| {
                pair.create(ApOperation::DESTROY, false)?;
                pair.stands();
                pair.create(ApOperation::CREATE, false)?;
                pair.runs();
                Ok(())
            },
        )
    });
}
