// SPDX-License-Identifier: GPL-2.0
//! Pages that another vCPU changes while the host handles them: what was checked must be what is used.

use anyhow::Result;
use clap::Parser;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use ghcb_rs::ghcb_abi::page::{
    Field, PAGE_SIZE, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET, SHARED_BUFFER_SIZE,
};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::device::PORT;
use mailbox::map;
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::race::{self, Change, Race};
use vmm::exchange::request::{Request, POISON};
use vmm::exchange::scratch;
use vmm::exchange::steps::StepVm;
use vmm::judge::check::Check;
use vmm::kernel::tracing::Tracing;
use vmm::launch::kind::Kind;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Options, Report};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// VMGEXITs of each race
    #[arg(long, default_value_t = 400)]
    count: usize,
}

const MALFORMED: u64 = 2;

fn main() -> Status {
    let arguments = Arguments::parse();
    ktap::run(&arguments.options, |report| {
        let _tracing = slow_down();
        let mut races = Races {
            vm: race::machine(Config::default())?,
            report,
            count: arguments.count.min(map::PAGE_COUNT as usize),
        };
        races.exit_codes();
        races.fields();
        races.lengths();
        races.scratch_areas()?;
        races.data();
        if !races.report.has_version_1("scratch areas outside the GHCB") {
            return Ok(());
        }
        let config = Config {
            ghcb_version: 1,
            ..Config::default()
        };
        races.vm = race::machine(config)?;
        races.external()
    })
}

/// Have each VMGEXIT traced, which takes time between the first look at the page and the use of what it holds.
fn slow_down() -> Result<Tracing> {
    let tracing = Tracing::new()?;
    tracing.event("kvm/kvm_vmgexit_enter")?;
    Ok(tracing)
}

struct Races<'a> {
    vm: StepVm,
    report: &'a mut Report,
    count: usize,
}

fn refusal(reason: ErrorReason) -> (u64, u64) {
    (MALFORMED, reason.0.into())
}

fn string(size: IoSize, is_in: bool, count: u64) -> Request {
    let segment = if is_in { Segment::ES } else { Segment::DS };
    let info = IoInfo::new(PORT, size, is_in).string(true, AddressSize::BITS_64, segment);
    Request::new(ExitCode::IOIO, info.0, count)
}

impl Races<'_> {
    /// Race for `request`; each reply must be one of `replies`, and each exit must please `exit`.
    fn race(
        &mut self,
        name: &str,
        request: Request,
        changes: &[Change],
        replies: &[(u64, u64)],
        exit: impl Fn(&Exit) -> bool,
    ) {
        let (vm, count) = (&mut self.vm, self.count);
        self.report.test(name, || {
            let race = race::run(vm, &request, changes, count)?;
            println!("# race: {name}: {}", race.summary());
            let mut check = Check::new();
            judge(&mut check, &race, replies, exit);
            Ok(check.done())
        });
    }

    fn exit_codes(&mut self) {
        let done = (0, 0);
        let missing = refusal(ErrorReason::MISSING_INPUT);
        let invalid = refusal(ErrorReason::INVALID_EVENT);
        let plain = |code| Request::new(code, 0x0510_0010, 0);
        let flip =
            |even: ExitCode, odd: ExitCode| [Change::field(Field::SwExitCode, even.0, odd.0)];
        self.race(
            "exit code: INVD or OUT without RAX (CVE-2023-4155): never OUT",
            plain(ExitCode::INVD),
            &flip(ExitCode::INVD, ExitCode::IOIO),
            &[done, missing],
            |_| false,
        );
        self.race(
            "exit code: INVD or VMGEXIT itself (CVE-2023-4155): never recursion",
            plain(ExitCode::INVD),
            &flip(ExitCode::INVD, ExitCode(0x403)),
            &[done, invalid],
            |_| false,
        );
        let without_list = if Kind::chosen().is_snp() {
            missing
        } else {
            invalid
        };
        self.race(
            "exit code: WBINVD or a page state change without a list: refused",
            plain(ExitCode::WBINVD),
            &flip(ExitCode::WBINVD, ExitCode::PAGE_STATE_CHANGE),
            &[done, without_list],
            |_| false,
        );
    }

    fn fields(&mut self) {
        let done = (0, 0);
        let missing = refusal(ErrorReason::MISSING_INPUT);
        let valid = Request::new(ExitCode::IOIO, IoInfo::new(PORT, IoSize::Byte, false).0, 0)
            .with(Field::Rax, 0x5a);
        let (low, _) = valid.valid().to_words();
        let without = low & !(1 << Field::Rax.index());
        let is_out = |exit: &Exit| matches!(exit, Exit::Io { port: PORT, size: 1, count: 1, out: true, data } if *data == [0x5a]);
        self.race(
            "bitmap: RAX comes and goes: OUT of its value, or nothing",
            valid,
            &[Change {
                offset: Field::ValidBitmapLow.offset(),
                width: 8,
                values: (low, without),
            }],
            &[done, missing],
            is_out,
        );
        self.race(
            "usage: 0 or 1: done, or refused",
            Request::new(ExitCode::INVD, 0, 0),
            &[Change {
                offset: PAGE_SIZE - 4,
                width: 4,
                values: (0, 1),
            }],
            &[done, refusal(ErrorReason::INVALID_USAGE)],
            |_| false,
        );
        self.race(
            "MSR: read or write without RAX and RDX: never a write",
            Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, 0x200),
            &[Change::field(Field::SwExitInfo1, 0, 1)],
            // The other vCPU also writes where the reply stands.
            &[done, missing, (1, 0), (0, 4), (1, 4), (2, 0)],
            |_| false,
        );
    }

    fn lengths(&mut self) {
        let legal = |exit: &Exit| {
            matches!(
                exit,
                Exit::Io {
                    port: PORT,
                    size: 4,
                    count: 1 | 2,
                    out: false,
                    ..
                }
            )
        };
        let changed = |even, odd| [Change::field(Field::SwExitInfo2, even, odd)];
        let end = SHARED_BUFFER_END - 8;
        let malformed = [1u64, 2, 3, 9, 0x4000_0001]
            .into_iter()
            .flat_map(|info2| [(0, info2), (MALFORMED, info2), (0, 0), (MALFORMED, 0)])
            .collect::<Vec<_>>();
        self.race(
            "INS: count 2 fits, 3 does not (CVE-2021-4093): never more than fits",
            string(IoSize::Dword, true, 2).scratch_inside(end),
            &changed(2, 3),
            &malformed,
            legal,
        );
        self.race(
            "INS: count 1, or one whose length overflows (CVE-2021-4093)",
            string(IoSize::Dword, true, 1).scratch_inside(end),
            &changed(1, 0x4000_0001),
            &malformed,
            |exit| legal(exit) || *exit == Exit::Errno(libc::EINVAL),
        );
        self.race(
            "MMIO: length 8, or 9: never more than 8",
            Request::new(ExitCode::MMIO_READ, map::MMIO, 8).scratch_inside(end),
            &changed(8, 9),
            &[8, 9, 5, 3, 0]
                .into_iter()
                .flat_map(|info2| [(0, info2), (MALFORMED, info2)])
                .collect::<Vec<_>>(),
            |exit| {
                matches!(
                    exit,
                    Exit::Mmio {
                        gpa: map::MMIO,
                        len: 8,
                        write: false,
                        ..
                    }
                )
            },
        );
    }

    fn scratch_areas(&mut self) -> Result<()> {
        scratch::fill(self.vm.vm().memory(), &[])?;
        let inside = race::PAGE_RACED + SHARED_BUFFER_OFFSET as u64;
        self.race(
            "scratch area: in the page, or outside (CVE-2026-53360): never outside",
            string(IoSize::Byte, true, 16).scratch_inside(SHARED_BUFFER_OFFSET),
            &[Change::field(Field::SwScratch, inside, scratch::AREA)],
            &[(0, 0), refusal(ErrorReason::INVALID_SCRATCH_AREA)],
            |exit| {
                matches!(
                    exit,
                    Exit::Io {
                        count: 16,
                        out: false,
                        ..
                    }
                )
            },
        );
        let memory = self.vm.vm().memory();
        let problems = scratch::problems(memory, &[])?;
        self.report.problems(
            "scratch area: memory outside the page is untouched",
            &problems,
        );
        let last = race::PAGE_RACED + SHARED_BUFFER_END as u64 - 16;
        self.race(
            "scratch area: at the end of the buffer, or over it (CVE-2026-63938, CVE-2026-63939)",
            string(IoSize::Byte, true, 16).scratch_inside(SHARED_BUFFER_END - 16),
            &[Change::field(Field::SwScratch, last, last + 1)],
            &[(0, 0), refusal(ErrorReason::INVALID_SCRATCH_AREA)],
            |exit| {
                matches!(
                    exit,
                    Exit::Io {
                        count: 16,
                        out: false,
                        ..
                    }
                )
            },
        );
        Ok(())
    }

    fn data(&mut self) {
        let all = SHARED_BUFFER_SIZE as u64;
        let offset = SHARED_BUFFER_OFFSET;
        self.race(
            "OUTS: data change: each byte is an old or a new one",
            string(IoSize::Byte, false, all).scratch_inside(offset),
            &[0usize, 8, 0x100, 0x7e8].map(|at| Change {
                offset: offset + at,
                width: 8,
                values: (0x1111_1111_1111_1111, 0x2222_2222_2222_2222),
            }),
            &[(0, 0)],
            |exit| match exit {
                Exit::Io { data, .. } => data
                    .iter()
                    .all(|byte| [0x11, 0x22, POISON as u8].contains(byte)),
                _ => false,
            },
        );
    }

    /// Version 1: the length of an area outside the page.
    fn external(&mut self) -> Result<()> {
        const NAME: &str = "version 1: INS outside the page: 64 bytes, or more than the limit";
        if !self.report.wanted(NAME) {
            return Ok(());
        }
        scratch::fill(self.vm.vm().memory(), &[])?;
        self.race(
            NAME,
            string(IoSize::Byte, true, 64).with(Field::SwScratch, scratch::AREA),
            &[Change::field(Field::SwExitInfo2, 64, 0x1_0001)],
            &[64, 0x1_0001, 3, 0]
                .into_iter()
                .flat_map(|info2| [(0, info2), (MALFORMED, info2)])
                .collect::<Vec<_>>(),
            |exit| {
                matches!(
                    exit,
                    Exit::Io {
                        count: 64,
                        out: false,
                        ..
                    }
                )
            },
        );
        let want: Vec<u8> = (0..64)
            .map(|at| mailbox::device::port_byte(PORT, at))
            .collect();
        let problems = scratch::problems(self.vm.vm().memory(), &want)?;
        self.report.problems(
            "version 1: INS outside the page: exactly 64 bytes were written",
            &problems,
        );
        Ok(())
    }
}

fn judge(check: &mut Check, race: &Race, replies: &[(u64, u64)], legal: impl Fn(&Exit) -> bool) {
    for (index, outcome) in race.outcomes.iter().enumerate() {
        check.about(format!("VMGEXIT {index}")).went_on(outcome);
        if !replies.contains(&outcome.infos) {
            check.wrong(format!("reply {:#x?}", outcome.infos));
        }
        if let Some(exit) = outcome.exits.iter().find(|exit| !legal(exit)) {
            check.wrong(format!("{exit:?}"));
        }
    }
    check.about("");
    check.that(
        "the other vCPU changed the page meanwhile",
        race.changes > race.outcomes.len() as u64,
    );
}
