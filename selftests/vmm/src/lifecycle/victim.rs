// SPDX-License-Identifier: GPL-2.0
//! A VMM of its own that takes its vCPU to some place and keeps it there, to be killed.

use super::load;
use crate::backing::uffd::Faults;
use crate::backing::{self, SLOT};
use crate::exchange::exit::Exit;
use crate::exchange::guest_request;
use crate::exchange::page_list::{asked, page, PageList, BEGIN};
use crate::exchange::steps::{Attempt, StepVm};
use crate::judge::check::Check;
use crate::launch::crew::wait_for;
use crate::launch::kind::Kind;
use crate::launch::vm::{Config, Vm};
use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use ghcb_rs::ghcb_abi::guest_request::MessageType;
use ghcb_rs::ghcb_abi::psc::PageOperation;
use mailbox::{hold, map, Flip, Mailbox, Role};
use std::io::{BufRead, BufReader, Write};
use std::mem::offset_of;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

/// Where the vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// In the guest, without any exit that the guest asks for.
    Guest,
    /// Anywhere on the way of one VMGEXIT after the other.
    Exits,
    /// Asleep in the handler, which waits for the page of the GHCB.
    Asleep,
    /// With an exit in userspace.
    Userspace,
    /// In an AP reset hold.
    Hold,
    /// In the middle of a list of page state changes, with a range in userspace. SEV-SNP.
    PageStates,
    /// With userspace that is asked for certificates. SEV-SNP.
    Certificates,
}

/// Argument of the program that makes it the victim.
pub const ARGUMENT: &str = "--victim";

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a vCPU that announced its hold may take to be in it.
const SETTLE: Duration = Duration::from_millis(30);

impl Stage {
    /// All that guests of `kind` can come to.
    pub fn all(kind: Kind) -> Vec<Self> {
        let of_snp = [Self::PageStates, Self::Certificates];
        let mut stages = Self::value_variants().to_vec();
        stages.retain(|stage| kind.is_snp() || !of_snp.contains(stage));
        stages
    }

    fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Exits => "exits",
            Self::Asleep => "asleep",
            Self::Userspace => "userspace",
            Self::Hold => "hold",
            Self::PageStates => "page-states",
            Self::Certificates => "certificates",
        }
    }

    /// Take a vCPU there and stay. Comes back only if that fails.
    pub fn stay(self) -> ExitCode {
        if let Err(error) = self.go() {
            eprintln!("{error:#}");
        }
        ExitCode::FAILURE
    }

    fn go(self) -> Result<()> {
        match self {
            Self::Guest => self.in_guest(),
            Self::Exits => self.in_exits(),
            Self::Asleep => self.asleep(),
            Self::Userspace => self.in_userspace(),
            Self::Hold => self.in_hold(),
            Self::PageStates => self.in_page_states(),
            Self::Certificates => self.in_certificates(),
        }
    }

    /// Tell the parent that the vCPU is there.
    fn tell(self) -> Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{}", self.word())?;
        out.flush().context("tell the parent")
    }

    fn in_guest(self) -> Result<()> {
        let mut vm = Vm::launch(Config::default(), &[Role::Flip])?;
        // Something to write, or the loop would be hardly one.
        let flip = map::MAILBOXES + offset_of!(Mailbox, flips) as u64;
        for (offset, value) in [
            (offset_of!(Flip, address), map::SCRATCH),
            (offset_of!(Flip, width), 8),
        ] {
            crate::launch::vm::set_word(vm.memory(), flip + offset as u64, value);
        }
        let first = vm.vcpu(0).run();
        ensure!(first == Exit::Hlt, "the guest's first exit is {first:?}");
        let (vcpus, memory) = vm.split();
        let progress = map::MAILBOXES + offset_of!(Mailbox, progress) as u64;
        thread::scope(|scope| {
            for vcpu in vcpus {
                scope.spawn(|| vcpu.run());
            }
            let runs = wait_for(PATIENCE, || crate::launch::vm::word(memory, progress) > 0);
            ensure!(runs, "the guest does not run");
            self.tell()?;
            park()
        })
    }

    fn in_exits(self) -> Result<()> {
        let mut vm = StepVm::new()?;
        let mut check = Check::new();
        loop {
            load::turn(&mut vm, &mut check)?;
            let problems = std::mem::take(&mut check).done();
            ensure!(problems.is_empty(), "{problems:?}");
            // Again after each turn: the parent sees that the guest runs on.
            self.tell()?;
        }
    }

    fn asleep(self) -> Result<()> {
        let memory = backing::page()?;
        let faults = Faults::missing(&memory)?;
        let mut vm = StepVm::new()?;
        memory.attach(vm.vm().fd(), SLOT, map::MOVING, 0)?;
        thread::scope(|scope| {
            scope.spawn(|| vm.take(Attempt::msr(map::MOVING)));
            faults.wait(PATIENCE)?;
            self.tell()?;
            park()
        })
    }

    fn in_userspace(self) -> Result<()> {
        let mut vm = Vm::launch(Config::default(), &[Role::Instructions])?;
        // The guest's first exits are those of OUT and IN.
        for _ in 0..8 {
            let exit = vm.vcpu(0).run();
            if matches!(exit, Exit::Io { out: false, .. }) {
                self.tell()?;
                park()?;
            }
        }
        anyhow::bail!("no IN among the guest's first exits")
    }

    fn in_page_states(self) -> Result<()> {
        let mut vm = StepVm::new()?;
        vm.vm().serve_page_states()?;
        let apart = [0, 2, 4].map(|number| page(number, PageOperation::PRIVATE));
        let request = PageList::new(apart.into()).request(BEGIN);
        let first = vm.begin(&Attempt::page(&request))?;
        let second = vm.vm().vcpu(0).run();
        ensure!(
            asked(&first).is_some() && asked(&second).is_some(),
            "no ranges, but {first:?} and {second:?}"
        );
        self.tell()?;
        park()
    }

    fn in_certificates(self) -> Result<()> {
        let config = Config {
            certificates: true,
            ..Config::default()
        };
        let mut vm = StepVm::with(config, &[])?;
        guest_request::prepare(vm.vm().memory(), MessageType::REPORT_REQUEST)?;
        let request = guest_request::extended(guest_request::DATA, 1);
        let exit = vm.begin(&Attempt::page(&request))?;
        ensure!(
            matches!(exit, Exit::Certificates { .. }),
            "no question for certificates, but {exit:?}"
        );
        self.tell()?;
        park()
    }

    fn in_hold(self) -> Result<()> {
        let config = Config {
            irqchip: true,
            ..Config::default()
        };
        let mut vm = Vm::launch(config, &[Role::Hold])?;
        vm.mail(0).set(offset_of!(Mailbox, argument), hold::PAGE);
        let (vcpus, memory) = vm.split();
        let count = |offset: usize| crate::launch::vm::word(memory, map::MAILBOXES + offset as u64);
        thread::scope(|scope| {
            for vcpu in vcpus {
                scope.spawn(|| vcpu.run());
            }
            let holds = wait_for(PATIENCE, || count(offset_of!(Mailbox, progress)) > 0);
            ensure!(holds, "the guest does not run");
            thread::sleep(SETTLE);
            let ended = count(offset_of!(Mailbox, sipis)) + count(offset_of!(Mailbox, spurious));
            ensure!(ended == 0, "the hold has ended");
            self.tell()?;
            park()
        })
    }
}

fn park() -> Result<()> {
    loop {
        thread::park();
    }
}

/// A VMM with its vCPU at some stage.
pub struct Victim {
    stage: Stage,
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Victim {
    /// Start this program again as a VMM, and wait until its vCPU is at `stage`.
    pub fn start(stage: Stage) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, stage.word()])
            .args(["--guest", &Kind::chosen().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the victim")?;
        let output = BufReader::new(child.stdout.take().context("the victim's output")?);
        let mut victim = Self {
            stage,
            child,
            output,
        };
        victim.wait()?;
        Ok(victim)
    }

    /// Wait until it tells where its vCPU is; `Exits` does so again and again.
    pub fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(
            line.trim_end() == self.stage.word(),
            "the victim says {line:?}, not {}",
            self.stage.word()
        );
        Ok(())
    }

    /// Send it `signal`.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: A child of this process that has not been waited for.
        let status = unsafe { libc::kill(pid, signal) };
        ensure!(status == 0, "kill: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Kill it; it must be gone soon.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the victim")?;
        let gone = self.is_gone_soon();
        ensure!(gone, "the victim, killed at {:?}, does not die", self.stage);
        Ok(())
    }

    fn is_gone_soon(&mut self) -> bool {
        wait_for(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_))))
    }
}

/// A victim that was not killed as a test wanted does not outlive it, unless nothing can kill it.
impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        self.is_gone_soon();
    }
}
