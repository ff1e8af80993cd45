// SPDX-License-Identifier: GPL-2.0
//! The MSR protocol: each request, right and wrong, and each response.

use anyhow::Result;
use ghcb_rs::ghcb_abi::ap::ResetHold;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::features::Features;
use ghcb_rs::ghcb_abi::msr::{CpuidRegister, GhcbMsr, MsrInfo, MsrRequest, MsrResponse, GFN_NONE};
use ghcb_rs::ghcb_abi::terminate::{ReasonSet, Termination};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::{device, map};
use std::process::ExitCode as Status;
use vmm::exchange::exit::Exit;
use vmm::exchange::request::Request;
use vmm::exchange::steps::{Attempt, StepVm};
use vmm::judge::check::Check;
use vmm::kernel::handler::Handler;
use vmm::launch::kind::Kind;
use vmm::launch::vm::Config;
use vmm::report::ktap::{self, Report};

fn main() -> Status {
    ktap::program(|report| {
        let mut vm = StepVm::new()?;
        report.test("reset: the GHCB MSR holds the SEV information", || {
            first_value(&mut vm)
        });
        information(report, &mut vm);
        queries(report, &mut vm);
        holds(report, &mut vm);
        refusals(report, &mut vm);
        pages(report, &mut vm);
        terminations(report, &mut vm);
        Ok(())
    })
}

/// Position of the encryption bit, from the guest's CPUID.
fn c_bit(vm: &mut StepVm) -> u8 {
    let leaf = vm
        .vm()
        .cpuid()
        .iter()
        .find(|entry| entry.function == vmm::launch::sev::CPUID_ENCRYPTION);
    leaf.map_or(0, |entry| (entry.ebx & 0x3f) as u8)
}

fn sev_info(vm: &mut StepVm, max: Version) -> u64 {
    let c_bit = c_bit(vm);
    MsrResponse::SevInfo {
        max,
        min: Version::V1,
        c_bit,
    }
    .encode()
    .0
}

fn first_value(vm: &mut StepVm) -> Result<Vec<String>> {
    // The value is a response: as a request it is unknown, and stays.
    let outcome = vm.take(Attempt::msr(0).keep_msr())?;
    let want = sev_info(vm, Version::V2);
    let mut check = Check::new();
    check.quiet(&outcome).same("MSR", outcome.msr, want);
    Ok(check.done())
}

fn information(report: &mut Report, vm: &mut StepVm) {
    report.test(
        "0x002 SEV information: versions 1 to 2, encryption bit",
        || {
            let outcome = vm.take(Attempt::msr(MsrRequest::SevInfo.encode().0))?;
            let want = sev_info(vm, Version::V2);
            let mut check = Check::new();
            check.quiet(&outcome).same("MSR", outcome.msr, want);
            Ok(check.done())
        },
    );
    // A VM for SEV-SNP has no version 1.
    report.test_of(
        Kind::SevEs,
        "0x002 SEV information: a version 1 VM offers version 1",
        || {
            let config = Config {
                ghcb_version: 1,
                ..Config::default()
            };
            let mut vm = StepVm::with(config, &[])?;
            let outcome = vm.take(Attempt::msr(MsrRequest::SevInfo.encode().0))?;
            let want = sev_info(&mut vm, Version::V1);
            let mut check = Check::new();
            check.quiet(&outcome).same("MSR", outcome.msr, want);
            Ok(check.done())
        },
    );
}

fn queries(report: &mut Report, vm: &mut StepVm) {
    report.test("0x004 CPUID: each register of each leaf", || {
        let registers = [
            CpuidRegister::Eax,
            CpuidRegister::Ebx,
            CpuidRegister::Ecx,
            CpuidRegister::Edx,
        ];
        let mut check = Check::new();
        for function in device::CPUID_OWN + 1..device::CPUID_OWN + 4 {
            for (index, register) in (0..).zip(registers) {
                let request = MsrRequest::Cpuid { function, register }.encode();
                let outcome = vm.take(Attempt::msr(request.0))?;
                let value = device::cpuid(function, index);
                let want = MsrResponse::Cpuid { value, register }.encode();
                check.about(format!("{request:?}")).quiet(&outcome).same(
                    "MSR",
                    outcome.msr,
                    want.0,
                );
            }
        }
        Ok(check.done())
    });
    report.test("0x080 hypervisor features: as through the page", || {
        let outcome = vm.take(Attempt::msr(MsrRequest::HypervisorFeatures.encode().0))?;
        let event = Request::new(ExitCode::HV_FEATURES, 0, 0);
        let page = vm.take(Attempt::page(&event))?.reply();
        let want = MsrResponse::HypervisorFeatures(Features(page.info2)).encode();
        let mut check = Check::new();
        check.quiet(&outcome).same("MSR", outcome.msr, want.0);
        check.same("bits of later versions", page.info2 >> 6, 0);
        Ok(check.done())
    });
}

fn holds(report: &mut Report, vm: &mut StepVm) {
    report.test(
        "0x006 AP reset hold: userspace holds, and no SIPI is told",
        || {
            let outcome = vm.take(Attempt::msr(MsrRequest::ApResetHold.encode().0))?;
            let want = MsrResponse::ApResetHold(ResetHold::NO_SIPI).encode();
            let mut check = Check::new();
            check
                .went_on(&outcome)
                .same("exits", outcome.exits.clone(), vec![Exit::ApResetHold])
                .same("MSR", outcome.msr, want.0);
            Ok(check.done())
        },
    );
}

fn refusals(report: &mut Report, vm: &mut StepVm) {
    let handler = report.handler();
    for (info, name, failed) in [
        (
            MsrInfo::PREFERRED_GPA_REQUEST,
            "0x010 preferred GPA",
            MsrResponse::PreferredGpa { gfn: GFN_NONE },
        ),
        (
            MsrInfo::REGISTER_GPA_REQUEST,
            "0x012 register GPA",
            MsrResponse::RegisterGpa { gfn: GFN_NONE },
        ),
        (
            MsrInfo::PSC_REQUEST,
            "0x014 page state change",
            MsrResponse::PageStateChange {
                error: MsrResponse::PSC_ERROR,
            },
        ),
    ] {
        let name = format!("{name}: not for a guest without SNP");
        // Those of a guest with SNP are in programs of their own.
        report.test_of(Kind::SevEs, &name, || {
            let value = 0x0010_0000_0020_0000 | u64::from(info.0);
            let outcome = vm.take(Attempt::msr(value))?;
            let mut check = Check::new();
            match handler {
                // Difference msr-snp-request.
                Handler::C => check.terminates(&outcome, value),
                Handler::Rust => check
                    .quiet(&outcome)
                    .same("MSR", outcome.msr, failed.encode().0),
            };
            Ok(check.done())
        });
    }
    report.test("0x016 run VMPL: there is one", || {
        let value = MsrRequest::RunVmpl { vmpl: 1 }.encode().0;
        let outcome = vm.take(Attempt::msr(value))?;
        let mut check = Check::new();
        check.quiet(&outcome);
        match handler {
            // Difference msr-snp-request.
            Handler::C => check.same("MSR", outcome.msr, value),
            Handler::Rust => {
                let response = GhcbMsr(outcome.msr).response();
                let failed = matches!(response, Some(MsrResponse::RunVmpl { error: 1.. }));
                check.that("the response tells an error", failed)
            }
        };
        Ok(check.done())
    });
    report.test("each other request: no answer, the MSR stays", || {
        let known = [
            0x000, 0x002, 0x004, 0x006, 0x010, 0x012, 0x014, 0x016, 0x080, 0x100,
        ];
        let values: Vec<u64> = (0..0x1000u64)
            .filter(|info| !known.contains(info))
            .map(|info| info | info.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xfff)
            .collect();
        let attempts: Vec<Attempt> = values.iter().map(|value| Attempt::msr(*value)).collect();
        let outcomes = vm.take_all(&attempts)?;
        let mut check = Check::new();
        check.same("number of answers", outcomes.len(), values.len());
        for (value, outcome) in values.iter().zip(&outcomes) {
            check
                .about(format!("{:?}", GhcbMsr(*value)))
                .quiet(outcome)
                .same("MSR", outcome.msr, *value);
        }
        Ok(check.done())
    });
}

fn pages(report: &mut Report, vm: &mut StepVm) {
    let c_bit = c_bit(vm);
    for (gpa, name) in [
        (0, "no page"),
        (map::MMIO, "a page without memory"),
        (map::NOWHERE, "a page above all memory"),
        (1 << c_bit, "an address with the encryption bit"),
        (!0xfff, "the last page of the address space"),
    ] {
        report.test(
            &format!("GHCB address: {name}: no answer, the guest goes on"),
            || {
                let outcome = vm.take(Attempt::msr(gpa))?;
                let mut check = Check::new();
                check.quiet(&outcome).same("MSR", outcome.msr, gpa);
                Ok(check.done())
            },
        );
    }
}

fn terminations(report: &mut Report, vm: &mut StepVm) {
    report.test("0x100 terminate: userspace learns each reason", || {
        let mut check = Check::new();
        for set in 0..16 {
            for code in [0, 1, 0xff] {
                let value = MsrRequest::Terminate(Termination {
                    set: ReasonSet(set),
                    code,
                })
                .encode();
                let outcome = vm.take(Attempt::msr(value.0))?;
                check
                    .about(format!("{value:?}"))
                    .terminates(&outcome, value.0);
            }
        }
        Ok(check.done())
    });
}
