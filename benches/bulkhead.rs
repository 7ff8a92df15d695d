//! A bulkhead around what is ready, and one that is full: a floor written by hand, ours, tokio's semaphore.

use cofferdam::resilience::Bulkhead;
use cofferdam_benches::each;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use std::future::ready;
use std::hint::black_box;
use std::sync::atomic::{AtomicI64, Ordering};

const PLACES: u32 = 64;

fn free(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group(format!("bulkhead_free/{threads}"));
        let places = AtomicI64::new(PLACES.into());
        each(&mut group, "floor", threads, || {
            if places.fetch_sub(1, Ordering::Acquire) > 0 {
                let _ = black_box(block_on(ready(Ok::<u64, ()>(1))));
            }
            places.fetch_add(1, Ordering::Release);
        });
        let bulkhead = Bulkhead::new(PLACES).expect("a bulkhead");
        each(&mut group, "cofferdam", threads, || {
            let _ = black_box(block_on(bulkhead.call(|| ready(Ok::<u64, ()>(1)))));
        });
        each(&mut group, "cofferdam_place", threads, || {
            let _ = black_box(block_on(bulkhead.call_with_place(|_place| ready(Ok::<u64, ()>(1)))));
        });
        let semaphore = tokio::sync::Semaphore::new(PLACES as usize);
        each(&mut group, "tokio_semaphore", threads, || {
            let _ = black_box(block_on(async {
                let _permit = semaphore.acquire().await;
                ready(Ok::<u64, ()>(1)).await
            }));
        });
        group.finish();
    }
}

fn full(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bulkhead_full");
    let bulkhead = Bulkhead::new(1).expect("a bulkhead");
    let _place = bulkhead.try_acquire().expect("free");
    each(&mut group, "cofferdam", 1, || {
        let _ = black_box(block_on(bulkhead.call(|| ready(Ok::<u64, ()>(1)))));
    });
    let semaphore = tokio::sync::Semaphore::new(0);
    each(&mut group, "tokio_try_acquire", 1, || drop(black_box(semaphore.try_acquire())));
    group.finish();
}

criterion_group!(benches, free, full);
criterion_main!(benches);
