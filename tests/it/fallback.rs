//! Fallback: for what it runs, what it gives, and who learns of it.

use cofferdam::resilience::breaker::State;
use cofferdam::resilience::fallback::{FallbackEvent, Path, Recover};
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled, drop_at_every_await, yield_now};
use cofferdam::time::Backoff;
use std::cell::Cell;
use std::error::Error as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn down() -> Result<u32, &'static str> {
    Err("down")
}

fn now<F: Future>(future: F) -> F::Output {
    Polled::new(future).poll().expect("ready at once")
}

#[test]
fn it_gives_a_value_what_a_function_makes_of_the_error_or_another_answer() {
    assert_eq!(now(Fallback::value(7).call(down)), Ok(7));
    let by = Fallback::with(|error: &Error<&str>| Ok(error.inner().unwrap().len() as u32));
    assert_eq!(now(by.call(down)), Ok(4));
    let slow = Fallback::with_async(|error: &Error<&str>| {
        let length = error.inner().unwrap().len() as u32;
        async move {
            yield_now().await;
            Ok(length)
        }
    });
    let mut call = Polled::new(slow.call(down));
    assert!(call.poll().is_none());
    assert_eq!(call.poll(), Some(Ok(4)));
    let timeout = Arc::new(Timeout::total(ms(1_000)));
    let backend = Fallback::backend(move |_: &Error<&str>| {
        let timeout = Arc::clone(&timeout);
        async move { timeout.call(|| async { Ok(9) }).await }
    });
    assert_eq!(now(backend.call(down)), Ok(9));
}

#[test]
fn what_goes_well_is_left_alone() {
    let fallback = Fallback::with(|_: &Error<&str>| -> Result<u32, _> { panic!("not needed") });
    assert_eq!(now(fallback.call(|| async { Ok(1) })), Ok(1));
    assert_eq!((fallback.stats().used, fallback.stats().failed), (0, 0));
}

// S7
#[test]
fn a_caller_who_is_gone_gets_nothing_and_nothing_runs_for_him() {
    let asked = AtomicU32::new(0);
    let fallback = Fallback::with(|_: &Error<&str>| Ok(asked.fetch_add(1, Ordering::Relaxed)));
    let mut call = Polled::new(fallback.call(std::future::pending::<Result<u32, &str>>));
    assert!(call.poll().is_none());
    drop(call);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

// S7
#[test]
fn dropped_at_any_await_it_runs_what_was_begun_and_no_more() {
    let (primary, recovery) = (Cell::new(0), Cell::new(0));
    let fallback = Fallback::with_async(|_: &Error<&str>| {
        recovery.set(recovery.get() + 1);
        async {
            yield_now().await;
            yield_now().await;
            Ok(1)
        }
    });
    let points = drop_at_every_await(
        || {
            primary.set(0);
            recovery.set(0);
            fallback.call(|| async {
                yield_now().await;
                primary.set(1);
                down().await
            })
        },
        |polls| {
            // Two polls get the error; the fallback begins with it.
            assert_eq!(recovery.get(), u32::from(primary.get() == 1), "after {polls} polls");
            assert_eq!(primary.get(), u32::from(polls >= 2), "after {polls} polls");
        },
    );
    assert!(points >= 4, "{points}");
}

#[test]
fn a_cancellation_is_not_handled_unless_it_is_asked_for() {
    let context = Context::background().child();
    context.cancel("no longer wanted");
    let bulkhead = Bulkhead::new(1).unwrap();
    let stack = Stack::new().fallback(Fallback::value(7)).bulkhead(bulkhead.clone());
    let error = now(context.scope(stack.call(down))).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let all = Fallback::value(7).handle(|_: &Error<&str>| true);
    let stack = Stack::new().fallback(all).bulkhead(bulkhead);
    assert_eq!(now(context.scope(stack.call(down))), Ok(7));
}

#[test]
fn an_error_that_is_not_handled_stands() {
    let only_open = Fallback::value(7).handle(|error: &Error<&str>| error.is_circuit_open());
    assert_eq!(now(only_open.call(down)), Err(Error::Inner("down")));
    assert_eq!(only_open.stats().used, 0);
}

#[test]
fn without_anything_to_fall_back_to_the_error_stands() {
    struct Nothing;
    impl<T, E> Recover<T, E> for Nothing {
        type Future = std::future::Ready<Result<T, Error<E>>>;
        fn recover(&self, _: &Error<E>) -> Option<Self::Future> {
            None
        }
    }
    assert_eq!(now(Fallback::new(Nothing).call(down)), Err(Error::Inner("down")));
}

// CB18
#[test]
fn an_open_circuit_is_made_up_for() {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let stack = Stack::new().fallback(Fallback::value(7)).breaker(breaker.clone());
    assert_eq!(now(stack.call(down)), Ok(7));
    assert!(matches!(breaker.state(), State::Open), "the breaker inside has seen the failure");
    let calls = Cell::new(0);
    let outcome = now(stack.call(|| {
        calls.set(calls.get() + 1);
        down()
    }));
    assert_eq!((outcome, calls.get()), (Ok(7), 0));
}

// S7
#[test]
fn a_breaker_outside_sees_what_the_fallback_gives() {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let stack = Stack::new().breaker(breaker.clone()).fallback(Fallback::value(7));
    assert_eq!(now(stack.call(down)), Ok(7));
    assert_eq!(breaker.state(), State::Closed);
    let fails = Fallback::with(|_: &Error<&str>| -> Result<u32, _> { Err("down, too") });
    let stack = Stack::new().breaker(breaker.clone()).fallback(fails);
    assert!(now(stack.call(down)).is_err());
    assert!(matches!(breaker.state(), State::Open));
}

// S7
#[test]
fn its_own_error_takes_the_place_of_the_original_which_stays_as_its_source() {
    let io = |text: &str| std::io::Error::other(text.to_owned());
    let fallback = Fallback::with(|_: &Error<std::io::Error>| -> Result<u32, _> {
        Err(std::io::Error::other("replica down"))
    })
    .name("replica");
    let error = now(fallback.call(|| async { Err(io("primary down")) })).unwrap_err();
    assert_eq!(error.to_string(), "replica: failed, too: replica down");
    assert_eq!(error.source().unwrap().to_string(), "primary down");
    assert_eq!(error.inner().unwrap().to_string(), "replica down");
    let failed = error.fallback_failed().unwrap();
    assert_eq!((failed.policy(), failed.original().to_string()), ("replica", "primary down".to_owned()));
    let mapped = error.map(|error| error.to_string());
    assert_eq!(mapped.fallback_failed().unwrap().original().inner().unwrap(), "primary down");
    assert_eq!(mapped.into_inner().unwrap(), "replica down");
    assert_eq!((fallback.stats().used, fallback.stats().failed), (0, 1));
}

#[test]
fn what_is_asked_of_a_failed_fallback_is_about_its_own_error() {
    let rejection = |policy| Error::<&str>::from(Rejection::timed_out(policy, ms(5), Scope::Total));
    let failed = |own, original| Error::FallbackFailed(Box::new(FallbackFailed::new("f", own, original)));
    let error = failed(rejection("replica"), Error::Inner("down"));
    assert!(error.is_timeout() && error.is_rejection() && error.is_retryable() && error.inner().is_none());
    let error = failed(Error::Inner("down"), rejection("primary"));
    assert!(!error.is_timeout() && !error.is_rejection());
    let cancelled = Exhausted::new("r", 1, GaveUp::Cancelled, Error::Inner("x"), None);
    let error = failed(Error::Exhausted(Box::new(cancelled)), Error::Inner("down"));
    assert!(error.is_cancelled());
    let (own, original) = match error {
        Error::FallbackFailed(failed) => failed.into_parts(),
        other => panic!("{other:?}"),
    };
    assert!(own.is_exhausted() && original == Error::Inner("down"));
}

// HF1
#[test]
fn the_caller_learns_which_path_was_taken() {
    let fallback = Fallback::value(7);
    let answer = now(fallback.answer(|| async { Ok::<_, &str>(1) })).unwrap();
    assert_eq!((answer.value, answer.path.clone(), answer.is_fallback()), (1, Path::Primary, false));
    let answer = now(fallback.answer(down)).unwrap();
    assert!(answer.is_fallback());
    assert_eq!((answer.value, answer.path), (7, Path::Fallback(Error::Inner("down"))));
    // Through a whole stack.
    let time = ManualClock::new();
    let retry = Retry::builder().max_attempts(2).backoff(Backoff::fixed(ms(10))).clock(time.clock()).build();
    let stack = Stack::new().retry(retry.unwrap());
    let mut call = Polled::new(stack.answer(&fallback, down));
    assert!(call.poll().is_none());
    time.advance(ms(10));
    match call.poll().unwrap().unwrap().path {
        Path::Fallback(cause) => assert_eq!(cause.exhausted().unwrap().attempts(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_tell_of_each_use() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let fallback = Fallback::with(|error: &Error<&str>| if error.is_full() { Err("no") } else { Ok(7) });
    let other = fallback.clone();
    fallback.observe(move |event: &FallbackEvent| log.lock().unwrap().push(*event));
    assert_eq!(now(other.call(down)), Ok(7));
    let bulkhead = Bulkhead::new(1).unwrap();
    let _place = bulkhead.try_acquire().unwrap();
    let stack = Stack::new().fallback(other).bulkhead(bulkhead);
    assert!(now(stack.call(down)).is_err());
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[0], FallbackEvent::Used { name: "fallback", cause: None, .. }), "{seen:?}");
    assert!(
        matches!(seen[1], FallbackEvent::Failed { cause: Some(cause), own: None, .. } if cause.is_full())
    );
    assert_eq!((fallback.stats().used, fallback.stats().failed), (1, 1));
}

#[test]
fn an_attempt_that_is_ended_while_it_falls_back_starts_over() {
    let time = ManualClock::new();
    let (asked, primary) = (Cell::new(0), Cell::new(0));
    let slow = Fallback::with_async(|_: &Error<&str>| {
        asked.set(asked.get() + 1);
        std::future::pending::<Result<u32, &str>>()
    });
    let stack = Stack::new()
        .retry(
            Retry::builder()
                .max_attempts(2)
                .backoff(Backoff::fixed(ms(1)))
                .clock(time.clock())
                .build()
                .unwrap(),
        )
        .timeout(Timeout::attempt(ms(10)).clock(time.clock()))
        .fallback(slow);
    let mut call = Polled::new(stack.call(|| {
        primary.set(primary.get() + 1);
        down()
    }));
    assert!(call.poll().is_none());
    time.advance(ms(10));
    assert!(call.poll().is_none());
    time.advance(ms(1));
    assert!(call.poll().is_none());
    assert_eq!((primary.get(), asked.get()), (2, 2));
}

#[test]
fn a_panic_passes_through_and_leaves_nothing_behind() {
    let calls = Cell::new(0);
    let fallback = Fallback::with(|_: &Error<&str>| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 { panic!("thrown") } else { Ok(7) }
    });
    let mut call = Polled::new(fallback.call(down));
    assert_eq!(crate::support::panic_message(|| drop(call.poll())), "thrown");
    drop(call);
    assert_eq!(now(fallback.call(down)), Ok(7));
    // One of the operation is no error.
    let thrown = || async { panic!("of the operation") };
    let message = crate::support::panic_message(|| drop(now(fallback.call::<u32, _, _, _>(thrown))));
    assert_eq!(message, "of the operation");
}

// S81
#[test]
fn inside_a_retry_it_is_warned_of() {
    let retry = || Retry::builder().build().unwrap();
    let bad = Stack::new().retry(retry()).fallback(Fallback::value(0).name("zero"));
    assert_eq!(bad.lint().iter().map(Lint::code).collect::<Vec<_>>(), [LintCode::FallbackInsideRetry]);
    assert_eq!(bad.describe()[1].to_string(), "fallback(zero)");
    let good = Stack::new().fallback(Fallback::value(0)).retry(retry());
    assert!(good.lint().is_empty());
}
