// SPDX-License-Identifier: GPL-2.0
//! Guests which check the answers themselves: one raises each event through the page, one executes real
//! instructions and asks for them in its #VC handler, one reads replies as OpenBSD's #VC code does. The VMM checks what
//! came to userspace.

use anyhow::Result;
use mailbox::{device, map, Role};
use std::process::ExitCode;
use vmm::exchange::exit::{Exit, SYSTEM_EVENT_SEV_TERM};
use vmm::judge::check::Check;
use vmm::judge::in_guest::{self, Run};
use vmm::kernel::handler::Handler;
use vmm::launch::kind::Kind;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

fn main() -> ExitCode {
    ktap::program(|report| {
        let old = (Kind::chosen() == Kind::SevEs).then(Config::before_init2);
        for config in [Some(Config::default()), old].into_iter().flatten() {
            let kind = match config.old {
                true => format!("{}: ", config.label()),
                false => String::new(),
            };
            guests(report, &kind, config)?;
        }
        Ok(())
    })
}

/// All guests, in a VM of this kind.
fn guests(report: &mut Report, kind: &str, config: Config) -> Result<()> {
    let run = in_guest::run_with(Role::Events, config, config.ghcb_version.into())?;
    told(report, &format!("{kind}events"), &run);
    let name = format!("{kind}events: terminate: userspace learns it");
    report.problems(&name, &terminated(&run));
    report.problems(
        &format!("{kind}events: userspace exits"),
        &events_outside(&run),
    );
    let run = in_guest::run(Role::Instructions, config)?;
    told(report, &format!("{kind}#VC"), &run);
    report.problems(
        &format!("{kind}#VC: the guest comes to its end"),
        &run.ended_by_msr(),
    );
    report.problems(
        &format!("{kind}#VC: userspace exits"),
        &instructions_outside(&run),
    );
    let is_rust = u64::from(report.handler() == Handler::Rust);
    let run = in_guest::run_with(Role::OpenBsd, config, is_rust)?;
    told(report, &format!("{kind}OpenBSD"), &run);
    report.problems(
        &format!("{kind}OpenBSD: the guest comes to its end"),
        &run.ended_by_msr(),
    );
    Ok(())
}

fn told(report: &mut Report, guest: &str, run: &Run) {
    for name in run.names() {
        report.problems(&format!("{guest}: {name}"), &run.problems(name));
    }
    let made = if run.checks.len() < 20 {
        vec![format!("only {} checks", run.checks.len())]
    } else {
        Vec::new()
    };
    report.problems(&format!("{guest}: the guest made its checks"), &made);
}

/// Termination through the page: the GHCB's address is all that userspace learns.
fn terminated(run: &Run) -> Vec<String> {
    let mut check = Check::new();
    let want = Exit::SystemEvent {
        type_: SYSTEM_EVENT_SEV_TERM,
        data: vec![map::GHCBS],
    };
    check.same("last exit", run.exits.last(), Some(&want));
    check.done()
}

fn io(size: u8, count: u32, data: Option<Vec<u8>>) -> Exit {
    Exit::Io {
        port: device::PORT,
        size,
        count,
        out: data.is_some(),
        data: data.unwrap_or_default(),
    }
}

/// What the first `size` bytes of RAX were in the guests' OUTs.
fn rax(size: u8) -> Vec<u8> {
    0x1122_3344_5566_7788u64.to_le_bytes()[..usize::from(size)].to_vec()
}

fn sent(count: usize) -> Vec<u8> {
    (0..count).map(|offset| offset as u8 ^ 0x33).collect()
}

fn events_outside(run: &Run) -> Vec<String> {
    let mut want = Vec::new();
    for size in [1, 2, 4] {
        // The guest keeps what it got from the previous IN only in its upper part.
        want.push(io(size, 1, Some(rax(size))));
        want.push(io(size, 1, None));
    }
    for size in [1, 2, 4] {
        want.push(io(size, 24, Some(sent(24 * usize::from(size)))));
        want.push(io(size, 24, None));
    }
    for len in [1, 2, 4, 8] {
        let gpa = map::MMIO + 0x40 * u64::from(len);
        let bytes = 0x8877_6655_4433_2211u64.to_le_bytes();
        want.push(mmio(gpa, len, Some(&bytes)));
        want.push(mmio(gpa, len, None));
    }
    want.push(Exit::ApResetHold);
    compare(run, &want)
}

fn mmio(gpa: u64, len: u32, written: Option<&[u8; 8]>) -> Exit {
    let mut data = [0; 8];
    if let Some(bytes) = written {
        data[..len as usize].copy_from_slice(&bytes[..len as usize]);
    }
    Exit::Mmio {
        gpa,
        len,
        write: written.is_some(),
        data,
    }
}

fn instructions_outside(run: &Run) -> Vec<String> {
    let mut want = Vec::new();
    want.extend([1, 2, 4].map(|size| io(size, 1, Some(rax(size)))));
    want.extend([1, 2, 4].map(|size| io(size, 1, None)));
    want.push(io(1, 300, Some(sent(300))));
    want.push(io(1, 300, None));
    let bytes = 0x1122_3344_5566_7788u64.to_le_bytes();
    let gpa = map::MMIO + 0x80;
    want.extend([1, 2, 4, 8].map(|len| mmio(gpa, len, Some(&bytes))));
    want.extend([1, 2, 4, 8].map(|len| mmio(gpa, len, None)));
    let mut problems = compare(run, &want);
    // Each leaf, port, MSR and MMIO access, and the five others.
    let least = 4 + 8 + 3 + 8 + 5;
    if run.vc < least {
        problems.push(format!("{} #VC exceptions, not {least}", run.vc));
    }
    problems
}

fn compare(run: &Run, want: &[Exit]) -> Vec<String> {
    let mut check = Check::new();
    let Some((_, got)) = run.exits.split_last() else {
        return vec!["no exits".into()];
    };
    check.same("number of exits", got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        check.about(format!("exit {index}")).same("it", got, want);
    }
    check.done()
}
