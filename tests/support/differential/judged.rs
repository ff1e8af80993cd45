// SPDX-License-Identifier: GPL-2.0

//! The model of C's handler as the judge sees it: what there is when C's function returns.

use ghcb_rs::{
    ghcb_abi::{
        bitmap::ValidBitmap, exit_code::ExitCode, exit_info::ExitInfo, msr::GhcbMsr, page::Field,
    },
    vmgexit::judge::{foresee, CAnswer, CPage, ExitReason, Foresight},
};

use super::{
    super::{case::Case, Call},
    c_model::{self, word, Asked},
};

/// What is foreseen of an exit, and what the model of C makes of it.
pub fn judged(case: &Case) -> (Foresight, CAnswer) {
    let mut host = case.host();
    let before = host.page.bytes();
    let call = host.begin_call()();
    let foresight = foresee(&mut host);
    drop(call);
    assert_eq!(host.page.bytes(), before, "{case:#x?}");
    let is_look = |call: &Call| matches!(call, Call::Open(_));
    assert!(host.log.iter().all(is_look), "{:?}", host.log);
    assert_eq!((host.msr, host.counts.len()), (case.msr, 0));

    let page: Vec<_> = (0..512).map(|word| host.page.peek(word * 8)).collect();
    let (c, _) = c_model::handle(case);
    let exit = ExitInfo {
        code: ExitCode(page[word::CODE]),
        info1: page[word::INFO1],
        info2: page[word::INFO2],
    };
    let asked = |what: &Asked| c.asked.contains(what);
    let exception = c.asked.iter().find_map(|asked| match asked {
        Asked::Inject(event) => Some(*event as u8),
        _ => None,
    });
    let answer = CAnswer {
        result: c.code,
        msr: GhcbMsr(c.msr),
        page: c.page.as_ref().map(|after| {
            // What userspace makes of it comes later.
            let infos = match c.code {
                0 => [0, 0],
                _ => [after[word::INFO1], after[word::INFO2]],
            };
            let valid = ValidBitmap::from_words(page[126], page[127]);
            CPage {
                exit,
                valid,
                scratch: match valid.contains(Field::SwScratch) {
                    true => page[word::SCRATCH],
                    false => 0,
                },
                info1: infos[0],
                info2: infos[1],
                rax: after[word::RAX],
            }
        }),
        exception,
        reason: if asked(&Asked::InternalError) {
            ExitReason::InternalError
        } else if asked(&Asked::Terminate) {
            ExitReason::Termination
        } else {
            ExitReason::Other
        },
    };
    (foresight, answer)
}
