//! Retry: attempts, delays, budgets, what comes out.

mod judges;
mod runs;

use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::{Backoff, Jitter};
use futures_executor::block_on;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn immediate() -> RetryBuilder {
    Retry::builder().backoff(Backoff::ZERO)
}

/// Polls until ready, moving the clock from one timer to the next.
pub(crate) fn drive<F: Future>(time: &ManualClock, future: F) -> F::Output {
    let mut polled = Polled::new(future);
    loop {
        if let Some(output) = polled.poll() {
            return output;
        }
        let next = time.next_deadline().expect("pending without a timer");
        time.advance_to(next);
    }
}

/// An operation that fails a number of times and notes when it was called.
struct Failing<'a> {
    time: &'a ManualClock,
    calls: RefCell<Vec<u128>>,
    failures: usize,
}

impl<'a> Failing<'a> {
    fn new(time: &'a ManualClock, failures: usize) -> Self {
        Self { time, calls: RefCell::default(), failures }
    }

    fn call(&self) -> impl Future<Output = Result<usize, String>> + use<> {
        let mut calls = self.calls.borrow_mut();
        calls.push(self.time.elapsed().as_millis());
        let n = calls.len();
        std::future::ready(if n <= self.failures { Err(format!("failure {n}")) } else { Ok(n) })
    }

    fn calls(&self) -> Vec<u128> {
        self.calls.borrow().clone()
    }
}

// S48
#[test]
fn three_attempts_are_three_calls_and_two_delays() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::linear(ms(100)))
        .clock(time.clock())
        .observer(move |event: &RetryEvent| log.lock().unwrap().push(*event))
        .build()
        .unwrap();
    let op = Failing::new(&time, usize::MAX);
    let error = drive(&time, retry.call(|| op.call())).unwrap_err();
    // Indices 0 and 1 of the backoff: 100 and 200 ms.
    assert_eq!(op.calls(), [0, 100, 300]);
    let exhausted = error.exhausted().unwrap();
    assert_eq!((exhausted.attempts(), exhausted.reason()), (3, GaveUp::Attempts));
    assert_eq!(error.into_inner().as_deref(), Some("failure 3"));
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[0], RetryEvent::Scheduled { attempt: 1, delay, .. } if delay == ms(100)));
    assert!(matches!(seen[1], RetryEvent::Scheduled { attempt: 2, delay, .. } if delay == ms(200)));
    assert!(matches!(seen[2], RetryEvent::GaveUp { attempts: 3, reason: GaveUp::Attempts, .. }));
    assert_eq!(seen.len(), 3);
}

#[test]
fn success_ends_the_run_and_says_what_it_took() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let retry =
        immediate().observer(move |event: &RetryEvent| log.lock().unwrap().push(*event)).build().unwrap();
    let op = Failing::new(&time, 2);
    assert_eq!(block_on(retry.call(|| op.call())), Ok(3));
    assert!(matches!(seen.lock().unwrap()[..], [_, _, RetryEvent::Recovered { attempts: 3, .. }]));
    let op = Failing::new(&time, 0);
    assert_eq!(block_on(retry.call(|| op.call())), Ok(1));
    assert_eq!(seen.lock().unwrap().len(), 3, "a call that succeeds at once is no event");
}

// RB6
#[test]
fn one_attempt_gives_the_plain_error() {
    let retry = immediate().max_attempts(1).build().unwrap();
    assert_eq!(block_on(retry.call(|| async { Err::<(), _>("no") })), Err(Error::Inner("no")));
}

#[test]
fn no_attempts_and_trimming_to_nothing_are_refused() {
    let error = immediate().max_attempts(0).build().unwrap_err();
    assert_eq!(error.to_string(), "retry: max_attempts = 0: must be at least 1");
    assert_eq!(immediate().trim(true).build().unwrap_err().knob(), "trim");
}

// RB4
#[test]
fn an_error_that_is_not_to_be_retried_comes_out_as_it_is() {
    let calls = Cell::new(0);
    let retry = immediate().max_attempts(5).when(|error: &i32| *error < 3).build().unwrap();
    let outcome = block_on(retry.call(|| {
        calls.set(calls.get() + 1);
        std::future::ready(Err::<(), i32>(calls.get()))
    }));
    assert_eq!(outcome, Err(Error::Inner(3)));
    assert_eq!(calls.get(), 3);
}

#[test]
fn a_success_may_be_judged_a_failure_and_comes_out_when_there_are_no_attempts_left() {
    let calls = Cell::new(0);
    let retry = immediate()
        .max_attempts(4)
        .judge(|outcome: &Result<u32, Error<()>>| match outcome {
            Ok(503) => Verdict::Retry,
            _ => Verdict::Done,
        })
        .build()
        .unwrap();
    let busy_for = |n: u32| {
        calls.set(0);
        block_on(retry.call(|| {
            calls.set(calls.get() + 1);
            std::future::ready(Ok::<u32, ()>(if calls.get() <= n { 503 } else { 200 }))
        }))
    };
    assert_eq!((busy_for(2), calls.get()), (Ok(200), 3));
    assert_eq!((busy_for(9), calls.get()), (Ok(503), 4));
}

/// A policy that refuses from its n-th call on.
struct RefuseFrom {
    calls: Cell<u32>,
    from: u32,
    rejection: Rejection,
}

impl RefuseFrom {
    fn new(from: u32, rejection: Rejection) -> Self {
        Self { calls: Cell::new(0), from, rejection }
    }
}

impl Component for RefuseFrom {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("refuse"));
    }
}

impl<'a, A: Attempt> Policy<A> for &'a RefuseFrom {
    type Attempt = Refusing<'a, A>;

    fn around(self, inner: A) -> Refusing<'a, A> {
        Refusing { policy: self, inner }
    }
}

pin_project_lite::pin_project! { struct Refusing<'a, A> { policy: &'a RefuseFrom, #[pin] inner: A } }

impl<A: Attempt> Attempt for Refusing<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let calls = &this.policy.calls;
        calls.set(calls.get() + 1);
        if calls.get() >= this.policy.from {
            return std::task::Poll::Ready(Err(this.policy.rejection.into()));
        }
        this.inner.poll_attempt(cx)
    }

    fn cancel(self: std::pin::Pin<&mut Self>) {
        self.project().inner.cancel();
    }
}

// S47
#[test]
fn an_open_circuit_ends_the_run_and_the_last_real_error_is_its_source() {
    let open = Rejection::circuit_open("db", Some(ms(500)));
    let stack =
        Stack::new().retry(immediate().max_attempts(5).build().unwrap()).layer(RefuseFrom::new(3, open));
    let calls = Cell::new(0);
    let error = block_on(stack.call(|| {
        calls.set(calls.get() + 1);
        async { Err::<(), _>(std::io::Error::other("refused by peer")) }
    }))
    .unwrap_err();
    assert_eq!(calls.get(), 2, "the third attempt does not get through");
    assert!(error.is_circuit_open() && error.is_rejection());
    assert_eq!(error.retry_after(), Some(ms(500)));
    let exhausted = error.exhausted().unwrap();
    assert_eq!((exhausted.attempts(), exhausted.reason()), (3, GaveUp::NotRetryable));
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "refused by peer");
    assert_eq!(error.into_inner().unwrap().to_string(), "refused by peer");
}

// S47
#[test]
fn an_open_circuit_is_waited_for_when_asked() {
    let time = ManualClock::new();
    let open = Rejection::circuit_open("db", Some(ms(500)));
    let retry = Retry::builder()
        .max_attempts(4)
        .backoff(Backoff::fixed(ms(10)))
        .wait_for_breaker(true)
        .clock(time.clock())
        .build()
        .unwrap();
    let stack = Stack::new().retry(retry).layer(RefuseFrom::new(3, open));
    let op = Failing::new(&time, usize::MAX);
    let error = drive(&time, stack.call(|| op.call())).unwrap_err();
    assert_eq!(op.calls(), [0, 10]);
    assert_eq!(time.elapsed(), ms(520), "10 + 10 by the backoff, then 500 as the breaker says");
    assert!(error.is_circuit_open());
    assert_eq!(error.exhausted().unwrap().reason(), GaveUp::Attempts);
}

#[test]
fn a_refusal_at_the_first_attempt_comes_out_as_it_is() {
    for rejection in [
        Rejection::circuit_open("db", None),
        Rejection::full("db", 1, 0, Duration::ZERO),
        Rejection::new("db", Reason::Shed),
        Rejection::new("db", Reason::Cancelled),
        Rejection::new("db", Reason::Closed),
        Rejection::rate_limited("db", None),
    ] {
        let stack = Stack::new().retry(immediate().build().unwrap()).layer(RefuseFrom::new(1, rejection));
        let outcome = block_on(stack.call(|| async { Ok::<(), ()>(()) }));
        assert_eq!(outcome, Err(Error::Rejected(rejection)));
    }
}

#[test]
fn a_rate_limit_that_says_when_is_waited_for() {
    let time = ManualClock::new();
    let retry = Retry::builder().backoff(Backoff::fixed(ms(1))).clock(time.clock()).build().unwrap();
    let limited = Rejection::rate_limited("api", Some(ms(70)));
    let stack = Stack::new().retry(retry).layer(RefuseFrom::new(1, limited));
    assert!(drive(&time, stack.call(|| async { Ok::<(), ()>(()) })).unwrap_err().is_rate_limited());
    assert_eq!(time.elapsed(), ms(140));
}

fn told_to_wait(after: Duration) -> impl Fn(&Result<usize, Error<String>>) -> Verdict {
    move |outcome| if outcome.is_err() { Verdict::RetryAfter(after) } else { Verdict::Done }
}

// S51
#[test]
fn what_the_callee_asks_for_wins_over_a_shorter_delay_up_to_the_cap() {
    for (asked, waited) in [(ms(5), 50), (ms(200), 200), (ms(3_600_000), 1_000)] {
        let time = ManualClock::new();
        let retry = Retry::builder()
            .backoff(Backoff::fixed(ms(50)))
            .server_delay_cap(ms(1_000))
            .clock(time.clock())
            .judge(told_to_wait(asked))
            .build()
            .unwrap();
        let op = Failing::new(&time, 1);
        assert_eq!(drive(&time, retry.call(|| op.call())), Ok(2));
        assert_eq!(op.calls(), [0, waited]);
    }
}

// S51
#[test]
fn a_callee_that_wants_us_after_the_end_is_not_tried_again() {
    for trim in [false, true] {
        let time = ManualClock::new();
        let retry = Retry::builder()
            .max_duration(ms(10_000))
            .trim(trim)
            .clock(time.clock())
            .judge(told_to_wait(ms(60_000)))
            .build()
            .unwrap();
        let op = Failing::new(&time, 9);
        let error = drive(&time, retry.call(|| op.call())).unwrap_err();
        assert_eq!(op.calls(), [0]);
        assert_eq!(time.elapsed(), Duration::ZERO);
        assert_eq!(error.exhausted().unwrap().reason(), GaveUp::Duration);
        assert_eq!(error.inner().map(String::as_str), Some("failure 1"));
    }
}

// S52
#[test]
fn no_attempt_begins_after_the_longest_duration() {
    for (trim, expected) in [(false, vec![0, 200, 400]), (true, vec![0, 200, 400, 500])] {
        let time = ManualClock::new();
        let retry = Retry::builder()
            .max_attempts(100)
            .backoff(Backoff::fixed(ms(200)))
            .max_duration(ms(500))
            .trim(trim)
            .clock(time.clock())
            .build()
            .unwrap();
        let op = Failing::new(&time, usize::MAX);
        let error = drive(&time, retry.call(|| op.call())).unwrap_err();
        assert_eq!(op.calls(), expected);
        assert_eq!(time.elapsed(), ms(*expected.last().unwrap() as u64));
        assert_eq!(error.exhausted().unwrap().reason(), GaveUp::Duration);
    }
}

// S53
#[test]
fn callers_that_sleep_at_the_same_time_share_the_budget() {
    let time = ManualClock::new();
    let budget = Budget::ratio(0.1).min_per_second(0.0).clock(time.clock()).build().unwrap();
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::fixed(ms(1_000)))
        .budget(budget.clone())
        .clock(time.clock())
        .build()
        .unwrap();
    let calls = Cell::new(0);
    let op = || {
        calls.set(calls.get() + 1);
        async { Err::<(), _>("down") }
    };
    // All calls have begun before the first fails.
    let gate = Rc::new(Cell::new(false));
    let mut callers: Vec<_> = (0..100)
        .map(|_| {
            let gate = Rc::clone(&gate);
            Polled::new(retry.call(move || {
                let gate = Rc::clone(&gate);
                let outcome = op();
                async move {
                    std::future::poll_fn(|_| {
                        if gate.get() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                    })
                    .await;
                    outcome.await
                }
            }))
        })
        .collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    assert_eq!(budget.available(), 10);
    gate.set(true);
    let mut outcomes: Vec<_> = callers.iter_mut().map(Polled::poll).collect();
    assert_eq!(calls.get(), 100);
    let refused = outcomes.iter().flatten().filter(|outcome| {
        outcome.as_ref().is_err_and(|error| error.is_budget_exhausted() && error.inner() == Some(&"down"))
    });
    assert_eq!(refused.count(), 90);
    assert_eq!(time.armed(), 10, "ten sleep, and have paid already");
    while let Some(next) = time.next_deadline() {
        time.advance_to(next);
        for (caller, outcome) in
            callers.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none())
        {
            *outcome = caller.poll();
        }
    }
    assert!(outcomes.iter().all(Option::is_some));
    assert_eq!(calls.get(), 110, "ten retries in all");
}

// S53
#[test]
fn a_quota_is_paid_before_the_sleep_and_given_back_by_who_is_dropped_in_it() {
    let time = ManualClock::new();
    let budget = Budget::quota(10).build().unwrap();
    let retry = Retry::builder()
        .backoff(Backoff::fixed(ms(100)))
        .budget(budget.clone())
        .clock(time.clock())
        .build()
        .unwrap();
    assert_eq!(budget.available(), 2);
    let mut one = Polled::new(retry.call(|| async { Err::<(), _>(1) }));
    let mut two = Polled::new(retry.call(|| async { Err::<(), _>(2) }));
    assert!(one.poll().is_none() && two.poll().is_none());
    assert_eq!(budget.available(), 0);
    let error = block_on(retry.call(|| async { Err::<(), _>(3) })).unwrap_err();
    assert!(error.is_budget_exhausted());
    assert_eq!(error.exhausted().unwrap().attempts(), 1);
    assert_eq!(error.into_inner(), Some(3), "the real outcome is kept");
    drop(one);
    assert_eq!(budget.available(), 1);
    drop(two);
    assert_eq!((budget.available(), time.armed()), (2, 0));
}

#[test]
fn a_quota_refills_by_success() {
    let time = ManualClock::new();
    let budget = Budget::quota(10).build().unwrap();
    let retry = immediate().max_attempts(10).budget(budget.clone()).build().unwrap();
    // Two retries are all there is; the run ends.
    let op = Failing::new(&time, 9);
    assert!(block_on(retry.call(|| op.call())).unwrap_err().is_budget_exhausted());
    assert_eq!((op.calls().len(), budget.available()), (3, 0));
    // Five successes at once pay for one retry; a success after it gives its cost back.
    for _ in 0..5 {
        block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    }
    assert_eq!(budget.available(), 1);
    let op = Failing::new(&time, 1);
    assert_eq!(block_on(retry.call(|| op.call())), Ok(2));
    assert_eq!(budget.available(), 1);
    for _ in 0..100 {
        block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    }
    assert_eq!(budget.available(), 2, "never above the tokens");
}

#[test]
fn a_ratio_forgets_calls_that_are_older_than_its_window() {
    let time = ManualClock::new();
    let budget = Budget::ratio(0.5)
        .window(Duration::from_secs(10))
        .min_per_second(0.0)
        .clock(time.clock())
        .build()
        .unwrap();
    let retry = immediate().max_attempts(2).budget(budget.clone()).build().unwrap();
    for _ in 0..10 {
        block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    }
    assert_eq!(budget.available(), 5);
    time.advance(Duration::from_secs(5));
    assert_eq!(budget.available(), 5);
    time.advance(Duration::from_secs(5));
    assert_eq!(budget.available(), 0);
    // Far beyond the window, and from an idle state.
    time.advance(Duration::from_secs(86_400));
    assert_eq!(budget.available(), 0);
    for seconds in 10..30 {
        for _ in 0..2 {
            block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
        }
        assert_eq!(budget.available(), 1);
        time.advance(Duration::from_secs(seconds));
        assert_eq!(budget.available(), 0, "after {seconds} s at once");
    }
}

#[test]
fn a_ratio_has_a_floor_for_those_with_little_traffic() {
    let time = ManualClock::new();
    let budget = Budget::ratio(0.0)
        .window(Duration::from_secs(10))
        .min_per_second(0.3)
        .clock(time.clock())
        .build()
        .unwrap();
    let retry = immediate().max_attempts(9).budget(budget.clone()).build().unwrap();
    let fail = || block_on(retry.call(|| async { Err::<(), _>(()) })).unwrap_err();
    assert_eq!(fail().exhausted().unwrap().attempts(), 4, "three retries in ten seconds");
    time.advance(Duration::from_secs(9));
    assert_eq!(fail().exhausted().unwrap().attempts(), 1);
    time.advance(Duration::from_secs(1));
    assert_eq!(fail().exhausted().unwrap().attempts(), 4);
}

#[test]
fn budgets_that_make_no_sense_are_refused() {
    assert_eq!(
        Budget::quota(0).build().unwrap_err().to_string(),
        "retry budget: tokens = 0: must be at least 1"
    );
    assert_eq!(Budget::quota(5).cost(0).build().unwrap_err().knob(), "cost");
    assert_eq!(Budget::quota(5).cost(6).build().unwrap_err().knob(), "cost");
    for ratio in [f64::NAN, -0.1, f64::INFINITY] {
        assert_eq!(Budget::ratio(ratio).build().unwrap_err().knob(), "ratio");
    }
    assert_eq!(Budget::ratio(0.1).window(Duration::ZERO).build().unwrap_err().knob(), "window");
    assert_eq!(Budget::ratio(0.1).window(Duration::MAX).build().unwrap_err().knob(), "window");
    assert_eq!(Budget::ratio(0.1).min_per_second(-1.0).build().unwrap_err().knob(), "min_per_second");
}

// S55
#[test]
fn a_drop_in_the_sleep_ends_the_run_and_its_timer() {
    let time = ManualClock::new();
    let retry = Retry::builder().backoff(Backoff::fixed(ms(100))).clock(time.clock()).build().unwrap();
    let op = Failing::new(&time, usize::MAX);
    let mut run = Polled::new(retry.call(|| op.call()));
    assert!(run.poll().is_none());
    time.advance(ms(50));
    assert!(run.poll().is_none());
    assert_eq!(time.armed(), 1);
    drop(run);
    assert_eq!(time.armed(), 0);
    time.advance(ms(1_000));
    assert_eq!(op.calls(), [0]);
}

// S59
#[test]
fn no_timer_is_left_behind() {
    let time = ManualClock::new();
    let retry = Retry::builder()
        .backoff(Backoff::fixed(ms(1)))
        .clock(time.clock())
        .rng(fastrand::Rng::with_seed(1))
        .build()
        .unwrap();
    let timeout = Timeout::builder(ms(5)).clock(time.clock()).build();
    let stack = Stack::new().retry(retry).timeout(timeout);
    for _ in 0..10_000 {
        let error = drive(&time, stack.call(std::future::pending::<Result<(), ()>>)).unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(time.armed(), 0);
    }
}

#[test]
fn a_seeded_generator_makes_the_delays_repeat() {
    let delays = |seed| {
        let time = ManualClock::new();
        let retry = Retry::builder()
            .max_attempts(6)
            .backoff(Backoff::fixed(ms(1_000)).jitter(Jitter::Full))
            .rng(fastrand::Rng::with_seed(seed))
            .clock(time.clock())
            .build()
            .unwrap();
        let op = Failing::new(&time, usize::MAX);
        let _ = drive(&time, retry.call(|| op.call()));
        op.calls()
    };
    assert_eq!(delays(3), delays(3));
    assert_ne!(delays(3), delays(4));
}

// RB9
#[test]
fn the_failed_attempt_is_dropped_before_the_sleep() {
    struct Held(Rc<Cell<u32>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let time = ManualClock::new();
    let retry = Retry::builder().backoff(Backoff::fixed(ms(10))).clock(time.clock()).build().unwrap();
    let held = Rc::new(Cell::new(0));
    let mut run = Polled::new(retry.call(|| {
        held.set(held.get() + 1);
        let held = Held(Rc::clone(&held));
        async move {
            let _held = &held;
            Err::<(), _>(())
        }
    }));
    assert!(run.poll().is_none());
    assert_eq!(held.get(), 0);
}
