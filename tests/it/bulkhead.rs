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

#[test]
fn what_runs_is_over_before_its_place_is_given_to_others() {
    struct Last<'a>(&'a Bulkhead, &'a AtomicU32);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            self.1.store(10 + self.0.stats().running, Ordering::Relaxed);
        }
    }
    let time = ManualClock::new();
    let (bulkhead, seen) = (Bulkhead::new(1).unwrap(), AtomicU32::new(0));
    let stack =
        Stack::new().timeout(Timeout::builder(ms(10)).clock(time.clock()).build()).bulkhead(bulkhead.clone());
    for ended in [true, false] {
        seen.store(0, Ordering::Relaxed);
        let mut call = Polled::new(stack.call_once(|| {
            let last = Last(&bulkhead, &seen);
            async move {
                let _last = last;
                forever().await
            }
        }));
        assert!(call.poll().is_none());
        if ended {
            time.advance(ms(10));
            assert!(call.poll().unwrap().unwrap_err().is_timeout());
        } else {
            drop(call);
        }
        assert_eq!((seen.load(Ordering::Relaxed), bulkhead.stats().running), (11, 0));
    }
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

mod places {
    use super::*;

    // S60
    #[test]
    fn a_place_that_was_given_to_the_work_is_held_until_the_work_is_over() {
        let bulkhead = Bulkhead::builder(1).name("jobs").build().unwrap();
        let kept = Arc::new(std::sync::Mutex::new(None));
        let outcome = Polled::new(bulkhead.call_with_place(|place| {
            *kept.lock().unwrap() = Some(place);
            done(1)
        }))
        .poll();
        assert_eq!(outcome, Some(Ok(1)));
        assert_eq!(bulkhead.stats().running, 1, "the call is over, its work is not");
        let refused = Polled::new(bulkhead.call(|| done(2))).poll().unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "jobs: full: all 1 places taken");
        drop(kept.lock().unwrap().take());
        assert_eq!(Polled::new(bulkhead.call(|| done(3))).poll(), Some(Ok(3)));
    }

    #[test]
    fn a_call_with_a_place_that_is_dropped_gives_it_back() {
        let bulkhead = Bulkhead::builder(1).queue(1).build().unwrap();
        let mut running = Polled::new(bulkhead.call_with_place(|place| async move {
            let _place = place;
            forever().await
        }));
        assert!(running.poll().is_none());
        let mut waiting = Polled::new(bulkhead.call_with_place(|_place| done(2)));
        assert!(waiting.poll().is_none());
        assert_eq!((bulkhead.stats().running, bulkhead.stats().waiting), (1, 1));
        drop(running);
        assert_eq!(waiting.poll(), Some(Ok(2)));
        assert_eq!(bulkhead.stats().running, 0);
    }

    #[test]
    fn a_place_of_ones_own_is_waited_for_or_taken_now() {
        let bulkhead = Bulkhead::builder(2).queue(1).build().unwrap();
        let two = bulkhead.clone().places(2);
        let place = two.try_acquire().unwrap();
        assert_eq!((place.places(), bulkhead.stats().running), (2, 2));
        assert!(bulkhead.try_acquire().unwrap_err().is_full());
        let mut waiting = Polled::new(bulkhead.acquire());
        assert!(waiting.poll().is_none());
        drop(place);
        assert_eq!(waiting.wakes(), 1);
        let place = waiting.poll().unwrap().unwrap();
        assert_eq!(bulkhead.stats().running, 1);
        // On another thread.
        std::thread::spawn(move || drop(place)).join().unwrap();
        assert_eq!(bulkhead.stats().running, 0);
    }

    #[test]
    fn a_call_that_panics_gives_its_place_back() {
        let bulkhead = Bulkhead::new(1).unwrap();
        let call = || bulkhead.call::<(), (), _, _>(|| async { panic!("thrown") });
        let message = crate::support::panic_message(|| drop(Polled::new(call()).poll()));
        assert_eq!(message, "thrown");
        assert_eq!(bulkhead.stats().running, 0);
    }

    #[test]
    fn none_at_all_are_let_through_whatever_runs() {
        let bulkhead = Bulkhead::new(1).unwrap();
        let mut running = Polled::new(bulkhead.call(forever));
        assert!(running.poll().is_none());
        let health = bulkhead.clone().places(0);
        assert_eq!(Polled::new(health.call(|| done(1))).poll(), Some(Ok(1)));
    }
}

mod why {
    use super::*;

    fn shortage<T>(outcome: Option<Result<T, Error<&'static str>>>) -> Shortage {
        match outcome.expect("still waiting").err().expect("refused").rejection().unwrap().reason() {
            Reason::Full { shortage, .. } => shortage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_says_what_was_lacking_and_is_counted_so() {
        let time = ManualClock::new();
        let without = Bulkhead::new(1).unwrap();
        let with = Bulkhead::builder(1).queue(1).wait_limit(ms(5)).clock(time.clock()).build().unwrap();
        let (mut one, mut two) = (Polled::new(without.call(forever)), Polled::new(with.call(forever)));
        assert!(one.poll().is_none() && two.poll().is_none());
        assert_eq!(shortage(Polled::new(without.call(|| done(1))).poll()), Shortage::Places);
        let mut late = Polled::new(with.call(|| done(1)));
        assert!(late.poll().is_none());
        assert_eq!(shortage(Polled::new(with.call(|| done(1))).poll()), Shortage::Queue);
        time.advance(ms(5));
        assert_eq!(shortage(late.poll()), Shortage::Time);
        let (a, b) = (without.stats(), with.stats());
        assert_eq!((a.refused_no_place, a.refused_queue_full, a.refused_too_late), (1, 0, 0));
        assert_eq!((b.refused_no_place, b.refused_queue_full, b.refused_too_late), (0, 1, 1));
    }

    /// S68: the way that needs no lock says the same.
    #[test]
    fn without_a_queue_a_refusal_tells_the_limit_of_the_moment_and_what_is_closed_or_too_much_is_not_full() {
        let bulkhead = Bulkhead::builder(2).name("db").build().unwrap();
        let events = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&events);
        let mut running = [(); 2].map(|()| Polled::new(bulkhead.call(forever)));
        assert!(running.iter_mut().all(|call| call.poll().is_none()));
        let refused = || full(Polled::new(bulkhead.call(|| done(1))).poll());
        assert_eq!(refused(), (2, 0, Duration::ZERO));
        assert_eq!(bulkhead.resize(1), 2);
        assert_eq!(refused(), (1, 0, Duration::ZERO), "the new limit");
        bulkhead.observe(move |event: &BulkheadEvent| {
            if matches!(event, BulkheadEvent::Rejected { name: "db", rejection, .. } if rejection.is_full()) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(refused(), (1, 0, Duration::ZERO));
        assert_eq!(bulkhead.try_acquire().unwrap_err().to_string(), "db: full: all 1 places taken");
        assert_eq!((events.load(Ordering::Relaxed), bulkhead.stats().refused_no_place), (2, 4));
        let many = bulkhead.clone().places(2);
        assert_eq!(full(Polled::new(many.call(|| done(1))).poll()).0, 1, "more than there are");
        let settings = Bulkhead::builder(1).queue(1).name("db");
        bulkhead.set(&settings).unwrap();
        let mut waiting = Polled::new(bulkhead.call(|| done(1)));
        assert!(waiting.poll().is_none(), "there is a queue now");
        bulkhead.set(&Bulkhead::builder(1).name("db")).unwrap();
        assert_eq!(refused(), (1, 1, Duration::ZERO), "who waits is seen");
        bulkhead.close();
        let outcome = Polled::new(bulkhead.call(|| done(1))).poll().unwrap();
        assert!(outcome.unwrap_err().is_closed(), "closed before full");
        assert!(bulkhead.try_acquire().unwrap_err().is_closed());
    }

    #[test]
    fn who_would_not_wait_does_not_lack_room_in_the_queue() {
        let bulkhead = Bulkhead::builder(1).queue(2).build().unwrap();
        let _place = bulkhead.try_acquire().unwrap();
        let mut waiting = Polled::new(bulkhead.acquire());
        assert!(waiting.poll().is_none());
        let refused = bulkhead.try_acquire().unwrap_err();
        assert_eq!(shortage::<()>(Some(Err(refused.into()))), Shortage::Places);
        assert_eq!((bulkhead.stats().refused_no_place, bulkhead.stats().refused_queue_full), (1, 0));
    }

    #[test]
    fn a_queue_that_stands_sheds() {
        let time = ManualClock::new();
        let order = cofferdam::limit::concurrency::Discipline::ControlledDelay {
            target: ms(10),
            interval: ms(100),
            lifo: false,
        };
        let bulkhead = Bulkhead::builder(1).queue(9).order(order).clock(time.clock()).build().unwrap();
        let mut running = Polled::new(bulkhead.call(forever));
        let mut waiting = Polled::new(bulkhead.call(|| done(1)));
        assert!(running.poll().is_none() && waiting.poll().is_none());
        time.advance(ms(101));
        assert!(waiting.poll().unwrap().unwrap_err().is_shed());
        assert_eq!(bulkhead.stats().shed, 1);
    }

    /// The bulkhead of failsafe-lib/failsafe#393 hands places to waiters who have given up, and is full for good.
    #[test]
    fn those_who_gave_up_take_no_places_with_them() {
        let time = ManualClock::new();
        let bulkhead = Bulkhead::builder(8).queue(8).wait_limit(ms(1)).clock(time.clock()).build().unwrap();
        let mut running: Vec<_> = (0..8).map(|_| Polled::new(bulkhead.call(forever))).collect();
        let mut waiting: Vec<_> = (0..8).map(|_| Polled::new(bulkhead.call(|| done(0)))).collect();
        assert!(running.iter_mut().all(|call| call.poll().is_none()));
        assert!(waiting.iter_mut().all(|call| call.poll().is_none()));
        time.advance(ms(1));
        // Half are told, half are never polled again.
        assert!(waiting.iter_mut().take(4).all(|call| shortage(call.poll()) == Shortage::Time));
        drop(running);
        drop(waiting);
        let mut again: Vec<_> = (0..8).map(|_| Polled::new(bulkhead.call(forever))).collect();
        assert!(again.iter_mut().all(|call| call.poll().is_none()));
        assert_eq!((bulkhead.stats().running, bulkhead.stats().waiting), (8, 0));
    }
}

mod priorities {
    use super::*;
    use cofferdam::sync::Priority;

    fn by_priority(time: &ManualClock) -> Bulkhead {
        let order = Order::Priority { ageing: ms(100) };
        Bulkhead::builder(1).queue(9).order(order).clock(time.clock()).build().unwrap()
    }

    // S72
    #[test]
    fn a_higher_class_does_not_wait_behind_a_lower_one_that_came_earlier() {
        let time = ManualClock::new();
        let bulkhead = by_priority(&time);
        let (low, high) =
            (bulkhead.clone().priority(Priority::Low), bulkhead.clone().priority(Priority::High));
        let mut running = Polled::new(bulkhead.call(forever));
        let (mut low, mut high) = (Polled::new(low.call(|| done(1))), Polled::new(high.call(|| done(2))));
        assert!(running.poll().is_none() && low.poll().is_none() && high.poll().is_none());
        drop(running);
        assert_eq!((low.wakes(), high.wakes()), (0, 1));
        assert_eq!(high.poll(), Some(Ok(2)));
        assert_eq!(low.poll(), Some(Ok(1)));
    }

    // S72
    #[test]
    fn one_that_has_waited_long_enough_goes_before_a_new_one_of_a_higher_class() {
        let time = ManualClock::new();
        let bulkhead = by_priority(&time);
        let (low, high) =
            (bulkhead.clone().priority(Priority::Low), bulkhead.clone().priority(Priority::High));
        let mut running = Polled::new(bulkhead.call(forever));
        let mut low = Polled::new(low.call(|| done(1)));
        assert!(running.poll().is_none() && low.poll().is_none());
        time.advance(ms(201));
        let mut high = Polled::new(high.call(|| done(2)));
        assert!(high.poll().is_none());
        drop(running);
        assert_eq!((low.wakes(), high.wakes()), (1, 0));
        assert_eq!(low.poll(), Some(Ok(1)));
        assert_eq!(high.poll(), Some(Ok(2)));
    }

    #[test]
    fn partitions_get_their_shares_and_clones_their_own_wait_limits() {
        let time = ManualClock::new();
        let bulkhead = Bulkhead::builder(2)
            .queue(9)
            .partition("live", 90)
            .partition("batch", 10)
            .clock(time.clock())
            .build()
            .unwrap();
        assert!(bulkhead.find_partition("none").is_none());
        let live = bulkhead.clone().partition(bulkhead.find_partition("live").unwrap());
        let batch = bulkhead.clone().partition(bulkhead.find_partition("batch").unwrap()).wait_limit(ms(5));
        let mut running: Vec<_> = (0..2).map(|_| Polled::new(batch.call(forever))).collect();
        assert!(running.iter_mut().all(|call| call.poll().is_none()), "what nobody claims is anybody's");
        let (mut more, mut first) = (Polled::new(batch.call(|| done(1))), Polled::new(live.call(|| done(2))));
        assert!(more.poll().is_none() && first.poll().is_none());
        running.pop();
        assert_eq!((more.wakes(), first.wakes()), (0, 1));
        time.advance(ms(5));
        assert!(more.poll().unwrap().unwrap_err().is_full());
        assert_eq!(first.poll(), Some(Ok(2)));
    }
}

mod sharing {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn two_stacks_share_the_places_of_one() {
        let bulkhead = Bulkhead::new(1).unwrap();
        let one = Stack::new().timeout(Timeout::total(ms(1_000))).bulkhead(bulkhead.clone());
        let two = Stack::new().bulkhead(bulkhead.clone());
        let mut running = Polled::new(one.call(forever));
        assert!(running.poll().is_none());
        assert!(Polled::new(two.call(|| done(1))).poll().unwrap().unwrap_err().is_full());
        drop(running);
        assert_eq!(Polled::new(two.call(|| done(1))).poll(), Some(Ok(1)));
    }

    // S69
    #[test]
    fn none_at_all_keep_everybody_out_until_there_are_some_again() {
        let bulkhead = Bulkhead::builder(1).queue(1).build().unwrap();
        let mut running = Polled::new(bulkhead.call(forever));
        let mut waiting = Polled::new(bulkhead.call(|| done(1)));
        assert!(running.poll().is_none() && waiting.poll().is_none());
        assert_eq!(bulkhead.resize(0), 1);
        assert!(waiting.poll().unwrap().unwrap_err().is_full());
        assert!(Polled::new(bulkhead.call(|| done(1))).poll().unwrap().unwrap_err().is_full());
        assert!(running.poll().is_none(), "nobody is interrupted");
        drop(running);
        assert!(Polled::new(bulkhead.call(|| done(1))).poll().unwrap().unwrap_err().is_full());
        bulkhead.resize(1);
        assert_eq!(Polled::new(bulkhead.call(|| done(2))).poll(), Some(Ok(2)));
    }

    #[test]
    fn events_tell_of_all_that_happens_to_a_call() {
        let time = ManualClock::new();
        let bulkhead = Bulkhead::builder(1).queue(1).name("db").clock(time.clock()).build().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let handle = bulkhead.clone();
        bulkhead.observe(move |event: &BulkheadEvent| {
            // Outside the locks: the bulkhead may be asked.
            handle.stats();
            log.lock().unwrap().push(match event {
                BulkheadEvent::Admitted { name, running, waited, .. } => {
                    format!("{name} admitted {running} {waited:?}")
                }
                BulkheadEvent::Queued { waiting, .. } => format!("queued {waiting}"),
                BulkheadEvent::Rejected { rejection, .. } => format!("rejected {rejection}"),
                BulkheadEvent::Finished { running, held, .. } => format!("finished {running} {held:?}"),
                BulkheadEvent::Resized { from, to, .. } => format!("resized {from} {to}"),
                other => format!("{other:?}"),
            });
        });
        let mut running = Polled::new(bulkhead.call(forever));
        assert!(running.poll().is_none());
        time.advance(ms(3));
        let mut waiting = Polled::new(bulkhead.call(|| done(1)));
        assert!(waiting.poll().is_none());
        assert!(waiting.poll().is_none(), "told once");
        assert!(Polled::new(bulkhead.call(|| done(2))).poll().is_some());
        time.advance(ms(4));
        drop(running);
        assert_eq!(waiting.poll(), Some(Ok(1)));
        bulkhead.resize(2);
        let seen = seen.lock().unwrap();
        let expected = [
            "db admitted 1 0ns",
            "queued 1",
            "rejected db: queue full: all 1 places taken, 1 waiting",
            // The place has been handed over already.
            "finished 1 Some(7ms)",
            "db admitted 1 4ms",
            "finished 0 Some(0ns)",
            "resized 1 2",
        ];
        assert_eq!(*seen, expected);
    }
}

/// Against a reference that cannot be wrong: a number, a set and a queue.
#[test]
fn at_every_step_it_is_what_a_plain_queue_would_be() {
    use std::collections::VecDeque;

    for seed in 0..300 {
        let sim = Sim::new(seed);
        let (mut limit, queue) = (1 + sim.random_below(3) as u32, sim.random_below(4) as u32);
        let bulkhead = Bulkhead::builder(limit).queue(queue).build().unwrap();
        let mut calls: std::collections::BTreeMap<u64, Polled<_>> = std::collections::BTreeMap::new();
        let (mut running, mut waiting) = (Vec::new(), VecDeque::new());
        for step in 0..200 {
            match sim.random_below(8) {
                0..=3 => {
                    let mut call = Polled::new(bulkhead.call(forever));
                    let outcome = call.poll();
                    if (running.len() as u32) < limit && waiting.is_empty() {
                        running.push(step);
                    } else if (waiting.len() as u32) < queue {
                        waiting.push_back(step);
                    } else {
                        assert!(full(outcome).0 == limit, "seed {seed} step {step}");
                        continue;
                    }
                    assert!(outcome.is_none(), "seed {seed} step {step}");
                    calls.insert(step, call);
                }
                4 | 5 if !running.is_empty() => {
                    let gone = running.swap_remove(sim.random_below(running.len() as u64) as usize);
                    calls.remove(&gone);
                }
                6 if !waiting.is_empty() => {
                    let gone = waiting.remove(sim.random_below(waiting.len() as u64) as usize).unwrap();
                    calls.remove(&gone);
                }
                7 => {
                    let new = 1 + sim.random_below(4) as u32;
                    assert_eq!(bulkhead.resize(new), limit);
                    limit = new;
                }
                _ => {}
            }
            while (running.len() as u32) < limit {
                let Some(next) = waiting.pop_front() else { break };
                running.push(next);
            }
            // Some poll, some only later.
            for (at, call) in &mut calls {
                if at % 3 != sim.random_below(3) {
                    assert!(call.poll().is_none());
                }
            }
            let stats = bulkhead.stats();
            let expected = (running.len() as u32, limit, waiting.len());
            assert_eq!((stats.running, stats.limit, stats.waiting), expected, "seed {seed} step {step}");
        }
        drop(calls);
        assert_eq!((bulkhead.stats().running, bulkhead.stats().waiting), (0, 0), "seed {seed}");
    }
}

mod settings_in_use {
    use super::*;
    use cofferdam::limit::concurrency::Discipline;
    use std::sync::Mutex;

    /// One that has its queue in the semaphore, and one that has a line of its own.
    fn orders() -> [Discipline; 2] {
        [Order::Fifo.into(), Discipline::AdaptiveLifo { interval: ms(1_000) }]
    }

    // S69
    #[test]
    fn without_places_it_pauses_if_told_to() {
        for order in orders() {
            let time = ManualClock::new();
            let bulkhead =
                Bulkhead::builder(1).queue(2).wait_limit(ms(100)).order(order).at_zero(AtZero::Wait);
            let bulkhead = bulkhead.clock(time.clock()).build().unwrap();
            let mut running = Polled::new(bulkhead.call(forever));
            let mut before = Polled::new(bulkhead.call(|| done(1)));
            assert!(running.poll().is_none() && before.poll().is_none());
            assert_eq!(bulkhead.resize(0), 1);
            assert!(before.poll().is_none(), "who waits goes on waiting");
            drop(running);
            assert!(before.poll().is_none());
            time.advance(ms(50));
            let mut heavy = Polled::new(bulkhead.clone().places(2).acquire());
            assert!(heavy.poll().is_none(), "how many there will be nobody knows");
            assert!(
                Polled::new(bulkhead.call(|| done(3))).poll().unwrap().unwrap_err().is_full(),
                "its bound"
            );
            assert!(bulkhead.try_acquire().unwrap_err().is_full());
            assert_eq!((bulkhead.stats().limit, bulkhead.stats().waiting), (0, 2));
            time.advance(ms(50));
            assert!(before.poll().unwrap().unwrap_err().is_full(), "its wait limit has passed");
            let mut after = Polled::new(bulkhead.call(|| done(4)));
            assert!(after.poll().is_none());
            bulkhead.resize(1);
            assert!(heavy.poll().unwrap().unwrap_err().is_full(), "more than there are");
            assert_eq!(after.poll(), Some(Ok(4)));
            assert_eq!(bulkhead.stats().running, 0);
        }
    }

    #[test]
    fn without_places_it_refuses_in_every_order_unless_told_otherwise() {
        for order in orders() {
            let bulkhead = Bulkhead::builder(1).queue(2).order(order).build().unwrap();
            bulkhead.resize(0);
            assert!(Polled::new(bulkhead.call(|| done(1))).poll().unwrap().unwrap_err().is_full());
            bulkhead.resize(1);
            assert_eq!(Polled::new(bulkhead.call(|| done(1))).poll(), Some(Ok(1)));
        }
    }

    #[test]
    fn it_may_begin_without_places() {
        let bulkhead = Bulkhead::builder(0).queue(1).at_zero(AtZero::Wait).build().unwrap();
        let mut waits = Polled::new(bulkhead.call(|| done(1)));
        assert!(waits.poll().is_none());
        bulkhead.set(&Bulkhead::builder(1).queue(1).at_zero(AtZero::Wait)).unwrap();
        assert_eq!(waits.poll(), Some(Ok(1)));
        assert_eq!(Bulkhead::builder(0).queue(1).build().unwrap_err().knob(), "running");
    }

    #[test]
    fn queue_and_wait_limit_change_for_those_who_come() {
        for order in orders() {
            let time = ManualClock::new();
            let builder = |running, queue| {
                Bulkhead::builder(running).queue(queue).order(order).name("other").clock(time.clock())
            };
            let bulkhead = builder(1, 2).name("db").build().unwrap();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&seen);
            bulkhead.observe(move |event: &BulkheadEvent| match event {
                BulkheadEvent::Resized { from, to, .. } => {
                    log.lock().unwrap().push(format!("{from} to {to}"))
                }
                BulkheadEvent::SettingsChanged { name, queue, .. } => {
                    log.lock().unwrap().push(format!("{name}: {queue}"));
                }
                _ => {}
            });
            let mut running = Polled::new(bulkhead.call(forever));
            let mut old = [1, 2].map(|number| Polled::new(bulkhead.call(move || done(number))));
            assert!(running.poll().is_none() && old.iter_mut().all(|call| call.poll().is_none()));
            bulkhead.set(&builder(1, 1).wait_limit(ms(10))).unwrap();
            assert!(old.iter_mut().all(|call| call.poll().is_none()), "nobody is sent away");
            assert!(Polled::new(bulkhead.call(|| done(3))).poll().unwrap().unwrap_err().is_full());
            bulkhead.set(&builder(1, 3).wait_limit(ms(10))).unwrap();
            let mut new = Polled::new(bulkhead.call(|| done(3)));
            assert!(new.poll().is_none());
            time.advance(ms(10));
            assert!(new.poll().unwrap().unwrap_err().is_full());
            assert!(old.iter_mut().all(|call| call.poll().is_none()), "without a limit, as they began");
            // No queue at all is a bound as well.
            bulkhead.set(&builder(1, 0)).unwrap();
            assert!(Polled::new(bulkhead.call(|| done(3))).poll().unwrap().unwrap_err().is_full());
            bulkhead.set(&builder(3, 0)).unwrap();
            assert!(old.iter_mut().all(|call| call.poll().is_some()));
            let expected = ["db: 1", "db: 3", "db: 0", "1 to 3", "db: 0"];
            assert_eq!(*seen.lock().unwrap(), expected);
        }
    }

    #[test]
    fn what_makes_no_sense_or_cannot_be_changed_changes_nothing() {
        let bulkhead = Bulkhead::builder(2).queue(2).partition("live", 80).build().unwrap();
        let good = || Bulkhead::builder(5).queue(5).partition("live", 80);
        for (settings, knob) in [
            (Bulkhead::builder(0).queue(5).partition("live", 80), "running"),
            (Bulkhead::builder(5).wait_limit(ms(1)).partition("live", 80), "wait_limit"),
            (good().order(Order::Lifo), "order"),
            (good().partition("batch", 10), "partition"),
            (good().at_zero(AtZero::Wait), "at_zero"),
        ] {
            assert_eq!(bulkhead.set(&settings).unwrap_err().knob(), knob);
            assert_eq!(bulkhead.stats().limit, 2);
            assert!(format!("{bulkhead:?}").contains("queue: 2"), "{bulkhead:?}");
        }
        bulkhead.set(&good()).unwrap();
        assert_eq!(bulkhead.stats().limit, 5);
    }
}
