// SPDX-License-Identifier: GPL-2.0
//! What must become of a list of page state changes: the rules of kvm_amd's C function, and where Rust differs.

use crate::exchange::page_list::{asked, Asked, PageList};
use crate::exchange::steps::{Attempt, Outcome, StepVm};
use crate::judge::check::Check;
use crate::judge::difference::Difference;
use crate::kernel::handler::Handler;
use crate::launch::page_states::{PageStates, ENCRYPTED, SIZE_2M};
use crate::report::ktap::Report;
use anyhow::Result;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::page::{PAGE_SIZE, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry, PscStatus};
use std::sync::Arc;

/// What comes of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What userspace is asked for, in turn.
    pub asked: Vec<Asked>,
    /// Result.
    pub status: PscStatus,
    /// The list afterwards.
    pub list: PageList,
}

/// What comes of `list` at `offset` of the page, if userspace does what `grants` says yes to, and refuses what comes
/// then.
pub fn expected(
    handler: Handler,
    list: &PageList,
    offset: usize,
    grants: impl FnMut(Asked) -> bool,
) -> Expected {
    let mut walk = Walk {
        asked: Vec::new(),
        list: list.clone(),
    };
    // What the list leaves of the room is zero.
    let room = PageList::room(offset);
    walk.list.entries.resize(room, PscEntry(0));
    let status = if usize::from(list.header.end_entry) >= room {
        PscStatus::INVALID_HEADER
    } else {
        walk.run(handler, grants)
    };
    Expected {
        asked: walk.asked,
        status,
        list: walk.list,
    }
}

struct Walk {
    asked: Vec<Asked>,
    list: PageList,
}

impl Walk {
    fn run(&mut self, handler: Handler, mut grants: impl FnMut(Asked) -> bool) -> PscStatus {
        let end = usize::from(self.list.header.end_entry);
        let mut current = usize::from(self.list.header.cur_entry);
        while current <= end {
            let first = self.list.entries[current];
            if first.cur_page() > first.pages() || first.gfn() % u64::from(first.pages()) != 0 {
                return PscStatus::INVALID_ENTRY;
            }
            let mut pages = u64::from(first.pages() - first.cur_page());
            if pages == 0 {
                current += 1;
                self.list.header.cur_entry = current as u16;
                continue;
            }
            let mut next = current + 1;
            while next <= end && continues(handler, first, pages, self.list.entries[next]) {
                pages += u64::from(self.list.entries[next].pages());
                next += 1;
            }
            let is_known = [PageOperation::PRIVATE, PageOperation::SHARED];
            if is_known.contains(&first.operation()) {
                let gfn = first.gfn() + u64::from(first.cur_page());
                let private = first.operation() == PageOperation::PRIVATE;
                let attributes =
                    if private { ENCRYPTED } else { 0 } | if first.is_huge() { SIZE_2M } else { 0 };
                let asked = (gfn * PAGE_SIZE as u64, pages, attributes);
                self.asked.push(asked);
                if !grants(asked) {
                    return PscStatus::GENERIC;
                }
            }
            for entry in &mut self.list.entries[current..next] {
                *entry = entry.with_cur_page(entry.pages());
            }
            current = next;
            self.list.header.cur_entry = current as u16;
        }
        PscStatus::SUCCESS
    }
}

/// Whether `next` is changed together with `first`, of which `pages` are left, and what has followed it.
fn continues(handler: Handler, first: PscEntry, pages: u64, next: PscEntry) -> bool {
    let is_begun = first.cur_page() != 0;
    // What is left of an entry is changed in small pages. C takes it for the first pages of the entry.
    let is_huge = first.is_huge() && !is_begun;
    Difference::PscPartlyDone.choose(handler, true, !is_begun)
        && next.operation() == first.operation()
        && next.gfn() == first.gfn() + pages
        && next.cur_page() == 0
        && next.is_huge() == is_huge
}

/// Judge what came of `list` at `offset` of the page, of which userspace did the first `grants` changes.
pub fn judge(
    check: &mut Check,
    handler: Handler,
    (list, offset): (&PageList, usize),
    grants: usize,
    outcome: &Outcome,
) {
    let mut left = grants;
    let want = expected(handler, list, offset, |_| {
        let granted = left > 0;
        left = left.saturating_sub(1);
        granted
    });
    let reply = outcome.reply();
    let got: Vec<Option<Asked>> = outcome.exits.iter().map(asked).collect();
    let asked: Vec<_> = want.asked.into_iter().map(Some).collect();
    check
        .went_on(outcome)
        .same("asked of userspace", got, asked)
        .same("SW_EXITINFO1", reply.info1, 0)
        .same("SW_EXITINFO2", reply.info2, want.status.0);
    let returned = ExitCode::PAGE_STATE_CHANGE.returned(0);
    check.contained(outcome, handler, returned, true);
    if let Some(pages) = &outcome.pages {
        let length = SHARED_BUFFER_END - SHARED_BUFFER_OFFSET;
        let after = pages.after.bytes(SHARED_BUFFER_OFFSET, length);
        check.that("the list afterwards", after == want.list.buffer(offset));
    }
}

/// A guest that has lists worked on, and userspace that serves it.
pub struct Lists<'a> {
    pub handler: Handler,
    pub report: &'a mut Report,
    pub vm: StepVm,
    pub states: Arc<PageStates>,
}

impl<'a> Lists<'a> {
    /// Launch it.
    pub fn new(report: &'a mut Report) -> Result<Self> {
        let mut vm = StepVm::new()?;
        let states = vm.vm().serve_page_states()?;
        Ok(Self {
            handler: report.handler(),
            report,
            vm,
            states,
        })
    }

    /// Each of `lists` comes to what it must; userspace refuses after so many grants with this answer.
    pub fn all(&mut self, name: &str, lists: &[(PageList, usize)], refusal: (usize, u64)) {
        let (handler, vm, states) = (self.handler, &mut self.vm, &self.states);
        self.report.test(name, || {
            let mut check = Check::new();
            for (index, (list, offset)) in lists.iter().enumerate() {
                states.refuse_after(refusal.0 as u64, refusal.1);
                let outcome = vm.take(Attempt::page(&list.request(*offset)))?;
                check.about(format!("list {index}: {:?}", list.header));
                judge(&mut check, handler, (list, *offset), refusal.0, &outcome);
            }
            states.grant();
            Ok(check.done())
        });
    }
}
