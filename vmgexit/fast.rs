// SPDX-License-Identifier: GPL-2.0

//! What is done for speed alone.
//!
//! Nothing in here changes an answer. Each piece stays because `make bench` misses its target without it, and so do the
//! `inline(always)` of the path that is copied: they make the exit code a constant in each copy, and what the compiler
//! knows of it (operands, results, family, kind) costs nothing. A function that is reached from one copy alone needs none.

use super::{
    answer,
    host::{AfterExit, Fault, Vcpu},
    msr_protocol,
};
use crate::ghcb_abi::{exit_code::ExitCode, msr::MsrInfo, snapshot::Header};

/// Answers the request in the page; a frequent event in a copy of the path in which its exit code is a constant.
#[inline(always)]
pub(super) fn answer<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    macro_rules! copies {
        ($($code:ident),*) => {
            match header.exit_code() {
                $(ExitCode::$code => {
                    answer::answer(vcpu, page, gpa, header.about(ExitCode::$code))
                })*
                _ => answer_others(vcpu, page, gpa, header),
            }
        };
    }
    copies!(CPUID, MSR, IOIO, MMIO_READ, MMIO_WRITE, RDTSC)
}

/// Answers an infrequent event.
#[inline(never)]
fn answer_others<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    answer::answer(vcpu, page, gpa, header)
}

/// Handles a request in the MSR.
///
/// Two that are short and frequent do without what tracing needs. SEV information is not even counted as a call in
/// flight: its answer is a few instructions long and cannot sleep.
#[inline(always)]
pub(super) fn handle_msr<V: Vcpu, Call>(
    vcpu: &mut V,
    info: MsrInfo,
    begin: impl FnOnce() -> Call,
) -> AfterExit {
    match info {
        MsrInfo::SEV_INFO_REQUEST if !vcpu.traces_msr() => msr_protocol::answer_sev_info(vcpu),
        MsrInfo::CPUID_REQUEST if !vcpu.traces_msr() => {
            let _call = begin();
            msr_protocol::answer_cpuid(vcpu)
        }
        _ => handle_other_msr(vcpu, begin),
    }
}

/// Handles any request in the MSR. Not inlined, so that the frequent requests save fewer registers.
#[inline(never)]
fn handle_other_msr<V: Vcpu, Call>(vcpu: &mut V, begin: impl FnOnce() -> Call) -> AfterExit {
    let _call = begin();
    msr_protocol::handle(vcpu)
}
