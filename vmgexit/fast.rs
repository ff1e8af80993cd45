// SPDX-License-Identifier: GPL-2.0

//! What is done for speed alone.
//!
//! Nothing in here changes an answer. A frequent event has a copy of the path in which its exit code is a constant, so that
//! what follows from it (operands, results, family, kind) costs nothing. For that the path has to be inlined as a whole, and
//! LLVM does not do so by itself: `inline(always)` stands on
//!
//! - the table of events, and reading and replying (`ghcb_abi/{event,snapshot,reply,scratch}.rs`),
//! - the path ([`answer`]), decoding (`request/{mmio,port_io,registers}.rs`) and carrying out
//!   (`carry_out/{instruction,port_io,transfer}.rs`), without each of which CPUID, an MSR access, OUT, OUTS or MMIO costs 5 to
//!   370 instructions more,
//! - what these reach in `kvm/`: emulation, the page, the buffer for a scratch area.
//!
//! Elsewhere `inline` is enough: taking `always` away changed no count.

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
