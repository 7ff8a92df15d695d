//! Circuit breakers: what it costs when all is well, when some calls fail, and when it is open.
//!
//! The floors: a load and a compare-and-swap (the least that could count outcomes in one word), a load alone (the least
//! that could refuse), a clock read (what a refusal cannot do without that says when to come back).

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{Outcome, Window};
use cofferdam::time::Clock;
use cofferdam_benches::on_threads;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use failsafe::futures::CircuitBreaker as AsyncFailsafe;
use failsafe::{CircuitBreaker as Failsafe, backoff, failure_policy};
use layered::{Execute, Service as _, Stack as _};
use recloser::{AsyncRecloser, Recloser};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

type Answer = Result<u64, u64>;

fn poll_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// One for one thread, one shared by two.
fn on_one_and_two(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut op: impl FnMut() + Clone + Sync) {
    let mut here = op.clone();
    group.bench_function(format!("{name}/1"), |b| b.iter(&mut here));
    let shared = &op;
    group.bench_function(format!("{name}/2"), |b| {
        b.iter_custom(|iters| {
            on_threads(2, iters, |share| {
                let mut op = shared.clone();
                (0..share).for_each(|_| op());
            })
        });
    });
    op();
}

/// The same thresholds for all: never reached while calls succeed or fail now and then.
fn peer_failsafe() -> impl Failsafe + AsyncFailsafe + Clone + Send + Sync {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(Duration::from_secs(3600)));
    failsafe::Config::new().failure_policy(policy).build()
}

fn peer_recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).open_wait(Duration::from_secs(3600)).build()
}

/// What all the others have a `call` for.
fn floor(word: &AtomicU64, answer: Answer) -> Answer {
    let seen = word.load(Ordering::Acquire);
    let next = if answer.is_ok() { seen & !0xff } else { seen + 1 };
    let _ = word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed);
    answer
}

/// Calls of which every `nth` fails (0: none).
fn closed(c: &mut Criterion, name: &str, nth: u64) {
    let mut group = c.benchmark_group(format!("breaker/{name}"));
    // Each thread has a copy, and with it a count of its own.
    let mut n = 0_u64;
    let mut answer = move || {
        n += 1;
        if nth != 0 && n.is_multiple_of(nth) { Err(black_box(n)) } else { Ok(black_box(n)) }
    };
    let word = &AtomicU64::new(0);
    on_one_and_two(&mut group, "floor", move || drop(black_box(floor(black_box(word), answer()))));
    let ours = &CircuitBreaker::new();
    on_one_and_two(&mut group, "cofferdam", move || drop(black_box(black_box(ours).call_sync(answer))));
    on_one_and_two(&mut group, "cofferdam-guard", move || {
        if let Ok(guard) = black_box(ours).try_acquire() {
            guard.record(if answer().is_ok() { Outcome::Success } else { Outcome::Failure });
        }
    });
    let peer = &peer_failsafe();
    on_one_and_two(&mut group, "failsafe", move || {
        drop(black_box(Failsafe::call(black_box(peer), answer)));
    });
    let peer = &peer_recloser();
    on_one_and_two(&mut group, "recloser", move || {
        drop(black_box(black_box(peer).call(answer)));
    });
}

/// Breakers that open by a rate, over each kind of window. The floor is the same: one word, one compare-and-swap.
fn windows(c: &mut Criterion, name: &str, nth: u64) {
    let mut group = c.benchmark_group(format!("breaker/window_{name}"));
    let mut n = 0_u64;
    let mut answer = move || {
        n += 1;
        if nth != 0 && n.is_multiple_of(nth) { Err(black_box(n)) } else { Ok(black_box(n)) }
    };
    let word = &AtomicU64::new(0);
    on_one_and_two(&mut group, "floor", move || drop(black_box(floor(black_box(word), answer()))));
    let hour = Duration::from_secs(3600);
    let by_rate = || CircuitBreaker::builder().failure_rate(0.5);
    for (name, builder) in [
        ("calls", by_rate()),
        ("time", by_rate().window(Window::time(Duration::from_secs(30)))),
        ("time-quanta", by_rate().window(Window::time(Duration::from_secs(30))).clock(Clock::quanta())),
        ("slow-quanta", by_rate().slow_call(hour).slow_rate(0.5).clock(Clock::quanta())),
    ] {
        let ours = &builder.build().expect("a breaker");
        on_one_and_two(&mut group, &format!("cofferdam-{name}"), move || {
            drop(black_box(black_box(ours).call_sync(answer)));
        });
    }
    let peer = &peer_recloser();
    on_one_and_two(&mut group, "recloser-calls", move || drop(black_box(black_box(peer).call(answer))));
    let policy = failure_policy::success_rate_over_time_window(
        0.5,
        100,
        Duration::from_secs(30),
        backoff::constant(hour),
    );
    let peer = &failsafe::Config::new().failure_policy(policy).build();
    on_one_and_two(&mut group, "failsafe-time", move || {
        drop(black_box(Failsafe::call(black_box(peer), answer)));
    });
}

fn windows_ok(c: &mut Criterion) {
    windows(c, "ok", 0);
}

fn windows_every_8th_fails(c: &mut Criterion) {
    windows(c, "every_8th_fails", 8);
}

fn closed_ok(c: &mut Criterion) {
    closed(c, "closed_ok", 0);
}

fn closed_every_8th_fails(c: &mut Criterion) {
    closed(c, "closed_every_8th_fails", 8);
}

/// Whether it was: all that is looked at, of every contender, as a caller does who has something else to do then. Kept whole, a
/// refusal would be measured by how much it has to say.
fn refused<T, E>(outcome: Result<T, E>) {
    black_box(outcome.is_err());
}

fn failing() -> Answer {
    Err(1)
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("breaker/open");
    let word = AtomicU64::new(1);
    on_one_and_two(&mut group, "floor-load", || {
        black_box(black_box(&word).load(Ordering::Acquire) == 1);
    });
    let clock = Clock::system();
    on_one_and_two(&mut group, "floor-clock", || drop(black_box(black_box(&clock).now())));
    let ours = CircuitBreaker::builder().recovery_time(Duration::from_secs(3600)).build().expect("a breaker");
    ours.trip().expect("closed before");
    on_one_and_two(&mut group, "cofferdam", || refused(black_box(&ours).call_sync(failing)));
    let builder = CircuitBreaker::builder().recovery_time(Duration::from_secs(3600));
    let ours = builder.clock(Clock::quanta()).build().expect("a breaker");
    ours.trip().expect("closed before");
    on_one_and_two(&mut group, "cofferdam-quanta", || refused(black_box(&ours).call_sync(failing)));
    let ours = CircuitBreaker::new();
    ours.force_open().expect("closed before");
    on_one_and_two(&mut group, "cofferdam-forced", || refused(black_box(&ours).call_sync(failing)));
    let peer = peer_failsafe();
    while Failsafe::is_call_permitted(&peer) {
        drop(Failsafe::call(&peer, failing));
    }
    on_one_and_two(&mut group, "failsafe", || refused(Failsafe::call(black_box(&peer), failing)));
    let peer = peer_recloser();
    (0..200).for_each(|_| drop(peer.call(failing)));
    assert!(peer.call(|| Answer::Ok(1)).is_err());
    on_one_and_two(&mut group, "recloser", || refused(black_box(&peer).call(failing)));
}

fn calls_async(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _context = runtime.enter();
    for (name, answer) in [("async_closed_ready", Answer::Ok(1)), ("async_open", Answer::Err(1))] {
        let mut group = c.benchmark_group(format!("breaker/{name}"));
        let trip = answer.is_err();
        let word = AtomicU64::new(0);
        group.bench_function("floor", |b| {
            b.iter(|| {
                refused(poll_once(async {
                    if trip {
                        Err(black_box(&word).load(Ordering::Acquire))
                    } else {
                        floor(black_box(&word), ready(black_box(answer)).await)
                    }
                }))
            });
        });
        let ours =
            CircuitBreaker::builder().recovery_time(Duration::from_secs(3600)).build().expect("a breaker");
        if trip {
            ours.trip().expect("closed before");
        }
        group.bench_function("cofferdam", |b| {
            b.iter(|| refused(poll_once(black_box(&ours).call(|| ready(black_box(answer))))))
        });
        let peer = peer_failsafe();
        (0..200).for_each(|_| drop(poll_once(AsyncFailsafe::call(&peer, ready(answer)))));
        group.bench_function("failsafe", |b| {
            b.iter(|| refused(poll_once(AsyncFailsafe::call(black_box(&peer), ready(black_box(answer))))));
        });
        let peer = AsyncRecloser::from(peer_recloser());
        (0..200).for_each(|_| drop(poll_once(peer.call(ready(answer)))));
        group.bench_function("recloser", |b| {
            b.iter(|| refused(poll_once(black_box(&peer).call(ready(black_box(answer))))))
        });
        let layer = CircuitBreakerLayer::builder()
            .consecutive_failures(5)
            .wait_duration_in_open(Duration::from_secs(3600))
            .build()
            .expect("a layer");
        let mut peer = layer.layer(tower::service_fn(|answer: Answer| ready(answer)));
        (0..200).for_each(|_| drop(poll_once(peer.call(answer))));
        group.bench_function("tower-resilience", |b| {
            b.iter(|| refused(poll_once(peer.call(black_box(answer)))))
        });
        // By the share of failures in the last 30 seconds, which it cannot do otherwise.
        let context = ResilienceContext::new(tick::Clock::new_tokio());
        let layer = seatbelt::breaker::Breaker::layer("peer", &context)
            .recovery_with(
                |answer: &Answer, _| {
                    if answer.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() }
                },
            )
            .rejected_input_error(|_, _| 0)
            .break_duration(Duration::from_secs(3600));
        let peer = (layer, Execute::new(|answer: Answer| ready(answer))).into_service();
        (0..200).for_each(|_| drop(poll_once(peer.execute(answer))));
        if trip {
            assert_eq!(poll_once(peer.execute(Ok(1))), Err(0), "it is open");
        }
        group.bench_function("seatbelt", |b| b.iter(|| refused(poll_once(peer.execute(black_box(answer))))));
    }
}

criterion_group!(
    benches,
    closed_ok,
    closed_every_8th_fails,
    windows_ok,
    windows_every_8th_fails,
    open,
    calls_async
);
criterion_main!(benches);
