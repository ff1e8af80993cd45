// SPDX-License-Identifier: GPL-2.0

//! What is meant to differ from the C handler, by the names that docs/differences.md gives it.

use super::{
    super::{
        case::{Case, MEMORY},
        host::{DR7, TSC, TSC_AUX},
        Call, GPA,
    },
    c_model::{answer, mark, put_bytes, word, Asked, Result, EFAULT, EINVAL, EIO, ENOMEM},
    psc,
    snp::{self, APIC_IDS},
};

/// A VMGEXIT, and whether it got past the checks that all events have in common.
pub(crate) struct Exchange<'a> {
    pub(crate) case: &'a Case,
    pub(crate) accepted: bool,
}

/// A difference.
pub(crate) struct Difference {
    pub(crate) name: &'static str,
    /// Changes what C does into what is done here.
    pub(crate) apply: fn(&Exchange<'_>, &mut Result),
}

const fn difference(name: &'static str, apply: fn(&Exchange<'_>, &mut Result)) -> Difference {
    Difference { name, apply }
}

/// In an order in which each leaves the next something to look at.
pub(crate) const DIFFERENCES: [Difference; 23] = [
    difference("msr-snp-request", msr_snp_request),
    difference("msr-reserved-bits", msr_reserved_bits),
    difference("hv-features", hv_features),
    difference("snp-event-first", snp_event_first),
    difference("rdtsc", rdtsc),
    difference("rdtscp", rdtscp),
    difference("read-dr7", read_dr7),
    difference("emulation-exception", emulation_exception),
    difference("wrmsr-passthrough", wrmsr_passthrough),
    difference("ioio-size", ioio_size),
    difference("string-too-long", string_too_long),
    difference("scratch-unreadable", scratch_unreadable),
    difference("no-memory", no_memory),
    difference("no-memory", no_memory_shared),
    difference("snp-features", snp_features),
    difference("apic-id-list", apic_id_list),
    difference("psc-partly-done", psc_partly_done),
    difference("request-out-of-reach", request_out_of_reach),
    difference("request-no-answer", request_no_answer),
    difference("certificates-unanswered", certificates_unanswered),
    difference("no-memory", no_memory_snp),
    difference("request-rate", request_rate),
    difference("returned-registers", returned_registers),
];

impl Exchange<'_> {
    /// Whether this is that event, and the request a whole one.
    fn is(&self, code: u64) -> bool {
        self.accepted && self.case.msr == GPA && self.case.code == code
    }

    /// The page as it was.
    fn page(&self) -> Vec<u64> {
        let host = self.case.host();
        (0..512).map(|word| host.page.peek(word * 8)).collect()
    }

    /// Makes the result one in which nothing is done but to answer.
    fn only_answer(&self, result: &mut Result, info1: u64, info2: u64) {
        let mut page = self.page();
        answer(&mut page, info1, info2);
        // C: `sev_es_sync_to_ghcb()`, of what the request has brought.
        for register in [word::RAX, word::RBX, word::RCX, word::RDX] {
            if (self.case.valid >> register) & 1 == 0 {
                page[register] = 0;
            }
        }
        result.page = Some(page);
        (result.code, result.later) = (1, 0);
        result.memory = self.case.host().memory.unwrap().1;
        result.asked.retain(|asked| {
            matches!(
                asked,
                Asked::SetCpl(_) | Asked::SetXcr0(_) | Asked::SetXss(_)
            )
        });
    }
}

/// Requests in the MSR that are for SEV-SNP fail; C ends the VM, or leaves the value.
fn msr_snp_request(exit: &Exchange<'_>, result: &mut Result) {
    let request = exit.case.msr & 0xfff;
    // What C answers to a guest with SEV-SNP.
    if exit.case.snp.is_some() && request != 0x16 {
        return;
    }
    result.msr = match request {
        0x10 => 0xffff_ffff_ffff_f011,
        0x12 => 0xffff_ffff_ffff_f013,
        0x14 => 0x8000_0000_0000_0015,
        0x16 => 0x0000_0001_0000_0017,
        _ => return,
    };
    (result.code, result.asked) = (1, Vec::new());
}

/// A response to CPUID in the MSR has zeros in its reserved bits; C leaves those of the request.
fn msr_reserved_bits(exit: &Exchange<'_>, result: &mut Result) {
    if exit.case.msr & 0xfff == 4 {
        result.msr &= !0x3fff_f000;
    }
}

/// No feature is offered to a guest that cannot use it.
fn hv_features(exit: &Exchange<'_>, result: &mut Result) {
    if exit.case.snp.is_some() {
        return;
    }
    if exit.case.msr & 0xfff == 0x80 {
        result.msr = 0x81;
    }
    if exit.is(0x8000_fffd) {
        exit.only_answer(result, 0, 0);
    }
}

/// An event for SEV-SNP is invalid before its fields are missed; so says C of the four that it knows.
fn snp_event_first(exit: &Exchange<'_>, result: &mut Result) {
    let unknown_to_c = matches!(
        exit.case.code,
        0x8000_0014..=0x8000_0018 | 0x8000_001a | 0x8000_0020 | 0x8000_0021
    );
    let is_answered = exit.case.snp.is_some() && exit.case.code == 0x8000_0017;
    let reason = result.page.as_ref().map(|page| page[word::INFO2]);
    if unknown_to_c && !is_answered && reason == Some(4) {
        exit.only_answer(result, 2, 6);
    }
}

/// RDTSC is answered; C ends KVM_RUN with an internal error.
fn rdtsc(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x6e) {
        exit.only_answer(result, 0, 0);
        put_time(result);
    }
}

/// RDTSCP is answered; C injects #UD.
fn rdtscp(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x87) {
        exit.only_answer(result, 0, 0);
        put_time(result);
        result.page.as_mut().unwrap()[word::RCX] = TSC_AUX;
    }
}

fn put_time(result: &mut Result) {
    let page = result.page.as_mut().unwrap();
    (page[word::RAX], page[word::RDX]) = (TSC & 0xffff_ffff, TSC >> 32);
}

/// DR7 is kept for the guest, and read as it was written; C forgets it.
fn read_dr7(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x27) {
        result.page.as_mut().unwrap()[word::RAX] = DR7;
    }
    if exit.is(0x37) {
        result.asked.push(Asked::SetDr7(exit.case.registers.rax));
    }
}

/// The exception of an emulated instruction is the reply; C has the hardware inject it into the guest's
/// handler of #VC.
fn emulation_exception(exit: &Exchange<'_>, result: &mut Result) {
    if let (false, Some(&Asked::Inject(event))) = (exit.is(0x87), result.asked.last()) {
        result.asked.pop();
        answer(result.page.as_mut().unwrap(), 1, event);
    }
}

/// A write of an MSR that KVM does not intercept faults; C ends KVM_RUN.
fn wrmsr_passthrough(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x7c) && result.code == EINVAL {
        let asked = result.asked.clone();
        exit.only_answer(result, 1, 0xffff_ffff_8000_030d);
        result.asked = asked;
    }
}

/// An IOIO event with several sizes is invalid; C transfers 3, 5, 6 or 7 bytes at once.
fn ioio_size(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x7b) && [3, 5, 6, 7].contains(&((exit.case.info[0] >> 4) & 7)) {
        exit.only_answer(result, 2, 5);
    }
}

/// INS and OUTS of more than INT_MAX bytes have no scratch area; C ends KVM_RUN.
fn string_too_long(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is(0x7b) && result.code == EINVAL {
        exit.only_answer(result, 2, 3);
    }
}

/// A scratch area that cannot be read is invalid; C ends KVM_RUN.
fn scratch_unreadable(exit: &Exchange<'_>, result: &mut Result) {
    if result.code == EFAULT {
        exit.only_answer(result, 2, 3);
    }
}

/// Without memory for its copy a scratch area is invalid; C ends KVM_RUN.
fn no_memory(exit: &Exchange<'_>, result: &mut Result) {
    if result.code == ENOMEM {
        exit.only_answer(result, 2, 3);
    }
}

/// The same in the shared buffer, of which C makes no copy.
fn no_memory_shared(exit: &Exchange<'_>, result: &mut Result) {
    let copies = result
        .asked
        .iter()
        .any(|asked| matches!(asked, Asked::StringIo(..) | Asked::Mmio(..)));
    if copies && !exit.case.can_allocate {
        exit.only_answer(result, 2, 3);
    }
}

/// A guest with SEV-SNP is told of the APIC-ID list, too.
fn snp_features(exit: &Exchange<'_>, result: &mut Result) {
    if exit.case.snp.is_none() {
        return;
    }
    if exit.case.msr & 0xfff == 0x80 {
        result.msr = 0x1_3081;
    }
    if exit.is(0x8000_fffd) {
        answer(result.page.as_mut().unwrap(), 0, 0x13);
    }
}

/// The APIC-ID list is answered; C refuses the event.
fn apic_id_list(exit: &Exchange<'_>, result: &mut Result) {
    let case = exit.case;
    if case.snp.is_none() || !exit.is(0x8000_0017) {
        return;
    }
    if (case.valid >> word::RAX) & 1 == 0 {
        exit.only_answer(result, 2, 4);
        return;
    }
    let (gpa, has_room) = (case.info[0], case.registers.rax != 0);
    let list = [APIC_IDS.len() as u32].into_iter().chain(APIC_IDS);
    let list: Vec<_> = list.flat_map(u32::to_le_bytes).collect();
    let start = gpa.wrapping_sub(MEMORY) as usize;
    if has_room {
        let place = result
            .memory
            .get_mut(start..start.saturating_add(list.len()));
        match place {
            Some(place) if gpa % 0x1000 == 0 => place.copy_from_slice(&list),
            _ => {
                exit.only_answer(result, 2, 5);
                return;
            }
        }
    }
    let memory = result.memory.clone();
    exit.only_answer(result, 0, 0);
    result.memory = memory;
    // That many pages.
    result.page.as_mut().unwrap()[word::RAX] = 1;
}

impl Exchange<'_> {
    /// Whether this is a guest request to a pair of pages.
    fn is_guest_request(&self) -> bool {
        let [request, response] = self.case.info;
        let is_pair = request % 0x1000 == 0 && response % 0x1000 == 0 && request != response;
        self.case.snp.is_some() && (self.is(0x8000_0011) || self.is(0x8000_0012)) && is_pair
    }
}

/// Of a partly done entry the rest alone is carried out; C looks for the entry to merge where none is about.
fn psc_partly_done(exit: &Exchange<'_>, result: &mut Result) {
    let page = result.page.as_mut();
    let Some(page) = page.filter(|page| exit.is(0x8000_0010) && page[word::INFO1] == 0) else {
        return;
    };
    if exit.case.snp.is_none() || !snp::of(exit.case).can_change_pages {
        return;
    }
    let end = snp::list(exit.case, &exit.page(), false);
    put_bytes(page, 0x800, &end.page[0x800..0xff0]);
    page[word::INFO2] = end.info2;
    result
        .asked
        .retain(|asked| !matches!(asked, Asked::Snp(Call::Range(_))));
    let ranges = end
        .asked
        .iter()
        .map(|range| Asked::Snp(Call::Range(*range)));
    result.asked.extend(ranges);
    result.code = i32::from(end.asked.is_empty());
}

/// Pages that cannot be reached are invalid; C ends KVM_RUN.
fn request_out_of_reach(exit: &Exchange<'_>, result: &mut Result) {
    if !exit.is_guest_request() || ![result.code, result.later].contains(&EIO) {
        return;
    }
    answer(result.page.as_mut().unwrap(), 2, 5);
    if result.code == EIO {
        result.code = 1;
    } else {
        result.later = 1;
    }
}

/// A guest that runs although the firmware has not answered is told so.
fn request_no_answer(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is_guest_request() && [result.code, result.later].contains(&-110) {
        answer(result.page.as_mut().unwrap(), 0, 2 << 32);
    }
}

/// A guest that runs although userspace's answer was none is told so.
fn certificates_unanswered(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is_guest_request() && result.later == EINVAL {
        answer(result.page.as_mut().unwrap(), 0, 0xffff_ffff << 32);
    }
}

/// Without memory for a copy a guest request is to be tried again, and a list fails; C needs none.
fn no_memory_snp(exit: &Exchange<'_>, result: &mut Result) {
    let infos = result
        .page
        .as_ref()
        .map(|page| (page[word::INFO1], page[word::INFO2]));
    if exit.case.can_allocate || exit.case.snp.is_none() {
        return;
    }
    let [request, _] = exit.case.info;
    let is_there = (MEMORY..MEMORY + exit.case.memory().len() as u64).contains(&request);
    if exit.is_guest_request() && is_there {
        exit.only_answer(result, 0, 2 << 32);
    }
    let is_list = exit.is(0x8000_0010) && infos.is_some_and(|(info1, _)| info1 == 0);
    if is_list && infos != Some((0, psc::INVALID_HEADER)) {
        exit.only_answer(result, 0, psc::GENERIC);
    }
}

/// A guest that asks too often is told so; C has no limit.
fn request_rate(exit: &Exchange<'_>, result: &mut Result) {
    if exit.is_guest_request() && !snp::of(exit.case).may_ask {
        exit.only_answer(result, 0, 2 << 32);
    }
}

/// Only what the event returns is written and marked; C hands back RAX, RBX, RCX and RDX on each exit.
fn returned_registers(exit: &Exchange<'_>, result: &mut Result) {
    use word::{INFO1, INFO2, RAX, RBX, RCX, RDX};
    let Some(page) = &mut result.page else {
        return;
    };
    let case = exit.case;
    // C completes a hold.
    if result.asked.contains(&Asked::HoldByPage) {
        return;
    }
    let returned: &[usize] = match (case.code, case.info[0]) {
        (0x72, _) => &[RAX, RBX, RCX, RDX],
        (0x87, _) => &[RAX, RCX, RDX],
        (0x6e | 0x6f, _) | (0x7c, 0) => &[RAX, RDX],
        (0x27 | 0x81, _) => &[RAX],
        (0x7b, io) if io & 5 == 1 => &[RAX],
        // Those of SEV-SNP are refused to a guest without.
        (0x8000_0017, _) => &[RAX],
        (0x8000_001a, 0) => &[],
        (0x8000_0012 | 0x8000_001a, _) => &[RBX],
        (0x8000_0020, _) => &[RBX, RDX],
        (0x8000_0021, _) => &[RCX],
        _ => &[],
    };
    let before = exit.page();
    for register in [RAX, RBX, RCX, RDX] {
        if !returned.contains(&register) {
            page[register] = before[register];
        }
    }
    mark(page, &[returned, &[INFO1, INFO2]].concat());
}
