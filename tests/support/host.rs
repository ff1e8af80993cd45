// SPDX-License-Identifier: GPL-2.0

//! A scripted vCPU and the host around it: does what the test says KVM does, and logs what it was asked.

use std::{cell::Cell, rc::Rc};

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        exit_info::ExitInfo,
        msr::GhcbMsr,
        page::Field,
        reply::{Action, Reply},
        scratch::ScratchArea,
        version::Version,
    },
    vmgexit::{
        self,
        host::PageRange,
        host::{Complaint, Fulfilment, GuestState, HoldType, Observer, Protocol},
        kind::Kind,
        refusal::Refusal,
        request::context::Context,
        request::instruction::Emulation,
        request::mmio::MmioAccess,
        request::port_io::{PortAccess, StringTransfer},
        request::registers::Registers,
        AfterExit,
    },
};

use super::{page::Page, snp::Snp, waiting::SevEs};

/// Where the guest's page is.
pub const GPA: u64 = 0x12_3000;

/// What a device says, over and over again.
pub const DEVICE: u64 = 0xd7d6_d5d4_d3d2_d1d0;
pub const TSC: u64 = 0x0123_4567_89ab_cdef;
pub const TSC_AUX: u64 = 0x77;
pub const DR7: u64 = 0x400;

/// Registers, each full of another byte; `first` is that of RAX.
pub fn registers(first: u8) -> Registers {
    let register = |number| u64::from_ne_bytes([first + number; 8]);
    Registers {
        rax: register(0),
        rbx: register(1),
        rcx: register(2),
        rdx: register(3),
        rsi: register(4),
    }
}

/// What an emulation leaves in the registers.
pub fn results() -> Registers {
    registers(0x51)
}

/// What the handling path asked of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Open(u64),
    Close,
    Emulate(Emulation),
    PortIo(PortAccess),
    /// With the copy of the scratch area, as for the next one.
    StringIo(StringTransfer, Vec<u8>),
    Mmio(MmioAccess, Vec<u8>),
    Fetch(ScratchArea),
    PutBack(ScratchArea, Vec<u8>),
    SetDr7(u64),
    NmiComplete,
    SetJumpTable(u64),
    Hold(HoldType),
    Terminate,
    /// Exit code and both infos.
    Park(u64, u64, u64),
    CannotPark,
    /// Exit code, both infos, and whether a scratch area's copy came along.
    Defer(u64, u64, u64, bool),
    Register(u64),
    Range(PageRange),
    PageByMsr(PageRange),
    ReadMessage(u64),
    WriteMessage(u64),
    Clear(u64, usize),
    Firmware(Vec<u8>),
    Certificates(u64, u64),
    /// APIC ID, VMSA, and whether now.
    Vmsa(u32, Option<u64>, bool),
    SetMsr(u64),
    TraceEnter(u64, u64, u64),
    TraceExit(u64, u64, u64),
    TraceMsrEnter(u64),
    TraceMsrExit(u64, i32),
    Complain(String),
}

/// A call in flight, until this is dropped.
pub(super) struct InFlight(Rc<Cell<u32>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The host.
#[derive(Debug)]
pub struct Host {
    pub msr: u64,
    pub version: Version,
    pub page: Rc<Page>,
    /// Guest memory besides the page: address and contents.
    pub memory: Option<(u64, Vec<u8>)>,
    /// What KVM makes of an emulation or an access.
    pub answer: Fulfilment,
    /// What an emulation leaves in the registers.
    pub after: Registers,
    /// What a device says.
    pub device: u64,
    /// Whether `kvm_vcpu_map()` succeeds.
    pub can_map: bool,
    /// Whether there is memory for a scratch area's copy.
    pub can_allocate: bool,
    /// What becomes of a vCPU in AP reset hold.
    pub held: AfterExit,
    pub tsc: u64,
    pub tsc_aux: u64,
    pub dr7: u64,
    pub jump_table: u64,
    /// Whether an MSR tracepoint is enabled.
    pub traced: bool,
    pub registers: Registers,
    /// The context of each request.
    pub contexts: Vec<Context>,
    pub sev_es: SevEs,
    pub snp: Snp,
    /// What userspace has returned to KVM, in the vCPU. C: `mmio_fragments`, `pio_data`.
    pub in_vcpu: Vec<u8>,
    /// Exit code of a parked exit.
    pub parked: u64,
    /// Calls that have begun and are not over.
    pub in_flight: Rc<Cell<u32>>,
    pub log: Vec<Call>,
    pub counts: Vec<(Kind, Action)>,
    /// Errors, as they were complained of.
    pub refusals: Vec<(Kind, Refusal)>,
}

impl Host {
    /// A host whose KVM does everything, and whose guest's page is full of 0xa5.
    pub fn new() -> Self {
        Self {
            msr: GPA,
            version: Version::V2,
            page: Rc::new(Page::filled(0xa5)),
            memory: None,
            answer: Fulfilment::Done,
            after: results(),
            device: DEVICE,
            can_map: true,
            can_allocate: true,
            held: AfterExit::RESUME,
            tsc: TSC,
            tsc_aux: TSC_AUX,
            dr7: DR7,
            jump_table: 0,
            traced: true,
            registers: registers(0x61),
            contexts: Vec::new(),
            sev_es: SevEs::default(),
            snp: Snp::default(),
            in_vcpu: Vec::new(),
            parked: 0,
            in_flight: Rc::default(),
            log: Vec::new(),
            counts: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Puts a request into the page: the event, and fields that are valid besides.
    pub fn request(
        mut self,
        code: ExitCode,
        info1: u64,
        info2: u64,
        fields: &[(Field, u64)],
    ) -> Self {
        self.msr = GPA;
        let mut valid = ValidBitmap::EXIT;
        let event = [
            (Field::SwExitCode, code.0),
            (Field::SwExitInfo1, info1),
            (Field::SwExitInfo2, info2),
        ];
        for &(field, value) in event.iter().chain(fields) {
            valid.insert(field);
            match field {
                Field::Cpl => self.page.put_bytes(field.offset(), &[value as u8]),
                _ => self.page.put(field.offset(), value),
            }
        }
        let (low, high) = valid.to_words();
        self.page.put(0x3f0, low);
        self.page.put(0x3f8, high);
        // Version and usage.
        self.page.put(0xff8, 0x0002_0000);
        self
    }

    /// The guest executes VMGEXIT.
    pub fn vmgexit(&mut self) -> AfterExit {
        let begin = self.begin_call();
        let (counts, refusals) = (self.counts.len(), self.refusals.len());
        let outcome = vmgexit::handle(&mut *self, begin);
        assert_eq!(self.in_flight.get(), 0, "a call never ends");
        let is_error = |counted: &&(Kind, Action)| counted.1 == Action::MALFORMED_INPUT;
        let errors = self.counts[counts..].iter().filter(is_error);
        assert!(
            errors
                .map(|error| error.0)
                .eq(self.refusals[refusals..].iter().map(|refusal| refusal.0)),
            "counted {:?}, complained of {:?}",
            self.counts,
            self.refusals
        );
        outcome
    }

    /// What begins a call in flight.
    pub(super) fn begin_call(&self) -> impl FnOnce() -> InFlight {
        let count = self.in_flight.clone();
        move || {
            count.set(count.get() + 1);
            InFlight(count)
        }
    }

    /// The host does something that may sleep: the call must be counted, so that the module is not unloaded during it.
    pub(super) fn may_sleep(&self) {
        assert_eq!(
            self.in_flight.get(),
            1,
            "asleep in a call that nobody counts"
        );
    }

    /// What the path asked for, without counting, tracing and logging.
    pub fn asked(&self) -> Vec<Call> {
        let is_for_people = |call: &&Call| {
            !matches!(
                call,
                Call::TraceEnter(..)
                    | Call::TraceExit(..)
                    | Call::TraceMsrEnter(..)
                    | Call::TraceMsrExit(..)
                    | Call::Complain(_)
            )
        };
        self.log.iter().filter(is_for_people).cloned().collect()
    }
}

impl Protocol for Host {
    fn ghcb_msr(&self) -> GhcbMsr {
        GhcbMsr(self.msr)
    }

    fn set_ghcb_msr(&mut self, value: GhcbMsr) {
        self.log.push(Call::SetMsr(value.0));
        self.msr = value.0;
    }

    fn version(&self) -> Version {
        self.version
    }

    fn c_bit(&self) -> u8 {
        51
    }
}

impl GuestState for Host {
    fn time_stamp(&self) -> u64 {
        self.tsc
    }

    fn tsc_aux(&self) -> u64 {
        self.tsc_aux
    }

    fn dr7(&self) -> u64 {
        self.dr7
    }

    fn set_dr7(&mut self, value: u64) {
        self.log.push(Call::SetDr7(value));
        self.dr7 = value;
    }

    fn nmi_complete(&mut self) {
        self.log.push(Call::NmiComplete);
    }

    fn ap_jump_table(&self) -> u64 {
        self.jump_table
    }

    fn set_ap_jump_table(&mut self, gpa: u64) {
        self.log.push(Call::SetJumpTable(gpa));
        self.jump_table = gpa;
    }

    fn terminate(&mut self) {
        self.log.push(Call::Terminate);
    }
}

impl Observer for Host {
    fn trace_enter(&mut self, exit: ExitInfo) {
        self.log
            .push(Call::TraceEnter(exit.code.0, exit.info1, exit.info2));
    }

    fn trace_exit(&mut self, exit_code: ExitCode, reply: &Reply) {
        self.log
            .push(Call::TraceExit(exit_code.0, reply.info1(), reply.info2()));
    }

    fn traces_msr(&self) -> bool {
        self.traced
    }

    fn trace_msr_enter(&mut self, msr: GhcbMsr) {
        self.log.push(Call::TraceMsrEnter(msr.0));
    }

    fn trace_msr_exit(&mut self, outcome: AfterExit) {
        self.log
            .push(Call::TraceMsrExit(self.msr, outcome.to_kvm()));
    }

    fn count(&mut self, kind: Kind, action: Action) {
        self.counts.push((kind, action));
    }

    fn complain(&mut self, complaint: Complaint) {
        self.refusals.extend(complaint.refusal());
        self.log.push(Call::Complain(format!("{complaint:?}")));
    }
}
