//! The stack.

use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::resilience::breaker::State;
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use cofferdam::time::{Backoff, Jitter};
use futures_executor::block_on;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

struct Plain;
impl Component for Plain {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("plain"));
    }
}
impl<'a, A: Attempt> Policy<A> for &'a Plain {
    type Attempt = Around<'a, A>;

    fn around(self, inner: A) -> Around<'a, A> {
        Around { policy: self, inner }
    }
}
pin_project_lite::pin_project! { struct Around<'a, A> { policy: &'a Plain, #[pin] inner: A } }
impl<A: Attempt> Attempt for Around<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        self.project().inner.poll_attempt(cx)
    }

    fn cancel(self: Pin<&mut Self>) {
        self.project().inner.cancel();
    }
}

fn assert_send<T: Send>(t: T) -> T {
    t
}

#[test]
fn a_stacks_future_is_send_when_the_operations_is_also_where_it_borrows() {
    let stack = Arc::new(Stack::new().layer(Plain).layer(Arc::new(Plain)).layer(Some(Plain)).layer(Plain));
    let text = String::from("abc");
    let shared = Arc::clone(&stack);
    let task = assert_send(async move {
        let borrowed = &text;
        let mut calls = 0;
        let outcome = shared
            .call(|| {
                calls += 1;
                async move { if borrowed.len() == 3 { Ok::<&str, &str>(borrowed) } else { Err("not three") } }
            })
            .await;
        outcome.map(|text| text.len() + calls)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(async { tokio::spawn(task).await.unwrap() });
    assert_eq!(outcome, Ok(4));

    // An operation that is not Send has its place, too.
    let five = std::rc::Rc::new(5);
    let outcome = block_on(stack.call(|| {
        let five = &five;
        async move {
            std::future::ready(()).await;
            Ok::<i32, ()>(**five)
        }
    }));
    assert_eq!(outcome, Ok(5));
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn pending() -> std::future::Pending<Result<(), &'static str>> {
    std::future::pending()
}

// S81
#[test]
fn the_order_is_what_is_written() {
    let retry = Retry::builder().max_attempts(4).name("reads").build().unwrap();
    let stack = Stack::new()
        .timeout(Timeout::total(ms(900)))
        .retry(retry)
        .bulkhead(Bulkhead::builder(3).name("db").build().unwrap())
        .layer(Some(Plain))
        .layer(None::<Plain>)
        .layer(Stack::new().layer(Plain).timeout(Timeout::attempt(ms(100))));
    let layers: Vec<_> = stack.describe().iter().map(ToString::to_string).collect();
    assert_eq!(layers, ["timeout", "retry(reads)", "bulkhead(db)", "plain", "plain", "timeout"]);
    assert_eq!(stack.lint(), []);
    assert_eq!(
        format!("{:?}", Stack::new().layer(Plain)),
        "Stack([Layer { kind: Custom, name: \"plain\" }])"
    );
}

// S81
#[test]
fn each_bad_order_has_its_lint() {
    fn codes<P: Component>(stack: &Stack<P>) -> Vec<LintCode> {
        stack.lint().iter().map(Lint::code).collect()
    }
    let retry = || Retry::builder().build().unwrap();
    let bulkhead = || Bulkhead::new(1).unwrap();
    let short = || Timeout::attempt(ms(1));
    let long = || Timeout::total(ms(2));
    assert_eq!(codes(&Stack::new().retry(retry()).retry(retry())), [LintCode::RetryInsideRetry]);
    assert_eq!(codes(&Stack::new().bulkhead(bulkhead()).retry(retry())), [LintCode::BulkheadOutsideRetry]);
    assert_eq!(codes(&Stack::new().retry(retry()).timeout(long())), [LintCode::TotalTimeoutInsideRetry]);
    assert_eq!(codes(&Stack::new().timeout(short()).retry(retry())), [LintCode::AttemptTimeoutOutsideRetry]);
    assert_eq!(
        codes(&Stack::new().timeout(long()).timeout(Timeout::attempt(ms(2)))),
        [LintCode::InnerTimeoutNotShorter]
    );
    // No limit at all is not compared.
    assert_eq!(codes(&Stack::new().timeout(Timeout::total(Duration::MAX)).timeout(short())), []);
    assert_eq!(codes(&Stack::new().timeout(long()).timeout(Timeout::attempt(Duration::MAX))), []);
    // Something between the two does not hide them.
    let stack = Stack::new().bulkhead(bulkhead()).layer(Plain).retry(retry());
    assert_eq!(codes(&stack), [LintCode::BulkheadOutsideRetry]);
    let lint = stack.lint()[0];
    assert_eq!((lint.outer().name(), lint.inner().name()), ("bulkhead", "retry"));
    assert_eq!(codes(&stack.allow(LintCode::RetryInsideRetry)), [LintCode::BulkheadOutsideRetry]);
    let stack = Stack::new().bulkhead(bulkhead()).retry(retry()).allow(LintCode::BulkheadOutsideRetry);
    assert_eq!(codes(&stack), [], "what is meant is not warned of");
}

fn breaker(time: &ManualClock, failures: u32) -> CircuitBreaker {
    CircuitBreaker::builder().failure_threshold(failures).clock(time.clock()).build().unwrap()
}

// S4
#[test]
fn a_timeout_inside_a_breaker_is_a_failure_of_the_callee() {
    let time = ManualClock::new();
    let breaker = breaker(&time, 1);
    let stack =
        Stack::new().breaker(breaker.clone()).timeout(Timeout::builder(ms(70)).clock(time.clock()).build());
    let mut call = Polled::new(stack.call(pending));
    assert!(call.poll().is_none());
    time.advance(ms(69));
    assert!(call.poll().is_none());
    assert_eq!(breaker.state(), State::Closed);
    time.advance(ms(1));
    assert!(call.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(breaker.state(), State::Open);
}

// S6
#[test]
fn refusals_of_inner_policies_say_nothing_of_the_callee() {
    let time = ManualClock::new();
    let outer = breaker(&time, 1);
    let quota = Quota::every(ms(1_000)).unwrap().burst(1);
    let bucket = TokenBucket::builder(quota).clock(time.clock()).build().unwrap();
    bucket.drain_to(0);
    let inner = breaker(&time, 1);
    inner.trip().unwrap();
    let bulkhead = Arc::new(Bulkhead::new(1).unwrap());
    let mut running = Polled::new(bulkhead.call(pending));
    assert!(running.poll().is_none());
    let ok = || async { Ok::<(), &str>(()) };
    let limited = Stack::new().breaker(outer.clone()).throttle(Throttle::new(bucket));
    let full = Stack::new().breaker(outer.clone()).bulkhead(Arc::clone(&bulkhead));
    let open = Stack::new().breaker(outer.clone()).breaker(inner);
    assert!(block_on(limited.call(ok)).unwrap_err().is_rate_limited());
    assert!(block_on(full.call(ok)).unwrap_err().is_full());
    assert!(block_on(open.call(ok)).unwrap_err().is_circuit_open());
    let stats = outer.stats();
    assert_eq!((stats.state, stats.failures, stats.ignored, stats.running), (State::Closed, 0, 3, 0));
}

// S47
#[test]
fn a_retry_around_a_breaker_stops_at_the_open_circuit() {
    let time = ManualClock::new();
    for (waits, executions, attempts) in [(false, 2, 3), (true, 2, 5)] {
        let breaker = breaker(&time, 2);
        let retry = Retry::builder()
            .max_attempts(5)
            .backoff(Backoff::ZERO)
            // Shorter than the break: it comes back too early, each time.
            .server_delay_cap(Duration::ZERO)
            .wait_for_breaker(waits)
            .clock(time.clock())
            .build()
            .unwrap();
        let stack = Stack::new().retry(retry).breaker(breaker);
        let calls = Cell::new(0);
        let error = block_on(stack.call(|| {
            calls.set(calls.get() + 1);
            async { Err::<(), _>("down") }
        }))
        .unwrap_err();
        assert!(error.is_circuit_open());
        assert_eq!((calls.get(), error.exhausted().unwrap().attempts()), (executions, attempts));
        assert_eq!(error.into_inner(), Some("down"), "the last real error is kept");
    }
}

// S81
#[test]
fn breakers_have_their_lints() {
    let codes = |lints: Vec<Lint>| lints.iter().map(Lint::code).collect::<Vec<_>>();
    let retry = Retry::builder().build().unwrap();
    let stack = Stack::new().breaker(CircuitBreaker::new()).retry(retry);
    assert_eq!(codes(stack.lint()), [LintCode::RetryInsideBreaker]);
    let outside = Stack::new().timeout(Timeout::total(ms(9))).breaker(CircuitBreaker::new());
    assert_eq!(codes(outside.lint()), [LintCode::TimeoutOnlyOutsideBreaker]);
    assert_eq!(codes(outside.timeout(Timeout::attempt(ms(1))).lint()), []);
    let good = Stack::new()
        .timeout(Timeout::total(ms(9)))
        .retry(Retry::builder().build().unwrap())
        .breaker(CircuitBreaker::new())
        .throttle(Throttle::new(TokenBucket::new(Quota::every(ms(1)).unwrap())))
        .bulkhead(Bulkhead::new(1).unwrap())
        .timeout(Timeout::attempt(ms(1)));
    assert_eq!(good.lint(), [], "the order of the docs");
}

// S56
#[test]
fn a_result_at_the_very_limit_has_won() {
    let time = ManualClock::new();
    let timeout = Timeout::builder(ms(100)).clock(time.clock()).build();
    let clock = time.clock();
    let mut call = Polled::new(timeout.call(|| async {
        clock.sleep(ms(100)).await;
        Ok::<u8, ()>(7)
    }));
    assert!(call.poll().is_none());
    time.advance(ms(100));
    assert_eq!(call.poll(), Some(Ok(7)));
}

// S57
#[test]
fn a_limit_of_zero_does_not_call_and_the_largest_is_none() {
    let time = ManualClock::new();
    let called = Cell::new(false);
    let zero = Timeout::builder(Duration::ZERO).name("none").clock(time.clock()).build();
    let outcome = Polled::new(zero.call(|| {
        called.set(true);
        std::future::ready(Ok::<(), &str>(()))
    }))
    .poll();
    assert_eq!(
        outcome.unwrap().unwrap_err().to_string(),
        "none: attempt not finished within its limit of 0ns"
    );
    assert!(!called.get());
    let unlimited = Timeout::builder(Duration::MAX).clock(time.clock()).build();
    let mut call = Polled::new(unlimited.call(pending));
    assert!(call.poll().is_none());
    assert_eq!(time.armed(), 0);
}

// S57
#[test]
fn the_outer_timeout_ends_the_run_and_says_that_it_was_it() {
    let time = ManualClock::new();
    let stack = Stack::new()
        .timeout(Timeout::builder(ms(90)).scope(Scope::Total).name("outer").clock(time.clock()).build())
        .retry(Retry::builder().max_attempts(9).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap())
        .timeout(Timeout::builder(ms(60)).name("inner").clock(time.clock()).build());
    let starts = RefCell::new(Vec::new());
    let mut call = Polled::new(stack.call(|| {
        starts.borrow_mut().push(time.elapsed());
        let sleep = time.clock().sleep(ms(40));
        async {
            sleep.await;
            Err::<(), _>("down")
        }
    }));
    let outcome = loop {
        if let Some(outcome) = call.poll() {
            break outcome;
        }
        time.advance_to(time.next_deadline().unwrap());
    };
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "outer: call not finished within its limit of 90ms");
    assert_eq!(*starts.borrow(), [ms(0), ms(40), ms(80)]);
    assert_eq!((time.elapsed(), time.armed()), (ms(90), 0));
    assert!(matches!(error.rejection().unwrap().reason(), Reason::TimedOut { scope: Scope::Total, .. }));
}

// S57
#[test]
fn the_outer_timeout_counts_the_sleep_and_the_inner_does_not() {
    let time = ManualClock::new();
    let stack = Stack::new()
        .timeout(Timeout::builder(ms(90)).scope(Scope::Total).name("outer").clock(time.clock()).build())
        .retry(Retry::builder().backoff(Backoff::fixed(ms(200))).clock(time.clock()).build().unwrap())
        .timeout(Timeout::builder(ms(60)).name("inner").clock(time.clock()).build());
    let mut call = Polled::new(stack.call(|| async { Err::<(), ()>(()) }));
    assert!(call.poll().is_none());
    assert_eq!(time.armed(), 2, "the sleep and the outer timeout; the attempt is over, and so is its timer");
    time.advance(ms(90));
    assert_eq!(call.poll().unwrap().unwrap_err().rejection().unwrap().policy(), "outer");
    assert_eq!(time.armed(), 0);
}

#[test]
fn a_timeout_drops_what_it_ends_before_it_says_so() {
    let time = ManualClock::new();
    let held = Rc::new(());
    let timeout = Timeout::builder(ms(1)).clock(time.clock()).build();
    let copy = Rc::clone(&held);
    let mut call = Polled::new(timeout.call(|| async move {
        let _copy = copy;
        pending().await
    }));
    assert!(call.poll().is_none());
    time.advance(ms(1));
    assert!(call.poll().is_some());
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn each_attempt_has_its_whole_time() {
    let time = ManualClock::new();
    let stack = Stack::new()
        .retry(Retry::builder().backoff(Backoff::fixed(ms(5))).clock(time.clock()).build().unwrap())
        .timeout(Timeout::builder(ms(10)).clock(time.clock()).build());
    let mut call = Polled::new(stack.call(pending));
    while call.poll().is_none_or(|outcome| {
        assert_eq!(outcome.unwrap_err().exhausted().unwrap().attempts(), 3);
        false
    }) {
        time.advance_to(time.next_deadline().unwrap());
    }
    assert_eq!(time.elapsed(), ms(3 * 10 + 2 * 5));
}

#[test]
fn an_operation_that_can_run_once_runs_under_policies_that_repeat_nothing() {
    let stack = Stack::new().timeout(Timeout::total(ms(1_000))).bulkhead(Bulkhead::new(1).unwrap());
    let body = String::from("body");
    assert_eq!(block_on(stack.call_once(|| async { Ok::<String, ()>(body) })).unwrap(), "body");
}

// S54
#[test]
fn a_retry_inside_a_marked_attempt_can_leave_repeating_to_the_outer_one() {
    for (yields, expected) in [(false, 8), (true, 4)] {
        let outer =
            Retry::builder().max_attempts(4).backoff(Backoff::ZERO).mark_attempts(true).build().unwrap();
        let inner =
            Retry::builder().max_attempts(2).backoff(Backoff::ZERO).yield_to_outer(yields).build().unwrap();
        let stack = Stack::new().retry(outer).retry(inner);
        let calls = Cell::new(0);
        let error = block_on(stack.call(|| {
            calls.set(calls.get() + 1);
            async { Err::<(), _>("down") }
        }))
        .unwrap_err();
        assert_eq!(calls.get(), expected);
        assert_eq!(error.exhausted().unwrap().attempts(), 4);
        assert_eq!(error.into_inner(), Some("down"));
    }
    // Alone, it retries.
    let alone = Retry::builder().max_attempts(2).backoff(Backoff::ZERO).yield_to_outer(true).build().unwrap();
    let error = block_on(alone.call(|| async { Err::<(), _>("down") })).unwrap_err();
    assert_eq!(error.exhausted().unwrap().attempts(), 2);
}

// S58
#[test]
fn a_retry_does_not_sleep_past_the_deadline_of_the_surrounding_work() {
    let time = ManualClock::new();
    let retry =
        Retry::builder().max_attempts(9).backoff(Backoff::fixed(ms(40))).clock(time.clock()).build().unwrap();
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(100));
    let calls = Cell::new(0);
    let mut call = Polled::new(context.scope(retry.call(|| {
        calls.set(calls.get() + 1);
        async { Err::<(), _>("down") }
    })));
    for _ in 0..2 {
        assert!(call.poll().is_none());
        time.advance(ms(40));
    }
    let error = call.poll().unwrap().unwrap_err();
    assert_eq!((calls.get(), time.elapsed(), time.armed()), (3, ms(80), 0));
    assert_eq!(error.exhausted().unwrap().reason(), GaveUp::Deadline);
    assert!(error.is_deadline_exceeded() && !error.is_cancelled() && !error.is_rejection());
    assert_eq!(error.inner(), Some(&"down"));
    // Through a retry further out.
    let outer = Exhausted::new("outer", 2, GaveUp::NotRetryable, error, None);
    assert!(Error::Exhausted(Box::new(outer)).is_deadline_exceeded());
}

// S58
#[test]
fn an_attempt_at_the_very_deadline_would_be_too_late() {
    let time = ManualClock::new();
    let retry =
        Retry::builder().max_attempts(9).backoff(Backoff::fixed(ms(40))).clock(time.clock()).build().unwrap();
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(40));
    let error = Polled::new(context.scope(retry.call(|| async { Err::<(), _>("down") }))).poll();
    assert_eq!(error.unwrap().unwrap_err().exhausted().unwrap().reason(), GaveUp::Deadline);
}

// S55
#[test]
fn a_sleep_ends_when_the_surrounding_work_is_cancelled() {
    let time = ManualClock::new();
    let retry = Retry::builder().backoff(Backoff::fixed(ms(40))).clock(time.clock()).build().unwrap();
    let context = Context::background().child();
    let calls = Cell::new(0);
    let mut call = Polled::new(context.scope(retry.call(|| {
        calls.set(calls.get() + 1);
        async { Err::<(), _>("down") }
    })));
    assert!(call.poll().is_none());
    assert_eq!(time.armed(), 1);
    context.cancel("gone");
    assert_eq!(call.wakes(), 1);
    let error = call.poll().unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.exhausted().unwrap().reason(), GaveUp::Cancelled);
    assert_eq!((error.inner(), calls.get(), time.armed()), (Some(&"down"), 1, 0));
}

// S82
#[test]
fn every_error_names_the_policy_the_limit_and_what_was_seen() {
    let text = |rejection: Rejection| rejection.to_string();
    let second = Some(Duration::from_millis(1_500));
    assert_eq!(
        text(Rejection::timed_out("api", ms(20), Scope::Attempt)),
        "api: attempt not finished within its limit of 20ms"
    );
    assert_eq!(
        text(Rejection::timed_out("api", ms(20), Scope::Total)),
        "api: call not finished within its limit of 20ms"
    );
    assert_eq!(text(Rejection::circuit_open("api", second)), "api: circuit open, retry after 1.5s");
    assert_eq!(text(Rejection::circuit_open("api", None)), "api: circuit open");
    assert_eq!(text(Rejection::rate_limited("api", second)), "api: rate limited, retry after 1.5s");
    assert_eq!(text(Rejection::rate_limited("api", None)), "api: rate limited, can never be let through");
    assert_eq!(
        text(Rejection::full("api", 5, 3, ms(20))),
        "api: waited too long: none of 5 places came free within 20ms"
    );
    for (reason, expected) in [
        (Reason::Shed, "api: shed"),
        (Reason::Cancelled, "api: cancelled"),
        (Reason::DeadlineExceeded, "api: deadline exceeded"),
        (Reason::Closed, "api: closed"),
    ] {
        assert_eq!(text(Rejection::new("api", reason)), expected);
    }
    let inner = Error::Inner("no such user");
    assert_eq!(inner.to_string(), "no such user");
    for (attempts, reason, last, expected) in [
        (3, GaveUp::Attempts, inner.clone(), "r: gave up after 3 attempts: no attempts left"),
        (1, GaveUp::Budget, inner.clone(), "r: gave up after 1 attempt: retry budget spent"),
        (2, GaveUp::Duration, inner.clone(), "r: gave up after 2 attempts: no time left"),
        (2, GaveUp::Deadline, inner.clone(), "r: gave up after 2 attempts: deadline too near"),
        (
            2,
            GaveUp::Cancelled,
            Rejection::new("r", Reason::Cancelled).into(),
            "r: gave up after 2 attempts: cancelled: r: cancelled",
        ),
        (
            2,
            GaveUp::NotRetryable,
            Rejection::circuit_open("db", None).into(),
            "r: gave up after 2 attempts: not retryable: db: circuit open",
        ),
    ] {
        let error = Error::Exhausted(Box::new(Exhausted::new("r", attempts, reason, last, None)));
        assert_eq!(error.to_string(), expected);
    }
}

// S82
#[test]
fn the_operations_error_comes_back_out_of_every_form_and_is_the_source() {
    use std::error::Error as _;
    use std::io;
    let io = || io::Error::other("broken pipe");
    let rejected = || Error::<io::Error>::from(Rejection::circuit_open("db", Some(ms(5))));
    let exhausted =
        |last, before| Error::Exhausted(Box::new(Exhausted::new("r", 2, GaveUp::Attempts, last, before)));

    let inner = Error::Inner(io());
    assert!(inner.source().is_none(), "it stands for the operation's error, which has no source");
    assert_eq!(inner.to_string(), "broken pipe");
    assert!(!inner.is_rejection());
    assert_eq!(inner.into_inner().unwrap().to_string(), "broken pipe");

    assert!(rejected().source().is_none());
    assert!(rejected().into_inner().is_none());

    for error in [
        exhausted(Error::Inner(io()), None),
        exhausted(rejected(), Some(io())),
        exhausted(exhausted(rejected(), Some(io())), None),
        exhausted(rejected(), Some(io())).map(|error| io::Error::other(error.to_string())),
    ] {
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.to_string(), "broken pipe");
        assert_eq!(error.inner().unwrap().to_string(), "broken pipe");
        assert_eq!(error.into_inner().unwrap().to_string(), "broken pipe");
    }
    let error = exhausted(exhausted(rejected(), Some(io())), None);
    assert!(error.is_circuit_open() && error.is_rejection() && error.is_exhausted());
    assert_eq!(error.retry_after(), Some(ms(5)));
    assert!(exhausted(rejected(), None).source().is_none());
}

// ERR7, ERR8
#[test]
fn each_reason_has_its_predicate_and_its_class() {
    type Is = fn(&Error<()>) -> bool;
    let predicates: [Is; 8] = [
        Error::is_timeout,
        Error::is_circuit_open,
        Error::is_rate_limited,
        Error::is_full,
        Error::is_shed,
        Error::is_cancelled,
        Error::is_deadline_exceeded,
        Error::is_closed,
    ];
    // The rejection, its predicate, whether it is retryable, whether it is temporary.
    let table = [
        (Rejection::timed_out("x", ms(1), Scope::Attempt), 0, true, true),
        (Rejection::circuit_open("x", Some(ms(1))), 1, false, true),
        (Rejection::rate_limited("x", Some(ms(1))), 2, true, true),
        (Rejection::rate_limited("x", None), 2, false, false),
        (Rejection::full("x", 1, 1, ms(0)), 3, false, true),
        (Rejection::new("x", Reason::Shed), 4, false, true),
        (Rejection::new("x", Reason::Cancelled), 5, false, false),
        (Rejection::new("x", Reason::DeadlineExceeded), 6, false, false),
        (Rejection::new("x", Reason::Closed), 7, false, false),
    ];
    for (rejection, is, retryable, temporary) in table {
        for wrapped in [false, true] {
            let error = Error::<()>::from(rejection);
            let error = if wrapped {
                Error::Exhausted(Box::new(Exhausted::new("r", 2, GaveUp::Attempts, error, None)))
            } else {
                error
            };
            let found: Vec<_> = predicates.iter().map(|predicate| predicate(&error)).collect();
            let expected: Vec<_> = (0..predicates.len()).map(|n| n == is).collect();
            assert_eq!(found, expected, "{error:?}");
            assert_eq!((error.is_retryable(), error.is_temporary()), (retryable, temporary), "{error:?}");
        }
    }
    assert!(Error::Inner(()).is_retryable() && !Error::Inner(()).is_temporary());
    // What ended for a reason that another try does not change is not tried again further out.
    for reason in [GaveUp::Budget, GaveUp::Deadline, GaveUp::Cancelled, GaveUp::NotRetryable] {
        let error = Error::Exhausted(Box::new(Exhausted::new("r", 1, reason, Error::Inner(()), None)));
        assert!(!error.is_retryable());
    }
}

#[test]
fn an_error_is_no_larger_than_a_rejection_and_that_is_small() {
    assert!(size_of::<Rejection>() <= 48, "{}", size_of::<Rejection>());
    assert_eq!(size_of::<Error<()>>(), size_of::<Rejection>());
}

// S67, S53: permits, budget tokens and timers are conserved wherever the call is dropped.
#[test]
fn dropped_at_any_await_a_stack_gives_everything_back() {
    let points = drop_at_every_await_in_sim(0..100, |sim: &Sim| {
        let clock = sim.clock();
        let budget = Budget::quota(20).cost(1).reward(0).build().unwrap();
        let retry = Retry::builder()
            .max_attempts(4)
            .backoff(Backoff::fixed(ms(10)).jitter(Jitter::Full))
            .rng(fastrand::Rng::with_seed(sim.seed()))
            .budget(budget.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let bulkhead = Bulkhead::builder(1).queue(9).wait_limit(ms(30)).clock(clock.clone()).build().unwrap();
        let bulkhead = Arc::new(bulkhead);
        let stack = Stack::new()
            .timeout(Timeout::builder(ms(60)).scope(Scope::Total).clock(clock.clone()).build())
            .retry(retry)
            .bulkhead(Arc::clone(&bulkhead))
            .timeout(Timeout::builder(ms(7)).clock(clock.clone()).build());
        let stack = Arc::new(stack);
        let begun = Arc::new(AtomicU32::new(0));
        let call = |times: u64| {
            let (stack, clock, begun) = (Arc::clone(&stack), clock.clone(), Arc::clone(&begun));
            async move {
                let mut attempt = 0;
                let _ = stack
                    .call(|| {
                        begun.fetch_add(1, Ordering::Relaxed);
                        attempt += 1;
                        let sleep = clock.sleep(ms(attempt * times % 9));
                        async move {
                            sleep.await;
                            Err::<(), ()>(())
                        }
                    })
                    .await;
            }
        };
        for n in 0..2 {
            sim.spawn(format!("other {n}"), call(1 + sim.random_below(8)));
        }
        let under_test = call(4);
        let check = move |sim: &Sim, _| {
            sim.advance(ms(10_000));
            let stats = bulkhead.stats();
            assert_eq!((stats.running, stats.waiting, sim.time().armed()), (0, 0, 0));
            // Every retry that took place was paid for, and nothing else was. One that was refused a place paid too.
            assert!(budget.available() <= 20);
            assert!(20 - budget.available() >= u64::from(begun.load(Ordering::Relaxed).saturating_sub(3)));
        };
        (under_test, check)
    });
    assert!(points > 1_000, "{points}");
}

#[test]
fn a_panic_of_the_operation_passes_through_and_leaves_everything_behind() {
    let time = ManualClock::new();
    let bulkhead = Arc::new(Bulkhead::new(1).unwrap());
    let stack = Stack::new()
        .retry(Retry::builder().clock(time.clock()).build().unwrap())
        .bulkhead(Arc::clone(&bulkhead))
        .timeout(Timeout::builder(ms(5)).clock(time.clock()).build());
    let call = std::panic::AssertUnwindSafe(|| {
        block_on(stack.call(|| async {
            let nobody: Result<(), ()> = std::future::ready(Ok(())).await;
            std::panic::panic_any(nobody.map(|()| 42).unwrap());
            #[allow(unreachable_code)]
            nobody
        }))
    });
    let panic = std::panic::catch_unwind(call).unwrap_err();
    assert_eq!(panic.downcast_ref::<i32>(), Some(&42));
    assert_eq!((bulkhead.stats().running, time.armed()), (0, 0));
}

#[test]
fn a_timeout_takes_its_name_and_clock_after_its_limit() {
    let time = ManualClock::new();
    let timeout = Timeout::total(ms(5)).clock(time.clock()).name("inventory");
    let mut call = Polled::new(timeout.call(std::future::pending::<Result<(), ()>>));
    assert!(call.poll().is_none());
    time.advance(ms(5));
    let error = call.poll().unwrap().unwrap_err();
    assert_eq!(
        error.rejection().unwrap().to_string(),
        "inventory: call not finished within its limit of 5ms"
    );
}
