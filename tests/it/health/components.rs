//! Components whose health is read.

use super::{SECOND, exact, status_of};
use cofferdam::health::Status::{CircuitOpen, Degraded, Healthy, Unhealthy};
use cofferdam::health::{Baseline, Check, GracefulShutdown, Health, Healthy as Component, ResourceLimits};
use cofferdam::limit::concurrency::{AdaptiveLimiter, ConcurrencyLimiter, Fixed};
use cofferdam::limit::tiered::Request;
use cofferdam::limit::{AdmissionControl, Quota, Tiered, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::breaker::KeyedBreaker;
use cofferdam::resilience::{Budget, Bulkhead, CircuitBreaker, Retry};
use cofferdam::sync::Semaphore;
use cofferdam::testkit::{ManualClock, Polled, Sim};
use cofferdam::time::Backoff;
use futures_util::FutureExt;
use std::future::pending;
use std::sync::Arc;

fn watched(component: &(impl Component + ?Sized)) -> Health {
    let health = exact(ManualClock::new().clock());
    health.add(Check::of("it", component)).expect("valid");
    health
}

fn status(health: &Health) -> cofferdam::health::Status {
    health.check_now().now_or_never().expect("it is read at once");
    status_of(health, "it")
}

#[test]
fn a_breaker_is_as_its_state() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder().clock(time.clock()).failure_threshold(1).build().expect("valid");
    let health = watched(&breaker);
    assert_eq!(status(&health), Healthy);
    breaker.try_acquire().expect("closed").failure();
    assert_eq!(status(&health), CircuitOpen);
    let report = health.report();
    assert_eq!(report.check("it").expect("there").reason.as_deref(), Some("the circuit breaker is open"));
    assert_eq!((report.status, report.http_status()), (CircuitOpen, 503));
    time.advance(SECOND * 3600);
    let probe = breaker.try_acquire().expect("half-open");
    assert_eq!(status(&health), Degraded);
    probe.success();
    breaker.force_open().expect("legal");
    assert_eq!(status(&health), CircuitOpen);
    drop(breaker.shutdown());
    assert_eq!(status(&health), Unhealthy);
}

#[test]
fn what_is_gone_is_not_checked_any_more() {
    let breaker = CircuitBreaker::new();
    let semaphore = Arc::new(Semaphore::new(1));
    let health = watched(&breaker);
    health.add(Check::of("semaphore", &semaphore)).expect("valid");
    breaker.trip().expect("legal");
    assert_eq!(status(&health), CircuitOpen);
    drop(breaker);
    let report = health.check_now().now_or_never().expect("at once");
    assert_eq!((report.status, report.checks.len()), (Healthy, 1), "{report:?}");
    drop(semaphore);
    assert!(health.check_now().now_or_never().expect("at once").checks.is_empty());
}

#[test]
fn a_driver_goes_on_when_a_component_is_gone() {
    let sim = Sim::new(0);
    let health = exact(sim.clock());
    let breaker = CircuitBreaker::new();
    health.add(Check::of("it", &breaker)).expect("valid");
    let driver = sim.spawn("driver", health.run());
    sim.run_until_idle();
    drop(breaker);
    sim.advance(SECOND * 10);
    assert!(health.report().checks.is_empty());
    assert_eq!(sim.time().armed(), 0);
    drop(health);
    sim.run(driver);
}

#[test]
fn what_is_full_and_waited_for_is_degraded_and_what_is_closed_unhealthy() {
    let semaphore = Arc::new(Semaphore::new(1));
    let health = watched(&semaphore);
    let permit = semaphore.try_acquire().expect("free");
    assert_eq!(status(&health), Healthy, "full, and nobody waits");
    let mut waits = Polled::new(semaphore.acquire());
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop((waits, permit));
    assert_eq!(status(&health), Healthy);
    semaphore.close();
    assert_eq!(status(&health), Unhealthy);

    let limiter = ConcurrencyLimiter::new(1).expect("valid");
    let health = watched(&limiter);
    let permit = limiter.try_acquire_owned().expect("free");
    let other = limiter.clone();
    let mut waits = Polled::new(other.acquire());
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop((waits, permit));
    assert_eq!(status(&health), Healthy);
    limiter.close();
    assert_eq!(status(&health), Unhealthy);

    let bulkhead = Bulkhead::builder(1).queue(1).build().expect("valid");
    let health = watched(&bulkhead);
    let place = bulkhead.try_acquire().expect("free");
    let mut waits = Polled::new(bulkhead.acquire());
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop((waits, place));
    assert_eq!(status(&health), Healthy);
    bulkhead.close();
    assert_eq!(status(&health), Unhealthy);
}

#[test]
fn a_limiter_that_is_paused_or_waited_for_is_degraded() {
    let time = ManualClock::new();
    let quota = "1/s burst 1".parse::<Quota>().expect("a quota");
    let bucket = TokenBucket::builder(quota).clock(time.clock()).build().expect("valid");
    let health = watched(&bucket);
    bucket.try_acquire().expect("full");
    assert_eq!(status(&health), Healthy, "used up");
    let mut waits = Polled::new(bucket.acquire());
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop(waits);
    bucket.pause();
    assert_eq!(status(&health), Degraded);
    bucket.resume();
    assert_eq!(status(&health), Healthy);
}

#[test]
fn a_pool_is_degraded_when_it_is_full_and_unhealthy_when_closed() {
    let sim = Sim::new(0);
    let builder = WorkerPool::builder().workers(1).queue(2).clock(sim.clock());
    let pool = builder.start(&sim).expect("valid");
    let health = watched(&pool);
    assert_eq!(status(&health), Healthy);
    pool.try_execute(pending()).expect("room");
    sim.run_until_idle();
    pool.try_execute(async {}).expect("room");
    assert_eq!(status(&health), Healthy, "one of two places");
    pool.try_execute(async {}).expect("room");
    assert_eq!(status(&health), Degraded);
    pool.close();
    assert_eq!(status(&health), Unhealthy);
    drop(pool);
    sim.drop_tasks();
    assert!(health.check_now().now_or_never().expect("at once").checks.is_empty());
}

#[test]
fn baselines_resources_and_shutdowns_are_components_too() {
    let baseline = Baseline::builder().window(2).samples(3).build().expect("valid");
    let health = watched(&baseline);
    (0..10).for_each(|_| baseline.record(1.0));
    assert_eq!(status(&health), Healthy);
    (0..2).for_each(|_| baseline.record(2.0));
    assert_eq!(status(&health), Degraded);

    let shutdown = GracefulShutdown::builder().build();
    let health = watched(&shutdown);
    assert_eq!(status(&health), Healthy);
    shutdown.run().now_or_never().expect("nothing to do");
    assert_eq!(status(&health), Unhealthy);

    assert_eq!(status(&watched(&ResourceLimits::new())), Healthy);
    let expected = if cfg!(target_os = "linux") { Unhealthy } else { Healthy };
    assert_eq!(status(&watched(&ResourceLimits::new().resident(1))), expected);
}

#[test]
fn an_adaptive_limiter_is_degraded_while_somebody_waits_for_it() {
    let limiter = AdaptiveLimiter::builder(Fixed(1)).queue(1).build().expect("valid");
    let health = watched(&limiter);
    let guard = limiter.try_acquire().expect("free");
    assert_eq!(status(&health), Healthy, "full is not degraded");
    let mut waits = Polled::new(limiter.acquire());
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop((waits, guard));
    assert_eq!(status(&health), Healthy);
    limiter.close();
    assert_eq!(status(&health), Unhealthy);
    drop(limiter);
    assert!(health.check_now().now_or_never().expect("at once").checks.is_empty());
}

#[test]
fn a_limiter_by_route_is_degraded_while_all_of_it_is_held_up() {
    let time = ManualClock::new();
    let global = Quota::per_second(1).burst(1);
    let limiter = Tiered::builder().global(global).clock(time.clock()).build().expect("valid");
    let health = watched(&limiter);
    let request = Request::new("GET", "/a");
    limiter.try_acquire(request).expect("there");
    assert_eq!(status(&health), Healthy);
    let mut waits = Polled::new(limiter.acquire(request));
    assert!(waits.poll().is_none());
    assert_eq!(status(&health), Degraded);
    drop(waits);
    assert_eq!(status(&health), Healthy);
    limiter.global().pause_for(SECOND);
    assert_eq!(status(&health), Degraded);
}

#[test]
fn breakers_by_key_are_degraded_as_long_as_one_is_open() {
    let breakers = KeyedBreaker::<u64>::new(CircuitBreaker::builder().failure_threshold(1)).expect("valid");
    let health = watched(&breakers);
    breakers.try_acquire(&1).expect("closed").success();
    assert_eq!(status(&health), Healthy);
    breakers.try_acquire(&2).expect("closed").failure();
    assert_eq!(status(&health), Degraded);
    let report = health.report();
    assert_eq!(
        report.check("it").expect("there").reason.as_deref(),
        Some("1 of 2 circuit breakers are open")
    );
    breakers.breaker(&2).expect("known").reset().expect("legal");
    assert_eq!(status(&health), Healthy);
}

#[test]
fn a_budget_is_degraded_when_nothing_is_left_and_admission_when_it_sheds() {
    let budget = Budget::quota(5).build().expect("valid");
    let health = watched(&budget);
    assert_eq!(status(&health), Healthy);
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::ZERO)
        .budget(budget.clone())
        .build()
        .expect("valid");
    assert!(retry.call(|| std::future::ready(Err::<(), _>(()))).now_or_never().expect("ready").is_err());
    assert_eq!(status(&health), Degraded);
    let admission = AdmissionControl::new();
    let health = watched(&admission);
    assert_eq!(status(&health), Healthy);
    for _ in 0..1000 {
        if let Ok(permit) = admission.try_acquire() {
            permit.rejected();
        }
    }
    assert_eq!(status(&health), Degraded);
}
