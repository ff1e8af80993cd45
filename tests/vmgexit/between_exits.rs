// SPDX-License-Identifier: GPL-2.0

//! A vCPU between two exits: each kind of exit that waits, and after it each sequence of the events that can come.
//!
//! The table is in `docs/vcpu-between-exits.md`. What runs is the code of the module: the handling path, the
//! record of a pending reply, the counts, and the order of taking over and giving back. After each event, what
//! the table promises is checked, and at the end what the guest finds is what C would have given it, or more.

use std::{cell::Cell, rc::Rc};

use ghcb_rs::{
    ghcb_abi::{
        exit_code::ExitCode,
        page::Field::{self, *},
        reply::EventInjection,
        version::Version,
    },
    vmgexit::{
        host::{End, Fulfilment},
        request::registers::Registers,
        takeover::{Machine, Set, Takeover},
        tally::{self, Call, Tallies, Tally},
        AfterExit,
    },
};

use crate::{
    replies::{done, exception, filled, Expected},
    support::{host::registers, Host, GPA},
};

/// What may happen to a vCPU between two exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// KVM_RUN that ends before the vCPU runs: `immediate_exit`, or a signal.
    Interrupted,
    /// The guest moves to the vCPU of another VM, and userspace carries the registers over.
    Moved,
    /// The guest moves, and its registers stay behind.
    MovedAlone,
    /// The memory slot of the page goes.
    SlotGone,
    /// It comes back.
    SlotBack,
    /// Exits are given back to C.
    Off,
    /// The last reference to the vCPU goes.
    Destroyed,
}

use Event::*;

const EVENTS: [Event; 7] = [
    Interrupted,
    Moved,
    MovedAlone,
    SlotGone,
    SlotBack,
    Off,
    Destroyed,
];

/// How KVM completes an exit that waits for userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completion {
    /// It puts what userspace says into registers. C: `complete_fast_pio_in()`, `complete_hypercall_exit()`.
    Registers,
    /// The same, and tells kvm_amd. C: `svm_complete_emulated_msr()`.
    Msr,
    /// The same, where userspace has failed the access.
    Failed,
    /// It puts it into the copy of the scratch area. C: `complete_sev_es_emulated_mmio()` and its like.
    Data,
}

/// An exit that waits.
struct Kind {
    code: ExitCode,
    info1: u64,
    info2: u64,
    /// Where the data are, if there are any.
    scratch: u64,
    completion: Completion,
    /// Registers that the reply holds.
    returned: &'static [Field],
}

/// Guest memory besides the page, and where an area in it begins.
const MEMORY: u64 = 0x40_0000;
const AREA: usize = 0x123;
/// Bytes that the guest receives.
const LENGTH: usize = 8;
/// What userspace says.
const SAID: u8 = 0x99;

const INSIDE: u64 = GPA + 0x80c;
const OUTSIDE: u64 = MEMORY + AREA as u64;
const INS: u64 = (0x511 << 16) | (1 << 4) | (1 << 2) | 1;
const OUTS: u64 = (0x511 << 16) | (1 << 4) | (1 << 2);

const fn kind(
    code: ExitCode,
    infos: (u64, u64),
    scratch: u64,
    completion: Completion,
    returned: &'static [Field],
) -> Kind {
    Kind {
        code,
        info1: infos.0,
        info2: infos.1,
        scratch,
        completion,
        returned,
    }
}

const KINDS: [Kind; 9] = [
    kind(
        ExitCode::IOIO,
        ((0x511 << 16) | 0x11, 0),
        0,
        Completion::Registers,
        &[Rax],
    ),
    kind(ExitCode::VMMCALL, (0, 0), 0, Completion::Registers, &[Rax]),
    kind(ExitCode::MSR, (0, 0), 0, Completion::Msr, &[Rax, Rdx]),
    kind(ExitCode::MSR, (1, 0), 0, Completion::Msr, &[]),
    kind(ExitCode::MSR, (0, 0), 0, Completion::Failed, &[Rax, Rdx]),
    kind(
        ExitCode::IOIO,
        (INS, LENGTH as u64),
        INSIDE,
        Completion::Data,
        &[],
    ),
    kind(
        ExitCode::IOIO,
        (INS, LENGTH as u64),
        OUTSIDE,
        Completion::Data,
        &[],
    ),
    kind(
        ExitCode::MMIO_READ,
        (0xfee0_0000, LENGTH as u64),
        INSIDE,
        Completion::Data,
        &[],
    ),
    // More than KVM takes at once.
    kind(ExitCode::IOIO, (OUTS, 4097), OUTSIDE, Completion::Data, &[]),
];

/// The machine, in which no two things happen at once.
#[derive(Default)]
struct Kernel {
    counters: Rc<[Cell<u64>; Tally::COUNT]>,
    handling: bool,
    delivery: bool,
    held: bool,
}

impl Tallies for Kernel {
    fn add<const TALLY: usize>(&self) {
        self.counters[TALLY].set(self.counters[TALLY].get() + 1);
    }

    fn sum(&self, tally: Tally) -> u64 {
        self.counters[tally as usize].get()
    }
}

impl Machine for Kernel {
    type Error = ();
    type Tallies = Self;

    fn attach(&mut self, set: Set) -> Result<(), ()> {
        assert!(set == Set::Delivery || self.delivery, "who writes replies?");
        *self.jump(set) = true;
        Ok(())
    }

    fn detach(&mut self, set: Set) -> bool {
        *self.jump(set) = false;
        true
    }

    fn settle(&mut self) {}

    fn hold_module(&mut self) {
        assert!(!std::mem::replace(&mut self.held, true));
    }

    fn release_module(&mut self) {
        assert!(std::mem::replace(&mut self.held, false));
    }

    fn tallies(&self) -> &Self {
        self
    }
}

impl Kernel {
    fn jump(&mut self, set: Set) -> &mut bool {
        match set {
            Set::Handling => &mut self.handling,
            Set::Delivery => &mut self.delivery,
        }
    }
}

/// A vCPU with an exit that waits, and all around it.
struct World<'a> {
    kind: &'a Kind,
    kernel: Kernel,
    takeover: Takeover,
    /// The vCPU that the guest is on; `None` when it is destroyed.
    host: Option<Host>,
    /// Whether KVM has a completion to call on that vCPU.
    can_complete: bool,
    /// The page before the reply, and the other memory.
    before: Vec<u8>,
    memory: Vec<u8>,
    is_slot_there: bool,
    /// What the guest finds; `None` if it finds nothing.
    expected: Option<Expected>,
}

impl<'a> World<'a> {
    /// The exit has gone to userspace.
    fn new(kind: &'a Kind) -> Self {
        let fields: &[(Field, u64)] = &[
            (SwScratch, kind.scratch),
            (Rax, 1),
            (Rcx, 2),
            (Rdx, 3),
            (Rbx, 4),
            (Rsi, 5),
            (Cpl, 0),
        ];
        let mut host = Host::new().request(kind.code, kind.info1, kind.info2, fields);
        host.memory = Some((MEMORY, vec![0x3c; 0x1_1000]));
        host.answer = Fulfilment::Userspace;
        if kind.scratch == OUTSIDE {
            host.version = Version::V1;
        }
        let mut world = Self {
            kind,
            kernel: Kernel::default(),
            takeover: Takeover::new(),
            host: None,
            can_complete: true,
            before: host.page.bytes(),
            memory: vec![0x3c; 0x1_1000],
            is_slot_there: true,
            expected: None,
        };
        world.takeover.begin(&mut world.kernel).unwrap();
        let call = Call::handling(&world.kernel);
        assert_eq!(host.vmgexit(), AfterExit::USERSPACE);
        world.kernel.add::<{ Tally::Deferred as usize }>();
        drop(call);
        world.before = host.page.bytes();
        world.host = Some(host);
        world
    }

    /// What holds in each state of the table.
    fn check(&mut self) {
        while self.takeover.look(&mut self.kernel) && !self.takeover.is_handling() {
            if self.is_pending() {
                break;
            }
        }
        let is_pending = self.is_pending();
        assert_eq!(tally::pending(&self.kernel), u64::from(is_pending));
        assert_eq!(tally::inside(&self.kernel), 0);
        if is_pending {
            assert!(
                self.kernel.delivery && self.kernel.held,
                "C meets a pending reply"
            );
        }
        assert!(self.kernel.held || !self.kernel.delivery && !self.kernel.handling);
        assert_eq!(
            self.kernel.held,
            is_pending || self.kernel.handling,
            "the module stays without need, or goes too early"
        );
    }

    fn is_pending(&self) -> bool {
        self.host
            .as_ref()
            .is_some_and(|host| host.sev_es.is_pending())
    }

    /// The reply is written if it is pending: what C would have given the guest at this moment, or later with
    /// what there is now.
    fn deliver(&mut self, end: End) {
        let Some(host) = &mut self.host else { return };
        let is_pending = host.sev_es.is_pending();
        let after = host.registers;
        // Only what is there while a reply is pending can be called.
        if !self.kernel.delivery {
            assert!(!is_pending, "C meets a pending reply");
            return;
        }
        let call = Call::delivery(&self.kernel);
        let was_pending = host.end(end);
        assert_eq!(was_pending, is_pending);
        if was_pending {
            self.kernel.add::<{ Tally::Settled as usize }>();
        }
        drop(call);
        if was_pending && self.is_slot_there {
            self.expected = Some(self.reply(end, &after));
        }
    }

    fn reply(&self, end: End, after: &Registers) -> Expected {
        let is_inside = self.kind.scratch == INSIDE;
        let value = |field: &Field| match field {
            Rax => after.rax,
            _ => after.rdx,
        };
        let returned = self.kind.returned.iter();
        let fields: Vec<_> = returned.map(|field| (*field, value(field))).collect();
        match end {
            End::Failed => exception(EventInjection::GP_WITHOUT_ERROR_CODE).with(&fields),
            End::Completed if is_inside => filled(0x80c, &[SAID; LENGTH]),
            _ => done(0, &fields),
        }
    }

    /// KVM_RUN takes in what userspace did.
    fn complete(&mut self) {
        if !std::mem::take(&mut self.can_complete) {
            return;
        }
        let Some(host) = &mut self.host else { return };
        let is_in = host
            .sev_es
            .words
            .decode()
            .is_some_and(|record| record.exit.receives());
        match self.kind.completion {
            Completion::Registers => host.registers = registers(0x21),
            Completion::Msr => {
                host.registers = registers(0x21);
                self.deliver(End::Completed);
            }
            Completion::Failed => self.deliver(End::Failed),
            Completion::Data => {
                if is_in {
                    host.copy().unwrap().fill(SAID);
                    if self.kind.scratch == OUTSIDE && self.is_slot_there {
                        self.memory[AREA..AREA + LENGTH].fill(SAID);
                    }
                }
                self.deliver(End::Completed);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Interrupted => self.complete(),
            Moved | MovedAlone => self.move_to_another(event == Moved),
            SlotGone | SlotBack => {
                self.is_slot_there = event == SlotBack;
                let until = if self.is_slot_there { 0 } else { u32::MAX };
                if let Some(host) = &self.host {
                    host.page.vanish(0, until);
                }
            }
            Off => self.takeover.end(&mut self.kernel),
            Destroyed => {
                if self
                    .host
                    .take()
                    .is_some_and(|host| host.sev_es.is_pending())
                {
                    // What replaces `sev_free_vcpu()`.
                    assert!(self.kernel.delivery);
                    self.kernel.add::<{ Tally::Settled as usize }>();
                }
            }
        }
        self.check();
    }

    /// C: `sev_migrate_from()`. The source cannot run any more.
    fn move_to_another(&mut self, with_registers: bool) {
        let Some(mut source) = self.host.take() else {
            return;
        };
        let mut destination = Host::new();
        destination.page = source.page.clone();
        destination.memory = source.memory.take();
        destination.msr = source.msr;
        destination.sev_es = std::mem::take(&mut source.sev_es);
        destination.registers = if with_registers {
            source.registers
        } else {
            registers(0x31)
        };
        // What is left in the new vCPU is not the guest's.
        destination.in_vcpu = vec![0xee; LENGTH];
        self.host = Some(destination);
        self.can_complete = false;
    }

    /// KVM_RUN: the guest runs, if it is there.
    fn run(mut self) {
        self.complete();
        self.deliver(End::Resumed);
        self.check();
        if let Some(host) = &mut self.host {
            host.run();
            assert!(!host.holds_anything(), "left behind: {:?}", host.sev_es);
            let after = host.page.bytes();
            match &self.expected {
                Some(expected) => expected.assert_in(&self.before, &after),
                None => assert!(after == self.before, "a reply that nobody expected"),
            }
            if self.expected.is_some() {
                assert!(host.memory.as_ref().unwrap().1 == self.memory);
            }
        }
        // In the end the module can go.
        self.takeover.end(&mut self.kernel);
        self.check();
        assert!(!self.kernel.held);
    }
}

/// All sequences of at most `left` more events.
fn follow(kind: &Kind, events: &mut Vec<Event>, left: usize) {
    println!("{:?} {:#x} {events:?}", kind.code, kind.info1);
    let mut world = World::new(kind);
    world.check();
    for event in events.iter() {
        world.event(*event);
    }
    world.run();
    if left == 0 {
        return;
    }
    for event in EVENTS {
        events.push(event);
        follow(kind, events, left - 1);
        events.pop();
    }
}

#[test]
fn every_sequence_of_events() {
    for kind in &KINDS {
        follow(kind, &mut Vec::new(), 3);
    }
}
