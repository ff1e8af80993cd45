// SPDX-License-Identifier: GPL-2.0

//! Exits of the scripted vCPU that wait for userspace or a SIPI.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap,
        exit_code::ExitCode,
        page::{Field, GuestPage, Qword},
        reply::{EventInjection, Reply},
        scratch::ScratchArea,
    },
    vmgexit::{
        vcpu::{Deferred, Exit, Fault, HoldType, Scratch, Waiting},
        Outcome,
    },
};

use super::{page::View, Call, Host, GPA};

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
    /// Whether userspace has refused the MSR access that is deferred.
    pub refused: bool,
    /// What is in the vCPU for a deferred exit: the area, and its bytes.
    pub kept: Option<(ScratchArea, Vec<u8>)>,
}

impl Waiting for Host {
    fn hold(&mut self, hold: HoldType) -> Outcome {
        self.may_sleep();
        self.log.push(Call::Hold(hold));
        self.sev_es.hold = Some(hold);
        self.held
    }

    fn end_hold(&mut self) {
        self.sev_es.hold = None;
    }

    fn defer(
        &mut self,
        _: &View,
        exit: Exit,
        scratch: Option<Scratch<Vec<u8>>>,
    ) -> Result<(), Option<Scratch<Vec<u8>>>> {
        assert!(
            !self.sev_es.ghcb && !self.sev_es.deferred,
            "left to userspace twice"
        );
        if !self.can_defer {
            return Err(scratch);
        }
        let (code, info1, info2) = (exit.code.0, exit.info1, exit.info2);
        self.log
            .push(Call::Defer(code, info1, info2, scratch.is_some()));
        self.sev_es.deferred = true;
        self.sev_es.exit = [code, info1, info2];
        self.sev_es.kept = scratch.map(|scratch| {
            assert!(scratch.write_back && matches!(scratch.area, ScratchArea::Shared(_)));
            (scratch.area, scratch.buffer)
        });
        Ok(())
    }

    fn take_deferred(&mut self) -> Option<Deferred<Vec<u8>>> {
        let [code, info1, info2] = self.sev_es.exit;
        let code = ExitCode(code);
        std::mem::take(&mut self.sev_es.deferred).then(|| Deferred {
            gpa: GPA,
            exit: Exit { code, info1, info2 },
            data: self.sev_es.kept.take(),
            is_refused: std::mem::take(&mut self.sev_es.refused),
        })
    }

    fn park(
        &mut self,
        _: &View,
        exit: Exit,
        scratch: Option<Scratch<Vec<u8>>>,
    ) -> Result<(), Fault> {
        assert!(
            !self.sev_es.ghcb && !self.sev_es.deferred && self.sev_es.scratch.is_none(),
            "left to userspace twice"
        );
        if !self.can_map {
            self.log.push(Call::CannotPark);
            return Err(Fault);
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
        Reply::no_action(0).write(&View::of(&self.page))
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
                ScratchArea::Shared(range) => {
                    assert_eq!(View::of(&self.page).write_bytes(range, &data), Ok(()));
                }
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
        let store = |at, value| assert_eq!(page.write(at, value), Ok(()));
        for (field, value) in [
            (Field::Rax, self.registers.rax),
            (Field::Rbx, self.registers.rbx),
            (Field::Rcx, self.registers.rcx),
            (Field::Rdx, self.registers.rdx),
        ] {
            if returned.contains(field) {
                store(field.qword(), value);
            }
        }
        let (low, high) = returned.union(ValidBitmap::REPLY).to_words();
        store(Qword::VALID_BITMAP_LOW, low);
        store(Qword::VALID_BITMAP_HIGH, high);
        self.sev_es.scratch = None;
        self.sev_es.ghcb = false;
    }
}

impl Host {
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

    /// C is about to take over: what is deferred becomes what C would have left.
    pub fn hand_back(&mut self) {
        if std::mem::take(&mut self.sev_es.deferred) {
            self.sev_es.ghcb = true;
            self.sev_es.scratch = self.sev_es.kept.take();
            self.sev_es.write_back = self.sev_es.scratch.is_some();
            let reply = if std::mem::take(&mut self.sev_es.refused) {
                Reply::exception(EventInjection::GP_WITHOUT_ERROR_CODE)
            } else {
                Reply::no_action(0)
            };
            assert_eq!(reply.write(&View::of(&self.page)), Ok(()));
        }
    }

    /// Userspace refuses an MSR access, as in C's `svm_complete_emulated_msr()` and what replaces it.
    pub fn refuse_msr(&mut self) {
        if self.sev_es.deferred {
            self.sev_es.refused = true;
        } else {
            assert!(self.sev_es.ghcb, "C dereferences a null pointer");
            self.page.put(0x398, 1);
            self.page
                .put(0x3a0, EventInjection::GP_WITHOUT_ERROR_CODE.0);
        }
    }

    /// Whether the page or a scratch area's copy is still held.
    pub fn holds_anything(&self) -> bool {
        self.page.is_viewed()
            || self.sev_es.ghcb
            || self.sev_es.deferred
            || self.sev_es.scratch.is_some()
    }
}
