//! Budgets: each kind against a model of it, and shared by whoever makes extra attempts.

use crate::retry::{drive, ms};
use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::Backoff;
use futures_executor::block_on;
use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn immediate() -> RetryBuilder {
    Retry::builder().backoff(Backoff::ZERO)
}

fn retry_of(time: &ManualClock, budget: &Budget, max_attempts: u32) -> Retry {
    Retry::builder()
        .max_attempts(max_attempts)
        .backoff(Backoff::fixed(ms(10)))
        .budget(budget.clone())
        .clock(time.clock())
        .build()
        .unwrap()
}

// S53
#[test]
fn a_share_is_of_the_calls_under_way_and_ends_with_the_retry() {
    let time = ManualClock::new();
    let budget = Budget::share(0.25).least(1).build().unwrap();
    let retry = retry_of(&time, &budget, 2);
    assert_eq!(budget.available(), 1);
    let mut hanging: Vec<_> = (0..8).map(|_| Polled::new(retry.call(pending::<Result<(), ()>>))).collect();
    assert!(hanging.iter_mut().all(|call| call.poll().is_none()));
    assert_eq!(budget.available(), 2, "a quarter of eight");
    // A call that fails is the ninth under way: two may sleep, a third may not.
    let failing = || Polled::new(retry.call(|| async { Err::<(), _>(()) }));
    let (mut one, mut two, mut three) = (failing(), failing(), failing());
    assert!(one.poll().is_none() && two.poll().is_none());
    assert!(three.poll().unwrap().unwrap_err().is_budget_exhausted());
    drop(one);
    assert_eq!(budget.available(), 1, "who is dropped in the sleep leaves its place");
    time.advance(ms(10));
    assert!(two.poll().is_some());
    assert_eq!(budget.available(), 2, "and so does who has run");
    drop(hanging);
    assert_eq!(budget.available(), 1);
    // An attempt that has come out has left its place to the next of its own call.
    let error = drive(&time, retry_of(&time, &budget, 4).call(|| async { Err::<(), _>(()) })).unwrap_err();
    assert_eq!(error.exhausted().map(|run| (run.attempts(), run.reason())), Some((4, GaveUp::Attempts)));
    assert_eq!(Budget::share(f64::NAN).build().unwrap_err().knob(), "share");
}

#[test]
fn a_retry_after_a_timeout_may_cost_more() {
    let budget = Budget::quota(25).cost(5).timeout_cost(10).build().unwrap();
    let time = ManualClock::new();
    let retry = immediate()
        .max_attempts(9)
        .budget(budget.clone())
        .attempt_timeout(ms(1))
        .clock(time.clock())
        .build()
        .unwrap();
    let error = drive(&time, retry.call(pending::<Result<(), ()>>)).unwrap_err();
    assert_eq!(error.exhausted().unwrap().attempts(), 3, "25 pay for two after timeouts");
    assert_eq!(budget.available(), 1);
    assert_eq!(Budget::quota(9).timeout_cost(10).build().unwrap_err().knob(), "timeout_cost");
    // What comes back is what the last was.
    let calls = Cell::new(0);
    let budget = Budget::quota(15).cost(5).timeout_cost(10).build().unwrap();
    let retry =
        immediate().budget(budget.clone()).attempt_timeout(ms(1)).clock(time.clock()).build().unwrap();
    let outcome = drive(
        &time,
        retry.call(|| {
            calls.set(calls.get() + 1);
            let first = calls.get() == 1;
            async move {
                if first {
                    pending::<()>().await;
                }
                Ok::<(), ()>(())
            }
        }),
    );
    assert_eq!((outcome, budget.available()), (Ok(()), 3));
}

// S53, S63: one budget for all that makes extra attempts
#[test]
fn retries_and_hedges_take_from_the_same_budget() {
    let time = ManualClock::new();
    let budget = Budget::quota(10).build().unwrap();
    let retry = immediate().budget(budget.clone()).build().unwrap();
    let hedge = Hedge::after(ms(10)).budget(budget.clone()).clock(time.clock()).build().unwrap();
    let mut slow = Polled::new(hedge.call(pending::<Result<(), ()>>));
    assert!(slow.poll().is_none());
    time.advance(ms(10));
    assert!(slow.poll().is_none());
    assert_eq!((hedge.stats().started, budget.available()), (1, 1));
    let error = block_on(retry.call(|| async { Err::<(), _>(()) })).unwrap_err();
    assert!(error.is_budget_exhausted());
    assert_eq!(error.exhausted().unwrap().attempts(), 2, "one retry was left");
    drop(slow);
    assert_eq!(budget.available(), 0, "a hedge that has begun is paid for");
}

#[test]
fn a_spender_takes_and_does_not_pay_in() {
    let time = ManualClock::new();
    let budget = Budget::ratio(1.0).min_per_second(0.0).clock(time.clock()).build().unwrap();
    let inner = Hedge::after(ms(10)).budget(budget.spender()).clock(time.clock()).build().unwrap();
    let outer = immediate().max_attempts(1).budget(budget.clone()).build().unwrap();
    let stack = Stack::new().retry(outer).hedge(inner);
    for calls in 1..=5 {
        block_on(stack.call(|| async { Ok::<(), ()>(()) })).unwrap();
        assert_eq!(budget.available(), calls, "each call is counted once");
    }
    assert_eq!(drive(&time, stack.call(slow_then_ready(&time))), Ok(()));
    assert_eq!(budget.available(), 5, "six calls, and a hedge");
    let budget = Budget::quota(10).reward(5).build().unwrap();
    let retry = immediate().budget(budget.spender()).build().unwrap();
    assert!(block_on(retry.call(|| async { Err::<(), _>(()) })).is_err());
    block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    assert_eq!(budget.available(), 0, "nor does a success");
    let share = Budget::share(1.0).least(0).build().unwrap();
    let retry = immediate().budget(share.spender()).build().unwrap();
    let mut hangs = Polled::new(retry.call(pending::<Result<(), ()>>));
    assert!(hangs.poll().is_none());
    assert_eq!(share.available(), 0);
}

/// The first is slow, its hedge is ready.
fn slow_then_ready(
    time: &ManualClock,
) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<(), ()>>>> + Clone {
    let (clock, calls) = (time.clock(), Rc::new(Cell::new(0)));
    move || {
        calls.set(calls.get() + 1);
        let (clock, first) = (clock.clone(), calls.get() == 1);
        Box::pin(async move {
            if first {
                clock.sleep(ms(100)).await;
            }
            Ok(())
        })
    }
}

/// What a budget should have left, told in the plainest way.
enum Model {
    Quota {
        tokens: u64,
    },
    Share {
        calls: u64,
        retries: u64,
    },
    /// What the calls of each tenth of the window have left to take, oldest first.
    Ratio {
        slots: Vec<(u64, u64)>,
    },
}

#[test]
fn a_random_course_of_calls_leaves_what_the_model_says() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let time = ManualClock::new();
        let (budget, mut model) = match seed % 3 {
            0 => (Budget::quota(40).cost(4).reward(3).build(), Model::Quota { tokens: 40 }),
            1 => (Budget::share(0.5).least(2).build(), Model::Share { calls: 0, retries: 0 }),
            _ => {
                let ratio = Budget::ratio(0.25).window(ms(1_000)).min_per_second(0.0);
                (ratio.clock(time.clock()).build(), Model::Ratio { slots: Vec::new() })
            }
        };
        let budget = budget.unwrap();
        let retry = Retry::builder()
            .max_attempts(2)
            .backoff(Backoff::fixed(Duration::from_secs(3600)))
            .budget(budget.clone())
            .clock(time.clock())
            .build()
            .unwrap();
        let mut sleepers: Vec<(Polled<_>, u64)> = Vec::new();
        for _ in 0..300 {
            let now = (time.elapsed().as_millis() / 100) as u64;
            if let Model::Ratio { slots } = &mut model {
                slots.retain(|(slot, _)| slot + 10 > now);
            }
            match rng.u32(..10) {
                // A call that goes well.
                0..=2 => {
                    assert_eq!(block_on(retry.call(|| async { Ok::<(), ()>(()) })), Ok(()));
                    match &mut model {
                        Model::Quota { tokens } => *tokens = (*tokens + 3).min(40),
                        Model::Share { .. } => {}
                        Model::Ratio { slots } => slots.push((now, 250)),
                    }
                }
                // One that fails, and sleeps if it may.
                3..=6 => {
                    let mut call = Polled::new(retry.call(|| ready(Err::<(), ()>(()))));
                    let sleeps = call.poll().is_none();
                    let mut latest = 0;
                    let may = match &mut model {
                        Model::Quota { tokens } if *tokens >= 4 => {
                            *tokens -= 4;
                            true
                        }
                        Model::Quota { .. } => false,
                        Model::Share { calls, retries } => {
                            let may = *retries < (*calls).div_ceil(2).max(2);
                            *calls += u64::from(may);
                            *retries += u64::from(may);
                            may
                        }
                        Model::Ratio { slots } => {
                            slots.push((now, 250));
                            take(slots, &mut latest)
                        }
                    };
                    assert_eq!(sleeps, may, "seed {seed}");
                    if sleeps {
                        sleepers.push((call, latest));
                    }
                }
                // Somebody is dropped in the sleep.
                7 | 8 if !sleepers.is_empty() => {
                    let (call, latest) = sleepers.swap_remove(rng.usize(..sleepers.len()));
                    drop(call);
                    match &mut model {
                        Model::Quota { tokens } => *tokens = (*tokens + 4).min(40),
                        Model::Share { calls, retries } => {
                            *calls -= 1;
                            *retries -= 1;
                        }
                        Model::Ratio { slots } => {
                            // What is out of the window by now is forgotten below.
                            let at = slots.partition_point(|(slot, _)| *slot <= latest);
                            slots.insert(at, (latest, 1_000));
                        }
                    }
                }
                _ => time.advance(ms(rng.u64(..150))),
            }
            let now = (time.elapsed().as_millis() / 100) as u64;
            let left = match &mut model {
                Model::Quota { tokens } => *tokens / 4,
                Model::Share { calls, retries } => (*calls / 2).max(2).saturating_sub(*retries),
                Model::Ratio { slots } => {
                    slots.retain(|(slot, _)| slot + 10 > now);
                    slots.iter().map(|(_, left)| left).sum::<u64>() / 1_000
                }
            };
            assert_eq!(budget.available(), left, "seed {seed}");
        }
    }
}

/// Takes a retry out of the oldest; says which was the latest of them.
fn take(slots: &mut [(u64, u64)], latest: &mut u64) -> bool {
    if slots.iter().map(|(_, left)| left).sum::<u64>() < 1_000 {
        return false;
    }
    let mut owed = 1_000;
    for (slot, left) in slots.iter_mut() {
        let taken = (*left).min(owed);
        *left -= taken;
        owed -= taken;
        if taken > 0 {
            *latest = *slot;
        }
    }
    true
}

// S53
#[test]
fn what_is_given_back_does_not_outlive_the_calls_that_paid_for_it() {
    let time = ManualClock::new();
    let budget = Budget::ratio(0.5).min_per_second(0.0).clock(time.clock()).build().unwrap();
    let retry = Retry::builder()
        .backoff(Backoff::fixed(Duration::from_secs(60)))
        .budget(budget.clone())
        .clock(time.clock())
        .build()
        .unwrap();
    block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    time.advance(Duration::from_secs(3));
    let mut sleeps = Polled::new(retry.call(|| async { Err::<(), ()>(()) }));
    assert!(sleeps.poll().is_none());
    time.advance(Duration::from_secs(6));
    assert_eq!(budget.available(), 0);
    drop(sleeps);
    assert_eq!(budget.available(), 1, "the calls of nine seconds ago still count");
    time.advance(Duration::from_secs(4));
    assert_eq!(budget.available(), 0, "those of thirteen do not");
    block_on(retry.call(|| async { Ok::<(), ()>(()) })).unwrap();
    let mut sleeps = Polled::new(retry.call(|| async { Err::<(), ()>(()) }));
    assert!(sleeps.poll().is_none());
    time.advance(Duration::from_secs(30));
    assert_eq!(budget.available(), 0);
    drop(sleeps);
    assert_eq!(budget.available(), 0);
}

// tower's `TpsBudget` looks and then subtracts; failsafe-go loads, compares, adds
#[test]
fn racing_threads_take_no_more_than_there_is() {
    let budgets =
        [Budget::quota(500).build().unwrap(), Budget::ratio(0.0).min_per_second(10.0).build().unwrap()];
    for budget in budgets {
        let retry = immediate().max_attempts(2).budget(budget).build().unwrap();
        let retries = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut calls = 0;
                        let _ = retry.call_sync(|| {
                            calls += 1;
                            Err::<(), ()>(())
                        });
                        retries.fetch_add(calls - 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(retries.load(Ordering::Relaxed), 100);
    }
}
