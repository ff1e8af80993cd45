// SPDX-License-Identifier: GPL-2.0

//! What the handling path asks of the host, and tells it.

use super::{
    instruction::Emulation,
    kind::Kind,
    mmio::MmioAccess,
    port_io::{PortAccess, StringTransfer},
};
use crate::ghcb_abi::{
    bitmap::ValidBitmap,
    exit_code::ExitCode,
    msr::GhcbMsr,
    page::SharedPage,
    reply::{Action, ErrorReason, EventInjection, Reply},
    scratch::ScratchArea,
    snapshot::Snapshot,
    terminate::Termination,
    version::Version,
};

/// A guest's page that may vanish while it is looked at.
pub trait GuestPage: SharedPage {
    /// Whether every access so far has reached the page. A load that did not yields zero.
    fn intact(&self) -> bool;
}

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

/// What KVM made of an emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fulfilment {
    /// Done; results are in the registers or the buffer.
    Done,
    /// The guest shall raise an exception instead.
    Exception(EventInjection),
    /// KVM would not do it, and C's handler would end KVM_RUN.
    Refused,
    /// Userspace has to do it; `kvm_run` holds what.
    Userspace,
}

/// A scratch area with what lies in it, for as long as userspace works on it.
pub struct Scratch<B> {
    /// Where the area lies.
    pub area: ScratchArea,
    /// Copy of its bytes.
    pub buffer: B,
    /// Whether the copy goes back to the guest when the exit is complete.
    pub write_back: bool,
}

/// An exit whose reply is deferred.
pub struct Deferred<B> {
    /// Where the page is.
    pub gpa: u64,
    /// What the exit is about.
    pub exit: Exit,
    /// A scratch area in the page, and what belongs there.
    pub data: Option<(ScratchArea, B)>,
}

/// What a copy of a scratch area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The guest's data go to a device, which has them when KVM returns.
    Send,
    /// The guest's data go to a device piece by piece, also after KVM has returned.
    SendInPieces,
    /// A device's data go to the guest.
    Receive,
}

/// How a vCPU came to wait for a SIPI. C: `AP_RESET_HOLD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldType {
    /// By an event in the page.
    Page,
    /// By the MSR protocol.
    Msr,
}

/// What an exit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// SW_EXITCODE of the request.
    pub code: ExitCode,
    /// SW_EXITINFO1 of the request.
    pub info1: u64,
    /// SW_EXITINFO2 of the request.
    pub info2: u64,
}

impl Exit {
    /// What a request is about.
    #[inline(always)]
    pub const fn of(snapshot: &Snapshot) -> Self {
        Self {
            code: snapshot.exit_code(),
            info1: snapshot.info1(),
            info2: snapshot.info2(),
        }
    }
}

/// Something that the guest did wrong, or that a host's administrator may want to know.
#[derive(Clone, Copy, Debug)]
pub enum Complaint {
    /// The page cannot be reached: null, not in guest memory, read-only, or gone.
    UnreachablePage(u64),
    /// A request got an error reply.
    Refused {
        /// What it was about.
        exit: Exit,
        /// What the guest marked valid.
        valid: ValidBitmap,
        /// SW_SCRATCH, zero if not valid.
        scratch: u64,
        /// Why.
        reason: ErrorReason,
    },
    /// A request by the MSR protocol that no host knows.
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

/// A vCPU of an SEV-ES guest, and the host around it.
pub trait Vcpu {
    /// The guest's page while a request in it is handled.
    type Page: GuestPage;

    /// Host memory that stands in for a scratch area.
    type Buffer;

    /// The GHCB MSR.
    fn ghcb_msr(&self) -> GhcbMsr;

    /// Changes the GHCB MSR.
    fn set_ghcb_msr(&mut self, value: GhcbMsr);

    /// The highest protocol version that this VM may speak.
    fn version(&self) -> Version;

    /// Position of the encryption bit in page table entries.
    fn c_bit(&self) -> u8;

    /// Finds the page at `gpa`, which is aligned. `None` if it is not writable guest memory.
    fn open(&mut self, gpa: u64) -> Option<Self::Page>;

    /// Ends the use of a page that a reply went into.
    fn close(&mut self, page: Self::Page);

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

    /// Makes a copy of a scratch area: of what the guest put into it, or zero for what it will receive.
    ///
    /// # Errors
    ///
    /// The area is not guest memory, or there is no memory for the copy.
    fn fetch(
        &mut self,
        page: &Self::Page,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Self::Buffer, ErrorReason>;

    /// Copies a buffer to the scratch area that it stands for.
    fn put_back(&mut self, page: &Self::Page, area: ScratchArea, data: &Self::Buffer);

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

    /// Puts the vCPU into AP reset hold.
    fn hold(&mut self, hold: HoldType) -> Outcome;

    /// Forgets what kind of hold the vCPU was in.
    fn end_hold(&mut self);

    /// Tells userspace that the guest ends itself.
    fn terminate(&mut self);

    /// Leaves an exit to userspace, and remembers that the reply is still to be written.
    ///
    /// False if that cannot be: the buffer does not last, or C is about to take over. The exit is to be
    /// parked then.
    fn defer(
        &mut self,
        page: &Self::Page,
        exit: Exit,
        scratch: Option<&Scratch<Self::Buffer>>,
    ) -> bool;

    /// Takes the exit whose reply is deferred, if there is one.
    fn take_deferred(&mut self) -> Option<Deferred<Self::Buffer>>;

    /// Leaves an exit to userspace or a SIPI: maps the page as KVM's C handler does, answers "no action"
    /// in advance, and keeps the scratch area's copy.
    ///
    /// False if the page cannot be mapped any more. Then nothing is parked: userspace is not asked either.
    fn park(
        &mut self,
        page: Self::Page,
        exit: Exit,
        scratch: Option<Scratch<Self::Buffer>>,
    ) -> bool;

    /// The parked exit, if there is one.
    fn parked(&self) -> Option<Exit>;

    /// Copies a parked scratch area back, if it is to be.
    fn flush_scratch(&mut self);

    /// Hands `returned` registers of a parked exit to the guest, and unmaps the page.
    fn finish(&mut self, parked: &Exit, returned: ValidBitmap);

    /// Traces a request in the page. Tracepoint `kvm_vmgexit_enter`.
    fn trace_enter(&mut self, exit: Exit);

    /// Traces a reply in the page. Tracepoint `kvm_vmgexit_exit`.
    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply);

    /// Whether a request in the MSR or its response is to be traced.
    fn traces_msr(&self) -> bool;

    /// Traces a request in the MSR. Tracepoint `kvm_vmgexit_msr_protocol_enter`.
    fn trace_msr_enter(&mut self, msr: GhcbMsr);

    /// Traces what the MSR now holds. Tracepoint `kvm_vmgexit_msr_protocol_exit`.
    fn trace_msr_exit(&mut self, outcome: Outcome);

    /// Counts an exit and what was answered.
    fn count(&mut self, kind: Kind, action: Action);

    /// Reports something to the host's log, at a limited rate.
    fn complain(&mut self, complaint: Complaint);
}

pub use super::Outcome;
