//! Admission control around calls: results, cancellation, panics, other policies inside and outside.

use super::{builder, control, record, secs};
use cofferdam::limit::{AdmissionControl, AdmissionStats, Answer};
use cofferdam::resilience::admission::{self, ByDefault};
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{
    ManualClock, Polled, Sim, drop_at_every_await, drop_at_every_await_in_sim, yield_now,
};
use cofferdam::time::{Backoff, Rng};
use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

const MAX: f64 = 1.0 - f64::EPSILON / 2.0;

/// One that turns every call away, as surely as it may.
fn closed(time: &ManualClock) -> AdmissionControl {
    let control = builder(time).max(MAX).aggression(1e18).build().unwrap();
    record(&control, time.clock().now(), 1000, Answer::Rejected);
    assert_eq!(control.probability(), MAX);
    control
}

/// Accepted, rejected, ignored, cancelled, turned away.
fn counts(control: &AdmissionControl) -> [u64; 5] {
    let AdmissionStats { accepted, rejected, ignored, cancelled, shed, running, .. } = control.stats();
    assert_eq!(running, 0);
    [accepted, rejected, ignored, cancelled, shed]
}

#[test]
fn a_call_that_is_turned_away_is_not_begun_and_says_who_shed_it() {
    let time = ManualClock::new();
    let admission = Admission::builder(closed(&time)).name("inventory").build();
    let begun = Cell::new(0);
    let op = || {
        begun.set(begun.get() + 1);
        async { Ok::<(), &str>(()) }
    };
    let error = Polled::new(admission.call(op)).poll().unwrap().unwrap_err();
    assert_eq!((error.to_string().as_str(), begun.get()), ("inventory: shed", 0));
    assert!(error.is_shed() && error.is_temporary() && !error.is_retryable());
    assert_eq!((error.retry_after(), error.rejection().unwrap().may_have_run()), (None, false));
    assert_eq!(admission.control().stats().shed, 1);
}

#[test]
fn by_default_only_a_timeout_means_that_the_server_has_too_much_to_do() {
    let time = ManualClock::new();
    let control = control(&time);
    let admission = Admission::new(control.clone());
    assert_eq!(Polled::new(admission.call(|| async { Ok::<_, ()>(1) })).poll(), Some(Ok(1)));
    assert_eq!(Polled::new(admission.call(|| async { Err::<(), _>(2) })).poll(), Some(Err(Error::Inner(2))));
    assert_eq!(counts(&control), [2, 0, 0, 0, 0]);
    let stack = Stack::new()
        .admission(admission)
        .timeout(Timeout::builder(Duration::from_millis(10)).clock(time.clock()).build());
    let mut call = Polled::new(stack.call(pending::<Result<(), ()>>));
    assert!(call.poll().is_none());
    time.advance(Duration::from_millis(10));
    assert!(call.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(counts(&control), [2, 1, 0, 0, 0]);
    // What a retry has given up counts by how it ended.
    let retry =
        || Retry::builder().max_attempts(2).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap();
    let stack = Stack::new().admission(Admission::new(control.clone())).retry(retry());
    assert!(
        Polled::new(stack.call(|| async { Err::<(), _>(3) })).poll().unwrap().unwrap_err().is_exhausted()
    );
    assert_eq!(counts(&control), [3, 1, 0, 0, 0]);
}

#[test]
fn a_classifier_says_which_results_mean_overload() {
    let control = control(&ManualClock::new());
    let admission = Admission::builder(control.clone())
        .classify(|result: &Result<u16, Error<&str>>| match result {
            Ok(429 | 503) | Err(Error::Inner("busy")) => Answer::Rejected,
            Ok(304) => Answer::Ignored,
            other => ByDefault::of(other),
        })
        .name("by status")
        .build();
    let results = [Ok(200), Ok(429), Ok(503), Ok(304), Ok(500), Err("busy"), Err("broken")];
    for result in results {
        let came = Polled::new(admission.call(|| async move { result })).poll();
        assert_eq!(came, Some(result.map_err(Error::Inner)), "as it is");
    }
    assert_eq!(counts(&control), [3, 3, 1, 0, 0]);
    // A policy with another view shares the counts, not the view.
    let other = Admission::new(control.clone());
    assert_eq!(Polled::new(other.call(|| async { Ok::<_, ()>(503) })).poll(), Some(Ok(503)));
    assert_eq!(counts(&control), [4, 3, 1, 0, 0]);
}

// S6
#[test]
fn refusals_of_inner_policies_say_nothing_about_the_server() {
    let time = ManualClock::new();
    let control = control(&time);
    let bulkhead = Bulkhead::new(1).unwrap();
    let stack = Stack::new().admission(Admission::new(control.clone())).bulkhead(bulkhead.clone());
    let mut holder = Polled::new(bulkhead.call(pending::<Result<(), ()>>));
    assert!(holder.poll().is_none());
    for _ in 0..100 {
        let error = Polled::new(stack.call(|| async { Ok::<(), ()>(()) })).poll().unwrap().unwrap_err();
        assert!(error.is_full(), "not turned away: {error:?}");
    }
    assert_eq!((counts(&control), control.stats().window_requests), ([0, 0, 100, 0, 0], 0));
    // Nor does one admission control inside another.
    let stack =
        Stack::new().admission(Admission::new(control.clone())).admission(Admission::new(closed(&time)));
    assert!(Polled::new(stack.call(|| async { Ok::<(), ()>(()) })).poll().unwrap().unwrap_err().is_shed());
    assert_eq!(counts(&control), [0, 0, 101, 0, 0]);
}

// S6
#[test]
fn what_it_sheds_opens_no_breaker_and_is_not_tried_again() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().unwrap();
    let retry = Retry::builder().max_attempts(5).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap();
    let control = closed(&time);
    let stack = Stack::new().retry(retry).breaker(breaker.clone()).admission(Admission::new(control.clone()));
    assert_eq!(stack.lint(), []);
    let error = Polled::new(stack.call(|| async { Ok::<(), ()>(()) })).poll().unwrap().unwrap_err();
    assert!(error.is_shed() && !error.is_exhausted(), "{error:?}");
    assert_eq!((control.stats().shed, breaker.stats().failures, breaker.stats().ignored), (1, 0, 1));
}

#[test]
fn each_attempt_of_a_retry_is_counted() {
    let time = ManualClock::new();
    let control = control(&time);
    let retry = Retry::builder().max_attempts(3).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap();
    let busy =
        Admission::builder(control.clone()).classify(|_: &Result<(), Error<()>>| Answer::Rejected).build();
    let stack = Stack::new().retry(retry).admission(busy);
    assert!(Polled::new(stack.call(|| async { Err(()) })).poll().unwrap().unwrap_err().is_exhausted());
    assert_eq!(counts(&control), [0, 3, 0, 0, 0]);
}

#[test]
fn its_place_in_a_stack_is_named_and_the_wrong_one_too() {
    let admission = || Admission::builder(AdmissionControl::new()).name("inventory").build();
    let stack = Stack::new().admission(admission()).retry(Retry::builder().build().unwrap());
    assert_eq!(stack.describe()[0].kind(), Kind::Admission);
    let lints = stack.lint();
    assert_eq!((lints.len(), lints[0].code()), (1, LintCode::AdmissionOutsideRetry));
    assert_eq!(
        lints[0].to_string(),
        "admission-outside-retry: admission(inventory) around retry: retries go past the admission control"
    );
    assert_eq!(stack.allow(LintCode::AdmissionOutsideRetry).lint(), []);
    let default = Stack::new().admission(Admission::new(AdmissionControl::new()));
    assert_eq!(format!("{:?}", default.describe()[0].to_string()), "\"admission\"");
    // It makes one attempt, so an operation that can be run only once will do.
    let once = String::from("once");
    let call = default.call_once(|| async { Ok::<_, ()>(once) });
    assert_eq!(Polled::new(call).poll(), Some(Ok("once".into())));
}

// S58
#[test]
fn work_that_has_ended_is_no_request() {
    let time = ManualClock::new();
    let control = closed(&time);
    let admission = Admission::new(control.clone());
    let before = control.stats();
    let cancelled = Context::background().child();
    cancelled.cancel("no longer wanted");
    let late = Context::background().with_clock(time.clock()).with_timeout(secs(1));
    time.advance(secs(1));
    let call = || admission.call(|| async { Ok::<(), ()>(()) });
    assert!(Polled::new(cancelled.scope(call())).poll().unwrap().unwrap_err().is_cancelled());
    assert!(Polled::new(late.scope(call())).poll().unwrap().unwrap_err().is_deadline_exceeded());
    assert_eq!(control.stats(), before);
    // Work that could end, but has not, is.
    let alive = Context::background().child();
    assert!(Polled::new(alive.scope(call())).poll().unwrap().unwrap_err().is_shed());
}

// S5
#[test]
fn a_panic_of_the_call_or_of_the_classifier_counts_as_rejected_and_passes_through() {
    let control = control(&ManualClock::new());
    let admission = Admission::new(control.clone());
    let panics = || -> std::future::Ready<Result<(), ()>> { resume_unwind(Box::new(7_u8)) };
    let mut call = Polled::new(admission.call(panics));
    let payload = catch_unwind(AssertUnwindSafe(|| call.poll().is_some())).unwrap_err();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&7));
    drop(call);
    assert_eq!(counts(&control), [0, 1, 0, 0, 0]);
    let confused = admission::Admission::builder(control.clone())
        .classify(|_: &Result<(), Error<()>>| resume_unwind(Box::new(8_u8)))
        .build();
    let mut call = Polled::new(confused.call(|| async { Ok(()) }));
    let payload = catch_unwind(AssertUnwindSafe(|| call.poll().is_some())).unwrap_err();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&8));
    drop(call);
    assert_eq!((counts(&control), control.stats().window_requests), ([0, 2, 0, 0, 0], 2));
}

#[test]
fn a_panic_elsewhere_that_drops_a_pending_call_is_not_the_servers() {
    let control = control(&ManualClock::new());
    let admission = Admission::new(control.clone());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let mut call = Polled::new(admission.call(pending::<Result<(), ()>>));
        assert!(call.poll().is_none());
        resume_unwind(Box::new(()));
    }));
    assert!(panic.is_err());
    assert_eq!((counts(&control), control.stats().window_requests), ([0, 0, 0, 1, 0], 0));
}

// S2
#[test]
fn a_call_that_is_dropped_counts_for_nothing() {
    let time = ManualClock::new();
    let control = control(&time);
    record(&control, time.clock().now(), 8, Answer::Accepted);
    record(&control, time.clock().now(), 7, Answer::Rejected);
    let admission = Admission::new(control.clone());
    let (before, dropped) = (control.stats(), Cell::new(0));
    let make = || {
        admission.call(|| async {
            yield_now().await;
            yield_now().await;
            yield_now().await;
            Ok::<(), ()>(())
        })
    };
    let points = drop_at_every_await(make, |polls| {
        dropped.set(dropped.get() + u64::from(polls > 0));
        let after = control.stats();
        assert_eq!((after.cancelled, after.running), (dropped.get(), 0));
        let window = |stats: AdmissionStats| (stats.window_requests, stats.window_accepts, stats.probability);
        assert_eq!(window(after), window(before));
        assert_eq!((after.accepted, after.rejected, after.ignored), (8, 7, 0));
    });
    assert_eq!(points, 4, "not polled, and at each of three");
}

// S2
#[test]
fn dropped_at_any_await_in_the_midst_of_others_a_call_leaves_no_trace() {
    let points = drop_at_every_await_in_sim(0..60, |sim: &Sim| {
        let control = AdmissionControl::builder()
            .clock(sim.clock())
            .rng(Rng::with_seed(sim.random_below(1 << 20)))
            .min_requests(1)
            .build()
            .unwrap();
        let call = |work: u64| {
            let (control, clock) = (control.clone(), sim.clock());
            async move {
                let admission = Admission::builder(control)
                    .classify(|result: &Result<u64, Error<()>>| match result {
                        Ok(work) if work % 2 == 1 => Answer::Rejected,
                        other => ByDefault::of(other),
                    })
                    .build();
                let timeout = Timeout::builder(Duration::from_millis(20)).clock(clock.clone()).build();
                let stack = Stack::new().admission(admission).timeout(timeout);
                for _ in 0..3 {
                    let outcome = stack
                        .call(|| async {
                            clock.sleep(Duration::from_millis(work)).await;
                            yield_now().await;
                            Ok::<u64, ()>(work)
                        })
                        .await;
                    assert!(
                        outcome.is_ok() || outcome.is_err_and(|error| error.is_shed() || error.is_timeout())
                    );
                }
            }
        };
        for n in 0..4 {
            sim.spawn(format!("other {n}"), call(1 + sim.random_below(25)));
        }
        let under_test = call(3);
        let check = move |sim: &Sim, _| {
            sim.advance(secs(1));
            let stats = control.stats();
            assert_eq!((stats.running, sim.time().armed()), (0, 0));
            assert_eq!(stats.window_requests, stats.accepted + stats.rejected + stats.shed);
            assert_eq!(stats.window_accepts, stats.accepted);
            assert!(stats.cancelled <= 1 && stats.ignored == 0, "{stats:?}");
        };
        (under_test, check)
    });
    assert!(points > 200, "{points}");
}
