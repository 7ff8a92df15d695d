//! The limiter as a policy.

use super::ms;
use cofferdam::limit::AdaptiveLimiter;
use cofferdam::limit::concurrency::{AdaptiveLimiterBuilder, Aimd, Discipline, Fixed, Outcome};
use cofferdam::resilience::{AdaptiveBulkhead, CircuitBreaker, Error, Kind, Retry, Stack, Timeout};
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled};
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A window that is over with each call that says something: AIMD then tells by the limit what was said.
fn aimd(time: &ManualClock) -> AdaptiveLimiterBuilder {
    let algorithm = Aimd::builder().initial(2).slow_start(false).build().unwrap();
    let window = Duration::from_nanos(1);
    AdaptiveLimiter::builder(algorithm)
        .min_samples(1)
        .window(window)
        .longest_window(window)
        .clock(time.clock())
}

async fn takes<T>(time: &ManualClock, millis: u64, result: T) -> T {
    time.clock().sleep(ms(millis)).await;
    result
}

fn run<T>(time: &ManualClock, future: impl Future<Output = T>) -> T {
    let mut polled = Polled::new(future);
    for _ in 0..10 {
        if let Some(output) = polled.poll() {
            return output;
        }
        time.advance(ms(10));
    }
    panic!("no end");
}

// S75, S4, S2
#[test]
fn how_a_call_ends_is_what_the_limiter_learns() {
    let time = ManualClock::new();
    let limiter = aimd(&time).build().unwrap();
    let bulkhead = AdaptiveBulkhead::new(limiter.clone());
    assert_eq!(run(&time, bulkhead.call(|| takes(&time, 10, Ok::<_, ()>(1)))), Ok(1));
    assert_eq!((limiter.limit(), limiter.stats().updates), (3, 1), "success");
    assert_eq!(run(&time, bulkhead.call(|| takes(&time, 10, Err::<u8, _>("no")))), Err(Error::Inner("no")));
    let mut dropped = Polled::new(bulkhead.call(pending::<Result<(), ()>>));
    assert!(dropped.poll().is_none());
    assert_eq!(limiter.stats().in_flight, 1);
    drop(dropped);
    assert_eq!(
        (limiter.stats().updates, limiter.stats().in_flight),
        (1, 0),
        "an error, a dropped call: nothing"
    );
    // A timeout inside.
    let timeout = Timeout::builder(ms(70)).clock(time.clock()).build();
    let stack = Stack::new().layer(bulkhead.clone()).layer(timeout);
    assert!(run(&time, stack.call(pending::<Result<(), ()>>)).unwrap_err().is_timeout());
    assert_eq!((limiter.limit(), limiter.stats().updates), (2, 2), "floor of 2.7");
    // S6: a refusal inside.
    let breaker = CircuitBreaker::new();
    breaker.force_open().unwrap();
    let stack = Stack::new().layer(bulkhead.clone()).breaker(breaker);
    assert!(run(&time, stack.call(|| ready(Ok::<_, ()>(1)))).unwrap_err().is_circuit_open());
    assert_eq!(limiter.stats().updates, 2);
    // S5
    let panicking = catch_unwind(AssertUnwindSafe(|| {
        let mut call = Polled::new(bulkhead.call(|| async {
            time.clock().sleep(ms(1)).await;
            std::panic::panic_any(7);
            #[allow(unreachable_code)]
            Ok::<(), ()>(())
        }));
        assert!(call.poll().is_none());
        time.advance(ms(1));
        call.poll()
    }));
    assert_eq!(panicking.unwrap_err().downcast_ref::<i32>(), Some(&7));
    assert_eq!((limiter.limit(), limiter.stats().updates, limiter.stats().in_flight), (1, 3, 0));
}

// S75: "explicit overload"
#[test]
fn a_classifier_tells_what_is_an_overload() {
    let time = ManualClock::new();
    let limiter = aimd(&time).build().unwrap();
    let bulkhead =
        AdaptiveBulkhead::new(limiter.clone()).classify(|result: &Result<u16, Error<&str>>| match result {
            Ok(503) => Outcome::Dropped,
            Err(Error::Inner("slow")) => Outcome::Success,
            other => AdaptiveBulkhead::judge(other),
        });
    assert_eq!(run(&time, bulkhead.call(|| takes(&time, 10, Err("slow")))), Err(Error::Inner("slow")));
    assert_eq!(limiter.limit(), 3);
    assert_eq!(run(&time, bulkhead.call(|| takes(&time, 10, Ok(503)))), Ok(503));
    assert_eq!(limiter.limit(), 2);
    assert_eq!(run(&time, bulkhead.call(|| takes(&time, 10, Ok(200)))), Ok(200));
    assert_eq!(limiter.limit(), 3);
}

#[test]
fn a_refusal_says_which_policy_and_why() {
    let time = ManualClock::new();
    let discipline = Discipline::ControlledDelay { target: ms(10), interval: ms(100), lifo: true };
    let builder = AdaptiveLimiter::builder(Fixed(1)).queue(2).discipline(discipline).clock(time.clock());
    let limiter = builder.build().unwrap();
    let bulkhead = AdaptiveBulkhead::new(limiter.clone()).name("search");
    let patient = bulkhead.clone().wait_limit(ms(20));
    let mut running = Polled::new(bulkhead.call(pending::<Result<(), ()>>));
    let mut shed = Polled::new(bulkhead.call(|| ready(Ok::<_, ()>(()))));
    let mut late = Polled::new(patient.call(|| ready(Ok::<_, ()>(()))));
    assert!(running.poll().is_none() && shed.poll().is_none() && late.poll().is_none());
    let full = run(&time, bulkhead.call(|| ready(Ok::<_, ()>(())))).unwrap_err();
    assert_eq!(full.to_string_lossy(), "search: queue full: all 1 places taken, 2 waiting");
    time.advance(ms(20));
    let error = late.poll().unwrap().unwrap_err();
    assert_eq!(error.to_string_lossy(), "search: waited too long: none of 1 places came free within 20ms");
    time.advance(ms(81));
    let error = shed.poll().unwrap().unwrap_err();
    assert!(error.is_shed());
    assert_eq!(error.to_string_lossy(), "search: shed");
    // The deadline of the surrounding work.
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(5));
    let mut bound = Polled::new(context.scope(bulkhead.call(|| ready(Ok::<_, ()>(())))));
    assert!(bound.poll().is_none());
    time.advance(ms(5));
    assert!(bound.poll().unwrap().unwrap_err().is_deadline_exceeded());
    limiter.close();
    assert!(run(&time, bulkhead.call(|| ready(Ok::<_, ()>(())))).unwrap_err().is_closed());
    drop(running);
    let stats = limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting, time.armed()), (0, 0, 0));
}

trait Text {
    fn to_string_lossy(&self) -> String;
}

impl Text for Error<()> {
    fn to_string_lossy(&self) -> String {
        self.rejection().map(ToString::to_string).unwrap_or_default()
    }
}

// S71, S81
#[test]
fn it_is_a_bulkhead_to_the_linter_and_holds_nothing_between_attempts() {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder(Fixed(1)).clock(time.clock()).build().unwrap();
    let bulkhead = AdaptiveBulkhead::new(limiter.clone());
    let retry = || Retry::builder().max_attempts(2).clock(time.clock()).build().unwrap();
    let wrong = Stack::new().layer(bulkhead.clone()).retry(retry());
    assert_eq!(wrong.lint().len(), 1);
    let stack = Stack::new().retry(retry()).layer(bulkhead.clone());
    assert!(stack.lint().is_empty());
    assert_eq!(stack.describe()[1].kind(), Kind::Bulkhead);
    let mut failing = Polled::new(stack.call(|| ready(Err::<(), _>("no"))));
    assert!(failing.poll().is_none(), "asleep before the second attempt");
    assert_eq!(limiter.stats().in_flight, 0);
    assert_eq!(run(&time, bulkhead.call(|| ready(Ok::<_, ()>(3)))), Ok(3));
}
