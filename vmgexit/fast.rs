// SPDX-License-Identifier: GPL-2.0

//! What is done for speed alone.
//!
//! Nothing in here changes an answer, and neither does what stands elsewhere because it has to:
//!
//! | what | where | why |
//! |---|---|---|
//! | copies of the path | here, and [`deliver()`](super::carry_out::deferred::deliver) | the exit code is a constant in each, so that operands, results, family and kind cost nothing |
//! | `inline(always)` | what is in the copies, and the compiler would not inline for `inline` | where the exit code is passed on, it is no constant any more |
//! | a copy for each variant of a request | `Destination` of [`request`](super::request) | a request that is put together and taken apart again goes through memory |
//! | refusals and failures out of line, which get the parts of an [`ExitInfo`](crate::ghcb_abi::exit_info::ExitInfo) | `answer`, `carry_out` | what has its address taken anywhere lies in memory everywhere |
//! | the vCPU by value | [`handle()`](super::handle) | the same |
//! | what KVM_RUN does is KVM's number | [`AfterExit`] | nothing is to be translated |
//! | operands read, and replies written, with user memory opened once | [`GuestPage`](crate::ghcb_abi::page::GuestPage), `kvm/user_memory.rs` | STAC, CLAC and a check for each field |
//! | CPUID, MSR accesses and VMMCALL by KVM's functions for them | `kvm/emulation.rs` | KVM's search for the handler of an intercept, and what it needs in the VMCB |
//!
//! Each stays because `make bench` misses it.

use super::{
    answer,
    host::{AfterExit, Fault, Vcpu},
    msr_protocol,
};
use crate::ghcb_abi::{
    event::{is_in, is_string_io},
    exit_code::ExitCode,
    msr::MsrInfo,
    snapshot::Header,
};
use core::ops::DerefMut;

/// Answers the request in the page; a frequent event in a copy of the path in which its exit code is a constant.
#[inline(always)]
pub(super) fn answer<V: Vcpu>(
    vcpu: &mut V,
    page: &V::Page,
    gpa: u64,
    header: Header,
) -> Result<AfterExit, Fault> {
    // KASAN gives each variable of each copy a place of its own on the stack, which does not take them all.
    if cfg!(CONFIG_KASAN_STACK) {
        return answer_others(vcpu, page, gpa, header);
    }
    let info1 = header.info1();
    macro_rules! copies {
        ($($code:ident $(if $form:expr)? $(, where info1 is $info1:literal)?;)*) => {
            match header.exit_code() {
                $(ExitCode::$code if true $(&& $form)? $(&& info1 == $info1)? => {
                    let header = header.about(ExitCode::$code) $(.with_info1($info1))?;
                    answer::answer(vcpu, page, gpa, header)
                })*
                _ => answer_others(vcpu, page, gpa, header),
            }
        };
    }
    copies! {
        CPUID;
        MSR, where info1 is 0;
        MSR;
        IOIO if is_string_io(info1) && is_in(info1);
        IOIO if is_string_io(info1);
        IOIO if is_in(info1);
        IOIO;
        MMIO_READ;
        MMIO_WRITE;
        RDTSC;
        VMMCALL;
        HV_FEATURES;
    }
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
#[inline]
pub(super) fn handle_msr<P, V, Call>(
    mut vcpu: P,
    info: MsrInfo,
    begin: impl FnOnce() -> Call,
) -> AfterExit
where
    P: DerefMut<Target = V>,
    V: Vcpu,
{
    match info {
        MsrInfo::SEV_INFO_REQUEST if !vcpu.traces_msr() => {
            msr_protocol::answer_sev_info(&mut *vcpu)
        }
        MsrInfo::CPUID_REQUEST if !vcpu.traces_msr() => {
            let _call = begin();
            msr_protocol::answer_cpuid(&mut *vcpu)
        }
        _ => handle_other_msr(vcpu, begin),
    }
}

/// Handles any request in the MSR. Not inlined, so that the frequent requests save fewer registers.
#[inline(never)]
fn handle_other_msr<P, V, Call>(mut vcpu: P, begin: impl FnOnce() -> Call) -> AfterExit
where
    P: DerefMut<Target = V>,
    V: Vcpu,
{
    let _call = begin();
    msr_protocol::handle(&mut *vcpu)
}
