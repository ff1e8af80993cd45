// SPDX-License-Identifier: GPL-2.0

//! A scripted vCPU and the host around it: does what the test says KVM does, and logs what it was asked.

use std::rc::Rc;

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        ioio::IoSize,
        msr::GhcbMsr,
        page::{Field, SharedPage},
        reply::{Action, ErrorReason, Reply},
        scratch::ScratchArea,
        version::Version,
    },
    vmgexit::{
        self,
        instruction::{Emulation, Instruction},
        kind::Kind,
        mmio::MmioAccess,
        port_io::{PortAccess, StringTransfer},
        vcpu::{
            Complaint, Deferred, Exit, Fulfilment, HoldType, Purpose, Registers, Scratch, Vcpu,
        },
        Outcome,
    },
};

use super::page::{Page, View};

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
    /// Exit code, both infos, and whether a scratch area's copy came along.
    Park(u64, u64, u64, bool),
    CannotPark,
    /// Exit code, both infos, and whether a scratch area's copy came along.
    Defer(u64, u64, u64, bool),
    SetMsr(u64),
    Flush(Vec<u8>),
    Finish(ValidBitmap),
    TraceEnter(u64, u64, u64),
    TraceExit(u64, u64, u64),
    TraceMsrEnter(u64),
    TraceMsrExit(u64, i32),
    Complain(String),
}

/// What a vCPU holds between an exit and its completion: the fields of C's `vcpu_sev_es_state` and VMCB.
#[derive(Debug, Default)]
pub struct SevEs {
    /// Whether the page is mapped in `ghcb`.
    pub ghcb: bool,
    /// Exit code and both infos.
    pub exit: [u64; 3],
    /// `ghcb_sa` that is to be freed, and the place it stands for.
    pub scratch: Option<(ScratchArea, Vec<u8>)>,
    /// `ghcb_sa_sync`
    pub write_back: bool,
    /// `ap_reset_hold_type`
    pub hold: Option<HoldType>,
    /// `ghcb_sa_sync` without `ghcb`: the exit is `exit`, the copy of an area in the page `kept`.
    pub deferred: bool,
    /// What is in the vCPU for a deferred exit: the area, and its bytes.
    pub kept: Option<(ScratchArea, Vec<u8>)>,
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
    /// Whether replies may be deferred.
    pub can_defer: bool,
    /// Whether there is memory for a scratch area's copy.
    pub can_allocate: bool,
    /// What becomes of a vCPU in AP reset hold.
    pub held: Outcome,
    pub tsc: u64,
    pub tsc_aux: u64,
    pub dr7: u64,
    pub jump_table: u64,
    /// Whether someone listens to the tracepoints for the MSR.
    pub traced: bool,
    pub registers: Registers,
    pub sev_es: SevEs,
    pub log: Vec<Call>,
    pub counts: Vec<(Kind, Action)>,
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
            can_defer: true,
            can_allocate: true,
            held: Outcome::Resume,
            tsc: TSC,
            tsc_aux: TSC_AUX,
            dr7: DR7,
            jump_table: 0,
            traced: true,
            registers: registers(0x61),
            sev_es: SevEs::default(),
            log: Vec::new(),
            counts: Vec::new(),
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
    pub fn vmgexit(&mut self) -> Outcome {
        vmgexit::handle(self)
    }

    /// Userspace lets the vCPU run again.
    pub fn complete(&mut self) {
        vmgexit::deliver(self);
        vmgexit::complete(self);
    }

    /// C is about to take over: what is deferred becomes what C would have left.
    pub fn hand_back(&mut self) {
        if std::mem::take(&mut self.sev_es.deferred) {
            self.sev_es.ghcb = true;
            self.sev_es.scratch = self.sev_es.kept.take();
            self.sev_es.write_back = self.sev_es.scratch.is_some();
            Reply::no_action(0).write(&View::of(&self.page));
        }
    }

    /// A SIPI arrives, as in C's `sev_vcpu_deliver_sipi_vector()`.
    pub fn sipi(&mut self) {
        match self.sev_es.hold {
            Some(HoldType::Page) => {
                assert!(self.sev_es.ghcb, "C dereferences a null pointer");
                self.page.put(0x398, 0);
                self.page.put(0x3a0, 1);
            }
            Some(HoldType::Msr) => self.msr = 0x1007,
            None => {}
        }
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

    /// Whether the page or a scratch area's copy is still held.
    pub fn holds_anything(&self) -> bool {
        self.page.is_viewed()
            || self.sev_es.ghcb
            || self.sev_es.deferred
            || self.sev_es.scratch.is_some()
    }

    fn fill_from_device(&self, buffer: &mut [u8]) {
        for (byte, device) in buffer
            .iter_mut()
            .zip(self.device.to_le_bytes().iter().cycle())
        {
            *byte = *device;
        }
    }

    fn guest_memory(&mut self, gpa: u64, len: usize) -> Option<&mut [u8]> {
        let (base, bytes) = self.memory.as_mut()?;
        let start = usize::try_from(gpa.checked_sub(*base)?).ok()?;
        bytes.get_mut(start..start.checked_add(len)?)
    }
}

impl Vcpu for Host {
    type Page = View;
    type Buffer = Vec<u8>;

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

    fn open(&mut self, gpa: u64) -> Option<View> {
        assert!(gpa % 0x1000 == 0);
        self.log.push(Call::Open(gpa));
        if gpa != GPA {
            return None;
        }
        Some(View::of(&self.page))
    }

    fn close(&mut self, _: View) {
        self.log.push(Call::Close);
    }

    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment {
        self.log.push(Call::Emulate(*emulation));
        self.registers = match self.answer {
            Fulfilment::Done => self.after,
            _ => emulation.registers,
        };
        self.answer
    }

    fn cpuid(&mut self, function: u32) -> Fulfilment {
        self.emulate(&Emulation {
            instruction: Instruction::Cpuid,
            registers: Registers {
                rax: function.into(),
                ..Registers::default()
            },
            cpl: 0,
            xcr0: None,
            xss: None,
        })
    }

    fn registers(&self) -> Registers {
        self.registers
    }

    fn port_io(&mut self, access: &PortAccess) -> Fulfilment {
        self.log.push(Call::PortIo(*access));
        self.registers.rax = access.rax;
        if access.direction.is_in() && self.answer == Fulfilment::Done {
            // C: `kvm_fast_pio_in()`.
            let mask = access.size.mask();
            let kept = if access.size == IoSize::Dword {
                0
            } else {
                access.rax & !mask
            };
            self.registers.rax = kept | self.device & mask;
        }
        self.answer
    }

    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Vec<u8>) -> Fulfilment {
        self.log.push(Call::StringIo(*transfer, data.clone()));
        if transfer.direction.is_in() && self.answer == Fulfilment::Done {
            self.fill_from_device(data);
        }
        self.answer
    }

    fn mmio(&mut self, access: &MmioAccess, data: &mut Vec<u8>) -> Fulfilment {
        self.log.push(Call::Mmio(*access, data.clone()));
        if access.direction.is_in() && self.answer == Fulfilment::Done {
            self.fill_from_device(data);
        }
        self.answer
    }

    fn fetch(
        &mut self,
        page: &View,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Vec<u8>, ErrorReason> {
        let filled = purpose != Purpose::Receive;
        self.log.push(Call::Fetch(area));
        if !self.can_allocate {
            return Err(ErrorReason::INVALID_SCRATCH_AREA);
        }
        match area {
            ScratchArea::Shared(range) => {
                let mut bytes = vec![0; range.len()];
                if filled {
                    page.read_buffer(range, &mut bytes);
                }
                Ok(bytes)
            }
            ScratchArea::External { gpa, len } => self
                .guest_memory(gpa, len as usize)
                .map(|bytes| bytes.to_vec())
                .ok_or(ErrorReason::INVALID_SCRATCH_AREA),
        }
    }

    fn put_back(&mut self, page: &View, area: ScratchArea, data: &Vec<u8>) {
        self.log.push(Call::PutBack(area, data.clone()));
        match area {
            ScratchArea::Shared(range) => page.write_buffer(range, data),
            ScratchArea::External { gpa, .. } => {
                if let Some(memory) = self.guest_memory(gpa, data.len()) {
                    memory.copy_from_slice(data);
                }
            }
        }
    }

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

    fn hold(&mut self, hold: HoldType) -> Outcome {
        self.log.push(Call::Hold(hold));
        self.sev_es.hold = Some(hold);
        self.held
    }

    fn end_hold(&mut self) {
        self.sev_es.hold = None;
    }

    fn terminate(&mut self) {
        self.log.push(Call::Terminate);
    }

    fn defer(&mut self, _: &View, exit: Exit, scratch: Option<&Scratch<Vec<u8>>>) -> bool {
        assert!(
            !self.sev_es.ghcb && !self.sev_es.deferred,
            "left to userspace twice"
        );
        if !self.can_defer {
            return false;
        }
        let (code, info1, info2) = (exit.code.0, exit.info1, exit.info2);
        self.log
            .push(Call::Defer(code, info1, info2, scratch.is_some()));
        self.sev_es.deferred = true;
        self.sev_es.exit = [code, info1, info2];
        self.sev_es.kept = scratch.map(|scratch| {
            assert!(scratch.write_back && matches!(scratch.area, ScratchArea::Shared(_)));
            (scratch.area, scratch.buffer.clone())
        });
        true
    }

    fn take_deferred(&mut self) -> Option<Deferred<Vec<u8>>> {
        let [code, info1, info2] = self.sev_es.exit;
        let code = ExitCode(code);
        std::mem::take(&mut self.sev_es.deferred).then(|| Deferred {
            gpa: GPA,
            exit: Exit { code, info1, info2 },
            data: self.sev_es.kept.take(),
        })
    }

    fn park(&mut self, page: View, exit: Exit, scratch: Option<Scratch<Vec<u8>>>) -> bool {
        assert!(
            !self.sev_es.ghcb && !self.sev_es.deferred && self.sev_es.scratch.is_none(),
            "left to userspace twice"
        );
        drop(page);
        if !self.can_map {
            self.log.push(Call::CannotPark);
            return false;
        }
        let (code, info1, info2) = (exit.code.0, exit.info1, exit.info2);
        self.log
            .push(Call::Park(code, info1, info2, scratch.is_some()));
        self.sev_es.ghcb = true;
        // What is pinned cannot vanish.
        self.page.vanish(0, 0);
        self.sev_es.exit = [code, info1, info2];
        if let Some(scratch) = scratch {
            self.sev_es.scratch = Some((scratch.area, scratch.buffer));
            self.sev_es.write_back = scratch.write_back;
        }
        Reply::no_action(0).write(&View::of(&self.page));
        true
    }

    fn parked(&self) -> Option<Exit> {
        let [code, info1, info2] = self.sev_es.exit;
        let code = ExitCode(code);
        self.sev_es.ghcb.then_some(Exit { code, info1, info2 })
    }

    fn flush_scratch(&mut self) {
        if !std::mem::take(&mut self.sev_es.write_back) {
            return;
        }
        if let Some((area, data)) = self.sev_es.scratch.take() {
            self.log.push(Call::Flush(data.clone()));
            match area {
                ScratchArea::Shared(range) => View::of(&self.page).write_buffer(range, &data),
                ScratchArea::External { gpa, .. } => {
                    if let Some(memory) = self.guest_memory(gpa, data.len()) {
                        memory.copy_from_slice(&data);
                    }
                }
            }
        }
    }

    fn finish(&mut self, parked: &Exit, returned: ValidBitmap) {
        assert!(self.sev_es.ghcb, "finished what is not mapped");
        let code = parked.code.0;
        self.log.push(Call::TraceExit(
            code,
            self.page.peek(0x398),
            self.page.peek(0x3a0),
        ));
        self.log.push(Call::Finish(returned));
        let page = View::of(&self.page);
        for (field, value) in [
            (Field::Rax, self.registers.rax),
            (Field::Rbx, self.registers.rbx),
            (Field::Rcx, self.registers.rcx),
            (Field::Rdx, self.registers.rdx),
        ] {
            if returned.contains(field) {
                field.store(&page, value);
            }
        }
        returned.union(ValidBitmap::REPLY).store(&page);
        self.sev_es.scratch = None;
        self.sev_es.ghcb = false;
    }

    fn trace_enter(&mut self, exit: Exit) {
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

    fn trace_msr_exit(&mut self, outcome: Outcome) {
        self.log
            .push(Call::TraceMsrExit(self.msr, outcome.to_kvm()));
    }

    fn count(&mut self, kind: Kind, action: Action) {
        self.counts.push((kind, action));
    }

    fn complain(&mut self, complaint: Complaint) {
        let text = match complaint {
            Complaint::Refused { exit, reason, .. } => format!("Refused {} {reason}", exit.code),
            other => format!("{other:?}"),
        };
        self.log.push(Call::Complain(text));
    }
}
