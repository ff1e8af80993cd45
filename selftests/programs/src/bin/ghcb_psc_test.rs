// SPDX-License-Identifier: GPL-2.0
//! Page state change by SEV-SNP guests: by the MSR protocol, and by lists of every shape.

use ghcb_rs::ghcb_abi::msr::MsrResponse;
use ghcb_rs::ghcb_abi::page::{Field, SHARED_BUFFER_END};
use ghcb_rs::ghcb_abi::psc::{PageOperation, PscEntry, ELEMENT_SIZE, MAX_COUNT};
use ghcb_rs::ghcb_abi::reply::ErrorReason;
use mailbox::{map, PAGE};
use std::process::ExitCode as Status;
use vmm::exchange::page_list::{asked, by_msr, large, page, response, PageList, BEGIN, GFN};
use vmm::exchange::steps::Attempt;
use vmm::judge::check::Check;
use vmm::judge::page_list::{judge, Lists};
use vmm::launch::page_states::ENCRYPTED;
use vmm::report::ktap;

const PRIVATE: PageOperation = PageOperation::PRIVATE;
const SHARED: PageOperation = PageOperation::SHARED;
const EINVAL: u64 = libc::EINVAL as u64;
const EAGAIN: u64 = libc::EAGAIN as u64;
/// Userspace does all that is asked.
const GRANTED: (usize, u64) = (usize::MAX, 0);

fn main() -> Status {
    ktap::snp_program(|report| {
        let mut lists = Lists::new(report)?;
        msr(&mut lists);
        ranges(&mut lists);
        shapes(&mut lists);
        places(&mut lists);
        Ok(())
    })
}

fn msr(lists: &mut Lists<'_>) {
    let (vm, states) = (&mut lists.vm, &lists.states);
    lists
        .report
        .test("by MSR: userspace is asked, and its answer told", || {
            let mut check = Check::new();
            for (answer, error) in [
                (0, 0),
                (EINVAL, MsrResponse::PSC_ERROR),
                (EAGAIN, MsrResponse::PSC_ERROR),
            ] {
                for (operation, attributes) in [(PRIVATE, ENCRYPTED), (SHARED, 0)] {
                    for attempt in [
                        by_msr(GFN + 3, operation),
                        by_msr(GFN + 3, operation).in_ring3(),
                    ] {
                        states.refuse_after(if answer == 0 { u64::MAX } else { 0 }, answer);
                        let outcome = vm.take(attempt)?;
                        let got: Vec<_> = outcome.exits.iter().map(asked).collect();
                        let want = vec![Some((map::CONVERTED + 3 * PAGE, 1, attributes))];
                        check
                            .about(format!("{operation:?}, answer {answer}"))
                            .went_on(&outcome);
                        check
                            .same("asked", got, want)
                            .same("MSR", outcome.msr, response(error));
                    }
                }
            }
            states.grant();
            Ok(check.done())
        });
    lists.report.test(
        "by MSR: each other operation: an error, nobody is asked",
        || {
            let mut check = Check::new();
            for operation in [0].into_iter().chain(3..16).map(PageOperation) {
                let outcome = vm.take(by_msr(GFN, operation))?;
                check.about(format!("{operation:?}")).quiet(&outcome);
                check.same("MSR", outcome.msr, response(MsrResponse::PSC_ERROR));
            }
            Ok(check.done())
        },
    );
}

fn ranges(lists: &mut Lists<'_>) {
    for count in [1, 16, MAX_COUNT as u64] {
        for (operation, name) in [(PRIVATE, "private"), (SHARED, "shared")] {
            let one = PageList::range(GFN, count, operation);
            let every_other = (0..count).map(|number| page(number * 2, operation));
            let backwards = (0..count).rev().map(|number| page(number, operation));
            let ranges = [
                one,
                PageList::new(every_other.collect()),
                PageList::new(backwards.collect()),
            ];
            let ranges = ranges.map(|list| (list, BEGIN));
            lists.all(
                &format!("{count} pages become {name}: in one range, and in many"),
                &ranges,
                GRANTED,
            );
        }
    }
}

fn shapes(lists: &mut Lists<'_>) {
    let whole =
        |lists: Vec<PageList>| -> Vec<_> { lists.into_iter().map(|list| (list, BEGIN)).collect() };
    let unknown = [0, 3, 4, 5, 15].map(PageOperation);
    let mut shapes: Vec<_> = unknown
        .map(|operation| PageList::range(GFN, 3, operation))
        .into();
    shapes.push(PageList::new(vec![
        page(0, PRIVATE),
        page(1, PageOperation::PSMASH),
        page(2, PRIVATE),
    ]));
    lists.all(
        "operations that KVM does not know are done by doing nothing",
        &whole(shapes),
        GRANTED,
    );

    let shapes = vec![
        PageList::new(vec![large(PRIVATE)]),
        PageList::new(vec![large(SHARED), page(512, SHARED)]),
        PageList::new(vec![page(0, PRIVATE), large(PRIVATE), page(0, SHARED)]),
        PageList::new(vec![
            large(PRIVATE),
            PscEntry::new(GFN + 512, PRIVATE, true),
        ]),
    ];
    lists.all("entries of 2 MiB", &whole(shapes), GRANTED);

    let begun =
        |pages, rest| PageList::new([vec![large(SHARED).with_cur_page(pages)], rest].concat());
    let shapes = vec![
        begun(1, vec![]),
        begun(511, vec![]),
        begun(512, vec![]),
        begun(512, vec![page(1, PRIVATE)]),
        PageList::new(vec![page(0, PRIVATE).with_cur_page(1), page(1, PRIVATE)]),
        PageList::new(vec![
            page(0, PRIVATE),
            page(1, PRIVATE).with_cur_page(1),
            page(2, PRIVATE),
        ]),
        // What would continue it if it began at its first page, and what does.
        begun(500, vec![page(12, SHARED), page(13, SHARED)]),
        begun(500, vec![page(512, SHARED)]),
        begun(
            500,
            vec![PscEntry::new(GFN + 512, SHARED, true).with_cur_page(500)],
        ),
    ];
    lists.all(
        "entries that are partly done (psc-partly-done)",
        &whole(shapes),
        GRANTED,
    );

    let shapes = vec![
        PageList::new(vec![page(0, PRIVATE).with_cur_page(2)]),
        PageList::new(vec![
            page(0, PRIVATE),
            page(1, PRIVATE).with_cur_page(0xfff),
        ]),
        PageList::new(vec![large(PRIVATE).with_cur_page(513)]),
        PageList::new(vec![PscEntry::new(GFN + 1, PRIVATE, true)]),
        PageList::new(vec![
            page(0, SHARED),
            PscEntry::new(GFN + 511, SHARED, true),
            page(1, SHARED),
        ]),
    ];
    lists.all(
        "entries that are none: done up to there, then an error",
        &whole(shapes),
        GRANTED,
    );

    let five = || PageList::range(GFN, 5, PRIVATE);
    let mut shapes = vec![
        five().between(2, 4),
        five().between(4, 4),
        five().between(4, 3),
    ];
    shapes.extend(
        [(5, 4), (u16::MAX, 4), (0, 252), (252, 252), (253, 252)]
            .map(|(cur, end)| five().between(cur, end)),
    );
    lists.all(
        "cur_entry and end_entry inside the list",
        &whole(shapes),
        GRANTED,
    );

    let ends = [253, 254, 255, 0x7fff, u16::MAX];
    let shapes: Vec<_> = ends
        .iter()
        .flat_map(|end| [five().between(0, *end), five().between(*end, *end)])
        .collect();
    lists.all(
        "end_entry beyond the buffer (CVE-2026-63938): an error",
        &whole(shapes),
        GRANTED,
    );
}

fn places(lists: &mut Lists<'_>) {
    // The room ends with the shared buffer, wherever the list begins (CVE-2026-63938).
    let mut places = Vec::new();
    for offset in [
        BEGIN + 1,
        BEGIN + 8,
        0xf00,
        SHARED_BUFFER_END - 3 * ELEMENT_SIZE,
        SHARED_BUFFER_END - 2 * ELEMENT_SIZE,
    ] {
        let room = PageList::room(offset) as u16;
        let list = PageList::range(GFN, room.into(), PRIVATE);
        places.push((list.clone(), offset));
        places.push((list.between(0, room), offset));
    }
    // A header alone: no entry has room.
    places.push((PageList::new(vec![]), SHARED_BUFFER_END - ELEMENT_SIZE));
    lists.all("lists at the end of the shared buffer", &places, GRANTED);

    let (handler, vm) = (lists.handler, &mut lists.vm);
    lists.report.test(
        "scratch areas that are none: error 3 (CVE-2026-63939)",
        || {
            let list = PageList::range(GFN, 1, PRIVATE).request(BEGIN);
            let mut check = Check::new();
            let inside = [
                0,
                0x3f0,
                BEGIN - 1,
                BEGIN - 8,
                SHARED_BUFFER_END - 7,
                SHARED_BUFFER_END,
                0xff8,
            ];
            let outside = [
                0,
                map::SCRATCH,
                map::PRIVATE_SPARE,
                map::NOWHERE,
                u64::MAX - 7,
                u64::MAX,
            ];
            let inside = inside.map(|offset| list.clone().scratch_inside(offset));
            let outside = outside.map(|gpa| list.clone().scratch_outside(gpa));
            for (index, request) in inside.iter().chain(&outside).enumerate() {
                let outcome = vm.take(Attempt::page(request))?;
                check.about(format!("area {index}"));
                check.refused(&outcome, handler, ErrorReason::INVALID_SCRATCH_AREA);
            }
            let request = list.without(Field::SwScratch);
            let outcome = vm.take(Attempt::page(&request))?;
            check
                .about("none")
                .refused(&outcome, handler, ErrorReason::MISSING_INPUT);
            Ok(check.done())
        },
    );
    let states = &lists.states;
    lists
        .report
        .test("ring 3: a list is worked on as in ring 0", || {
            states.grant();
            let list = PageList::range(GFN, 3, PRIVATE);
            let outcome = vm.take(Attempt::page(&list.request(BEGIN)).in_ring3())?;
            let mut check = Check::new();
            judge(&mut check, handler, (&list, BEGIN), usize::MAX, &outcome);
            Ok(check.done())
        });
}
