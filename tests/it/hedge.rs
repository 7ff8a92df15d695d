//! Hedges: who wins, what is left behind, when one begins.

use crate::retry::{drive, ms};
use cofferdam::limit::concurrency::Vegas;
use cofferdam::limit::{AdaptiveLimiter, AdmissionControl, Quota, TokenBucket};
use cofferdam::resilience::breaker::Outcome;
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use cofferdam::time::{Backoff, Clock};
use futures_executor::block_on;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What each attempt does, in the order in which they begin: how long it takes, and what it comes out as.
#[derive(Clone)]
struct Script {
    clock: Clock,
    plan: Rc<Vec<(u64, Result<u32, &'static str>)>>,
    begun: Rc<RefCell<Vec<u128>>>,
    running: Rc<Cell<i32>>,
    start: std::time::Instant,
}

struct Running(Rc<Cell<i32>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Script {
    fn new(clock: Clock, plan: &[(u64, Result<u32, &'static str>)]) -> Self {
        let start = clock.now();
        Self { clock, plan: Rc::new(plan.to_vec()), begun: Rc::default(), running: Rc::default(), start }
    }

    fn attempt(&self) -> impl Future<Output = Result<u32, &'static str>> + use<> {
        let mut begun = self.begun.borrow_mut();
        let (takes, outcome) = self.plan[begun.len()];
        begun.push((self.clock.now() - self.start).as_millis());
        self.running.set(self.running.get() + 1);
        let (clock, running) = (self.clock.clone(), Running(Rc::clone(&self.running)));
        async move {
            let _running = running;
            if takes > 0 {
                clock.sleep(ms(takes)).await;
            }
            outcome
        }
    }

    fn op(
        &self,
    ) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<u32, &'static str>>>> + Clone + use<>
    {
        let script = self.clone();
        move || Box::pin(script.attempt())
    }

    fn begun(&self) -> Vec<u128> {
        self.begun.borrow().clone()
    }
}

fn hedge(time: &ManualClock) -> HedgeBuilder {
    Hedge::after(ms(10)).clock(time.clock())
}

/// Runs a script under a hedge: what came out, when, and when attempts began.
fn run<J: Judge<u32, &'static str>>(
    time: &ManualClock,
    hedge: &Hedge<J>,
    plan: &[(u64, Result<u32, &'static str>)],
) -> (Result<u32, Error<&'static str>>, u128, Vec<u128>) {
    let script = Script::new(time.clock(), plan);
    let began = time.elapsed();
    let outcome = drive(time, hedge.call(script.op()));
    assert_eq!((script.running.get(), time.armed()), (0, 0), "a loser is left");
    (outcome, (time.elapsed() - began).as_millis(), script.begun())
}

// S61; in tower and r4j the first to finish wins, even with an error
#[test]
fn a_failure_starts_the_hedge_at_once_and_the_first_good_result_wins() {
    let time = ManualClock::new();
    let hedge = hedge(&time).build().unwrap();
    assert_eq!(run(&time, &hedge, &[(5, Err("one")), (15, Ok(2))]), (Ok(2), 20, vec![0, 5]));
    // The hedge fails first: the first attempt is still waited for.
    assert_eq!(run(&time, &hedge, &[(30, Ok(1)), (5, Err("two"))]), (Ok(1), 30, vec![0, 10]));
    assert_eq!(run(&time, &hedge, &[(9, Ok(1))]), (Ok(1), 9, vec![0]));
    let stats = hedge.stats();
    assert_eq!((stats.started, stats.won, stats.primary_won, stats.suppressed), (2, 1, 1, 0));
}

// S61
#[test]
fn if_all_fail_the_error_of_the_first_attempt_comes_out_or_the_last() {
    let time = ManualClock::new();
    let plan = [(30, Err("one")), (5, Err("two")), (5, Err("three"))];
    let first = hedge(&time).max_hedges(2).build().unwrap();
    assert_eq!(run(&time, &first, &plan), (Err(Error::Inner("one")), 30, vec![0, 10, 15]));
    let last = hedge(&time).max_hedges(2).last_error(true).build().unwrap();
    let plan = [(5, Err("one")), (5, Err("two")), (5, Err("three"))];
    assert_eq!(run(&time, &last, &plan), (Err(Error::Inner("three")), 15, vec![0, 5, 10]));
}

// S61
#[test]
fn what_a_failure_brings_about_can_be_said() {
    let time = ManualClock::new();
    let plan = [(5, Err("one")), (15, Ok(2))];
    let waits = hedge(&time).on_failure(OnFailure::WaitForDelay).build().unwrap();
    assert_eq!(run(&time, &waits, &plan), (Ok(2), 25, vec![0, 10]));
    let returns = hedge(&time).on_failure(OnFailure::ReturnNow).build().unwrap();
    assert_eq!(run(&time, &returns, &plan), (Err(Error::Inner("one")), 5, vec![0]));
    assert_eq!(
        run(&time, &returns, &[(30, Ok(1)), (5, Err("two"))]),
        (Err(Error::Inner("two")), 15, vec![0, 10])
    );
}

// tower starts exactly one
#[test]
fn several_hedges_begin_one_delay_apart() {
    let time = ManualClock::new();
    let slow = [(100, Ok(1)), (100, Ok(2)), (100, Ok(3)), (100, Ok(4))];
    let three = hedge(&time).max_hedges(3).build().unwrap();
    assert_eq!(run(&time, &three, &slow), (Ok(1), 100, vec![0, 10, 20, 30]));
    // All at once, and only for failures.
    let parallel = Hedge::after(Duration::ZERO).max_hedges(3).clock(time.clock()).build().unwrap();
    let plan = [(100, Ok(1)), (50, Err("two")), (20, Ok(3)), (100, Ok(4))];
    assert_eq!(run(&time, &parallel, &plan), (Ok(3), 20, vec![0, 0, 0, 0]));
    let never = Hedge::after(Duration::MAX).max_hedges(3).clock(time.clock()).build().unwrap();
    assert_eq!(run(&time, &never, &slow), (Ok(1), 100, vec![0]));
    let plan = [(30, Err("one")), (30, Err("two")), (30, Ok(3))];
    assert_eq!(run(&time, &never, &plan), (Ok(3), 90, vec![0, 30, 60]));
    let plan = [(3, Err("one")), (4, Err("two")), (5, Err("three")), (6, Err("four"))];
    assert_eq!(run(&time, &never, &plan), (Err(Error::Inner("one")), 18, vec![0, 3, 7, 12]));
    let waits =
        Hedge::after(Duration::MAX).on_failure(OnFailure::WaitForDelay).clock(time.clock()).build().unwrap();
    assert_eq!(
        run(&time, &waits, &plan),
        (Err(Error::Inner("one")), 3, vec![0]),
        "nothing is left to wait for"
    );
    assert_eq!(hedge(&time).max_hedges(0).build().unwrap_err().knob(), "max_hedges");
}

// S62
#[test]
fn the_losers_are_gone_when_the_winner_is_seen_and_nothing_begins_after() {
    let time = ManualClock::new();
    let hedge = hedge(&time).max_hedges(2).build().unwrap();
    // The first attempt is ready in the instant in which its hedge is due.
    assert_eq!(run(&time, &hedge, &[(10, Ok(1))]), (Ok(1), 10, vec![0]));
    assert_eq!(hedge.stats().started, 0);
    for plan in [[(60, Ok(1)), (20, Ok(2)), (60, Ok(3))], [(25, Ok(1)), (90, Ok(2)), (90, Ok(3))]] {
        let script = Script::new(time.clock(), &plan);
        let mut call = Polled::new(hedge.call(script.op()));
        let mut most = 0;
        let outcome = loop {
            most = most.max(script.running.get());
            match call.poll() {
                Some(outcome) => break outcome,
                None => time.advance_to(time.next_deadline().unwrap()),
            }
            most = most.max(script.running.get());
        };
        assert!(outcome.is_ok());
        assert_eq!((most, script.running.get()), (3, 0), "seen before the future itself is dropped");
        drop(call);
        time.advance(ms(1_000));
        assert_eq!(script.begun().len(), 3);
    }
}

// S62, S6
#[test]
fn the_loser_says_nothing_of_the_callee_and_holds_no_place() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().unwrap();
    let bulkhead = Bulkhead::new(5).unwrap();
    let stack =
        Stack::new().hedge(hedge(&time).build().unwrap()).breaker(breaker.clone()).bulkhead(bulkhead.clone());
    let script = Script::new(time.clock(), &[(50, Ok(1)), (10, Ok(2))]);
    assert_eq!(drive(&time, stack.call(script.op())), Ok(2));
    assert_eq!((breaker.stats().successes, breaker.stats().failures, breaker.stats().cancelled), (1, 0, 1));
    assert_eq!(bulkhead.stats().running, 0);
}

// S63; in failsafe-go an empty budget ended the attempts under way (fsgo#141)
#[test]
fn an_empty_budget_suppresses_hedges_and_nothing_else() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let budget = Budget::quota(5).reward(1).build().unwrap();
    let hedge = hedge(&time)
        .max_hedges(3)
        .budget(budget.clone())
        .observer(move |event: &HedgeEvent| log.lock().unwrap().push(*event))
        .build()
        .unwrap();
    // One is paid for, the next is not; both that run go on.
    let plan = [(80, Ok(1)), (40, Ok(2))];
    assert_eq!(run(&time, &hedge, &plan), (Ok(2), 50, vec![0, 10]));
    assert_eq!(run(&time, &hedge, &[(80, Ok(1))]), (Ok(1), 80, vec![0]));
    assert_eq!((hedge.stats().started, hedge.stats().suppressed), (1, 2));
    // The failure of the only attempt there is comes out at once.
    let bare = self::hedge(&time).budget(budget.clone()).build().unwrap();
    assert_eq!(run(&time, &bare, &[(5, Err("one"))]), (Err(Error::Inner("one")), 5, vec![0]));
    assert_eq!(budget.available(), 0, "a hedge that wins has cost what it costs");
    for _ in 0..4 {
        assert_eq!(run(&time, &hedge, &[(0, Ok(1))]).0, Ok(1));
    }
    assert_eq!(budget.available(), 1, "calls that need no hedge pay in; one did before");
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen[0], HedgeEvent::Started { policy: "hedge", number: 1, delay: Some(delay), .. } if delay == ms(10))
    );
    assert!(matches!(seen[1], HedgeEvent::Suppressed { number: 2, reason: Suppressed::Budget, .. }));
    assert!(matches!(seen[2], HedgeEvent::Won { number: 1, .. }));
    assert!(matches!(seen[3], HedgeEvent::Suppressed { number: 1, reason: Suppressed::Budget, .. }));
    assert_eq!(seen.len(), 4);
}

// S64
#[test]
fn a_quantile_is_no_delay_before_there_are_enough_calls() {
    let time = ManualClock::new();
    let latencies = Latencies::builder(0.9).min_samples(20).clock(time.clock()).build().unwrap();
    let hedge = Hedge::after_quantile(latencies.clone()).clock(time.clock()).build().unwrap();
    for call in 1..=20 {
        assert_eq!(hedge.delay(), None, "{call}");
        // Failures are not recorded.
        assert!(run(&time, &hedge, &[(1, Err("one")), (1, Err("two"))]).0.is_err());
        // Nothing is hedged for its slowness.
        assert_eq!(run(&time, &hedge, &[(call, Ok(1))]), (Ok(1), u128::from(call), vec![0]));
    }
    let delay = hedge.delay().unwrap();
    assert!((ms(18)..ms(20)).contains(&delay), "{delay:?}");
    let (outcome, _, begun) = run(&time, &hedge, &[(200, Ok(1)), (0, Ok(2))]);
    assert_eq!((outcome, begun), (Ok(2), vec![0, delay.as_millis()]));
    let clamped = |least, most| {
        Hedge::after_quantile(latencies.clone())
            .least_delay(least)
            .most_delay(most)
            .build()
            .map(|h| h.delay())
    };
    assert_eq!(clamped(ms(50), ms(60)).unwrap(), Some(ms(50)));
    assert_eq!(clamped(ms(1), ms(5)).unwrap(), Some(ms(5)));
    assert_eq!(clamped(ms(2), ms(1)).unwrap_err().knob(), "least_delay");
    // What would have no effect is refused.
    assert_eq!(Hedge::after(ms(1)).least_delay(ms(1)).build().unwrap_err().knob(), "least_delay");
    assert_eq!(Hedge::after(ms(1)).most_delay(ms(1)).build().unwrap_err().knob(), "most_delay");
}

#[test]
fn latencies_are_forgotten_with_their_window() {
    let time = ManualClock::new();
    let latencies =
        Latencies::builder(0.5).min_samples(3).window(ms(1_000)).clock(time.clock()).build().unwrap();
    let record = |millis, times| (0..times).for_each(|_| latencies.record(ms(millis)));
    record(100, 9);
    let about = |millis| latencies.quantile().is_some_and(|q| q >= ms(millis) && q <= ms(millis) * 17 / 16);
    assert!(about(100));
    time.advance(ms(1_000));
    record(10, 5);
    assert!(about(100), "the window before still counts");
    record(10, 5);
    assert!(about(10));
    time.advance(ms(1_000));
    record(50, 1);
    assert!(about(10));
    time.advance(ms(1_999));
    assert!(latencies.quantile().is_none(), "one is left in two windows, although nothing came since");
    record(50, 1);
    assert!(latencies.quantile().is_none(), "and what comes is counted without it");
    record(50, 1);
    assert!(about(50));
    record(50, 1);
    time.advance(ms(2_000));
    assert!(latencies.quantile().is_none(), "of two windows ago nothing is left");
    for quantile in [0.0, 1.0, f64::NAN] {
        assert_eq!(Latencies::builder(quantile).build().unwrap_err().knob(), "quantile");
    }
    assert_eq!(Latencies::builder(0.5).min_samples(0).build().unwrap_err().knob(), "min_samples");
    assert_eq!(Latencies::builder(0.5).window(Duration::ZERO).build().unwrap_err().knob(), "window");
}

#[test]
fn the_quantile_of_random_latencies_is_right_within_its_fineness() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let quantile = rng.f64().clamp(0.02, 0.98);
        let latencies = Latencies::builder(quantile).min_samples(1).build().unwrap();
        let mut all: Vec<u64> = (0..2_000)
            .map(|_| {
                let most = 1 << rng.u32(4..35);
                rng.u64(..most)
            })
            .collect();
        for nanos in &all {
            latencies.record(Duration::from_nanos(*nanos));
        }
        all.sort_unstable();
        // What is read may leave out the last thirty-second part.
        let at = |share: f64| all[((share * all.len() as f64) as usize).min(all.len() - 1)];
        let (low, high) = (at(quantile - 0.035), at(quantile + 0.035));
        let read = latencies.quantile().unwrap().as_nanos() as u64;
        assert!(read >= low && read <= high + high / 16 + 1, "seed {seed}: {low} <= {read} <= {high}");
    }
}

// Left out, those that lose would make the delay shrink from window to window
#[test]
fn the_delay_does_not_shrink_because_slow_calls_are_hedged() {
    let time = ManualClock::new();
    let latencies =
        Latencies::builder(0.9).min_samples(50).window(ms(20_000)).clock(time.clock()).build().unwrap();
    let hedge = Hedge::after_quantile(latencies).clock(time.clock()).build().unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..4_000 {
        // Uniform up to 100 ms: the ninetieth of a hundred takes 90.
        let takes = |rng: &mut fastrand::Rng| rng.u64(1..=100);
        // A hedge is quick, and so beats nearly every first attempt beside which it begins.
        let plan = [(takes(&mut rng), Ok(1)), (1, Ok(2))];
        assert!(run(&time, &hedge, &plan).0.is_ok());
    }
    let delay = hedge.delay().unwrap();
    assert!((ms(80)..ms(101)).contains(&delay), "{delay:?}");
    let share = hedge.stats().started as f64 / 4_000.0;
    assert!((0.06..0.14).contains(&share), "{share}");
}

// S65
#[test]
fn a_hedge_that_an_inner_policy_refuses_does_not_count() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::new(1).unwrap();
    let stack = Stack::new().hedge(hedge(&time).build().unwrap()).bulkhead(bulkhead);
    let script = Script::new(time.clock(), &[(50, Ok(1))]);
    assert_eq!(drive(&time, stack.call(script.op())), Ok(1));
    assert_eq!(script.begun(), [0]);
    // If the first attempt fails then, its error comes out, and not the refusal.
    for last in [false, true] {
        let stack = Stack::new()
            .hedge(hedge(&time).last_error(last).build().unwrap())
            .bulkhead(Bulkhead::new(1).unwrap());
        let script = Script::new(time.clock(), &[(50, Err("one"))]);
        assert_eq!(drive(&time, stack.call(script.op())), Err(Error::Inner("one")));
    }
    // Nor is what runs given up for it where failures come out at once, though the refusal says when to come back.
    let bucket = TokenBucket::builder(Quota::per_second(1)).clock(time.clock()).build().unwrap();
    let throttle = Throttle::builder(bucket).build().unwrap();
    let returns = hedge(&time).on_failure(OnFailure::ReturnNow).build().unwrap();
    let script = Script::new(time.clock(), &[(50, Ok(1))]);
    assert_eq!(drive(&time, Stack::new().hedge(returns).throttle(throttle).call(script.op())), Ok(1));
    // A first attempt that is refused comes out as that, at once.
    let closed = Bulkhead::new(1).unwrap();
    let full = Polled::new(closed.call(pending::<Result<u32, &str>>));
    let mut full = full;
    assert!(full.poll().is_none());
    let stack = Stack::new().hedge(hedge(&time).build().unwrap()).bulkhead(closed.clone());
    let script = Script::new(time.clock(), &[]);
    assert!(Polled::new(stack.call(script.op())).poll().unwrap().unwrap_err().is_full());
}

// S8
#[test]
fn what_can_be_run_once_is_run_once_although_the_delay_passes() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let hedge = hedge(&time)
        .max_hedges(3)
        .observer(move |event: &HedgeEvent| log.lock().unwrap().push(*event))
        .build()
        .unwrap();
    let stack = Stack::new().hedge(hedge).timeout(Timeout::builder(ms(90)).clock(time.clock()).build());
    let (body, clock) = (String::from("body"), time.clock());
    let sent = stack.call_once(|| async move {
        clock.sleep(ms(50)).await;
        Ok::<String, ()>(body)
    });
    assert_eq!(drive(&time, sent).unwrap(), "body");
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[..], [HedgeEvent::Suppressed { number: 1, reason: Suppressed::RunsOnce, .. }]));
}

// S8
#[test]
fn an_error_that_is_not_to_be_retried_ends_the_call() {
    let time = ManualClock::new();
    let hedge = hedge(&time).abort_on(|error: &&str| *error == "fatal").build().unwrap();
    assert_eq!(run(&time, &hedge, &[(5, Err("fatal"))]), (Err(Error::Inner("fatal")), 5, vec![0]));
    let plan = [(50, Ok(1)), (5, Err("fatal"))];
    assert_eq!(run(&time, &hedge, &plan), (Err(Error::Inner("fatal")), 15, vec![0, 10]));
    let marked = || std::io::Error::other(NotRetryable::new("sent"));
    let hedge = Hedge::after(ms(10)).heed_not_retryable().clock(time.clock()).build().unwrap();
    let calls = Cell::new(0);
    let error = drive(
        &time,
        hedge.call(|| {
            calls.set(calls.get() + 1);
            std::future::ready(Err::<(), _>(marked()))
        }),
    );
    assert_eq!((error.unwrap_err().to_string().as_str(), calls.get()), ("sent", 1));
}

#[test]
fn a_success_that_does_not_stand_is_not_first_past_the_post() {
    let time = ManualClock::new();
    let hedge = hedge(&time).when_ok(|status: &u32| *status == 503).build().unwrap();
    assert_eq!(run(&time, &hedge, &[(50, Ok(200)), (5, Ok(503))]), (Ok(200), 50, vec![0, 10]));
    assert_eq!(run(&time, &hedge, &[(50, Ok(503)), (5, Ok(503))]).0, Ok(503));
}

#[test]
fn a_callee_that_says_when_holds_the_next_hedge_back() {
    let time = ManualClock::new();
    let hedge = hedge(&time)
        .max_hedges(2)
        .retry_after(|error: &&str| (*error == "later").then_some(ms(100)))
        .build()
        .unwrap();
    assert_eq!(run(&time, &hedge, &[(5, Err("later")), (1, Ok(2))]), (Ok(2), 106, vec![0, 105]));
    let plan = [(5, Err("later")), (1, Err("now")), (1, Ok(3))];
    assert_eq!(run(&time, &hedge, &plan), (Ok(3), 107, vec![0, 105, 106]));
    // The first attempt goes on meanwhile, and the delay does not cut the wait short.
    let plan = [(200, Ok(1)), (5, Err("later")), (90, Ok(3))];
    assert_eq!(run(&time, &hedge, &plan), (Ok(1), 200, vec![0, 10, 115]));
}

#[test]
fn no_hedge_begins_for_work_that_has_ended() {
    let time = ManualClock::new();
    let hedge = hedge(&time).build().unwrap();
    let script = Script::new(time.clock(), &[(50, Ok(1))]);
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(8));
    assert_eq!(drive(&time, context.scope(hedge.call(script.op()))), Ok(1));
    assert_eq!((script.begun(), hedge.stats().suppressed), (vec![0], 1));
}

// matrix: "alternate action per hedge"
#[test]
fn attempts_can_be_told_apart() {
    let time = ManualClock::new();
    let hedge = hedge(&time).max_hedges(2).mark_attempts(true).name("reads").build().unwrap();
    let seen = RefCell::new(Vec::new());
    let outcome = drive(
        &time,
        hedge.call(|| {
            let mark = *Context::current().value::<HedgeMark>().unwrap();
            seen.borrow_mut().push((mark.policy(), mark.number()));
            let clock = time.clock();
            async move {
                clock.sleep(ms(15)).await;
                let again = *Context::current().value::<HedgeMark>().unwrap();
                assert_eq!(again, mark, "at every poll");
                if mark.number() == 2 { Ok(()) } else { Err(mark.number()) }
            }
        }),
    );
    assert_eq!(outcome, Ok(()));
    assert_eq!(*seen.borrow(), [("reads", 0), ("reads", 1), ("reads", 2)]);
}

#[test]
fn it_goes_around_every_policy() {
    let time = ManualClock::new();
    let clock = || time.clock();
    let breaker = CircuitBreaker::builder().clock(clock()).build().unwrap();
    let by_result = breaker.classify(|result: &Result<u32, Error<&str>>| Outcome::of(result));
    let bucket = TokenBucket::new(Quota::per(1_000, Duration::from_secs(1)).unwrap());
    let limiter = AdaptiveLimiter::builder(Vegas::new()).clock(clock()).build().unwrap();
    let stack = Stack::new()
        .hedge(Hedge::after(ms(10)).clock(clock()).name("outer").build().unwrap())
        .layer(Arc::new(Some(Timeout::builder(ms(500)).clock(clock()).build())))
        .retry(Retry::builder().backoff(Backoff::ZERO).max_attempts(2).clock(clock()).build().unwrap())
        .layer(Hedge::after(Duration::MAX).clock(clock()).name("inner").build().unwrap())
        .breaker(breaker.clone())
        .layer(by_result)
        .admission(Admission::new(AdmissionControl::builder().clock(clock()).build().unwrap()))
        .throttle(Throttle::new(bucket))
        .bulkhead(Bulkhead::new(9).unwrap())
        .layer(AdaptiveBulkhead::new(limiter));
    // One is slow; beside it one fails, its inner hedge fails, and the retry brings one that does not.
    let script = Script::new(clock(), &[(100, Ok(1)), (5, Err("two")), (5, Err("three")), (5, Ok(4))]);
    assert_eq!(drive(&time, stack.call(script.op())), Ok(4));
    assert_eq!((script.begun(), script.running.get(), time.armed()), (vec![0, 10, 15, 20], 0, 0));
    assert_eq!(breaker.stats().failures, 4, "two attempts, seen by the breaker and by its other face");
    let layers: Vec<_> = stack.describe().iter().map(ToString::to_string).collect();
    assert_eq!((layers[0].as_str(), layers[3].as_str()), ("hedge(outer)", "hedge(inner)"));
}

// S81
#[test]
fn what_goes_wrong_with_hedges_has_its_lint() {
    fn codes<P: Component>(stack: &Stack<P>) -> Vec<LintCode> {
        stack.lint().iter().map(Lint::code).collect()
    }
    let budget = || Budget::share(0.1).build().unwrap();
    let good = || Hedge::after(ms(10)).budget(budget()).build().unwrap();
    let retry = || Retry::builder().build().unwrap();
    let bucket = TokenBucket::new(Quota::per_second(10));
    assert_eq!(codes(&Stack::new().retry(retry()).hedge(good()).throttle(Throttle::new(bucket.clone()))), []);
    let bare = Stack::new().hedge(Hedge::after(ms(10)).build().unwrap());
    assert_eq!(codes(&bare), [LintCode::HedgeWithoutBudget]);
    let lint = bare.lint()[0];
    assert_eq!(lint.to_string(), "hedge-without-budget: hedge: a callee that is slow gets twice the calls");
    assert_eq!(lint.inner(), lint.outer());
    let waits = Throttle::builder(bucket).wait_limit(ms(5)).build().unwrap();
    assert_eq!(codes(&Stack::new().hedge(good()).throttle(waits)), [LintCode::WaitInsideHedge]);
    assert_eq!(codes(&Stack::new().hedge(good()).retry(retry())), [LintCode::RetryInsideHedge]);
    assert_eq!(codes(&Stack::new().hedge(good()).hedge(good())), [LintCode::HedgeInsideHedge]);
}

// S2, S62
#[test]
fn dropped_at_any_await_all_attempts_are_gone_and_places_given_back() {
    let points = drop_at_every_await_in_sim(0..3, |sim| {
        let budget = Budget::share(0.0).least(3).build().unwrap();
        let bulkhead = Bulkhead::new(3).unwrap();
        let latencies = Latencies::builder(0.5).min_samples(1).clock(sim.clock()).build().unwrap();
        latencies.record(ms(3));
        let hedge = Hedge::after_quantile(latencies)
            .max_hedges(2)
            .budget(budget.clone())
            .mark_attempts(true)
            .clock(sim.clock())
            .build()
            .unwrap();
        let stack = Stack::new().hedge(hedge).bulkhead(bulkhead.clone());
        let plan = [(sim.random_below(12), Err("one")), (9, Err("two")), (5, Ok(3))];
        let script = Script::new(sim.clock(), &plan);
        let op = script.op();
        let future = async move { assert!(stack.call(op).await.is_ok()) };
        let check = move |sim: &Sim, _| {
            assert_eq!((script.running.get(), bulkhead.stats().running, sim.time().armed()), (0, 0, 0));
            assert_eq!(format!("{budget:?}"), "Budget { share: 0.0, least: 3, calls: 0, retries: 0 }");
        };
        (future, check)
    });
    assert!(points >= 15, "{points}");
}

// S5
#[test]
fn a_panic_of_any_attempt_passes_through_and_takes_the_others_with_it() {
    for panics in 0..3 {
        let time = ManualClock::new();
        let budget = Budget::share(0.0).least(3).build().unwrap();
        let hedge = hedge(&time).max_hedges(2).budget(budget.clone()).build().unwrap();
        let running = Rc::new(Cell::new(0));
        let calls = Cell::new(0);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            drive(
                &time,
                hedge.call(|| {
                    let (number, clock) = (calls.replace(calls.get() + 1), time.clock());
                    running.set(running.get() + 1);
                    let running = Running(Rc::clone(&running));
                    async move {
                        let _running = running;
                        clock.sleep(ms(if number == panics { 30 } else { 900 })).await;
                        if number == panics {
                            panic!("attempt {number}");
                        }
                        Ok::<(), ()>(())
                    }
                }),
            )
        }))
        .unwrap_err();
        assert_eq!(panic.downcast_ref::<String>(), Some(&format!("attempt {panics}")));
        assert_eq!((calls.get(), running.get(), time.armed()), (3, 0, 0));
        assert_eq!(format!("{budget:?}"), "Budget { share: 0.0, least: 3, calls: 0, retries: 0 }");
    }
}

#[test]
fn it_is_send_when_its_parts_are_also_where_they_borrow() {
    fn assert_send<T: Send>(t: T) -> T {
        t
    }
    let hedge = Arc::new(Hedge::after(ms(10)).build().unwrap());
    let text = String::from("abc");
    let task = assert_send(async move {
        let borrowed = &text;
        hedge
            .call(|| async move { if borrowed.len() == 3 { Ok::<&str, &str>(borrowed) } else { Err("no") } })
            .await
            .map(str::len)
    });
    assert_eq!(block_on(task), Ok(3));
}

#[test]
fn after_it_has_come_out_it_can_be_tried_again() {
    let time = ManualClock::new();
    let inner = hedge(&time).name("inner").build().unwrap();
    let retry =
        Retry::builder().backoff(Backoff::fixed(ms(1))).max_attempts(3).clock(time.clock()).build().unwrap();
    let stack = Stack::new().retry(retry).hedge(inner);
    let plan = [(20, Err("1")), (20, Err("2")), (3, Err("3")), (3, Err("4")), (20, Ok(5)), (2, Ok(6))];
    let script = Script::new(time.clock(), &plan);
    assert_eq!(drive(&time, stack.call(script.op())), Ok(6));
    assert_eq!(script.begun(), [0, 10, 31, 34, 38, 48]);
}

// S61, S65
#[test]
fn a_first_attempt_that_times_out_is_what_comes_out_and_not_the_refusal_of_its_hedge() {
    let time = ManualClock::new();
    for last in [false, true] {
        let limit = Timeout::attempt(ms(30)).clock(time.clock());
        let stack = Stack::new()
            .hedge(hedge(&time).last_error(last).build().unwrap())
            .timeout(limit)
            .bulkhead(Bulkhead::new(1).unwrap());
        let script = Script::new(time.clock(), &[(50, Ok(1))]);
        let error = drive(&time, stack.call(script.op())).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(script.running.get(), 0);
    }
}

#[test]
fn a_callee_that_says_when_does_not_put_off_a_delay_that_is_longer() {
    let time = ManualClock::new();
    let waits = |after| {
        hedge(&time)
            .on_failure(OnFailure::WaitForDelay)
            .retry_after(move |_: &&str| Some(ms(after)))
            .build()
            .unwrap()
    };
    let plan = [(4, Err("later")), (1, Ok(2))];
    assert_eq!(run(&time, &waits(1), &plan), (Ok(2), 11, vec![0, 10]));
    assert_eq!(run(&time, &waits(6), &plan), (Ok(2), 11, vec![0, 10]));
    assert_eq!(run(&time, &waits(20), &plan), (Ok(2), 25, vec![0, 24]));
}
