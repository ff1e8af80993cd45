// SPDX-License-Identifier: GPL-2.0

//! The host, as the handling path sees it: registers, results, complaints, and the traits of a vCPU.

pub use crate::ghcb_abi::exit_info::ExitInfo;

pub use super::{
    memory::{Failure, Fault, Memory, Purpose, Scratch},
    waiting::{Deferred, End, HoldType, Waiting},
    AfterExit,
};

use super::{
    context::Context,
    host::Snp,
    instruction::Emulation,
    kind::Kind,
    mmio::MmioAccess,
    port_io::{PortAccess, StringTransfer},
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    msr::GhcbMsr,
    page::Field,
    reply::{Action, ErrorReason, EventInjection, Reply},
    snapshot::Snapshot,
    terminate::Termination,
    version::Version,
};

/// The registers that KVM emulates on behalf of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
}

impl Registers {
    /// The registers of a request; one that is not marked valid is zero, as in C.
    #[inline(always)]
    pub(super) const fn of(snapshot: &Snapshot) -> Self {
        Self {
            rax: snapshot.rax(),
            rbx: snapshot.rbx(),
            rcx: snapshot.rcx(),
            rdx: snapshot.rdx(),
            rsi: snapshot.rsi(),
        }
    }

    /// Adds to `reply` the registers that the event returns.
    ///
    /// Also to an exception or an error: some guests check which registers are marked valid, and nothing else.
    #[inline(always)]
    pub(super) fn returned_with(&self, reply: Reply, exit: ExitInfo) -> Reply {
        let returned = exit.code.returned(exit.info1);
        let mut reply = reply;
        if returned.contains(Field::Rax) {
            reply = reply.with_rax(self.rax);
        }
        if returned.contains(Field::Rbx) {
            reply = reply.with_rbx(self.rbx);
        }
        if returned.contains(Field::Rcx) {
            reply = reply.with_rcx(self.rcx);
        }
        if returned.contains(Field::Rdx) {
            reply = reply.with_rdx(self.rdx);
        }
        reply
    }
}

/// What KVM made of an emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fulfilment {
    /// Done; results are in the registers or the buffer.
    Done,
    /// The guest shall raise an exception instead.
    Exception(EventInjection),
    /// KVM returned an error, with which C's handler would end KVM_RUN.
    Error,
    /// Userspace has to do it; `kvm_run` holds what.
    Userspace,
}

/// Something that the guest did wrong, or that a host's administrator may want to know.
#[derive(Clone, Copy, Debug)]
pub enum Complaint {
    /// The page cannot be reached: null, not in guest memory, read-only, or gone.
    UnreachablePage(u64),
    /// A request got an error reply.
    Refused {
        /// What it was about.
        exit: ExitInfo,
        /// What the guest marked valid.
        valid: ValidBitmap,
        /// SW_SCRATCH, zero if not valid.
        scratch: u64,
        /// Why.
        reason: ErrorReason,
    },
    /// A value of the GHCB MSR that is no request.
    UnknownMsr(GhcbMsr),
    /// The guest ends itself by the MSR protocol.
    TerminatedByMsr(Termination),
    /// The guest ends itself by an event.
    Terminated {
        /// SW_EXITINFO1: reason.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
    /// The guest met a #VC that it cannot handle.
    UnsupportedEvent {
        /// SW_EXITINFO1: the exit code in question.
        info1: u64,
        /// SW_EXITINFO2: information about it.
        info2: u64,
    },
}

/// KVM's emulation of what a guest asks for.
pub trait Emulator: Memory {
    /// Hands KVM the context of a request. KVM checks XCR0 and IA32_XSS, and ignores a value that is not legal.
    fn set_context(&mut self, context: &Context);

    /// Lets KVM emulate an instruction on registers that are not the guest's own.
    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment;

    /// Lets KVM emulate CPUID of a function, subfunction 0, for a guest that need not have a page.
    fn cpuid(&mut self, function: u32) -> Fulfilment;

    /// The registers after an emulation.
    fn registers(&self) -> Registers;

    /// Lets KVM do one IN or OUT. The value is in RAX.
    fn port_io(&mut self, access: &PortAccess) -> Fulfilment;

    /// Lets KVM do INS or OUTS on a copy of the scratch area.
    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Self::Buffer) -> Fulfilment;

    /// Lets KVM access memory-mapped I/O on a copy of the scratch area.
    fn mmio(&mut self, access: &MmioAccess, data: &mut Self::Buffer) -> Fulfilment;
}

/// A vCPU of a guest with SEV-ES, with SEV-SNP or without, and the host around it.
pub trait Vcpu: Emulator + Waiting + Snp {
    /// The GHCB MSR.
    fn ghcb_msr(&self) -> GhcbMsr;

    /// Changes the GHCB MSR.
    fn set_ghcb_msr(&mut self, value: GhcbMsr);

    /// The highest protocol version that this VM may speak.
    fn version(&self) -> Version;

    /// Position of the encryption bit in page table entries.
    fn c_bit(&self) -> u8;

    /// The guest's time stamp counter.
    fn time_stamp(&self) -> u64;

    /// IA32_TSC_AUX as the guest last wrote it by way of the host.
    fn tsc_aux(&self) -> u64;

    /// DR7 as the guest last reported it, its reset value if it never has.
    fn dr7(&self) -> u64;

    /// Keeps DR7 for the guest.
    fn set_dr7(&mut self, value: u64);

    /// The guest has handled its NMI.
    fn nmi_complete(&mut self);

    /// Address of the VM's AP jump table.
    fn ap_jump_table(&self) -> u64;

    /// Changes the address of the VM's AP jump table.
    fn set_ap_jump_table(&mut self, gpa: u64);

    /// Tells userspace that the guest ends itself.
    fn terminate(&mut self);

    /// Traces a request in the page. Tracepoint `kvm_vmgexit_enter`.
    fn trace_enter(&mut self, exit: ExitInfo);

    /// Traces a reply in the page. Tracepoint `kvm_vmgexit_exit`.
    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply);

    /// Whether an MSR tracepoint is enabled.
    fn traces_msr(&self) -> bool;

    /// Traces a request in the MSR. Tracepoint `kvm_vmgexit_msr_protocol_enter`.
    fn trace_msr_enter(&mut self, msr: GhcbMsr);

    /// Traces what the MSR now holds. Tracepoint `kvm_vmgexit_msr_protocol_exit`.
    fn trace_msr_exit(&mut self, outcome: AfterExit);

    /// Counts an exit and what was answered.
    fn count(&mut self, kind: Kind, action: Action);

    /// Writes a complaint to the host's log, at a limited rate.
    fn complain(&mut self, complaint: Complaint);
}
