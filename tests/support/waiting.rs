// SPDX-License-Identifier: GPL-2.0

//! Exits that wait for userspace or a SIPI.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, exit_info::ExitInfo, page::Field, scratch::ScratchArea},
    vmgexit::{
        carry_out::deferred,
        host::{Deferred, End, Fault, HoldType, Scratch, Waiting},
        record::{Record, Words},
        request::registers::Registers,
        AfterExit,
    },
};

use super::{page::View, Call, Host};

/// What a vCPU holds between an exit and its completion: what `sev_migrate_from()` moves, C's
/// `vcpu_sev_es_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SevEs {
    /// Whether the page is mapped in `ghcb`.
    pub ghcb: bool,
    /// `ap_reset_hold_type`
    pub hold: Option<HoldType>,
    /// What is kept of an exit whose reply is pending.
    pub words: Words,
    /// `ghcb_sa` that is to be freed.
    pub ghcb_sa: Option<Vec<u8>>,
}

impl SevEs {
    /// Whether a reply is pending.
    pub fn is_pending(&self) -> bool {
        Words::is_mark(self.words.mark)
    }
}

/// Whether a copy of an area is in the vCPU, where KVM puts what userspace says.
fn is_in_vcpu(record: &Record) -> bool {
    let is_shared = matches!(record.area, Some(ScratchArea::Shared(_)));
    is_shared && record.exit.receives() && record.exit.code != ExitCode::PAGE_STATE_CHANGE
}

impl Waiting for Host {
    fn hold(&mut self, hold: HoldType) -> AfterExit {
        self.may_sleep();
        self.log.push(Call::Hold(hold));
        self.sev_es.hold = Some(hold);
        self.held
    }

    fn defer(
        &mut self,
        _: &View,
        exit: ExitInfo,
        scratch: Option<Scratch<Vec<u8>>>,
    ) -> Result<(), Fault> {
        assert!(
            !self.holds_anything_but_the_page(),
            "left to userspace twice"
        );
        let (code, info1, info2) = (exit.code.0, exit.info1, exit.info2);
        self.log
            .push(Call::Defer(code, info1, info2, scratch.is_some()));
        let record = Record {
            gfn: self.msr >> 12,
            exit,
            area: scratch.as_ref().map(|scratch| scratch.area),
        };
        self.sev_es.words = record.encode();
        if let Some(scratch) = scratch {
            if is_in_vcpu(&record) {
                self.in_vcpu = scratch.buffer;
            } else {
                self.sev_es.ghcb_sa = Some(scratch.buffer);
            }
        }
        Ok(())
    }

    fn take_deferred(&mut self, end: End) -> Option<Deferred<Vec<u8>>> {
        let record = self.sev_es.words.decode()?;
        self.sev_es.words.mark = 0;
        let copy = self.sev_es.ghcb_sa.take().or_else(|| {
            (is_in_vcpu(&record) && end == End::Completed)
                .then(|| std::mem::take(&mut self.in_vcpu))
        });
        Some(Deferred {
            gpa: record.gfn << 12,
            exit: record.exit,
            data: record.area.zip(copy),
        })
    }

    fn deferred_data(&mut self) -> Option<&mut [u8]> {
        self.sev_es.words.decode()?;
        self.sev_es.ghcb_sa.as_deref_mut()
    }

    fn park(&mut self, _: &View, exit: ExitInfo, registers: &Registers) -> Result<(), Fault> {
        assert!(!self.holds_anything_but_the_page(), "parked twice");
        if !self.can_map {
            self.log.push(Call::CannotPark);
            return Err(Fault);
        }
        self.log
            .push(Call::Park(exit.code.0, exit.info1, exit.info2));
        self.sev_es.ghcb = true;
        self.parked = exit.code.0;
        // What is pinned cannot vanish.
        self.page.vanish(0, 0);
        self.registers = *registers;
        Ok(())
    }
}

impl Host {
    /// The copy of a scratch area that KVM works on, with what the guest sends or receives.
    pub fn copy(&mut self) -> Option<&mut Vec<u8>> {
        let record = self.sev_es.words.decode()?;
        record.area?;
        if is_in_vcpu(&record) {
            Some(&mut self.in_vcpu)
        } else {
            self.sev_es.ghcb_sa.as_mut()
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

    /// KVM takes in what userspace did, and the vCPU runs.
    pub fn complete(&mut self) {
        self.snp_done();
        self.end(End::Completed);
        self.run();
    }

    /// KVM takes in what userspace did, or the vCPU is about to run; whether a reply was pending.
    pub fn end(&mut self, end: End) -> bool {
        let call = self.begin_call()();
        let was_pending = deferred::deliver(self, end);
        drop(call);
        was_pending
    }

    /// The vCPU runs: C's `sev_es_unmap_ghcb()`.
    pub fn run(&mut self) {
        assert!(!self.sev_es.is_pending(), "the guest gets no reply");
        self.sev_es.hold = None;
        if !std::mem::take(&mut self.sev_es.ghcb) {
            return;
        }
        let infos = (self.page.peek(0x398), self.page.peek(0x3a0));
        self.log
            .push(Call::TraceExit(self.parked, infos.0, infos.1));
        let registers = self.registers;
        let mut bitmap = [self.page.peek(0x3f0), self.page.peek(0x3f8)];
        for (field, value) in [
            (Field::Rax, registers.rax),
            (Field::Rbx, registers.rbx),
            (Field::Rcx, registers.rcx),
            (Field::Rdx, registers.rdx),
        ] {
            self.page.put(field.offset(), value);
            let bit = field.offset() / 8;
            bitmap[bit / 64] |= 1 << (bit % 64);
        }
        self.page.put(0x3f0, bitmap[0]);
        self.page.put(0x3f8, bitmap[1]);
    }

    /// What C returns with every reply that it completes.
    pub fn all_registers(&self) -> [(Field, u64); 4] {
        let registers = &self.registers;
        [
            (Field::Rax, registers.rax),
            (Field::Rbx, registers.rbx),
            (Field::Rcx, registers.rcx),
            (Field::Rdx, registers.rdx),
        ]
    }

    fn holds_anything_but_the_page(&self) -> bool {
        self.sev_es.ghcb || self.sev_es.is_pending() || self.sev_es.ghcb_sa.is_some()
    }

    /// Whether the page or a scratch area's copy is still held.
    pub fn holds_anything(&self) -> bool {
        self.page.is_viewed() || self.holds_anything_but_the_page()
    }
}
