// SPDX-License-Identifier: GPL-2.0

//! Page state change.
//!
//! Header and entries are read once, into a copy as long as the list, which is kept while userspace is asked. The
//! progress is written to the page at the end, with the reply.

use super::{
    deferred,
    page_list::{Next, PageList},
};
use crate::{
    ghcb_abi::{
        msr::MsrResponse,
        page::{BufferRange, GuestPage},
        psc::{PageOperation, PscEntry, PscHeader, PscStatus, ELEMENT_SIZE},
        reply::Reply,
        scratch::ScratchArea,
    },
    vmgexit::{
        flow::Flow,
        host::{AfterExit, End, Failure, PageRange, RangeAnswer, Scratch, Vcpu},
        request::page_state::PageStateChange,
    },
};

/// A reply that ends a list.
const fn reply(status: PscStatus) -> Reply {
    Reply::no_action(status.0)
}

impl PageStateChange {
    /// Begins.
    pub(crate) fn carry_out<V: Vcpu>(
        self,
        vcpu: &mut V,
        page: &V::Page,
    ) -> Result<Flow<V::Buffer>, Failure> {
        if !vcpu.can_change_pages() {
            return Ok(Flow::Reply(reply(PscStatus::GENERIC)));
        }
        let mut word = [0; ELEMENT_SIZE];
        page.read_bytes(self.header, &mut word)?;
        let header = PscHeader::decode(u64::from_le_bytes(word));
        let Some(place) = self.list(header) else {
            return Ok(Flow::Reply(reply(PscStatus::INVALID_HEADER)));
        };
        let Some(mut copy) = vcpu.allocate(place.len()) else {
            return Ok(Flow::Reply(reply(PscStatus::GENERIC)));
        };
        let offset = place.offset().saturating_add(ELEMENT_SIZE);
        let entries = BufferRange::new(offset, place.len().saturating_sub(ELEMENT_SIZE));
        if let (Some(entries), Some((first, rest))) =
            (entries, copy.as_mut().split_first_chunk_mut())
        {
            *first = word;
            page.read_bytes(entries, rest)?;
        }
        let area = ScratchArea::Shared(place);
        match PageList::new(copy.as_mut()).proceed() {
            Next::Ask(range) => {
                vcpu.ask_for_range(&range);
                Ok(Flow::ReplyLater(Some(Scratch { area, buffer: copy })))
            }
            Next::End(status) => {
                vcpu.put_back(page, area, &copy)?;
                Ok(Flow::Reply(reply(status)))
            }
        }
    }
}

/// Goes on with a list, when userspace has answered. C: `snp_complete_one_psc()`. May sleep.
///
/// If the answer is none that KVM knows of, KVM_RUN fails as in C, and the reply is still to be written.
pub fn go_on<V: Vcpu>(vcpu: &mut V) -> AfterExit {
    let answer = vcpu.range_answer();
    if answer == RangeAnswer::Invalid {
        return AfterExit::UNSUPPORTED;
    }
    let Some(copy) = vcpu.deferred_data() else {
        return AfterExit::RESUME;
    };
    let mut list = PageList::new(copy);
    let next = match answer {
        RangeAnswer::Done => {
            list.advance();
            list.proceed()
        }
        _ => Next::End(PscStatus::GENERIC),
    };
    let status = match next {
        Next::Ask(range) => {
            vcpu.ask_for_range(&range);
            return AfterExit::USERSPACE;
        }
        Next::End(status) => status,
    };
    if let Some(deferred) = vcpu.take_deferred(End::Completed) {
        deferred::finish(vcpu, &deferred, &reply(status));
    }
    AfterExit::RESUME
}

/// Changes the page that the MSR protocol names. C: `snp_begin_psc_msr()`.
///
/// # Errors
///
/// The response, if userspace is not asked.
pub(crate) fn by_msr<V: Vcpu>(
    vcpu: &mut V,
    gfn: u64,
    operation: PageOperation,
) -> Result<AfterExit, MsrResponse> {
    let is_known = matches!(operation, PageOperation::PRIVATE | PageOperation::SHARED);
    if !is_known || !vcpu.can_change_pages() {
        return Err(MsrResponse::PageStateChange {
            error: MsrResponse::PSC_ERROR,
        });
    }
    vcpu.ask_for_page(&PageRange {
        gpa: PscEntry::address(gfn),
        pages: 1,
        is_private: operation == PageOperation::PRIVATE,
        is_huge: false,
    });
    Ok(AfterExit::USERSPACE)
}
