//! Many items, some at once: ours without policies beside the buffers of `futures`, and a reloaded stack's reading.

use cofferdam::resilience::Stack;
use cofferdam::resilience::config::{Reloadable, StackSettings};
use cofferdam_benches::yield_now;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use std::future::{Future, poll_fn, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const ITEMS: u64 = 10_000;

/// The same work through ours and through the buffers, in the order of the input and as it comes.
fn group<F, Fut>(c: &mut Criterion, name: &str, width: usize, work: F)
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Result<u64, ()>>,
{
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(ITEMS));
    let stack = Stack::new();
    group.bench_function("ordered/cofferdam", |b| {
        b.iter(|| block_on(stack.map(0..black_box(ITEMS), &work).concurrency(width).ordered().count()));
    });
    group.bench_function("ordered/futures-buffered", |b| {
        b.iter(|| block_on(stream::iter(0..black_box(ITEMS)).map(&work).buffered(width).count()));
    });
    group.bench_function("unordered/cofferdam", |b| {
        b.iter(|| block_on(stack.map(0..black_box(ITEMS), &work).concurrency(width).unordered().count()));
    });
    group.bench_function("unordered/futures-buffer-unordered", |b| {
        b.iter(|| block_on(stream::iter(0..black_box(ITEMS)).map(&work).buffer_unordered(width).count()));
    });
}

fn items_ready(c: &mut Criterion) {
    group(c, "map/ready_10", 10, |number| ready(Ok(number)));
}

fn items_that_yield_once(c: &mut Criterion) {
    let work = |number| async move {
        yield_now().await;
        Ok(number)
    };
    group(c, "map/yield_once_10", 10, work);
    group(c, "map/yield_once_1000", 1000, work);
}

/// One of many is woken, and nothing comes of it.
fn one_wake_up_of_many(c: &mut Criterion) {
    let mut group = c.benchmark_group("map/one_wake_of_1000");
    let wakers = std::cell::RefCell::new(Vec::<Waker>::new());
    let work = |_: u64| {
        poll_fn(|cx| {
            let mut wakers = wakers.borrow_mut();
            if wakers.len() < 1000 {
                wakers.push(cx.waker().clone());
            }
            Poll::<Result<u64, ()>>::Pending
        })
    };
    let mut cx = Context::from_waker(Waker::noop());
    {
        let stack = Stack::new();
        let mut ours = pin!(stack.map(0..1000, &work).concurrency(1000).unordered());
        assert!(ours.poll_next_unpin(&mut cx).is_pending());
        let one = wakers.borrow()[500].clone();
        group.bench_function("cofferdam", |b| {
            b.iter(|| {
                one.wake_by_ref();
                ours.poll_next_unpin(&mut cx).is_pending()
            });
        });
    }
    wakers.borrow_mut().clear();
    let mut theirs: FuturesUnordered<_> = (0..1000).map(&work).collect();
    assert!(theirs.poll_next_unpin(&mut cx).is_pending());
    let one = wakers.borrow()[500].clone();
    group.bench_function("futures-unordered", |b| {
        b.iter(|| {
            one.wake_by_ref();
            theirs.poll_next_unpin(&mut cx).is_pending()
        });
    });
}

fn collecting(c: &mut Criterion) {
    let mut group = c.benchmark_group("map/collect_ready");
    group.throughput(Throughput::Elements(ITEMS));
    let stack = Stack::new();
    let input = || (0..ITEMS).collect::<Vec<_>>();
    group.bench_function("cofferdam", |b| {
        let work = |number| ready(Ok::<u64, ()>(number));
        b.iter_batched(input, |items| block_on(stack.map(items, work).collect()), BatchSize::SmallInput);
    });
    group.bench_function("futures-buffered", |b| {
        let work = |number| ready(Ok::<u64, ()>(number));
        let all = |items| block_on(stream::iter(items).map(work).buffered(10).collect::<Vec<_>>());
        b.iter_batched(input, all, BatchSize::SmallInput);
    });
}

fn reading_what_is_reloaded(c: &mut Criterion) {
    let mut group = c.benchmark_group("reload/read");
    let live = Reloadable::new(StackSettings::default().build().expect("a stack"));
    group.bench_function("load", |b| b.iter(|| black_box(&live).load()));
    let mut reader = live.reader();
    group.bench_function("reader", |b| {
        b.iter(|| black_box(std::ptr::from_ref(black_box(&mut reader).current())))
    });
    let stack = live.load();
    group.bench_function("call", |b| b.iter(|| stack.call(|| ready(Ok::<_, ()>(1))).now_or_never()));
}

criterion_group!(
    benches,
    items_ready,
    items_that_yield_once,
    one_wake_up_of_many,
    collecting,
    reading_what_is_reloaded
);
criterion_main!(benches);
