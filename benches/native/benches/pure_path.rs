// SPDX-License-Identifier: GPL-2.0
//! Time of the pure path for each event, and the cache lines of the page that it touches.

use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use ghcb_rs_native_bench::{events, Noted, Page};
use std::hint::black_box;

fn pure_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pure_path");
    for event in events() {
        let page = Page::default();
        event.ask(&page);
        let noted = Noted::new(&page);
        event.handle(&noted);
        println!("{}: {} cache lines of the page", event.name, noted.lines());
        group.bench_function(event.name, |bencher| {
            // A page for each: a reply overwrites parts of the request.
            bencher.iter_batched_ref(
                || {
                    let page = Page::default();
                    event.ask(&page);
                    page
                },
                |page| event.handle(black_box(&*page)),
                BatchSize::NumIterations(64),
            );
        });
    }
    group.finish();
}

criterion_group!(benches, pure_path);
criterion_main!(benches);
