// SPDX-License-Identifier: GPL-2.0

//! What KVM's C code makes of the events of SEV-SNP, written down from it, beside what is made of them here.
//!
//! C: `snp_begin_psc()`, `snp_do_psc()`, `snp_complete_one_psc()`, `sev_snp_ap_creation()`,
//! `snp_handle_guest_req()`, `snp_handle_ext_guest_req()`, of `arch/x86/kvm/svm/sev.c`.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, page::Field, psc::PscEntry},
    vmgexit::{host::RangeAnswer, AfterExit},
};
use proptest::prelude::*;

use super::{asked_of, infos, request};
use crate::support::{
    differential::psc::{self, End},
    snp::{FEATURES, RESERVED_GPA_BITS},
    Call, Host, GPA,
};

/// Names of what is meant to differ, as docs/differences.md has them, and as `each_difference_is_met()` and the other files here
/// show them.
pub(crate) const DIFFERENCES: [&str; 1] = ["psc-progress"];

/// A list, and what userspace says of each range: done, until it refuses.
#[derive(Clone, Debug)]
struct Case {
    offset: usize,
    cur_entry: u16,
    end_entry: u16,
    entries: Vec<u64>,
    refused: usize,
}

impl Case {
    /// The list's bytes, as many as the buffer takes.
    fn bytes(&self) -> Vec<u8> {
        let header = u64::from(self.cur_entry) | (u64::from(self.end_entry) << 16);
        let words = std::iter::once(header).chain(self.entries.iter().copied());
        let mut bytes: Vec<_> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(0xff0 - self.offset);
        bytes
    }

    fn host(&self) -> Host {
        let scratch = GPA + self.offset as u64;
        let fields = [(Field::SwScratch, scratch)];
        let host = request(ExitCode::PAGE_STATE_CHANGE, 0, 0, &fields);
        for word in (0x800..0xff0).step_by(8) {
            host.page.put(word, 0);
        }
        host.page.put_bytes(self.offset, &self.bytes());
        host
    }

    /// What C makes of it. `quirk`: see `psc`.
    fn in_c(&self, quirk: bool) -> End {
        let mut answers = 0;
        let answer = || {
            answers += 1;
            if answers <= self.refused {
                RangeAnswer::Done
            } else {
                RangeAnswer::Failed
            }
        };
        let mut end = psc::run(self.host().page.bytes(), self.offset, quirk, answer);
        end.page = end.page[0x800..0xff0].to_vec();
        end
    }
}

/// What is made of a list here.
fn ours(case: &Case) -> End {
    let mut host = case.host();
    let mut outcome = host.vmgexit();
    let mut answers = 0;
    while outcome == AfterExit::USERSPACE {
        let answer = if answers < case.refused {
            RangeAnswer::Done
        } else {
            RangeAnswer::Failed
        };
        answers += 1;
        outcome = host.range_done(answer);
    }
    let asked = asked_of(&host).into_iter().filter_map(|call| match call {
        Call::Range(range) => Some(range),
        _ => None,
    });
    End {
        asked: asked.collect(),
        info2: infos(&host).1,
        page: host.page.bytes()[0x800..0xff0].to_vec(),
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let near =
        (0..6u64, 0..4u8, any::<bool>(), 0..8u16).prop_map(|(gfn, operation, huge, done)| {
            let gfn = if huge { gfn * 512 } else { 0x1000 + gfn };
            let operation = ghcb_rs::ghcb_abi::psc::PageOperation(operation);
            let done = [1, 0, 100, 0, 0, 0, 0, 0][usize::from(done)];
            PscEntry::new(gfn, operation, huge).with_cur_page(done).0
        });
    let word = prop_oneof![12 => near, 1 => any::<u64>()];
    let place = prop_oneof![4 => Just(0x800), 1 => 0x800..0xfe8_usize];
    let entries = proptest::collection::vec(word, 0..60);
    (
        place,
        0..5u16,
        prop_oneof![9 => 0..61u16, 1 => any::<u16>()],
        entries,
        0..20_usize,
    )
        .prop_map(|(offset, cur_entry, end_entry, entries, refused)| Case {
            offset,
            cur_entry,
            end_entry,
            entries,
            refused,
        })
}

proptest! {
    #[test]
    fn a_list_ends_as_in_c(case in cases()) {
        let c = case.in_c(true);
        let meant = case.in_c(false);
        let is_partly_done = case.entries.iter().any(|word| PscEntry(*word).cur_page() != 0);
        prop_assert!(is_partly_done || c == meant);
        prop_assert_eq!(ours(&case), meant);
    }

    #[test]
    fn a_vcpu_is_created_as_in_c(
        operation in prop_oneof![8 => 0..4u64, 1 => any::<u64>()],
        apic_id in 0..6u64,
        vmsa in prop_oneof![any::<u64>(), (0..0x1000u64).prop_map(|page| page << 12)],
        features in prop_oneof![3 => Just(FEATURES), 1 => any::<u64>()],
        is_valid: bool,
    ) {
        let info1 = (apic_id << 32) | operation;
        let fields = [(Field::Rax, features)];
        let fields = if is_valid { &fields[..] } else { &[] };
        let mut host = request(ExitCode::AP_CREATION, info1, vmsa, fields);
        prop_assert_eq!(host.vmgexit(), AfterExit::RESUME);

        let (lower, upper) = (info1 as u32, (info1 >> 32) as u32);
        let is_known = [0, 1, 4].contains(&upper);
        let is_page = vmsa % 0x1000 == 0 && vmsa & RESERVED_GPA_BITS == 0;
        let (reply, asked) = match lower {
            0 | 1 | 3.. if !is_valid => ((2, 4), None),
            0 | 1 if is_known && features == FEATURES && is_page && vmsa % (2 << 20) != 0 => {
                ((0, 0), Some(Call::Vmsa(upper, Some(vmsa), lower == 1)))
            }
            2 if is_known => ((0, 0), Some(Call::Vmsa(upper, None, true))),
            _ => ((2, 5), None),
        };
        prop_assert_eq!(infos(&host), reply);
        prop_assert_eq!(asked_of(&host), asked.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_partly_done_entry_differs() {
    use super::page_list::{entry, huge, SHARED};
    let first = huge(0x200, SHARED).with_cur_page(100);
    let case = Case {
        offset: 0x800,
        cur_entry: 0,
        end_entry: 1,
        entries: vec![first.0, entry(0x200 + 412, SHARED).0],
        refused: 9,
    };
    // Its last page is one that no entry is about.
    let c = case.in_c(true).asked;
    assert_eq!((c.len(), (c[0].gpa >> 12) + c[0].pages - 1), (1, 0x400));
    let here = ours(&case).asked;
    assert_eq!((here.len(), here[0].pages, here[1].pages), (2, 412, 1));
}
