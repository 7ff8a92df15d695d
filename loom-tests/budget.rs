//! What extra attempts are paid from, and what goes on behind a timeout: looking and taking are one step.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | tokens for one retry are taken by one | 2 | 3 | `take` of a quota as a load and a store |
//! | tokens given back and taken at once add up | 2 | 3 | `take` or `put` of a quota as a load and a store |
//! | no more retries at once than the share allows, and none is left at the end | 2 | 2 | `take` of a share as a load and an addition; `give_back` of one as a load and a store |
//! | no more work goes on than may | 2 | 3 | `Place::take` as a load and an addition |

use cofferdam_loom::resilience::{Budget, Retry, Timeout};
use cofferdam_loom::task::BoxTask;
use cofferdam_loom::testkit::ManualClock;
use cofferdam_loom::time::Backoff;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// How many attempts a call makes that always fails, and has nothing to sleep for.
fn attempts(retry: &Retry) -> u32 {
    let mut calls = 0;
    let call = retry.call(|| {
        calls += 1;
        ready(Err::<(), ()>(()))
    });
    assert!(poll(std::pin::pin!(call)).is_ready());
    calls
}

fn immediate(budget: Budget) -> Retry {
    Retry::builder().max_attempts(2).backoff(Backoff::ZERO).budget(budget).build().unwrap()
}

/// S53
#[test]
fn tokens_for_one_retry_are_taken_by_one() {
    bounded(3, || {
        let budget = Budget::quota(9).cost(5).build().unwrap();
        let other = {
            let retry = immediate(budget.clone());
            thread::spawn(move || attempts(&retry))
        };
        let mine = attempts(&immediate(budget));
        assert_eq!(mine + other.join().unwrap(), 3);
    });
}

/// S53
#[test]
fn tokens_given_back_and_taken_at_once_add_up() {
    bounded(3, || {
        let time = ManualClock::new();
        let budget = Budget::quota(15).cost(5).build().unwrap();
        let sleeps = Retry::builder()
            .max_attempts(2)
            .backoff(Backoff::fixed(Duration::from_secs(1)))
            .budget(budget.clone())
            .clock(time.clock())
            .build()
            .unwrap();
        let mut sleeper = Box::pin(sleeps.call(|| ready(Err::<(), ()>(()))));
        assert!(poll(sleeper.as_mut()).is_pending());
        let other = {
            let retry = immediate(budget.clone());
            thread::spawn(move || attempts(&retry))
        };
        drop(sleeper);
        assert_eq!(other.join().unwrap(), 2);
        assert_eq!(budget.available(), 2);
    });
}

/// S53
#[test]
fn no_more_retries_at_once_than_the_share_allows() {
    bounded(2, || {
        let budget = Budget::share(0.0).least(1).build().unwrap();
        let at_once = Arc::new(AtomicU32::new(0));
        let run = |budget: Budget, at_once: Arc<AtomicU32>| {
            move || {
                let retry = immediate(budget);
                let mut calls = 0;
                let call = retry.call(|| {
                    calls += 1;
                    if calls == 2 {
                        assert_eq!(at_once.fetch_add(1, Ordering::Relaxed), 0);
                        at_once.fetch_sub(1, Ordering::Relaxed);
                    }
                    ready(Err::<(), ()>(()))
                });
                assert!(poll(std::pin::pin!(call)).is_ready());
            }
        };
        let other = thread::spawn(run(budget.clone(), at_once.clone()));
        run(budget.clone(), at_once)();
        other.join().unwrap();
        assert_eq!(budget.available(), 1);
    });
}

/// S60
#[test]
fn no_more_work_goes_on_than_may() {
    bounded(3, || {
        let time = ManualClock::new();
        let tasks = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = std::sync::Arc::clone(&tasks);
        let timeout = Timeout::builder(Duration::from_millis(1))
            .clock(time.clock())
            .build()
            .detach(move |task: BoxTask| kept.lock().unwrap().push(task), 1)
            .unwrap();
        let call = || {
            let timeout = timeout.clone();
            let mut call = Box::pin(async move { timeout.call(pending::<Result<(), ()>>).await });
            assert!(poll(call.as_mut()).is_pending());
            call
        };
        let (mut one, mut two) = (call(), call());
        time.advance(Duration::from_millis(1));
        let other = thread::spawn(move || assert!(poll(one.as_mut()).is_ready()));
        assert!(poll(two.as_mut()).is_ready());
        other.join().unwrap();
        let abandoned = timeout.abandoned();
        assert_eq!((abandoned.under_way, abandoned.detached, abandoned.dropped), (1, 1, 1));
        assert_eq!(tasks.lock().unwrap().len(), 1);
        tasks.lock().unwrap().clear();
        assert_eq!(timeout.abandoned().under_way, 0);
    });
}
