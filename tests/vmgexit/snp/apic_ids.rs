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
    assert_eq!(host.vmgexit(), AfterExit::Resume);
    assert_eq!(infos(host), (0, 0));
    assert_eq!(host.counts[0].0, Kind::ApicIdList);
    let is_marked = host.page.peek(0x3f0) >> 63 == 1;
    assert!(is_marked, "RAX is not returned");
    host.page.peek(0x1f8)
}

#[test]
fn the_size_is_told_whatever_rax_says() {
    let mut host = list(0, 77);
    assert_eq!(pages(&mut host), 1);
    let mut host = list(0, 0);
    host.snp.apic_ids = (0..1024).collect();
    assert_eq!(pages(&mut host), 2);
    assert_eq!(asked_of(&host), []);
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
fn too_little_room_holds_nothing() {
    let mut host = list(LIST, 0);
    assert_eq!(pages(&mut host), 1);
    assert_eq!(asked_of(&host), []);
    let mut host = list(LIST, 1);
    host.snp.apic_ids = (0..2000).collect();
    assert_eq!(pages(&mut host), 2);
    assert_eq!(asked_of(&host), []);
}

#[test]
fn what_is_wrong_with_a_list() {
    assert_refused(list(LIST + 4, 1), ErrorReason::INVALID_INPUT);
    for gpa in [0, LIST] {
        let host = request(ExitCode::APIC_ID_LIST, gpa, 0, &[]);
        assert_refused(host, ErrorReason::MISSING_INPUT);
    }
    let gpa = LIST + 0x2000;
    let asked = [Call::WriteMessage(gpa)];
    assert_refused_after(list(gpa, 1), ErrorReason::INVALID_INPUT, &asked);
}
