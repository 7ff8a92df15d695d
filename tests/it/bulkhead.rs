//! Bulkhead: places, the queue for them, and the limits of waiting.

use cofferdam::resilience::*;
use cofferdam::sync::{Context, Order};
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::{Backoff, Clock, Sleep, Timer};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn forever() -> std::future::Pending<Result<u32, &'static str>> {
    std::future::pending()
}

async fn done(n: u32) -> Result<u32, &'static str> {
    Ok(n)
}

fn full(outcome: Option<Result<u32, Error<&'static str>>>) -> (u32, u32, Duration) {
    match outcome.expect("still waiting").unwrap_err().rejection().unwrap().reason() {
        Reason::Full { limit, waiting, waited, .. } => (limit, waiting, waited),
        other => panic!("{other:?}"),
    }
}

// S68
#[test]
fn a_full_queue_refuses_at_once_and_a_waiter_at_its_limit() {
    let time = ManualClock::new();
    let bulkhead =
        Bulkhead::builder(1).queue(1).wait_limit(ms(100)).name("db").clock(time.clock()).build().unwrap();
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    time.advance(ms(10));
    let mut waiting = Polled::new(bulkhead.call(|| done(2)));
    assert!(waiting.poll().is_none());
    let mut third = Polled::new(bulkhead.call(|| done(3)));
    let refused = third.poll().unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "db: queue full: all 1 places taken, 1 waiting");
    assert_eq!((bulkhead.stats().running, bulkhead.stats().waiting), (1, 1));

    time.advance(ms(99));
    assert!(waiting.poll().is_none());
    time.advance(ms(1));
    assert_eq!(waiting.wakes(), 1);
    assert_eq!(full(waiting.poll()), (1, 0, ms(100)));
    assert_eq!((bulkhead.stats().waiting, time.armed()), (0, 0), "out of the queue, timer gone");
    // Who has left does not consume the next place.
    drop(running);
    assert_eq!(Polled::new(bulkhead.call(|| done(4))).poll(), Some(Ok(4)));
}

// S68
#[test]
fn a_place_that_comes_at_the_very_limit_is_in_time() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder(1).queue(1).wait_limit(ms(100)).clock(time.clock()).build().unwrap();
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    let mut waiting = Polled::new(bulkhead.call(|| done(2)));
    assert!(waiting.poll().is_none());
    time.advance(ms(100));
    drop(running);
    assert_eq!(waiting.poll(), Some(Ok(2)));
    assert_eq!(time.armed(), 0);
}

// S67
#[test]
fn a_place_that_comes_while_the_limit_is_looked_at_is_in_time() {
    /// A clock whose every timer finds that a place has just come free.
    struct Meanwhile(Arc<OnceLock<Weak<Bulkhead>>>);

    impl Timer for Meanwhile {
        fn now(&self) -> Instant {
            Clock::system().now()
        }

        fn sleep_until(&self, _: Instant) -> Sleep {
            let bulkhead = Arc::clone(&self.0);
            Sleep::new(async move {
                let bulkhead = bulkhead.get().and_then(Weak::upgrade).unwrap();
                bulkhead.resize(2);
            })
        }
    }

    let cell = Arc::new(OnceLock::new());
    let clock = Clock::new(Meanwhile(Arc::clone(&cell)));
    let bulkhead = Bulkhead::builder(1).queue(1).wait_limit(ms(100)).clock(clock).build().unwrap();
    let bulkhead = Arc::new(bulkhead);
    cell.set(Arc::downgrade(&bulkhead)).unwrap();
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    assert_eq!(Polled::new(bulkhead.call(|| done(2))).poll(), Some(Ok(2)));
}

#[test]
fn an_attempt_that_is_ended_in_the_queue_leaves_it() {
    let time = ManualClock::new();
    let bulkhead = Arc::new(Bulkhead::builder(1).queue(1).build().unwrap());
    let stack = Stack::new()
        .retry(Retry::builder().backoff(Backoff::fixed(ms(1_000))).clock(time.clock()).build().unwrap())
        .timeout(Timeout::builder(ms(10)).clock(time.clock()).build())
        .bulkhead(Arc::clone(&bulkhead));
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    let mut waiting = Polled::new(stack.call(|| done(1)));
    assert!(waiting.poll().is_none());
    assert_eq!(bulkhead.stats().waiting, 1);
    time.advance(ms(10));
    assert!(waiting.poll().is_none());
    assert_eq!(bulkhead.stats().waiting, 0, "it sleeps, and has left the queue");
    drop(running);
    time.advance(ms(1_000));
    assert_eq!(waiting.poll(), Some(Ok(1)));
}

// S66
#[test]
fn those_who_wait_are_let_in_as_they_came() {
    let bulkhead = Bulkhead::builder(1).queue(3).build().unwrap();
    let mut first = Polled::new(bulkhead.call(|| async {
        yield_now().await;
        done(0).await
    }));
    assert!(first.poll().is_none());
    let mut queue: Vec<_> = (1..4).map(|n| Polled::new(bulkhead.call(move || done(n)))).collect();
    assert!(queue.iter_mut().all(|waiter| waiter.poll().is_none()));
    assert_eq!(first.poll(), Some(Ok(0)));
    // The place is handed over: a newcomer gets in line behind.
    assert!(Polled::new(bulkhead.call(|| done(9))).poll().is_none());
    for (n, waiter) in (1..4).zip(&mut queue) {
        assert_eq!(waiter.wakes(), 1, "in order");
        assert_eq!(waiter.poll(), Some(Ok(n)));
    }
}

#[test]
fn without_a_queue_nobody_waits() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    assert_eq!(full(Polled::new(bulkhead.call(|| done(1))).poll()), (1, 0, Duration::ZERO));
    drop(running);
    assert_eq!(bulkhead.stats().running, 0);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    assert_eq!(Bulkhead::new(0).unwrap_err().to_string(), "bulkhead: running = 0: must be at least 1");
    let error = Bulkhead::builder(1).wait_limit(ms(5)).build().unwrap_err();
    assert_eq!(error.to_string(), "bulkhead: wait_limit = 5ms: needs a queue to wait in");
    assert!(Bulkhead::builder(1).order(Order::Priority { ageing: ms(0) }).build().is_err());
}

#[test]
fn closing_refuses_those_who_wait_and_those_who_come() {
    let bulkhead = Bulkhead::builder(1).queue(1).build().unwrap();
    let mut running = Polled::new(bulkhead.call(|| async {
        yield_now().await;
        done(1).await
    }));
    assert!(running.poll().is_none());
    let mut waiting = Polled::new(bulkhead.call(|| done(2)));
    assert!(waiting.poll().is_none());
    bulkhead.close();
    assert!(waiting.poll().unwrap().unwrap_err().is_closed());
    let error = Polled::new(bulkhead.call(|| done(3))).poll().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "bulkhead: closed");
    assert_eq!(running.poll(), Some(Ok(1)), "who runs goes on");
}

// S69
#[test]
fn a_resize_lets_in_at_once_and_shrinks_as_calls_end() {
    let bulkhead = Bulkhead::builder(4).queue(1).build().unwrap();
    let mut running: Vec<_> = (0..4).map(|_| Polled::new(bulkhead.call(forever))).collect();
    assert!(running.iter_mut().all(|call| call.poll().is_none()));
    assert_eq!(bulkhead.resize(2), 4);
    running.pop();
    running.pop();
    let mut waiting = Polled::new(bulkhead.call(|| done(1)));
    assert!(waiting.poll().is_none(), "two still run, and two may");
    running.pop();
    assert_eq!(waiting.poll(), Some(Ok(1)));
    let mut more = Polled::new(bulkhead.call(forever));
    assert!(more.poll().is_none());
    let mut waiting = Polled::new(bulkhead.call(|| done(2)));
    assert!(waiting.poll().is_none());
    bulkhead.resize(3);
    assert_eq!(waiting.poll(), Some(Ok(2)));
}

// S71
#[test]
fn inside_a_retry_no_place_is_held_while_it_sleeps() {
    let time = ManualClock::new();
    let bulkhead = Arc::new(Bulkhead::new(1).unwrap());
    let retry = Retry::builder().backoff(Backoff::fixed(ms(1_000))).clock(time.clock()).build().unwrap();
    let stack = Stack::new().retry(retry).bulkhead(Arc::clone(&bulkhead));
    let mut sleeping = Polled::new(stack.call(|| async { Err::<u32, &str>("down") }));
    assert!(sleeping.poll().is_none());
    assert_eq!(time.armed(), 1);
    assert_eq!(Polled::new(bulkhead.call(|| done(1))).poll(), Some(Ok(1)));
}

// S58
#[test]
fn nobody_waits_past_the_deadline_of_the_surrounding_work() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder(1).queue(1).wait_limit(ms(1_000)).clock(time.clock()).build().unwrap();
    let mut running = Polled::new(bulkhead.call(forever));
    assert!(running.poll().is_none());
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(50));
    // `scope`, not `run`: the bulkhead itself must heed the deadline.
    let mut waiting = Polled::new(context.scope(bulkhead.call(|| done(1))));
    assert!(waiting.poll().is_none());
    assert_eq!(time.next_deadline(), Some(context.deadline().instant().unwrap()));
    time.advance(ms(50));
    let error = waiting.poll().unwrap().unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_full(), "{error}");
    assert_eq!(bulkhead.stats().waiting, 0);
    // And a call that comes after it takes no place, free or not.
    drop(running);
    let error = Polled::new(context.scope(bulkhead.call(|| done(1)))).poll().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "bulkhead: deadline exceeded");
}

#[test]
fn cancelled_work_takes_no_place() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let context = Context::background().child();
    context.cancel("no longer wanted");
    let error = Polled::new(context.scope(bulkhead.call(|| done(1)))).poll().unwrap().unwrap_err();
    assert!(error.is_cancelled());
}

// S67
#[test]
fn dropped_at_any_await_a_call_gives_back_its_place_and_lets_the_next_in() {
    let points = drop_at_every_await_in_sim(0..200, |sim: &Sim| {
        let bulkhead = Bulkhead::builder(2).queue(8).wait_limit(ms(50)).clock(sim.clock()).build().unwrap();
        let bulkhead = Arc::new(bulkhead);
        let (running, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let call = |work: Duration| {
            let (bulkhead, clock) = (Arc::clone(&bulkhead), sim.clock());
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                let outcome = bulkhead
                    .call(|| async {
                        struct Leave<'a>(&'a AtomicU32);
                        impl Drop for Leave<'_> {
                            fn drop(&mut self) {
                                self.0.fetch_sub(1, Ordering::Relaxed);
                            }
                        }
                        let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                        let _leave = Leave(&running);
                        peak.fetch_max(now, Ordering::Relaxed);
                        clock.sleep(work).await;
                        Ok::<(), &str>(())
                    })
                    .await;
                assert!(outcome.is_ok() || outcome.is_err_and(|error| error.is_full()));
            }
        };
        for n in 0..5 {
            sim.spawn(format!("other {n}"), call(ms(5 + sim.random_below(20))));
        }
        let under_test = call(ms(5));
        let check = move |sim: &Sim, _| {
            sim.advance(ms(1_000));
            let stats = bulkhead.stats();
            assert_eq!((stats.running, stats.waiting, sim.time().armed()), (0, 0, 0));
            assert!(peak.load(Ordering::Relaxed) <= 2);
            assert_eq!(running.load(Ordering::Relaxed), 0);
        };
        (under_test, check)
    });
    assert!(points > 400, "{points}");
}

#[test]
fn no_wait_limit_prints_as_none() {
    let builder = Bulkhead::builder(1).queue(1);
    assert!(format!("{builder:?}").contains("wait_limit: None"));
    assert!(format!("{:?}", builder.build().unwrap()).contains("wait_limit: None"));
}
