// SPDX-License-Identifier: GPL-2.0

//! The way out under all interleavings: vCPUs exit, wait and run while exits are given back to C.
//!
//! Loom runs each model once for each order in which the threads' accesses to memory can take effect. What is
//! modelled is the machine; what runs on it is the module's own code: the counts of calls in flight and of
//! pending replies, the mark of a pending reply, and the order of taking over and giving back.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, exit_info::ExitInfo},
    vmgexit::{
        record::{Record, Words},
        takeover::{Machine, Set, Takeover},
        tally::{Call, Tallies, Tally},
    },
};
use loom::{
    sync::{
        atomic::{
            fence, AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release, SeqCst},
        },
        Arc,
    },
    thread,
};

/// vCPUs, each on a CPU of its own.
const VCPUS: usize = 2;

/// What all see.
struct Kernel {
    /// Whether the jumps are there.
    handling: AtomicBool,
    delivery: AtomicBool,
    /// Whether the module's code is.
    present: AtomicBool,
    /// Tasks between a jump and the count, or between the count and the return: those that
    /// `synchronize_rcu_tasks()` waits for.
    on_the_way: AtomicUsize,
    counters: [[AtomicU64; Tally::COUNT]; VCPUS],
}

impl Kernel {
    fn new() -> Arc<Self> {
        let counters = || [0; Tally::COUNT].map(AtomicU64::new);
        Arc::new(Self {
            handling: AtomicBool::new(false),
            delivery: AtomicBool::new(false),
            present: AtomicBool::new(true),
            on_the_way: AtomicUsize::new(0),
            counters: [0; VCPUS].map(|_| counters()),
        })
    }

    fn jump(&self, set: Set) -> &AtomicBool {
        match set {
            Set::Handling => &self.handling,
            Set::Delivery => &self.delivery,
        }
    }

    /// Code of the module runs.
    fn executes(&self) {
        assert!(self.present.load(SeqCst), "the module has gone");
    }
}

/// The counters as a CPU sees them.
struct Cpu {
    kernel: Arc<Kernel>,
    number: usize,
}

impl Tallies for Cpu {
    fn add<const TALLY: usize>(&self) {
        self.kernel.executes();
        // A CPU changes its own alone, and the processor makes stores visible in order.
        let counter = &self.kernel.counters[self.number][TALLY];
        counter.store(counter.load(Relaxed) + 1, Release);
    }

    fn sum(&self, tally: Tally) -> u64 {
        let cpus = self.kernel.counters.iter();
        cpus.map(|counters| counters[tally as usize].load(Acquire))
            .sum()
    }
}

impl Machine for Cpu {
    type Error = ();
    type Tallies = Self;

    fn attach(&mut self, set: Set) -> Result<(), ()> {
        self.kernel.jump(set).store(true, SeqCst);
        Ok(())
    }

    fn detach(&mut self, set: Set) -> bool {
        self.kernel.jump(set).store(false, SeqCst);
        true
    }

    fn settle(&mut self) {
        // Changing code, and a grace period, make each CPU take part in a barrier.
        fence(SeqCst);
        while self.kernel.on_the_way.load(SeqCst) != 0 {
            thread::yield_now();
        }
        fence(SeqCst);
    }

    fn hold_module(&mut self) {}

    fn release_module(&mut self) {
        // Who takes the module out does not wait.
        self.kernel.present.store(false, SeqCst);
    }

    fn tallies(&self) -> &Self {
        self
    }
}

impl Cpu {
    /// Calls a function of KVM's: `body` runs in the module, counted, if it is replaced. It may sleep.
    fn call<'a, const OVER: usize>(
        &'a self,
        set: Set,
        begin: impl FnOnce(&'a Self) -> Call<'a, Self, OVER>,
        body: impl FnOnce(),
    ) {
        let kernel = &self.kernel;
        kernel.on_the_way.fetch_add(1, SeqCst);
        fence(SeqCst);
        if kernel.jump(set).load(SeqCst) {
            let call = begin(self);
            kernel.on_the_way.fetch_sub(1, SeqCst);
            body();
            kernel.on_the_way.fetch_add(1, SeqCst);
            fence(SeqCst);
            drop(call);
            kernel.executes();
        }
        kernel.on_the_way.fetch_sub(1, SeqCst);
    }

    /// A VMGEXIT that userspace has a part in; true if it was handled here. `words` is the vCPU's.
    fn exit(&self, words: &mut Words) -> bool {
        let mut is_ours = false;
        self.call(Set::Handling, Call::handling, || {
            let record = Record {
                gfn: 0x123,
                exit: ExitInfo {
                    code: ExitCode::IOIO,
                    info1: 1,
                    info2: 0,
                },
                area: None,
            };
            *words = record.encode();
            self.add::<{ Tally::Deferred as usize }>();
            is_ours = true;
        });
        is_ours
    }

    /// KVM lets the vCPU run; true if a reply was written before.
    fn run(&self, words: &mut Words) -> bool {
        let mut is_replied = false;
        self.call(Set::Delivery, Call::delivery, || {
            if words.decode().is_some() {
                words.mark = 0;
                is_replied = true;
                self.add::<{ Tally::Settled as usize }>();
            }
        });
        assert!(words.decode().is_none(), "the guest runs without its reply");
        is_replied
    }
}

/// Runs the model: `vcpus` tasks do as they like while exits are given back, and the module goes.
fn model(vcpus: usize, task: fn(&Cpu)) {
    let mut builder = loom::model::Builder::new();
    // Some faults take four switches; with two vCPUs that would take minutes.
    builder.preemption_bound = Some(if vcpus == 1 { 4 } else { 2 });
    builder.check(move || {
        let kernel = Kernel::new();
        let cpu = |number| Cpu {
            kernel: kernel.clone(),
            number,
        };
        let (mut takeover, mut host) = (Takeover::new(), cpu(0));
        takeover.begin(&mut host).unwrap();
        let tasks: Vec<_> = (0..vcpus)
            .map(|number| {
                let cpu = cpu(number);
                thread::spawn(move || task(&cpu))
            })
            .collect();
        takeover.end(&mut host);
        while takeover.look(&mut host) {
            assert!(kernel.present.load(SeqCst), "the module has gone too early");
            thread::yield_now();
        }
        for task in tasks {
            task.join().unwrap();
        }
        assert!(takeover.is_over() && !takeover.is_delivering());
        assert!(!kernel.delivery.load(SeqCst) && !kernel.handling.load(SeqCst));
    });
}

#[test]
fn an_exit_and_its_reply() {
    model(1, |cpu| {
        let mut words = Words::default();
        for _ in 0..2 {
            let is_ours = cpu.exit(&mut words);
            assert_eq!(cpu.run(&mut words), is_ours);
        }
    });
}

#[test]
fn two_vcpus() {
    model(2, |cpu| {
        let mut words = Words::default();
        let is_ours = cpu.exit(&mut words);
        assert_eq!(cpu.run(&mut words), is_ours);
    });
}

#[test]
fn a_vcpu_that_is_destroyed_with_its_reply_pending() {
    model(2, |cpu| {
        let mut words = Words::default();
        cpu.exit(&mut words);
        // C: `sev_free_vcpu()`
        cpu.call(Set::Delivery, Call::delivery, || {
            if words.decode().is_some() {
                words.mark = 0;
                cpu.add::<{ Tally::Settled as usize }>();
            }
        });
        assert!(words.decode().is_none(), "C frees a pending reply");
    });
}

#[test]
fn a_reply_that_moves_to_the_vcpu_of_another_vm() {
    model(1, |cpu| {
        let mut source = Words::default();
        let is_ours = cpu.exit(&mut source);
        // C: `sev_migrate_from()`
        let mut destination = std::mem::take(&mut source);
        assert!(!cpu.run(&mut source));
        assert_eq!(cpu.run(&mut destination), is_ours);
    });
}
