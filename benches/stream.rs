//! Items of generators and of merges beside their peers, fan-out, and slices on threads beside rayon's.

use cofferdam::group::par_map;
use cofferdam::parallel::Parallel;
use cofferdam::stream::{Merge, generator};
use cofferdam::task::BoxTask;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use rayon::prelude::*;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const ITEMS: u64 = 10_000;

/// The sum of the first items of a stream that never waits.
fn sum(stream: impl Stream<Item = u64>) -> u64 {
    let mut stream = pin!(stream);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sum = 0_u64;
    for _ in 0..ITEMS {
        if let Poll::Ready(Some(item)) = stream.as_mut().poll_next(&mut cx) {
            sum = sum.wrapping_add(item);
        }
    }
    sum
}

fn items_of_a_generator(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream/generator");
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("floor-iterator", |b| b.iter(|| sum(stream::iter((0_u64..).map(black_box)))));
    for ahead in [0, 8] {
        group.bench_function(format!("cofferdam-prefetch-{ahead}"), |b| {
            let numbers = || {
                generator(|y| async move {
                    for number in 0_u64.. {
                        y.emit(black_box(number)).await;
                    }
                })
            };
            b.iter(|| sum(numbers().prefetch(ahead)));
        });
    }
    group.bench_function("async-stream", |b| {
        b.iter(|| {
            sum(async_stream::stream! {
                for number in 0_u64.. {
                    yield black_box(number);
                }
            })
        });
    });
    group.bench_function("genawaiter-sync", |b| {
        b.iter(|| {
            let numbers = genawaiter::sync::Gen::new(|co| async move {
                for number in 0_u64.. {
                    co.yield_(black_box(number)).await;
                }
            });
            numbers.into_iter().take(ITEMS as usize).fold(0_u64, u64::wrapping_add)
        });
    });
}

fn items_of_a_merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream/merge_10_ready");
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("cofferdam", |b| {
        b.iter(|| sum((0..10).map(|_| stream::repeat(1)).collect::<Merge<_>>()));
    });
    group.bench_function("futures-select-all", |b| {
        b.iter(|| sum(stream::select_all((0..10).map(|_| stream::repeat(1)))));
    });
}

fn empty_items_by_two_workers(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream/fan_out_2");
    group.throughput(Throughput::Elements(ITEMS));
    let threads = |task: BoxTask| drop(std::thread::spawn(|| block_on(task)));
    let work = |number: u64| async move { black_box(number) };
    group.bench_function("cofferdam-collect", |b| {
        b.iter(|| block_on(par_map(0..ITEMS, work).width(2).on(threads).collect()).len());
    });
    group.bench_function("futures-buffered-in-place", |b| {
        b.iter(|| block_on(stream::iter(0..ITEMS).map(work).buffered(2).collect::<Vec<_>>()).len());
    });
}

fn slices(c: &mut Criterion) {
    for (length, steps) in [(1000_u64, 10), (10_000, 100), (1000, 10_000)] {
        let mut group = c.benchmark_group(format!("parallel/map_{length}_of_{steps}_steps"));
        let items: Vec<u64> = (0..length).collect();
        let work =
            |number: &u64| (0..steps).fold(*number, |x, _| black_box(x.wrapping_mul(3).wrapping_add(1)));
        group.bench_function("floor-one-thread", |b| b.iter(|| items.iter().map(work).collect::<Vec<_>>()));
        let parallel = Parallel::new().threshold(0);
        group.bench_function("cofferdam", |b| b.iter(|| parallel.map(&items, work)));
        group.bench_function("rayon", |b| b.iter(|| items.par_iter().map(work).collect::<Vec<_>>()));
    }
}

criterion_group!(benches, items_of_a_generator, items_of_a_merge, empty_items_by_two_workers, slices);
criterion_main!(benches);
