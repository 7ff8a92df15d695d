//! Limits of runs, what they keep and count, and the ways to begin one.

use super::*;
use cofferdam::testkit::drop_at_every_await_in_sim;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};

// RB8, S4, S57
#[test]
fn an_attempt_that_takes_too_long_is_ended_and_tried_again() {
    let time = ManualClock::new();
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::fixed(ms(10)))
        .attempt_timeout(ms(100))
        .name("reads")
        .clock(time.clock())
        .build()
        .unwrap();
    let starts = RefCell::new(Vec::new());
    let error = drive(
        &time,
        retry.call(|| {
            starts.borrow_mut().push(time.elapsed().as_millis());
            pending::<Result<(), &str>>()
        }),
    )
    .unwrap_err();
    assert_eq!(*starts.borrow(), [0, 110, 220], "each attempt has its whole time");
    assert!(error.is_timeout() && error.is_exhausted());
    assert_eq!(time.armed(), 0);
    assert_eq!(
        error.exhausted().unwrap().last().to_string(),
        "reads: attempt not finished within its limit of 100ms"
    );
    // What is in time is not touched, and the alarm of an attempt does not live on in the next.
    let calls = Cell::new(0);
    let outcome = drive(
        &time,
        retry.call(|| {
            calls.set(calls.get() + 1);
            let (clock, first) = (time.clock(), calls.get() == 1);
            async move {
                clock.sleep(ms(99)).await;
                if first { Err("late") } else { Ok(()) }
            }
        }),
    );
    assert_eq!((outcome, time.armed()), (Ok(()), 0));
}

// S81
#[test]
fn the_limit_of_an_attempt_is_a_layer_for_the_lints() {
    let retry = || Retry::builder().attempt_timeout(ms(500)).name("reads").build().unwrap();
    let stack = Stack::new().timeout(Timeout::total(ms(500))).retry(retry());
    let layers: Vec<_> = stack.describe().iter().map(ToString::to_string).collect();
    assert_eq!(layers, ["timeout", "retry(reads)", "timeout(reads)"]);
    let codes: Vec<_> = stack.lint().iter().map(Lint::code).collect();
    assert_eq!(codes, [LintCode::InnerTimeoutNotShorter]);
    assert_eq!(Stack::new().timeout(Timeout::total(ms(501))).retry(retry()).lint(), []);
    assert_eq!(
        Retry::builder().attempt_timeout(Duration::ZERO).build().unwrap_err().knob(),
        "attempt_timeout"
    );
}

// RB5
#[test]
fn an_attempt_that_ran_long_enough_starts_everything_anew() {
    let time = ManualClock::new();
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::exponential(ms(10)))
        .reset_after(ms(1_000))
        .max_duration(ms(1_500))
        .clock(time.clock())
        .build()
        .unwrap();
    // A connection that lives for so long, and breaks; then three that break at once.
    let lives = [1_000, 999, 1_000, 5_000, 0, 0, 0];
    let calls = Cell::new(0);
    let starts = RefCell::new(Vec::new());
    let error = drive(
        &time,
        retry.call(|| {
            let clock = time.clock();
            let life = lives[calls.get()];
            calls.set(calls.get() + 1);
            starts.borrow_mut().push(time.elapsed().as_millis());
            async move {
                clock.sleep(ms(life)).await;
                Err::<(), _>(life)
            }
        }),
    )
    .unwrap_err();
    // 1000 resets: delay 10; 999 does not: 20; 1000 does: 10; 5000 does: 10; then 20, and the third ends it.
    assert_eq!(*starts.borrow(), [0, 1_010, 2_029, 3_039, 8_049, 8_069]);
    let exhausted = error.exhausted().unwrap();
    assert_eq!((exhausted.attempts(), exhausted.reason()), (3, GaveUp::Attempts));
    assert_eq!(retry.stats().retries, 5, "those before a new beginning included");
    let error = Retry::builder().reset_after(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.knob(), "reset_after");
}

// RB6, S82
#[test]
fn every_cause_is_kept_on_request_up_to_a_bound() {
    let refuse = Rejection::rate_limited("api", Some(Duration::ZERO));
    let run = |keep: usize, outcomes: &'static [i32]| {
        let retry = immediate().max_attempts(outcomes.len() as u32).keep_errors(keep).build().unwrap();
        let stack = Stack::new().retry(retry).layer(RefuseAt(outcomes, Cell::new(0), refuse));
        block_on(stack.call(|| async { Ok::<(), i32>(()) })).unwrap_err()
    };
    let kept = |error: &Error<i32>| -> Vec<_> {
        error.exhausted().unwrap().earlier().map(|error| error.inner().copied()).collect()
    };
    let error = run(9, &[1, 2, 0, 4]);
    assert_eq!(kept(&error), [Some(1), Some(2), None]);
    assert_eq!(error.inner(), Some(&4));
    assert_eq!(kept(&run(2, &[1, 2, 0, 4])), [Some(2), None]);
    assert_eq!(kept(&run(0, &[1, 2, 0, 4])), []);
    // The operation's last own error is there, wherever it is.
    for keep in [0, 1, 2, 9] {
        let error = run(keep, &[1, 2, 0, 0]);
        assert!(error.is_rate_limited());
        assert_eq!(error.inner(), Some(&2), "{keep}");
        assert_eq!(error.clone().map(|error| error * 10).into_inner(), Some(20), "{keep}");
        assert_eq!(error.into_inner(), Some(2), "{keep}");
    }
    let Error::Exhausted(exhausted) = run(9, &[1, 0, 3]) else { panic!("it gave up") };
    assert_eq!(exhausted.earlier().len(), 2);
    let all: Vec<_> = exhausted.into_errors().map(Error::into_inner).collect();
    assert_eq!(all, [Some(1), None, Some(3)]);
}

/// Fails with these numbers, and refuses at nought.
struct RefuseAt(&'static [i32], Cell<usize>, Rejection);

impl Component for RefuseAt {
    fn describe(&self, _: &mut Vec<Layer>) {}
}

impl<'a, A: Attempt<Err = i32>> Policy<A> for &'a RefuseAt {
    type Attempt = RefusesAt<'a, A>;

    fn around(self, inner: A) -> RefusesAt<'a, A> {
        RefusesAt { policy: self, inner }
    }
}

struct RefusesAt<'a, A> {
    policy: &'a RefuseAt,
    #[allow(dead_code, reason = "never reached")]
    inner: A,
}

impl<A: Attempt<Err = i32>> Attempt for RefusesAt<'_, A> {
    type Ok = A::Ok;
    type Err = i32;

    fn poll_attempt(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<A::Ok, Error<i32>>> {
        let RefuseAt(outcomes, at, refuse) = self.policy;
        let outcome = outcomes[at.get()];
        at.set(at.get() + 1);
        std::task::Poll::Ready(Err(if outcome == 0 { Error::from(*refuse) } else { Error::Inner(outcome) }))
    }

    fn cancel(self: std::pin::Pin<&mut Self>) {}
}

#[test]
fn the_counts_are_those_of_the_runs_that_have_ended() {
    let retry = immediate().max_attempts(9).abort_on(|error: &u32| *error == 0).build().unwrap();
    let clone = retry.clone();
    let run = |failures: u32, last: Result<(), u32>| {
        let calls = Cell::new(0);
        let outcome = block_on(clone.call(|| {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() <= failures { Err(1) } else { last })
        }));
        drop(outcome);
    };
    for failures in 0..8 {
        run(failures, Ok(()));
    }
    run(0, Err(0));
    run(2, Err(0));
    run(99, Ok(()));
    let stats = retry.stats();
    assert_eq!(stats.retries, (1..8).sum::<u64>() + 2 + 8);
    assert_eq!((stats.recovered, stats.aborted, stats.out_of_attempts), (7, 2, 1));
    assert_eq!(stats.gave_up(), 1);
    let budget = Budget::quota(5).build().unwrap();
    let retry = immediate().budget(budget).build().unwrap();
    assert!(block_on(retry.call(|| async { Err::<(), _>(1) })).is_err());
    assert_eq!((retry.stats().out_of_budget, retry.stats().retries), (1, 1));
}

#[test]
fn each_attempt_that_is_not_the_last_word_is_an_event() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let limited = Rejection::rate_limited("api", Some(ms(30)));
    let time = ManualClock::new();
    let retry = Retry::builder()
        .max_attempts(5)
        .backoff(Backoff::fixed(ms(10)))
        .when(|error: &&str| *error != "fatal")
        .observer(move |event: &RetryEvent| log.lock().unwrap().push(*event))
        .clock(time.clock())
        .build()
        .unwrap();
    let calls = Cell::new(0);
    let outcomes: [Result<(), &str>; 3] = [Err("one"), Err("two"), Err("fatal")];
    let stack = Stack::new().retry(retry).layer(RefuseOnce(Cell::new(true), limited));
    let error = drive(
        &time,
        stack.call(|| {
            calls.set(calls.get() + 1);
            std::future::ready(outcomes[calls.get() - 1])
        }),
    )
    .unwrap_err();
    assert_eq!(error, Error::Inner("fatal"));
    let seen = seen.lock().unwrap();
    assert!(matches!(
        seen[0],
        RetryEvent::Scheduled { attempt: 1, delay, source: DelaySource::Server, rejection: Some(refused), .. }
            if refused == limited && delay == ms(30)
    ));
    assert!(matches!(
        seen[1],
        RetryEvent::Scheduled { attempt: 2, delay, source: DelaySource::Backoff, rejection: None, .. }
            if delay == ms(10)
    ));
    assert!(matches!(seen[2], RetryEvent::Scheduled { attempt: 3, .. }));
    assert!(matches!(seen[3], RetryEvent::Aborted { attempts: 4, rejection: None, policy: "retry", .. }));
    assert_eq!(seen.len(), 4);
}

/// Refuses its first attempt.
struct RefuseOnce(Cell<bool>, Rejection);

impl Component for RefuseOnce {
    fn describe(&self, _: &mut Vec<Layer>) {}
}

impl<'a, A: Attempt> Policy<A> for &'a RefuseOnce {
    type Attempt = RefusesOnce<'a, A>;

    fn around(self, inner: A) -> RefusesOnce<'a, A> {
        RefusesOnce { policy: self, inner }
    }
}

pin_project_lite::pin_project! { struct RefusesOnce<'a, A> { policy: &'a RefuseOnce, #[pin] inner: A } }

impl<A: Attempt> Attempt for RefusesOnce<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        if this.policy.0.replace(false) {
            return std::task::Poll::Ready(Err(this.policy.1.into()));
        }
        this.inner.poll_attempt(cx)
    }

    fn cancel(self: std::pin::Pin<&mut Self>) {
        self.project().inner.cancel();
    }
}

#[test]
fn the_largest_number_of_attempts_is_no_bound() {
    let retry = immediate().max_attempts(u32::MAX).build().unwrap();
    let calls = Cell::new(0);
    let outcome = block_on(retry.call(|| {
        calls.set(calls.get() + 1);
        std::future::ready(if calls.get() < 50_000 { Err(()) } else { Ok(calls.get()) })
    }));
    assert_eq!(outcome, Ok(50_000));
}

#[test]
fn an_operation_can_be_written_first() {
    let policy = immediate().max_attempts(5).build().unwrap();
    let calls = Cell::new(0);
    let told = Cell::new(0);
    let op = || {
        calls.set(calls.get() + 1);
        std::future::ready(if calls.get() < 9 { Err(calls.get()) } else { Ok("there") })
    };
    let outcome = block_on(async {
        op.retry(&policy)
            .when(|error: &i32| *error < 3)
            .notify(|_: &Error<i32>, next| told.set(next.attempt))
            .await
    });
    assert_eq!((outcome, calls.get(), told.get()), (Err(Error::Inner(3)), 3, 2));
    // What was said was for that call alone.
    assert!(block_on(async { op.retry(&policy).await }).unwrap_err().is_exhausted());
    assert_eq!((calls.get(), told.get()), (8, 2));
    assert_eq!(
        block_on(async { op.retry(&policy).on_give_up(|_: &Error<i32>| told.set(99)).await }),
        Ok("there")
    );
    assert_eq!(told.get(), 2);
}

#[test]
fn an_operation_that_blocks_sleeps_its_thread_by_the_clock() {
    let time = ManualClock::new();
    let policy = Retry::builder().backoff(Backoff::linear(ms(60_000))).clock(time.clock()).build().unwrap();
    let thread = std::thread::spawn({
        let (time, policy) = (time.clone(), policy.clone());
        move || {
            let mut at = Vec::new();
            let outcome = policy.call_sync(|| {
                at.push(time.elapsed().as_secs());
                if at.len() < 3 { Err("not yet") } else { Ok(at.len()) }
            });
            (outcome, at)
        }
    });
    while !thread.is_finished() {
        match time.next_deadline() {
            Some(next) => time.advance_to(next),
            None => std::thread::yield_now(),
        }
    }
    assert_eq!(thread.join().unwrap(), (Ok(3), vec![0, 60, 180]));
    // Behind the operation, and with nothing to sleep for.
    let policy = immediate().build().unwrap();
    let mut calls = 0;
    let error = (|| {
        calls += 1;
        Err::<(), _>(calls)
    })
    .retry(&policy)
    .when(|error: &i32| *error < 2)
    .call_sync();
    assert_eq!(error, Err(Error::Inner(2)));
}

#[test]
fn dropped_at_any_await_a_run_with_everything_gives_its_budget_back() {
    for kind in 0..3 {
        let points = drop_at_every_await_in_sim(0..3, |sim| {
            let budget = match kind {
                0 => Budget::quota(20).cost(5).build().unwrap(),
                1 => Budget::ratio(0.0).min_per_second(0.4).clock(sim.clock()).build().unwrap(),
                _ => Budget::share(0.0).least(4).build().unwrap(),
            };
            let retry = Retry::builder()
                .max_attempts(4)
                .backoff(Backoff::fixed(ms(5)).jitter(Jitter::Equal))
                .budget(budget.clone())
                .attempt_timeout(ms(3))
                .reset_after(ms(50))
                .keep_errors(2)
                .mark_attempts(true)
                .clock(sim.clock())
                .build()
                .unwrap();
            let begun = Rc::new(Cell::new(0));
            let (clock, count) = (sim.clock(), Rc::clone(&begun));
            let future = async move {
                let outcome = retry
                    .call(|| {
                        count.set(count.get() + 1);
                        let clock = clock.clone();
                        async move {
                            clock.sleep(ms(2)).await;
                            Err::<(), _>("no")
                        }
                    })
                    .await;
                assert!(outcome.is_err());
            };
            let check = move |sim: &cofferdam::testkit::Sim, _| {
                // Those that have begun are paid for; those that are slept for are not.
                let paid = if kind == 2 { 0 } else { begun.get().max(1) - 1 };
                assert_eq!(budget.available(), 4 - paid);
                assert_eq!(sim.time().armed(), 0);
            };
            (future, check)
        });
        assert!(points > 20, "{points}");
    }
}

#[test]
fn a_panic_of_an_attempt_passes_through_and_leaves_nothing_lent() {
    let budget = Budget::share(0.0).least(1).build().unwrap();
    let retry = immediate().budget(budget.clone()).build().unwrap();
    let calls = Cell::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        block_on(retry.call(|| {
            calls.set(calls.get() + 1);
            async { if calls.get() < 2 { Err::<(), _>(()) } else { panic!("in the second") } }
        }))
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"in the second"));
    assert_eq!(format!("{budget:?}"), "Budget { share: 0.0, least: 1, calls: 0, retries: 0 }");
}

// RB11
#[test]
fn of_many_items_only_the_one_that_failed_is_tried_again() {
    let retry = immediate().build().unwrap();
    let calls = RefCell::new([0; 5]);
    for item in 0..5 {
        let outcome = block_on(retry.call(|| {
            calls.borrow_mut()[item] += 1;
            std::future::ready(if item == 3 && calls.borrow()[item] < 3 { Err(()) } else { Ok(()) })
        }));
        assert_eq!(outcome, Ok(()));
    }
    assert_eq!(*calls.borrow(), [1, 1, 1, 3, 1]);
}

#[test]
fn a_run_without_end_lets_others_have_their_turn() {
    // With nothing to tell, and with something to do for each attempt.
    for retry in [immediate(), immediate().attempt_timeout(ms(5))] {
        let retry = retry.max_attempts(u32::MAX).build().unwrap();
        let calls = Cell::new(0);
        let mut call = Polled::new(retry.call(|| {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() < 10_000 { Err(()) } else { Ok(()) })
        }));
        for turn in 1..=10 {
            assert!(call.poll().is_none());
            assert_eq!((calls.get(), call.wakes()), (turn * 64, turn), "it wakes itself");
        }
        drop(call);
        // Nor is one that blocks held up.
        let mut calls = 0;
        let outcome = retry.call_sync(|| {
            calls += 1;
            if calls < 200 { Err(()) } else { Ok(calls) }
        });
        assert_eq!(outcome, Ok(200));
    }
}

// S53
#[test]
fn a_retry_that_is_cancelled_is_over_before_its_place_is_given_to_another() {
    struct Looks(Budget, Rc<Cell<u64>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            self.1.set(self.0.available());
        }
    }
    let time = ManualClock::new();
    let budget = Budget::share(0.0).least(1).build().unwrap();
    let retry = immediate().budget(budget.clone()).build().unwrap();
    let stack = Stack::new().timeout(Timeout::total(ms(10)).clock(time.clock())).retry(retry);
    let (calls, seen) = (Cell::new(0), Rc::new(Cell::new(99)));
    let outcome = drive(
        &time,
        stack.call(|| {
            calls.set(calls.get() + 1);
            let hangs = (calls.get() > 1).then(|| Looks(budget.clone(), Rc::clone(&seen)));
            async move {
                if hangs.is_some() {
                    pending::<()>().await;
                }
                Err::<(), _>("no")
            }
        }),
    );
    assert!(outcome.unwrap_err().is_timeout());
    assert_eq!((calls.get(), seen.get(), budget.available()), (2, 0, 1));
}
