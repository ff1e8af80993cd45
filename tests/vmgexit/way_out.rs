// SPDX-License-Identifier: GPL-2.0

//! The way out, step by step: whenever the machine is asked for something, a vCPU may have gone on, as far as it likes.
//!
//! `tests/takeover.rs` has what memory makes of it. Loom leaves out orders of threads where there are fences; here none
//! is left out in which the one who gives back is interrupted twice.

use std::cell::{Cell, RefCell};

use ghcb_rs::vmgexit::{
    takeover::{Machine, Set, Takeover},
    tally::{Tallies, Tally},
};

/// How often who gives back is interrupted.
const INTERRUPTIONS: usize = 2;

/// What is chosen in a run: each run chooses otherwise, until there is nothing else to choose.
#[derive(Default)]
struct Choices {
    /// What was chosen, and of how many.
    made: RefCell<Vec<(usize, usize)>>,
    at: Cell<usize>,
}

impl Choices {
    fn choose(&self, of: usize) -> usize {
        let mut made = self.made.borrow_mut();
        let at = self.at.replace(self.at.get() + 1);
        if at == made.len() {
            made.push((0, of));
        }
        assert_eq!(made[at].1, of, "two runs that chose alike differ");
        made[at].0
    }

    /// Goes over to the next run. False if that was the last.
    fn go_on(&self) -> bool {
        let mut made = self.made.borrow_mut();
        self.at.set(0);
        while let Some((chosen, of)) = made.pop() {
            if chosen + 1 < of {
                made.push((chosen + 1, of));
                return true;
            }
        }
        false
    }
}

/// Where a task is in a call of a function of KVM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    /// Behind the jump, not counted yet.
    Entered,
    Inside,
    Served,
    /// Counted as over, not back yet.
    Leaving,
}

/// A vCPU's task, and which functions of KVM's it calls.
struct Task {
    calls: &'static [Set],
    place: Place,
    is_pending: bool,
}

/// The machine.
struct World<'a> {
    choices: &'a Choices,
    handling: Cell<bool>,
    delivery: Cell<bool>,
    /// Whether the module's code is there.
    present: Cell<bool>,
    counts: RefCell<[u64; Tally::COUNT]>,
    task: RefCell<Task>,
    interruptions: Cell<usize>,
    health: Cell<Health>,
}

/// Whether code can be changed. The kernel's ftrace gives up for good when it finds code that it does not expect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Immortal,
    Mortal,
    Dead,
}

impl<'a> World<'a> {
    fn new(choices: &'a Choices, calls: &'static [Set], health: Health) -> Self {
        Self {
            choices,
            handling: Cell::new(false),
            delivery: Cell::new(false),
            present: Cell::new(true),
            counts: RefCell::default(),
            task: RefCell::new(Task {
                calls,
                place: Place::Outside,
                is_pending: false,
            }),
            interruptions: Cell::new(0),
            health: Cell::new(health),
        }
    }

    /// Changes code to have a jump, or not to have it. False if that fails, before the change or behind it: of a set, a
    /// part may have been changed.
    fn change(&self, set: Set, jump: bool) -> bool {
        self.may_be_interrupted();
        if self.health.get() == Health::Mortal && self.choices.choose(2) == 1 {
            self.health.set(Health::Dead);
            if set == Set::Delivery && self.choices.choose(2) == 1 {
                self.jump(set).set(jump);
            }
        }
        let is_alive = self.health.get() != Health::Dead;
        if is_alive {
            self.jump(set).set(jump);
        }
        is_alive
    }

    fn jump(&self, set: Set) -> &Cell<bool> {
        match set {
            Set::Handling => &self.handling,
            Set::Delivery => &self.delivery,
        }
    }

    fn count(&self, tally: Tally) {
        self.counts.borrow_mut()[tally as usize] += 1;
    }

    /// The task goes one step further. False if there is none.
    fn step(&self) -> bool {
        let task = &mut *self.task.borrow_mut();
        let Some((&call, rest)) = task.calls.split_first() else {
            return false;
        };
        let is_exit = call == Set::Handling;
        if task.place != Place::Outside {
            assert!(self.present.get(), "the module has gone: {:?}", task.place);
        }
        task.place = match task.place {
            Place::Outside if self.jump(call).get() => Place::Entered,
            Place::Outside => {
                assert!(!task.is_pending, "C meets a pending reply");
                task.calls = rest;
                Place::Outside
            }
            Place::Entered => {
                self.count(if is_exit {
                    Tally::HandlingBegun
                } else {
                    Tally::DeliveryBegun
                });
                Place::Inside
            }
            Place::Inside => {
                if is_exit {
                    self.count(Tally::Deferred);
                    task.is_pending = true;
                } else if std::mem::take(&mut task.is_pending) {
                    self.count(Tally::Settled);
                }
                Place::Served
            }
            Place::Served => {
                self.count(if is_exit {
                    Tally::HandlingOver
                } else {
                    Tally::DeliveryOver
                });
                Place::Leaving
            }
            Place::Leaving => {
                task.calls = rest;
                Place::Outside
            }
        };
        true
    }

    /// The task goes on until it is in no call.
    fn end_call(&self) {
        while self.step() && self.task.borrow().place != Place::Outside {}
    }

    /// Steps that the task may still go: five for each call.
    fn steps_left(&self) -> usize {
        self.task.borrow().calls.len() * 5
    }

    /// The task may go on here.
    fn may_be_interrupted(&self) {
        if self.interruptions.get() == INTERRUPTIONS {
            return;
        }
        let steps = self.choices.choose(self.steps_left() + 1);
        if steps != 0 {
            self.interruptions.set(self.interruptions.get() + 1);
        }
        for _ in 0..steps {
            self.step();
        }
    }
}

impl Tallies for World<'_> {
    fn add<const TALLY: usize>(&self) {
        panic!("tasks count here");
    }

    fn sum(&self, tally: Tally) -> u64 {
        self.may_be_interrupted();
        self.counts.borrow()[tally as usize]
    }
}

impl Machine for World<'_> {
    type Error = ();
    type Tallies = Self;

    fn attach(&mut self, set: Set) -> Result<(), ()> {
        if self.change(set, true) {
            Ok(())
        } else {
            Err(())
        }
    }

    fn detach(&mut self, set: Set) -> bool {
        !self.jump(set).get() || self.change(set, false)
    }

    fn settle(&mut self) {
        self.may_be_interrupted();
        let place = self.task.borrow().place;
        if matches!(place, Place::Entered | Place::Leaving) {
            self.step();
        }
    }

    fn hold_module(&mut self) {}

    fn release_module(&mut self) {
        self.may_be_interrupted();
        assert!(!self.handling.get() && !self.delivery.get());
        self.present.set(false);
    }

    fn tallies(&self) -> &Self {
        self
    }
}

/// Runs each way in which exits may be taken over and given back while a task calls these functions; returns how many
/// there are.
fn each_way(calls: &'static [Set], health: Health) -> usize {
    let choices = Choices::default();
    let mut ways = 0;
    loop {
        ways += 1;
        let mut world = World::new(&choices, calls, health);
        let mut takeover = Takeover::new();
        if takeover.begin(&mut world).is_ok() {
            takeover.end(&mut world);
        } else {
            assert!(world.health.get() == Health::Dead);
            takeover.abandon(&mut world);
        }
        loop {
            let is_alone = world.steps_left() == 0;
            if !takeover.look(&mut world) {
                break;
            }
            assert!(world.present.get(), "the module has gone too early");
            assert!(!is_alone, "nobody is left to wait for");
            world.end_call();
        }
        let is_stuck = takeover.is_stuck();
        assert!(!is_stuck || world.health.get() == Health::Dead);
        assert!(is_stuck || !world.handling.get() && !world.delivery.get());
        assert!(takeover.is_over() != is_stuck && world.present.get() == is_stuck);
        while world.step() {}
        if is_stuck {
            // KVM goes, and comes again: its functions are other ones.
            takeover.abandon(&mut world);
            assert!(!takeover.is_handling() && !takeover.is_delivering());
            assert!(takeover.begin(&mut world).is_err());
            assert!(!takeover.look(&mut world) && world.present.get());
        }
        if !choices.go_on() {
            return ways;
        }
    }
}

#[test]
fn a_vcpu_that_runs_while_exits_are_given_back() {
    assert!(each_way(&[Set::Delivery], Health::Immortal) > 100);
}

#[test]
fn an_exit_and_its_reply_while_exits_are_given_back() {
    assert!(each_way(&[Set::Handling, Set::Delivery], Health::Immortal) > 1000);
}

#[test]
fn two_exits_and_their_replies_while_exits_are_given_back() {
    assert!(
        each_way(
            &[Set::Handling, Set::Delivery, Set::Handling, Set::Delivery],
            Health::Immortal
        ) > 10_000
    );
}

#[test]
fn what_cannot_be_given_back_keeps_the_module() {
    assert!(each_way(&[Set::Handling, Set::Delivery], Health::Mortal) > 1000);
}
