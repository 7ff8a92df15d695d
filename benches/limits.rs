//! Several limits at once, windows, limits on what is in flight, and admission control: floors, ours, and who does the same.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

use cofferdam::limit::concurrency::{Aimd, Fixed as Unchanging, Gradient2, Vegas};
use cofferdam::limit::tiered::Request;
use cofferdam::limit::{
    AdaptiveLimiter, AdmissionControl, AllOf, ConcurrencyLimiter, Fixed, FixedWindow, Joint, Leaky,
    LeakyBucket, MultiQuota, Quota, Several, SlidingCounter, SlidingLog, SlidingWindow, SlidingWindowLog,
    Tiered, TokenBucket,
};
use cofferdam::sync::Semaphore;
use cofferdam::time::Clock;
use cofferdam_benches::{Floor, Of, each};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use governor::clock::{MonotonicClock, QuantaClock};
use std::collections::HashMap;
use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Never exhausted.
fn ample() -> Quota {
    Quota::per_second(1_000_000_000).burst(1 << 50)
}

fn bucket(clock: Clock) -> TokenBucket {
    TokenBucket::builder(ample()).clock(clock).build().expect("a bucket")
}

/// All in all, by route, by resource. ion, in Go, takes 1,619 ns for the first two and 1,775 ns for all three, with 28 and 35
/// allocations.
fn tiers(criterion: &mut Criterion) {
    for (name, resource) in [("tiered/route", false), ("tiered/route_and_resource", true)] {
        for of in Of::BOTH {
            for threads in [1, 2] {
                let mut group = criterion.benchmark_group(format!("{name}/{}/threads_{threads}", of.name()));
                // Three compare-and-swaps, and a look-up for each of those that are looked up.
                let all = Floor::new(true);
                let floors = |key: &'static str| {
                    let map: HashMap<_, _, foldhash::fast::RandomState> =
                        HashMap::from_iter([(key, Floor::new(true))]);
                    map
                };
                let (by_route, by_resource) = (floors("GET /orders/{id}"), floors("r42"));
                let nanos = of.start();
                each(&mut group, "floor", threads, || {
                    let now = nanos.read();
                    let mut allowed = all.take(now);
                    allowed &=
                        by_route.get(black_box("GET /orders/{id}")).is_some_and(|floor| floor.take(now));
                    if resource {
                        allowed &= by_resource.get(black_box("r42")).is_some_and(|floor| floor.take(now));
                    }
                    black_box(allowed);
                });
                let ours = Tiered::builder()
                    .global(ample())
                    .route("GET /orders/{id}", ample())
                    .route("POST /orders", ample())
                    .route("GET /users/{id}/orders/{order}", ample())
                    .resource(ample())
                    .clock(of.clock())
                    .build()
                    .expect("a limiter");
                each(&mut group, "cofferdam", threads, || {
                    let request = Request::new("GET", black_box("/orders/17"));
                    let request = if resource { request.resource(black_box("r42")) } else { request };
                    black_box(ours.try_acquire(request).is_ok());
                });
                group.finish();
            }
        }
    }
}

/// Three at once, all or none; the peer takes one after the other, and keeps what it took if a later one refuses.
fn sets(criterion: &mut Criterion) {
    for of in Of::BOTH {
        let mut group = criterion.benchmark_group(format!("limits_at_once_3/{}", of.name()));
        let floors = std::array::from_fn::<_, 3, _>(|_| Floor::new(true));
        let nanos = of.start();
        each(&mut group, "floor", 1, || {
            let now = nanos.read();
            black_box(floors.iter().all(|floor| floor.take(now)));
        });
        let clock = of.clock();
        let mut joint = Joint::builder();
        for name in ["second", "minute", "everybody"] {
            joint = joint.with(name, bucket(clock.clone()));
        }
        let ours = AllOf::of(joint.build().expect("a set"));
        each(&mut group, "cofferdam_all_of", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        let quotas = Several::new([ample(); 3]).expect("quotas");
        let ours = MultiQuota::builder(quotas).clock(clock).build().expect("a limiter");
        each(&mut group, "cofferdam_multi_quota", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        match of {
            Of::Std => one_after_the_other(&mut group, MonotonicClock),
            Of::Quanta => one_after_the_other(&mut group, QuantaClock::default()),
        }
        group.finish();
    }
}

fn one_after_the_other<C>(group: &mut BenchmarkGroup<'_, WallTime>, clock: C)
where
    C: governor::clock::Clock + Clone + Sync,
    C::Instant: Sync,
{
    let many = NonZeroU32::new(1_000_000_000).expect("not zero");
    let quota = governor::Quota::per_second(many).allow_burst(NonZeroU32::MAX);
    let limiters = [(); 3].map(|()| governor::RateLimiter::direct_with_clock(quota, clock.clone()));
    each(group, "governor_one_by_one", 1, || {
        black_box(limiters.iter().all(|limiter| limiter.check().is_ok()));
    });
}

/// The other algorithms, on the word where they fit it.
fn windows(criterion: &mut Criterion) {
    let (most, hour) = (1 << 30, Duration::from_secs(3600));
    for of in Of::BOTH {
        let mut group = criterion.benchmark_group(format!("limiter_algorithms/{}", of.name()));
        let floor = Floor::new(true);
        let nanos = of.start();
        each(&mut group, "floor", 1, || {
            black_box(floor.take(nanos.read()));
        });
        let ours = FixedWindow::builder(Fixed::new(most, hour).expect("a window"));
        let ours = ours.clock(of.clock()).build().expect("a limiter");
        each(&mut group, "cofferdam_fixed_window", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        let ours = SlidingWindow::builder(SlidingCounter::new(most, hour).expect("a window"));
        let ours = ours.clock(of.clock()).build().expect("a limiter");
        each(&mut group, "cofferdam_sliding_window", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        // As many are remembered as come in a millisecond.
        let brief = SlidingLog::new(most, Duration::from_millis(1)).expect("a window");
        let ours = SlidingWindowLog::builder(brief).clock(of.clock()).build().expect("a limiter");
        each(&mut group, "cofferdam_sliding_log", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        let ours = LeakyBucket::builder(Leaky::new(1 << 50, ample().rate()));
        let ours = ours.clock(of.clock()).build().expect("a limiter");
        each(&mut group, "cofferdam_leaky_bucket", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        let ours = bucket(of.clock());
        each(&mut group, "cofferdam_token_bucket", 1, || {
            black_box(ours.try_acquire().is_ok());
        });
        group.finish();
    }
}

#[inline]
fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// The least that could count permits: a compare-and-swap to take, an add to give back.
#[inline]
fn pair(permits: &AtomicU64) {
    let mut now = permits.load(Ordering::Relaxed);
    while now > 0 {
        match permits.compare_exchange_weak(now, now - 1, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break,
            Err(other) => now = other,
        }
    }
    permits.fetch_add(1, Ordering::Release);
}

/// What is in flight, at a fixed limit: in and out again.
fn in_flight(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let mut group = criterion.benchmark_group(format!("concurrency/try/threads_{threads}"));
        let floor = AtomicU64::new(64);
        each(&mut group, "floor", threads, || pair(&floor));
        let ours = ConcurrencyLimiter::new(64).expect("a limiter");
        each(&mut group, "cofferdam", threads, || drop(black_box(&ours).try_acquire()));
        let ours = Semaphore::new(64);
        each(&mut group, "cofferdam_semaphore", threads, || drop(black_box(&ours).try_acquire()));
        let peer = tokio::sync::Semaphore::new(64);
        each(&mut group, "tokio", threads, || drop(black_box(&peer).try_acquire()));
        group.finish();
    }
    let mut group = criterion.benchmark_group("concurrency/acquire_ready");
    let floor = AtomicU64::new(64);
    each(&mut group, "floor", 1, || pair(&floor));
    let ours = ConcurrencyLimiter::new(64).expect("a limiter");
    each(&mut group, "cofferdam", 1, || drop(ready(black_box(&ours).acquire())));
    let ours = Semaphore::new(64);
    each(&mut group, "cofferdam_semaphore", 1, || drop(ready(black_box(&ours).acquire())));
    let peer = tokio::sync::Semaphore::new(64);
    each(&mut group, "tokio", 1, || drop(ready(black_box(&peer).acquire())));
    group.finish();
}

/// What is in flight, at a limit that finds itself: in, and out again with success. Two readings of the clock are the least.
fn adaptive(criterion: &mut Criterion) {
    for of in Of::BOTH {
        let mut group = criterion.benchmark_group(format!("adaptive/success/{}", of.name()));
        let (floor, samples, total) = (AtomicU64::new(64), AtomicU64::new(0), AtomicU64::new(0));
        let nanos = of.start();
        each(&mut group, "floor", 1, || {
            let start = nanos.read();
            pair(&floor);
            samples.fetch_add(1, Ordering::Relaxed);
            total.fetch_add(nanos.read() - start, Ordering::Relaxed);
        });
        let builders = [
            ("cofferdam_fixed", AdaptiveLimiter::builder(Unchanging(64))),
            ("cofferdam_aimd", AdaptiveLimiter::builder(Aimd::new())),
            ("cofferdam_vegas", AdaptiveLimiter::builder(Vegas::new())),
            ("cofferdam_gradient2", AdaptiveLimiter::builder(Gradient2::new())),
        ];
        for (name, builder) in builders {
            let ours = builder.clock(of.clock()).build().expect("a limiter");
            each(&mut group, name, 1, || {
                if let Ok(guard) = black_box(&ours).try_acquire() {
                    guard.success();
                }
            });
        }
        group.finish();
    }
}

/// A client that turns calls away by itself, of a server that accepts all. Counting two numbers at two times is the least.
fn admission(criterion: &mut Criterion) {
    for of in Of::BOTH {
        let mut group = criterion.benchmark_group(format!("admission/accepted/{}", of.name()));
        let (requests, accepts) = (AtomicU64::new(0), AtomicU64::new(0));
        let nanos = of.start();
        each(&mut group, "floor", 1, || {
            black_box(nanos.read());
            requests.fetch_add(1, Ordering::Relaxed);
            black_box(nanos.read());
            accepts.fetch_add(1, Ordering::Relaxed);
        });
        let ours = AdmissionControl::builder().clock(of.clock()).build().expect("admission control");
        each(&mut group, "cofferdam", 1, || {
            if let Ok(permit) = black_box(&ours).try_acquire() {
                permit.accepted();
            }
        });
        group.finish();
    }
}

criterion_group!(benches, tiers, sets, windows, in_flight, adaptive, admission);
criterion_main!(benches);
