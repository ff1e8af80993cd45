// SPDX-License-Identifier: GPL-2.0

//! The handling path: what a host does when a guest executes VMGEXIT.
//!
//! ```text
//! GHCB MSR ── a request of its own ─────────────────────► msr_protocol
//!     └────── a page: Snapshot ─► NaeEvent ─► carry out ─► Reply
//!               (one look)  (proved)     (a family each)
//! ```
//!
//! A [`Snapshot`](crate::ghcb_abi::snapshot::Snapshot) is all that is ever read of the guest's page. [`NaeEvent::decode`](request::NaeEvent::decode) proves it: a request
//! that the specification does not allow has no representation, and becomes an error reply at once. A
//! request is carried out by KVM, which is reached through the [`Vcpu`] trait alone. A [`Reply`](crate::ghcb_abi::reply::Reply) holds
//! what the event returns, and nothing else gets into the page.
//!
//! Most exits end here, with the page neither mapped nor pinned; so do those that userspace carries out
//! without returning anything. Where userspace says what the reply is, it is *deferred*: nothing of the page
//! is kept, and [`deliver`](carry_out::deferred::deliver) writes the reply when userspace lets the vCPU run again. The few
//! that a SIPI ends are *parked*: [`Waiting::park`](host::Waiting::park) leaves the state that KVM's own code
//! knows how to complete, and completes.
//!
//! The rooms, each of which knows only those below it (`scripts/arrows` checks it):
//!
//! | room | subject |
//! |---|---|
//! | this file, `fast`, [`msr_protocol`] | where an exit comes in, and what is done for speed alone |
//! | `answer` | the path of a request in the page |
//! | [`carry_out`] | what is done about a request, a file for each family of events |
//! | `flow`, [`host`] | what happens to the reply, and the traits by which the host is reached |
//! | [`request`] | what a guest may ask for |
//! | [`judge`], [`verdict`] | how what C answers compares with what would be answered here |
//! | [`kind`], [`refusal`], [`record`], [`ring`], [`tally`], [`takeover`] | what is counted and remembered, and how functions are taken over |
//!
//! Nothing here ends the VM, except where the guest asks for it, and nothing here panics.

#![forbid(unsafe_code)]

mod answer;
pub mod carry_out;
mod fast;
mod flow;
pub mod host;
pub mod judge;
pub mod kind;
pub mod msr_protocol;
pub mod record;
pub mod refusal;
pub mod request;
pub mod ring;
pub mod takeover;
pub mod tally;
pub mod verdict;

use crate::ghcb_abi::{msr::MsrInfo, snapshot::Header};
use carry_out::fault;
use core::ops::DerefMut;
pub use host::AfterExit;
use host::{Fault, Vcpu};

/// Handles a VMGEXIT. C: `sev_handle_vmgexit()`.
///
/// `begin` counts a call in flight; dropping what it returns ends that call. All that may sleep is done
/// in between.
#[inline]
pub fn handle<P, V, Call>(vcpu: P, begin: impl FnOnce() -> Call) -> AfterExit
where
    P: DerefMut<Target = V>,
    V: Vcpu,
{
    match vcpu.ghcb_msr().info() {
        MsrInfo::GHCB_GPA => handle_page(vcpu, begin),
        info => fast::handle_msr(vcpu, info, begin),
    }
}

/// Handles a request in the page. Not inlined, so that the frequent requests in the MSR save fewer registers; `vcpu` is
/// what it was given as, so that the compiler need not keep it in memory.
#[inline(never)]
fn handle_page<P, V, Call>(mut vcpu: P, begin: impl FnOnce() -> Call) -> AfterExit
where
    P: DerefMut<Target = V>,
    V: Vcpu,
{
    let _call = begin();
    let vcpu = &mut *vcpu;
    let gpa = vcpu.ghcb_msr().0;
    let page = if gpa != 0 { vcpu.open(gpa) } else { Err(Fault) };
    let Ok(page) = page else {
        return resume_without_reply(vcpu);
    };
    let after = Header::take(&page).and_then(|header| fast::answer(vcpu, &page, gpa, header));
    match after {
        Ok(after) => {
            vcpu.close(page);
            after
        }
        Err(Fault) => {
            vcpu.close(page);
            resume_without_reply(vcpu)
        }
    }
}

/// Says that there is nowhere to reply, and lets the guest run on, as C does.
#[cold]
#[inline(never)]
fn resume_without_reply<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    fault::report(vcpu);
    AfterExit::RESUME
}
