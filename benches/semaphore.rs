//! Semaphores: a raw floor, ours in two orders, and the peers, on the workloads of one run.

use cofferdam::sync::{Order, Semaphore};
use cofferdam_benches::{Runtime, on_threads, yield_now};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

fn fifo(permits: u32) -> Semaphore {
    Semaphore::new(permits)
}

fn barging(permits: u32) -> Semaphore {
    Semaphore::builder(permits).order(Order::Barging).build().expect("a semaphore")
}

fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("not ready"),
    }
}

fn pending<F: Future>(future: F) {
    let mut future = pin!(future);
    assert!(black_box(future.as_mut().poll(&mut Context::from_waker(Waker::noop()))).is_pending());
}

/// The least that could count permits: a compare-and-swap to take, an add to give back.
struct Floor(AtomicU64);

impl Floor {
    fn pair(&self) {
        let mut now = self.0.load(Ordering::Relaxed);
        while now > 0 {
            match self.0.compare_exchange_weak(now, now - 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn try_acquire(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/try_acquire");
    let floor = Floor(AtomicU64::new(64));
    group.bench_function("floor", |b| b.iter(|| black_box(&floor).pair()));
    let ours = fifo(64);
    group.bench_function("cofferdam", |b| b.iter(|| drop(black_box(&ours).try_acquire())));
    let ours = barging(64);
    group.bench_function("cofferdam-barging", |b| b.iter(|| drop(black_box(&ours).try_acquire())));
    let peer = tokio::sync::Semaphore::new(64);
    group.bench_function("tokio", |b| b.iter(|| drop(black_box(&peer).try_acquire())));
    let peer = async_lock::Semaphore::new(64);
    group.bench_function("async-lock", |b| b.iter(|| drop(black_box(&peer).try_acquire())));
    let peer = futures_intrusive::sync::Semaphore::new(false, 64);
    group.bench_function("futures-intrusive", |b| b.iter(|| drop(black_box(&peer).try_acquire(1))));
    let peer = asyncband::semaphore::Semaphore::new(64);
    group.bench_function("asyncband", |b| b.iter(|| drop(black_box(&peer).try_acquire(1))));
    let peer = saa::Semaphore::default();
    group.bench_function("saa", |b| {
        b.iter(|| {
            black_box(&peer).try_acquire();
            black_box(&peer).release()
        })
    });
}

fn ready_acquire(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/acquire_ready");
    let floor = Floor(AtomicU64::new(64));
    group.bench_function("floor", |b| b.iter(|| black_box(&floor).pair()));
    let ours = fifo(64);
    group.bench_function("cofferdam", |b| b.iter(|| drop(ready(black_box(&ours).acquire()))));
    group.bench_function("cofferdam-many4", |b| b.iter(|| drop(ready(black_box(&ours).acquire_many(4)))));
    let peer = tokio::sync::Semaphore::new(64);
    group.bench_function("tokio", |b| b.iter(|| drop(ready(black_box(&peer).acquire()))));
    let peer = async_lock::Semaphore::new(64);
    group.bench_function("async-lock", |b| b.iter(|| drop(ready(black_box(&peer).acquire()))));
    let peer = futures_intrusive::sync::Semaphore::new(false, 64);
    group.bench_function("futures-intrusive", |b| b.iter(|| drop(ready(black_box(&peer).acquire(1)))));
    let peer = asyncband::semaphore::Semaphore::new(64);
    group.bench_function("asyncband", |b| b.iter(|| drop(ready(black_box(&peer).acquire(1)))));
    let peer = saa::Semaphore::default();
    group.bench_function("saa", |b| {
        b.iter(|| {
            ready(black_box(&peer).acquire_async());
            black_box(&peer).release()
        })
    });
}

fn enqueue_and_cancel(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/enqueue_cancel");
    let lock = parking_lot::Mutex::new(0u64);
    group.bench_function("floor", |b| {
        b.iter(|| {
            *black_box(&lock).lock() += 1;
            *black_box(&lock).lock() += 1;
        })
    });
    for (name, ours) in [("cofferdam", fifo(1)), ("cofferdam-barging", barging(1))] {
        let _held = ours.try_acquire();
        group.bench_function(name, |b| b.iter(|| pending(black_box(&ours).acquire())));
    }
    let peer = tokio::sync::Semaphore::new(0);
    group.bench_function("tokio", |b| b.iter(|| pending(black_box(&peer).acquire())));
    let peer = async_lock::Semaphore::new(0);
    group.bench_function("async-lock", |b| b.iter(|| pending(black_box(&peer).acquire())));
    let peer = futures_intrusive::sync::Semaphore::new(false, 0);
    group.bench_function("futures-intrusive", |b| b.iter(|| pending(black_box(&peer).acquire(1))));
    let peer = asyncband::semaphore::Semaphore::new(0);
    group.bench_function("asyncband", |b| b.iter(|| pending(black_box(&peer).acquire(1))));
}

fn enough_on_two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/two_threads_enough");
    let repeat = |n: u64, f: &dyn Fn()| (0..n).for_each(|_| f());
    let floor = Floor(AtomicU64::new(64));
    group.bench_function("floor", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| (0..n).for_each(|_| black_box(&floor).pair())))
    });
    let ours = fifo(64);
    group.bench_function("cofferdam", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| (0..n).for_each(|_| drop(black_box(&ours).try_acquire()))))
    });
    let peer = tokio::sync::Semaphore::new(64);
    group.bench_function("tokio", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| repeat(n, &|| drop(black_box(&peer).try_acquire()))))
    });
    let peer = async_lock::Semaphore::new(64);
    group.bench_function("async-lock", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| repeat(n, &|| drop(black_box(&peer).try_acquire()))))
    });
    let peer = futures_intrusive::sync::Semaphore::new(false, 64);
    group.bench_function("futures-intrusive", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| repeat(n, &|| drop(black_box(&peer).try_acquire(1)))))
    });
    let peer = saa::Semaphore::default();
    group.bench_function("saa", |b| {
        b.iter_custom(|n| {
            on_threads(2, n, |n| {
                repeat(n, &|| {
                    black_box(&peer).try_acquire();
                    black_box(&peer).release();
                })
            })
        })
    });
}

fn one_permit_on_two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/two_threads_one_permit");
    let lock = parking_lot::Mutex::new(0u64);
    group.bench_function("floor", |b| {
        b.iter_custom(|n| on_threads(2, n, |n| (0..n).for_each(|_| *black_box(&lock).lock() += 1)))
    });
    macro_rules! bench {
        ($name:literal, $semaphore:expr, $s:ident => $acquire:expr) => {
            let $s = $semaphore;
            group.bench_function($name, |b| {
                b.iter_custom(|n| {
                    on_threads(2, n, |n| (0..n).for_each(|_| drop(pollster::block_on($acquire))))
                })
            });
        };
    }
    bench!("cofferdam-barging", barging(1), s => s.acquire());
    bench!("cofferdam-fifo", fifo(1), s => s.acquire());
    bench!("futures-intrusive", futures_intrusive::sync::Semaphore::new(false, 1), s => s.acquire(1));
    bench!("async-lock", async_lock::Semaphore::new(1), s => s.acquire());
    bench!("tokio", tokio::sync::Semaphore::new(1), s => s.acquire());
}

/// One semaphore behind one face, so that tasks over it can be written once.
trait Peer: Send + Sync + 'static {
    fn hold(&self) -> impl Future<Output = ()> + Send;
}

macro_rules! peer {
    ($name:ident, $semaphore:ty, $s:ident => $acquire:expr) => {
        struct $name($semaphore);
        impl Peer for $name {
            async fn hold(&self) {
                let $s = &self.0;
                let _permit = $acquire.await;
                yield_now().await;
            }
        }
    };
}
peer!(Ours, Semaphore, s => s.acquire());
peer!(Tokio, tokio::sync::Semaphore, s => s.acquire());
peer!(AsyncLock, async_lock::Semaphore, s => s.acquire());
peer!(Intrusive, futures_intrusive::sync::Semaphore, s => s.acquire(1));
peer!(Asyncband, asyncband::semaphore::Semaphore, s => s.acquire(1));

struct Nothing;
impl Peer for Nothing {
    async fn hold(&self) {
        yield_now().await;
    }
}

fn tasks<P: Peer>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: Runtime,
    tasks: usize,
    name: &str,
    semaphore: P,
) {
    let running = runtime.start();
    let semaphore = Arc::new(semaphore);
    group.bench_function(format!("{}/{name}", runtime.name()), |b| {
        b.iter_custom(|n| {
            let share = n.div_ceil(tasks as u64);
            running.time(tasks, |_| {
                let semaphore = Arc::clone(&semaphore);
                async move {
                    for _ in 0..share {
                        semaphore.hold().await;
                    }
                }
            })
        })
    });
}

fn contended_tasks(c: &mut Criterion) {
    for (name, count, permits) in [("round_trip", 2, 1), ("64_over_4", 64, 4)] {
        let mut group = c.benchmark_group(format!("semaphore/{name}"));
        for runtime in Runtime::ALL {
            if name == "round_trip" && !matches!(runtime, Runtime::TokioCurrent) {
                continue;
            }
            tasks(&mut group, runtime, count, "floor", Nothing);
            tasks(&mut group, runtime, count, "cofferdam-barging", Ours(barging(permits)));
            tasks(&mut group, runtime, count, "cofferdam-fifo", Ours(fifo(permits)));
            let n = permits as usize;
            tasks(&mut group, runtime, count, "tokio", Tokio(tokio::sync::Semaphore::new(n)));
            tasks(&mut group, runtime, count, "async-lock", AsyncLock(async_lock::Semaphore::new(n)));
            let unfair = futures_intrusive::sync::Semaphore::new(false, n);
            tasks(&mut group, runtime, count, "futures-intrusive", Intrusive(unfair));
            let fair = futures_intrusive::sync::Semaphore::new(true, n);
            tasks(&mut group, runtime, count, "futures-intrusive-fair", Intrusive(fair));
            let peer = asyncband::semaphore::Semaphore::new(n);
            tasks(&mut group, runtime, count, "asyncband", Asyncband(peer));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(30);
    targets = try_acquire, ready_acquire, enqueue_and_cancel, enough_on_two_threads, one_permit_on_two_threads,
        contended_tasks
}
criterion_main!(benches);
