// SPDX-License-Identifier: GPL-2.0
//! Role `Hold`: an application processor that waits for SIPIs, and tells what each hold brought.

use crate::cpu::{self, reason, Vcpu};
use core::sync::atomic::Ordering;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::exit_info::ExitInfo;
use ghcb_rs::ghcb_abi::guest::{self, Registers, Sync};
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest, MsrResponse};
use ghcb_rs::ghcb_abi::version::Version;
use mailbox::hold;

/// Hold over and over, in the way that the mailbox's argument names at that moment.
pub fn run(vcpu: &Vcpu) -> ! {
    let mail = vcpu.mailbox;
    loop {
        let way = mail.argument.load(Ordering::Acquire);
        mail.progress.fetch_add(1, Ordering::Release);
        let result = match way {
            hold::PAGE => by_page(vcpu),
            hold::MSR => by_msr(),
            _ => {
                core::hint::spin_loop();
                continue;
            }
        };
        let outcome = if result == 0 {
            &mail.spurious
        } else {
            &mail.sipis
        };
        outcome.fetch_add(1, Ordering::Release);
    }
}

fn by_page(vcpu: &Vcpu) -> u64 {
    let page = vcpu.ghcb();
    let exit = ExitInfo {
        code: ExitCode::AP_RESET_HOLD,
        info1: 0,
        info2: 0,
    };
    let mut registers = Registers::default();
    guest::copy_out(&page, Version::V2, &registers, &exit, &Sync::NONE);
    page.vmgexit();
    match guest::copy_in(&page, &mut registers, &Sync::NONE) {
        Ok(result) => result,
        Err(_) => vcpu.terminate(reason::CALL_FAILED),
    }
}

fn by_msr() -> u64 {
    cpu::write_ghcb_msr(MsrRequest::ApResetHold.encode().0);
    cpu::vmgexit();
    match GhcbMsr(cpu::read_ghcb_msr()).response() {
        Some(MsrResponse::ApResetHold(result)) => result.0,
        _ => cpu::terminate(reason::CALL_FAILED),
    }
}
