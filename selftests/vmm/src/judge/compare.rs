// SPDX-License-Identifier: GPL-2.0
//! C beside Rust: two outcomes of the same attempt, and by which deliberate difference they may differ.

use crate::exchange::exit::Exit;
use crate::exchange::page_image::PageImage;
use crate::exchange::request::PageFields;
use crate::exchange::steps::Outcome;
use crate::judge::compare_snp;
use crate::judge::difference::Difference;
use crate::launch::kind::Kind;
use ghcb_rs::ghcb_abi::exit_code::ExitCode;
use ghcb_rs::ghcb_abi::ioio::IoInfo;
use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest};
use ghcb_rs::ghcb_abi::page::Field;
use ghcb_rs::ghcb_abi::reply::EventInjection;

const REGISTERS: [Field; 4] = [Field::Rax, Field::Rbx, Field::Rcx, Field::Rdx];
/// `KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON`.
const UNEXPECTED_EXIT: u32 = 4;

/// `MSR_IA32_TSC`.
const TSC: u32 = 0x10;

/// How two outcomes compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In nothing different.
    Same,
    /// Different as it is meant to be.
    Meant(Difference),
    /// Different, and no rule says so.
    Unexplained(String),
}

/// Compare what `c` and `rust` brought for a request in the MSR with the value `msr`, or in a page.
pub fn verdict(msr: Option<u64>, c: &Outcome, rust: &Outcome) -> Verdict {
    if c == rust {
        return Verdict::Same;
    }
    let explained = match (&c.pages, msr) {
        (Some(pages), _) => by_page(&pages.before, c, rust),
        (None, Some(msr)) => by_msr(GhcbMsr(msr), c, rust),
        (None, None) => None,
    };
    match explained {
        Some(difference) => Verdict::Meant(difference),
        None => Verdict::Unexplained(differences(c, rust)),
    }
}

/// The rules for the MSR protocol.
fn by_msr(msr: GhcbMsr, c: &Outcome, rust: &Outcome) -> Option<Difference> {
    let rust_went_on = rust.went_on && rust.exception.is_none() && rust.exits.is_empty();
    match msr.request() {
        MsrRequest::PreferredGpa
        | MsrRequest::RegisterGpa { .. }
        | MsrRequest::PageStateChange { .. }
        | MsrRequest::RunVmpl { .. } => {
            (rust_went_on && (c.msr == msr.0) && GhcbMsr(rust.msr).info().0 == msr.info().0 + 1)
                .then_some(Difference::SnpMsrRequests)
        }
        MsrRequest::HypervisorFeatures if Kind::chosen().is_snp() => {
            let told = rust_went_on && c.exits.is_empty();
            let both = (GhcbMsr(c.msr), GhcbMsr(rust.msr));
            told.then(|| compare_snp::features(both.0, both.1))?
        }
        MsrRequest::HypervisorFeatures => (rust_went_on
            && c.exits.is_empty()
            && GhcbMsr(rust.msr).data() == 0
            && GhcbMsr(rust.msr).info() == GhcbMsr(c.msr).info())
        .then_some(Difference::SnpFeatures),
        MsrRequest::Cpuid { .. } => {
            let used = 0xffff_ffff_c000_0fffu64;
            (rust_went_on && c.exits.is_empty() && c.msr & used == rust.msr)
                .then_some(Difference::MsrCpuidBits)
        }
        _ => None,
    }
}

/// The rules for the page.
fn by_page(before: &PageImage, c: &Outcome, rust: &Outcome) -> Option<Difference> {
    let word = |field: Field| before.word(field.offset());
    let code = ExitCode(word(Field::SwExitCode));
    let info1 = word(Field::SwExitInfo1);
    let replied = told(rust);
    let plain = rust.went_on && rust.exception.is_none();
    let refused = plain && rust.exits.is_empty() && replied.info1 == 2;
    let errno = |number| c.exits.as_slice() == [Exit::Errno(number)];

    if Kind::chosen().is_snp() {
        if let Some(difference) = compare_snp::by_page(before, c, rust) {
            return Some(difference);
        }
    }

    if code == ExitCode::RDTSC && plain && rust.exits.is_empty() {
        let unexpected = Exit::InternalError {
            suberror: UNEXPECTED_EXIT,
        };
        return (c.exits.as_slice() == [unexpected]).then_some(Difference::Rdtsc);
    }
    if code == ExitCode::RDTSCP && plain && rust.exits.is_empty() {
        let undefined = Some((EventInjection::UD_VECTOR, 0));
        return (c.exception == undefined).then_some(Difference::Rdtscp);
    }
    if code == ExitCode::IOIO {
        let io = IoInfo(info1);
        if io.size().is_none() && io.size_bits() != 0 && refused && replied.info2 == 5 {
            return Some(Difference::IoSize);
        }
        if io.is_string() && refused && replied.info2 == 3 && errno(libc::EINVAL) {
            return Some(Difference::StringCount);
        }
    }
    if refused && replied.info2 == 3 && errno(libc::EFAULT) {
        return Some(Difference::ScratchUnreadable);
    }
    if code == ExitCode::MSR && info1 != 0 && errno(libc::EINVAL) {
        let fault = EventInjection::GP_WITHOUT_ERROR_CODE.vector();
        let asked = EventInjection(replied.info2).vector();
        let told = plain && rust.exits.is_empty() && replied.info1 == 1 && asked == fault;
        return told.then_some(Difference::WrmsrPassthrough);
    }
    let unknown_to_c = (0x8000_0014..=0x8000_0021).contains(&code.0);
    if unknown_to_c && refused && replied.info2 == 6 && c.infos == (2, 4) {
        return Some(Difference::SnpEventFirst);
    }
    if let (Some((vector, _)), true) = (c.exception, plain) {
        let asked = EventInjection(replied.info2);
        let same = replied.info1 == 1 && asked.vector() == vector && asked.is_acceptable();
        return same.then_some(Difference::Exception);
    }
    let (c, rust) = (essence(before, c), essence(before, rust));
    if c == rust {
        return Some(Difference::ReplyFields);
    }
    if code == ExitCode::HV_FEATURES && rust.info2 == 0 {
        let rest = (Essence {
            info2: 0,
            ..c.clone()
        }) == rust;
        return rest.then_some(Difference::SnpFeatures);
    }
    if code == ExitCode::MSR && info1 == 0 && word(Field::Rcx) as u32 == TSC {
        // Time goes on between the two.
        let rest = c.same_but_registers(&rust);
        return rest.then_some(Difference::ReplyFields);
    }
    if code == ExitCode::READ_DR7 {
        let rest = c.same_but_registers(&rust);
        return rest.then_some(Difference::Dr7);
    }
    None
}

/// What of an outcome must be the same although one side returns more registers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Essence {
    went_on: bool,
    msr: u64,
    exception: Option<(u8, u32)>,
    exits: Vec<Exit>,
    info1: u64,
    info2: u64,
    registers: Vec<u64>,
    /// The rest of the page.
    rest: Option<PageImage>,
}

impl Essence {
    fn same_but_registers(&self, other: &Self) -> bool {
        let without = |essence: &Self| Self {
            registers: Vec::new(),
            ..essence.clone()
        };
        without(self) == without(other)
    }
}

/// The reply, with the infos as they were at once: a later request may have been in the same page.
fn told(outcome: &Outcome) -> PageFields {
    let (info1, info2) = outcome.infos;
    PageFields {
        info1,
        info2,
        ..outcome.reply()
    }
}

fn essence(before: &PageImage, outcome: &Outcome) -> Essence {
    let reply = told(outcome);
    let code = ExitCode(before.word(Field::SwExitCode.offset()));
    let info1 = before.word(Field::SwExitInfo1.offset());
    let returned = code.returned(info1);
    let after = outcome.pages.as_ref().map(|pages| &pages.after);
    let registers = REGISTERS
        .iter()
        .filter(|field| returned.contains(**field))
        .map(|field| after.map_or(0, |after| after.word(field.offset())))
        .collect();
    let rest = after.map(|after| {
        let mut rest = after.clone();
        for field in REGISTERS {
            rest.set_word(field.offset(), 0);
        }
        for field in [
            Field::SwExitInfo1,
            Field::SwExitInfo2,
            Field::ValidBitmapLow,
        ] {
            rest.set_word(field.offset(), 0);
        }
        // Which registers are marked is the difference; the rest of the bitmap is not.
        let marks = REGISTERS.map(Field::index).map(|index| 1u128 << index);
        let marked = !marks.iter().fold(0, |all, mark| all | mark) & reply.valid.bits();
        rest.set_word(Field::ValidBitmapHigh.offset(), (marked >> 64) as u64);
        rest
    });
    Essence {
        went_on: outcome.went_on,
        msr: outcome.msr,
        exception: outcome.exception,
        exits: outcome.exits.clone(),
        info1: reply.info1,
        info2: reply.info2,
        registers,
        rest,
    }
}

/// One line on what differs.
fn differences(c: &Outcome, rust: &Outcome) -> String {
    let mut list = Vec::new();
    if c.went_on != rust.went_on {
        list.push(format!("goes on: {} and {}", c.went_on, rust.went_on));
    }
    if c.msr != rust.msr {
        list.push(format!("MSR: {:#x} and {:#x}", c.msr, rust.msr));
    }
    if c.exception != rust.exception {
        list.push(format!(
            "exception: {:?} and {:?}",
            c.exception, rust.exception
        ));
    }
    if c.exits != rust.exits {
        let short = |exits: &[Exit]| {
            let mut text = format!("{exits:x?}");
            text.truncate(200);
            text
        };
        list.push(format!(
            "exits: {} and {}",
            short(&c.exits),
            short(&rust.exits)
        ));
    }
    if let (Some(a), Some(b)) = (&c.pages, &rust.pages) {
        let at = a.after.differences(&b.after);
        if !at.is_empty() {
            list.push(format!(
                "page at {at:x?}: {:x?} and {:x?}",
                c.reply(),
                rust.reply()
            ));
        }
    }
    list.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::request::Request;
    use crate::exchange::steps::Pages;
    use ghcb_rs::ghcb_abi::bitmap::ValidBitmap;

    fn replied(request: &Request, change: impl FnOnce(&mut PageImage)) -> Outcome {
        let before = request.image();
        let mut after = before.clone();
        let (low, high) = ValidBitmap::REPLY.to_words();
        after.set_word(Field::ValidBitmapLow.offset(), low);
        after.set_word(Field::ValidBitmapHigh.offset(), high);
        after.set_word(Field::SwExitInfo1.offset(), 0);
        after.set_word(Field::SwExitInfo2.offset(), 0);
        change(&mut after);
        let infos =
            [Field::SwExitInfo1, Field::SwExitInfo2].map(|field| after.word(field.offset()));
        Outcome {
            went_on: true,
            msr: 0,
            exception: None,
            exits: Vec::new(),
            pages: Some(Pages { before, after }),
            infos: infos.into(),
        }
    }

    #[test]
    fn more_registers_are_a_known_difference() {
        let request = Request::new(ExitCode::INVD, 0, 0);
        let rust = replied(&request, |_| {});
        let c = replied(&request, |page| page.set_word(Field::Rbx.offset(), 7));
        assert_eq!(verdict(None, &c, &c), Verdict::Same);
        assert_eq!(
            verdict(None, &c, &rust),
            Verdict::Meant(Difference::ReplyFields)
        );
    }

    #[test]
    fn a_returned_register_must_agree() {
        let request = Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, 0x200);
        let rust = replied(&request, |page| page.set_word(Field::Rax.offset(), 1));
        let c = replied(&request, |page| page.set_word(Field::Rax.offset(), 2));
        assert!(matches!(verdict(None, &c, &rust), Verdict::Unexplained(_)));
    }

    #[test]
    fn but_not_the_time() {
        let request = Request::new(ExitCode::MSR, 0, 0).with(Field::Rcx, TSC.into());
        let rust = replied(&request, |page| page.set_word(Field::Rax.offset(), 1));
        let c = replied(&request, |page| page.set_word(Field::Rax.offset(), 2));
        assert_eq!(
            verdict(None, &c, &rust),
            Verdict::Meant(Difference::ReplyFields)
        );
        let refused = replied(&request, |page| {
            page.set_word(Field::SwExitInfo1.offset(), 1);
        });
        assert!(matches!(
            verdict(None, &c, &refused),
            Verdict::Unexplained(_)
        ));
    }

    #[test]
    fn other_words_exits_and_fates_must_agree() {
        let request = Request::new(ExitCode::INVD, 0, 0);
        let rust = replied(&request, |_| {});
        let buffer = replied(&request, |page| page.set_word(0x800, 1));
        let exit = Outcome {
            exits: vec![Exit::ApResetHold],
            ..rust.clone()
        };
        let dead = Outcome {
            went_on: false,
            ..rust.clone()
        };
        for c in [buffer, exit, dead] {
            assert!(matches!(verdict(None, &c, &rust), Verdict::Unexplained(_)));
        }
    }

    #[test]
    fn an_msr_answer_must_agree_but_for_unused_bits() {
        let outcome = |msr| Outcome {
            went_on: true,
            msr,
            exception: None,
            exits: Vec::new(),
            pages: None,
            infos: (0, 0),
        };
        let request = Some(0x4000_1001_0123_4004);
        let c = outcome(0x1122_3344_0123_4005);
        assert_eq!(
            verdict(request, &c, &outcome(0x1122_3344_0000_0005)),
            Verdict::Meant(Difference::MsrCpuidBits)
        );
        let wrong = verdict(request, &c, &outcome(0x1122_3345_0000_0005));
        assert!(matches!(wrong, Verdict::Unexplained(_)));
    }
}
