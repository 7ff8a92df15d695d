//! Rate limiters: a raw floor, ours, and the peers, each on the same clock, on the workloads of one run.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

use cofferdam::limit::{Quota, Rate, TokenBucket};
use cofferdam::time::Clock;
use cofferdam_benches::{Floor, each, now};
use criterion::{Criterion, criterion_group, criterion_main};
use governor::clock::{MonotonicClock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// Never exhausted: a nanosecond brings a token, and the burst is larger than any run.
fn ample(clock: Clock) -> TokenBucket {
    bucket(Quota::per_second(1_000_000_000).burst(1 << 50), clock)
}

/// Exhausted for the next hour.
fn spent(clock: Clock) -> TokenBucket {
    let bucket = bucket(Quota::per_hour(1), clock);
    let _ = bucket.try_acquire();
    bucket
}

fn bucket(quota: Quota, clock: Clock) -> TokenBucket {
    TokenBucket::builder(quota).clock(clock).build().expect("a bucket")
}

type Governor<C> =
    governor::RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as governor::clock::Clock>::Instant>>;

fn governor_ample<C: governor::clock::Clock>(clock: C) -> Governor<C> {
    let many = NonZeroU32::new(1_000_000_000).expect("not zero");
    governor::RateLimiter::direct_with_clock(
        governor::Quota::per_second(many).allow_burst(NonZeroU32::MAX),
        clock,
    )
}

fn governor_spent<C: governor::clock::Clock>(clock: C) -> Governor<C> {
    let limiter = governor::RateLimiter::direct_with_clock(governor::Quota::per_hour(NonZeroU32::MIN), clock);
    let _ = limiter.check();
    limiter
}

fn ratelimit(ample: bool) -> ratelimit::Ratelimiter {
    let builder = if ample {
        ratelimit::Ratelimiter::builder(1_000_000_000).max_tokens(1 << 33).initial_available(1 << 33)
    } else {
        ratelimit::Ratelimiter::builder(1).period(Duration::from_secs(3600)).max_tokens(1)
    };
    builder.build().expect("a limiter")
}

fn leaky(ample: bool) -> leaky_bucket::RateLimiter {
    let tokens = if ample { 1 << 50 } else { 0 };
    leaky_bucket::RateLimiter::builder()
        .initial(tokens)
        .max(tokens.max(1))
        .refill(1)
        .interval(Duration::from_secs(3600))
        .build()
}

fn on_std(criterion: &mut Criterion, name: &str, threads: usize, allow: bool) {
    let mut group = criterion.benchmark_group(format!("{name}/std"));
    let start = now();
    if threads == 1 {
        each(&mut group, "clock_alone", 1, || {
            black_box(now());
        });
    }
    let floor = Floor::new(allow);
    each(&mut group, "floor", threads, || {
        black_box(floor.take((now() - start).as_nanos() as u64));
    });
    let ours = if allow { ample(Clock::system()) } else { spent(Clock::system()) };
    each(&mut group, "cofferdam", threads, || {
        black_box(ours.try_acquire().is_ok());
    });
    let governor = if allow { governor_ample(MonotonicClock) } else { governor_spent(MonotonicClock) };
    each(&mut group, "governor", threads, || {
        black_box(governor.check().is_ok());
    });
    let ratelimit = ratelimit(allow);
    each(&mut group, "ratelimit", threads, || {
        black_box(ratelimit.try_wait().is_ok());
    });
    let leaky = leaky(allow);
    each(&mut group, "leaky_bucket", threads, || {
        black_box(leaky.try_acquire(1));
    });
    group.finish();
}

fn on_quanta(criterion: &mut Criterion, name: &str, threads: usize, allow: bool) {
    let mut group = criterion.benchmark_group(format!("{name}/quanta"));
    let clock = quanta::Clock::new();
    let start = clock.raw();
    if threads == 1 {
        each(&mut group, "clock_alone", 1, || {
            black_box(clock.now());
        });
    }
    let floor = Floor::new(allow);
    each(&mut group, "floor", threads, || {
        black_box(floor.take(clock.delta_as_nanos(start, clock.raw())));
    });
    let ours = if allow { ample(Clock::quanta()) } else { spent(Clock::quanta()) };
    each(&mut group, "cofferdam", threads, || {
        black_box(ours.try_acquire().is_ok());
    });
    let clock = QuantaClock::default();
    let governor = if allow { governor_ample(clock) } else { governor_spent(clock) };
    each(&mut group, "governor", threads, || {
        black_box(governor.check().is_ok());
    });
    group.finish();
}

fn allow(criterion: &mut Criterion) {
    on_std(criterion, "limiter_allow", 1, true);
    on_quanta(criterion, "limiter_allow", 1, true);
}

fn deny(criterion: &mut Criterion) {
    on_std(criterion, "limiter_deny", 1, false);
    on_quanta(criterion, "limiter_deny", 1, false);
}

fn allow_two_threads(criterion: &mut Criterion) {
    on_std(criterion, "limiter_allow_2_threads", 2, true);
    on_quanta(criterion, "limiter_allow_2_threads", 2, true);
}

/// The decision alone, at a time that the caller has.
fn given_now(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter_allow/given_now");
    let floor = Floor::new(true);
    let nanos = 1_000_000_000;
    each(&mut group, "floor", 1, || {
        black_box(floor.take(black_box(nanos)));
    });
    let ours = ample(Clock::system());
    let at = now() + Duration::from_secs(1);
    each(&mut group, "cofferdam", 1, || {
        black_box(ours.try_acquire_at(1, black_box(at)).is_ok());
    });
    each(&mut group, "cofferdam_many", 1, || {
        black_box(ours.try_acquire_at(black_box(3), black_box(at)).is_ok());
    });
    group.finish();

    let mut group = criterion.benchmark_group("limiter_deny/given_now");
    let floor = Floor::new(false);
    each(&mut group, "floor", 1, || {
        black_box(floor.take(black_box(nanos)));
    });
    let ours = spent(Clock::system());
    let at = now() + Duration::from_secs(1);
    each(&mut group, "cofferdam", 1, || {
        black_box(ours.try_acquire_at(1, black_box(at)).is_ok());
    });
    group.finish();
}

/// What goes through the mutex: two locks are the floor of queueing and giving up.
fn slow_paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter_wait");
    let floor = std::sync::Mutex::new(0u64);
    group.bench_function("enqueue_and_give_up/floor", |bencher| {
        bencher.iter(|| {
            for _ in 0..2 {
                *floor.lock().expect("not poisoned") += black_box(1);
            }
        });
    });
    // With somebody ahead, so that the timer stays as it is.
    let ours = spent(Clock::system());
    let mut ahead = pin!(ours.acquire());
    let mut context = Context::from_waker(Waker::noop());
    assert!(ahead.as_mut().poll(&mut context).is_pending());
    group.bench_function("enqueue_and_give_up/cofferdam", |bencher| {
        bencher.iter(|| {
            let mut waiting = pin!(ours.acquire());
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        });
    });
    let ours = ample(Clock::system());
    group.bench_function("ready/cofferdam", |bencher| {
        bencher.iter(|| {
            let mut ready = pin!(ours.acquire());
            black_box(ready.as_mut().poll(&mut Context::from_waker(Waker::noop()))).is_ready()
        });
    });
    group.bench_function("reserve_and_cancel/cofferdam", |bencher| bencher.iter(|| drop(ours.reserve(1))));
    // A quota too large for the word.
    let wide = Rate::per(777_777, Duration::from_secs(86_400)).expect("a rate");
    let wide = bucket(Quota::new(wide, 777_777_777), Clock::system());
    let at = now() + Duration::from_secs(1);
    group.bench_function("wide_allow_given_now/cofferdam", |bencher| {
        bencher.iter(|| black_box(wide.try_acquire_at(1, black_box(at)).is_ok()));
    });
    group.finish();
}

criterion_group!(benches, given_now, allow, deny, allow_two_threads, slow_paths);
criterion_main!(benches);
