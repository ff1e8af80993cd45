// SPDX-License-Identifier: GPL-2.0
//! C beside Rust: the rules for what SEV-SNP guests alone may ask for.

use crate::exchange::exit::Exit;
use crate::exchange::page_image::PageImage;
use crate::exchange::page_list::{asked, PageList};
use crate::exchange::steps::Outcome;
use crate::judge::difference::Difference;
use crate::judge::page_list::expected;
use crate::kernel::handler::Handler;
use crate::launch::page_states::answer_for;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::features::Features;
use ghcb_rs::ghcb_abi::msr::GhcbMsr;
use ghcb_rs::ghcb_abi::page::{Field, PAGE_SIZE, SHARED_BUFFER_END, SHARED_BUFFER_OFFSET};
use ghcb_rs::ghcb_abi::psc::ELEMENT_SIZE;

/// The rule for a request in a page, where the infos that the guest found tell enough.
pub(super) fn by_page(before: &PageImage, c: &Outcome, rust: &Outcome) -> Option<Difference> {
    let word = |field: Field| before.word(field.offset());
    let plain = rust.went_on && rust.exception.is_none();
    let quiet = plain && rust.exits.is_empty();
    match ExitCode(word(Field::SwExitCode)) {
        ExitCode::PAGE_STATE_CHANGE if plain => partly_done(before, c, rust),
        ExitCode::GUEST_REQUEST | ExitCode::EXT_GUEST_REQUEST => {
            let failed = c.exits.as_slice() == [Exit::Errno(libc::EIO)];
            (quiet && failed && rust.infos == (2, 5)).then_some(Difference::RequestOutOfReach)
        }
        ExitCode::APIC_ID_LIST => {
            let told = [(0, 0), (2, 4), (2, 5)].contains(&rust.infos);
            (quiet && c.infos == (2, 6) && told).then_some(Difference::ApicIdList)
        }
        ExitCode::HV_FEATURES => {
            let more = c.infos.1 | Features::APIC_ID_LIST.0;
            let told = c.infos.0 == 0 && rust.infos == (0, more);
            (quiet && told).then_some(Difference::SnpGuestFeatures)
        }
        _ => None,
    }
}

/// The rule for hypervisor features by MSR.
pub(super) fn features(c: GhcbMsr, rust: GhcbMsr) -> Option<Difference> {
    let more = c.data() | Features::APIC_ID_LIST.0;
    (c.info() == rust.info() && rust.data() == more).then_some(Difference::SnpGuestFeatures)
}

/// Whether both did what they do with a list, and that is not the same.
fn partly_done(before: &PageImage, c: &Outcome, rust: &Outcome) -> Option<Difference> {
    let offset = before.word(Field::SwScratch.offset()) as usize % PAGE_SIZE;
    if !(SHARED_BUFFER_OFFSET..=SHARED_BUFFER_END - ELEMENT_SIZE).contains(&offset) {
        return None;
    }
    let list = PageList::of(before, offset);
    let of = |handler, outcome: &Outcome| {
        let want = expected(handler, &list, offset, |(gpa, pages, _)| {
            answer_for(gpa, pages) == 0
        });
        let got: Vec<_> = outcome.exits.iter().map(asked).collect();
        let all: Vec<_> = want.asked.iter().copied().map(Some).collect();
        let done = outcome.infos == (0, want.status.0) && got == all;
        done.then_some(want)
    };
    let (c, rust) = (of(Handler::C, c)?, of(Handler::Rust, rust)?);
    (c != rust).then_some(Difference::PscPartlyDone)
}
