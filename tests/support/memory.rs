// SPDX-License-Identifier: GPL-2.0

//! The scripted guest's memory.

use ghcb_rs::{
    ghcb_abi::{page::GuestPage, reply::ErrorReason, scratch::ScratchArea},
    vmgexit::host::{Failure, Fault, Memory, Purpose},
};

use super::{page::View, Call, Host, GPA};

impl Memory for Host {
    type Page = View;
    type Buffer = Vec<u8>;

    fn open(&mut self, gpa: u64) -> Result<View, Fault> {
        assert!(gpa % 0x1000 == 0);
        self.may_sleep();
        self.log.push(Call::Open(gpa));
        if gpa != GPA {
            return Err(Fault);
        }
        Ok(View::of(&self.page))
    }

    fn close(&mut self, _: View) {
        self.log.push(Call::Close);
    }

    fn fetch(
        &mut self,
        page: &View,
        area: ScratchArea,
        purpose: Purpose,
    ) -> Result<Vec<u8>, Failure> {
        let filled = purpose != Purpose::Receive;
        self.log.push(Call::Fetch(area));
        if !self.can_allocate {
            return Err(ErrorReason::INVALID_SCRATCH_AREA.into());
        }
        match area {
            ScratchArea::Shared(range) => {
                let mut bytes = vec![0; range.len()];
                if filled {
                    page.read_bytes(range, &mut bytes)?;
                }
                Ok(bytes)
            }
            ScratchArea::External { gpa, len } => self
                .guest_memory(gpa, len as usize)
                .map(|bytes| bytes.to_vec())
                .ok_or(ErrorReason::INVALID_SCRATCH_AREA.into()),
        }
    }

    fn put_back(&mut self, page: &View, area: ScratchArea, data: &Vec<u8>) -> Result<(), Fault> {
        self.log.push(Call::PutBack(area, data.clone()));
        match area {
            ScratchArea::Shared(range) => page.write_bytes(range, data),
            ScratchArea::External { gpa, .. } => {
                if let Some(memory) = self.guest_memory(gpa, data.len()) {
                    memory.copy_from_slice(data);
                }
                Ok(())
            }
        }
    }
}

impl Host {
    pub(super) fn guest_memory(&mut self, gpa: u64, len: usize) -> Option<&mut [u8]> {
        let (base, bytes) = self.memory.as_mut()?;
        let start = usize::try_from(gpa.checked_sub(*base)?).ok()?;
        bytes.get_mut(start..start.checked_add(len)?)
    }
}
