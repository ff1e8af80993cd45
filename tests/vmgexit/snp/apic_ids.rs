// SPDX-License-Identifier: GPL-2.0

//! APIC-ID list.

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, page::Field, reply::ErrorReason},
    vmgexit::{kind::Kind, AfterExit},
};

use super::{asked_of, assert_refused, assert_refused_after, infos, request};
use crate::support::{Call, Host};

const LIST: u64 = 0x60_0000;

fn list(gpa: u64, pages: u64) -> Host {
    let mut host = request(ExitCode::APIC_ID_LIST, gpa, 0, &[(Field::Rax, pages)]);
    host.memory = Some((LIST, vec![0xee; 0x2000]));
    host
}

/// The number of pages that the guest is told.
fn pages(host: &mut Host) -> u64 {
    assert_eq!(host.vmgexit(), AfterExit::RESUME);
    assert_eq!(infos(host), (0, 0));
    assert_eq!(host.counts[0].0, Kind::ApicIdList);
    let is_marked = host.page.peek(0x3f0) >> 63 == 1;
    assert!(is_marked, "RAX is not returned");
    host.page.peek(0x1f8)
}

#[test]
fn a_number_that_is_too_small_asks_for_the_size() {
    // Whatever the address: it is not looked at.
    for gpa in [0, LIST, LIST + 4, u64::MAX] {
        let mut host = list(gpa, 0);
        assert_eq!(pages(&mut host), 1);
        assert_eq!(asked_of(&host), []);
        assert!(host.memory.unwrap().1.iter().all(|byte| *byte == 0xee));
        for (count, room, needed) in [(1024, 0, 2), (1024, 1, 2), (2048, 2, 3)] {
            let mut host = list(gpa, room);
            host.snp.apic_ids = (0..count).collect();
            assert_eq!(pages(&mut host), needed);
            assert_eq!(asked_of(&host), []);
        }
    }
}

#[test]
fn the_first_page_of_memory_takes_a_list_as_any_other() {
    let mut host = list(0, 1);
    host.memory = Some((0, vec![0xee; 0x1000]));
    assert_eq!(pages(&mut host), 1);
    assert_eq!(host.memory.unwrap().1[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_list_holds_number_and_ids() {
    for room in [1, 2, u64::MAX] {
        let mut host = list(LIST, room);
        assert_eq!(pages(&mut host), 1);
        let memory = &host.memory.as_ref().unwrap().1;
        let words: Vec<_> = memory
            .chunks_exact(4)
            .take(5)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [3, 0, 1, 4, 0xeeee_eeee]);
    }
}

#[test]
fn what_is_wrong_with_a_list() {
    for (gpa, room) in [(LIST + 4, 1), (LIST | 0x800, 2), (1, u64::MAX)] {
        assert_refused(list(gpa, room), ErrorReason::INVALID_INPUT);
    }
    for gpa in [0, LIST] {
        let host = request(ExitCode::APIC_ID_LIST, gpa, 0, &[]);
        assert_refused(host, ErrorReason::MISSING_INPUT);
    }
    let gpa = LIST + 0x2000;
    let asked = [Call::WriteMessage(gpa)];
    assert_refused_after(list(gpa, 1), ErrorReason::INVALID_INPUT, &asked);
}
