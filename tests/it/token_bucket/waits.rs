//! Waiting: order, deadlines, giving up, one timer.

use super::{bucket, ms, secs, with_initial};
use cofferdam::limit::{Acquire, Quota, Rate, TokenBucket};
use cofferdam::sync::Context;
use cofferdam::testkit::{Polled, Sim, drop_at_every_await_in_sim};
use cofferdam::time::Clock;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn waiting<'a>(acquire: Acquire<'a>) -> Polled<Acquire<'a>> {
    let mut polled = Polled::new(acquire);
    assert!(polled.poll().is_none());
    polled
}

// RL8
#[test]
fn tokens_that_are_there_need_no_waiting() {
    let (time, bucket) = bucket(Quota::per_second(10));
    assert!(Polled::new(bucket.acquire()).poll().unwrap().is_ok());
    assert!(Polled::new(bucket.acquire_many(9)).poll().unwrap().is_ok());
    assert!(Polled::new(bucket.acquire_many(0)).poll().unwrap().is_ok());
    assert_eq!((time.armed(), bucket.available()), (0, 0));
}

// S35
#[test]
fn a_large_request_at_the_head_is_not_starved_by_small_ones() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(4), 0);
    let mut large = waiting(bucket.acquire_many(4));
    let mut small = Vec::new();
    for second in 1..=4 {
        small.push(waiting(bucket.acquire()));
        assert!(bucket.try_acquire().is_err());
        time.advance(ms(999));
        assert_eq!(large.wakes(), 0);
        time.advance(ms(1));
        assert_eq!(large.wakes(), u64::from(second == 4));
    }
    assert!(large.poll().unwrap().is_ok());
    assert!(small.iter().all(|waiter| waiter.wakes() == 0));
    for (at, waiter) in small.iter_mut().enumerate() {
        time.advance(secs(1));
        assert!(waiter.poll().unwrap().is_ok(), "small one {at}");
    }
}

// S35
#[test]
fn nobody_barges_past_those_who_wait() {
    let (time, bucket) = with_initial(Quota::per_second(10), 0);
    let mut first = waiting(bucket.acquire());
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(ms(200)));
    time.advance(ms(100));
    assert!(bucket.try_acquire().is_err(), "the token of this moment is the waiter's");
    assert!(first.poll().unwrap().is_ok());
    time.advance(ms(100));
    assert!(bucket.try_acquire().is_ok());
}

// S35
#[test]
fn many_waiters_are_served_in_order_with_one_wake_and_one_timer() {
    let (time, bucket) = with_initial(Quota::per_second(1000).burst(10), 0);
    let mut waiters: Vec<_> = (0..1000).map(|_| waiting(bucket.acquire())).collect();
    assert_eq!((time.armed(), bucket.stats().waiting), (1, 1000));
    for served in 1..=1000 {
        time.advance(ms(1));
        assert_eq!(time.armed(), usize::from(served < 1000));
        assert_eq!(waiters[served - 1].wakes(), 1);
        assert!(waiters.get(served).is_none_or(|next| next.wakes() == 0));
    }
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().unwrap().is_ok() && waiter.wakes() == 1));
    assert_eq!((bucket.stats().waiting, bucket.stats().granted), (0, 1000));
}

// S35: no waiter's future drives the others.
#[test]
fn a_waiter_that_is_never_polled_again_stops_nobody() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let _forgotten = waiting(bucket.acquire());
    let mut second = waiting(bucket.acquire());
    time.advance(secs(1));
    assert_eq!(second.wakes(), 0);
    time.advance(secs(1));
    assert_eq!(second.wakes(), 1);
    assert!(second.poll().unwrap().is_ok());
}

// S38
#[test]
fn a_wake_without_tokens_leaves_the_waiter_waiting() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let mut first = waiting(bucket.acquire());
    let mut second = waiting(bucket.acquire());
    time.advance(secs(1));
    assert!(first.poll().unwrap().is_ok());
    for _ in 0..3 {
        assert!(second.poll().is_none());
    }
    time.advance(ms(999));
    assert!(second.poll().is_none());
    time.advance(ms(1));
    assert!(second.poll().unwrap().is_ok());
}

// S34
#[test]
fn a_wait_that_would_be_too_long_is_refused_at_once() {
    let (time, bucket) = with_initial(Quota::per_second(10), 0);
    let error = Polled::new(bucket.acquire_timeout(ms(99))).poll().unwrap().unwrap_err();
    assert!(error.is_too_late() && !error.is_never() && !error.exceeds_burst());
    assert_eq!(error.retry_after(), Some(ms(100)));
    assert_eq!((time.armed(), bucket.tokens()), (0, 0.0), "nothing was taken");
    let mut just_in_time = waiting(bucket.acquire_timeout(ms(100)));
    // Behind the one who waits.
    let error = Polled::new(bucket.acquire_many_timeout(2, ms(299))).poll().unwrap().unwrap_err();
    assert_eq!(error.retry_after(), Some(ms(300)));
    let _queued = waiting(bucket.acquire_many_timeout(2, ms(300)));
    time.advance(ms(100));
    assert!(just_in_time.poll().unwrap().is_ok());
    assert!(Polled::new(bucket.acquire_timeout(Duration::ZERO)).poll().unwrap().is_err());
    let (_, full) = super::bucket(Quota::per_second(1));
    assert!(Polled::new(full.acquire_timeout(Duration::ZERO)).poll().unwrap().is_ok());
}

// S32, S33
#[test]
fn what_can_never_come_is_refused_at_once() {
    let (_, spent) = with_initial(Quota::zero(3), 0);
    let error = Polled::new(spent.acquire()).poll().unwrap().unwrap_err();
    assert!(error.is_never() && !error.exceeds_burst() && error.retry_after().is_none());
    let (_, small) = bucket(Quota::per_second(1).burst(3));
    let error = Polled::new(small.acquire_many(4)).poll().unwrap().unwrap_err();
    assert!(error.is_never() && error.exceeds_burst() && !error.is_too_late());
    assert_eq!(small.available(), 3);
}

// S58
#[test]
fn a_wait_beyond_the_ambient_deadline_is_refused_at_once() {
    let (time, bucket) = with_initial(Quota::every(ms(80)).unwrap(), 0);
    let context = |left| Context::background().with_clock(time.clock()).with_timeout(left);
    let poll =
        |context: Context, bucket: &TokenBucket| context.scope_sync(|| Polled::new(bucket.acquire()).poll());
    let error = poll(context(ms(50)), &bucket).unwrap().unwrap_err();
    assert!(error.is_too_late());
    assert_eq!((error.retry_after(), time.elapsed()), (Some(ms(80)), ms(0)));
    assert!(poll(context(ms(80)), &bucket).is_none(), "just in time");
    let cancelled = context(secs(9));
    cancelled.cancel("enough");
    bucket.refund(1);
    let error = poll(cancelled, &bucket).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "rate limiter: cancelled: enough");
    assert_eq!(bucket.available(), 1, "an ended context takes nothing");
    let expired = context(ms(10));
    time.advance(ms(10));
    assert!(poll(expired, &bucket).unwrap().is_err());
}

// S36
#[test]
fn those_behind_a_waiter_who_gives_up_move_up() {
    let (time, bucket) = with_initial(Quota::per_second(2), 0);
    let first = waiting(bucket.acquire());
    let mut second = waiting(bucket.acquire());
    time.advance(ms(200));
    drop(first);
    assert_eq!(time.next_deadline(), Some(time.clock().now() + ms(300)), "the timer is armed anew");
    time.advance(ms(299));
    assert_eq!(second.wakes(), 0);
    time.advance(ms(1));
    assert!(second.poll().unwrap().is_ok());
    assert_eq!((bucket.tokens(), bucket.stats().cancelled), (0.0, 1));
}

// S36
#[test]
fn giving_up_in_the_middle_or_at_the_end_moves_only_those_behind() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(3), 0);
    let mut first = waiting(bucket.acquire_many(2));
    let middle = waiting(bucket.acquire_many(3));
    let mut third = waiting(bucket.acquire_many(1));
    let last = waiting(bucket.acquire_many(2));
    drop(middle);
    drop(last);
    assert_eq!(bucket.tokens(), -3.0);
    time.advance(secs(2));
    assert!(first.poll().unwrap().is_ok());
    assert!(third.poll().is_none());
    time.advance(secs(1));
    assert!(third.poll().unwrap().is_ok());
    let mut next = waiting(bucket.acquire());
    time.advance(secs(1));
    assert!(next.poll().unwrap().is_ok());
    assert_eq!(time.armed(), 0);
}

// S36
#[test]
fn the_timer_goes_with_the_last_waiter() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let waiters: Vec<_> = (0..3).map(|_| waiting(bucket.acquire())).collect();
    assert_eq!(time.armed(), 1);
    drop(waiters);
    assert_eq!((time.armed(), bucket.tokens(), bucket.stats().waiting), (0, 0.0, 0));
}

// S36
#[test]
fn giving_up_after_the_grant_gives_the_tokens_to_the_next() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(3), 0);
    let granted = waiting(bucket.acquire_many(2));
    let mut second = waiting(bucket.acquire_many(3));
    time.advance(secs(2));
    assert_eq!(granted.wakes(), 1);
    time.advance(ms(500));
    drop(granted);
    assert_eq!(second.wakes(), 0);
    time.advance(ms(500));
    assert!(second.poll().unwrap().is_ok(), "two of the first, one that came since");
    assert_eq!(bucket.tokens(), 0.0);
}

// S36
#[test]
fn tokens_given_back_late_do_not_lift_above_the_burst() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(3), 0);
    let granted = waiting(bucket.acquire_many(2));
    time.advance(secs(3600));
    drop(granted);
    assert_eq!(bucket.tokens(), 3.0);
}

// S46
#[test]
fn a_grant_that_was_taken_is_spent() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let mut waiter = waiting(bucket.acquire());
    time.advance(secs(1));
    assert!(waiter.poll().unwrap().is_ok());
    drop(waiter);
    assert_eq!(bucket.tokens(), 0.0);
    assert!(Polled::new(bucket.acquire_many(0)).poll().is_some());
}

#[test]
fn a_future_that_is_done_takes_nothing_more() {
    let (_, bucket) = bucket(Quota::per_second(5));
    let mut done = Polled::new(bucket.acquire());
    assert!(done.poll().unwrap().is_ok());
    assert!(done.poll().is_none());
    assert_eq!(bucket.available(), 4);
}

// S40
#[test]
fn waiters_are_planned_anew_at_a_new_rate() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(2), 0);
    let mut first = waiting(bucket.acquire());
    let mut second = waiting(bucket.acquire());
    time.advance(ms(500));
    bucket.set_rate(Rate::per_second(2));
    assert_eq!(time.next_deadline(), Some(time.clock().now() + ms(250)));
    time.advance(ms(250));
    assert!(first.poll().unwrap().is_ok());
    bucket.set_rate(Rate::every(secs(4)).unwrap());
    time.advance(ms(3999));
    assert_eq!(second.wakes(), 0);
    time.advance(ms(1));
    assert!(second.poll().unwrap().is_ok());
}

// S40
#[test]
fn waiters_whom_a_new_quota_cannot_serve_are_told() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let mut large = waiting(bucket.acquire_many(4));
    let mut in_time = waiting(bucket.acquire_timeout(secs(10)));
    let mut patient = waiting(bucket.acquire());
    bucket.set_burst(3);
    let error = large.poll().unwrap().unwrap_err();
    assert!(error.exceeds_burst());
    assert_eq!(bucket.tokens(), -2.0, "and their tokens go to those behind");
    time.advance(ms(500));
    bucket.set_rate(Rate::every(secs(60)).unwrap());
    let error = in_time.poll().unwrap().unwrap_err();
    assert!(error.is_too_late());
    assert_eq!(error.retry_after(), Some(secs(30)));
    assert!(patient.poll().is_none());
    assert_eq!(time.next_deadline(), Some(time.clock().now() + secs(30)));
    bucket.set_rate(Rate::ZERO);
    assert!(patient.poll().unwrap().unwrap_err().is_never());
    assert_eq!((time.armed(), bucket.stats().waiting), (0, 0));
    drop((large, in_time, patient));
    assert_eq!(bucket.tokens(), 0.5);
}

// S40
#[test]
fn lifting_the_limit_lets_everybody_go() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let mut waiters: Vec<_> = (0..40).map(|_| waiting(bucket.acquire())).collect();
    bucket.set_quota(Quota::unlimited());
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().unwrap().is_ok()));
    assert_eq!(time.armed(), 0);
}

// S40: more of them than fit one batch of wake-ups, and some in the middle.
#[test]
fn many_waiters_are_told_and_the_others_close_up() {
    let (time, bucket) = with_initial(Quota::per_second(10).burst(5), 0);
    let mut large: Vec<_> = Vec::new();
    let mut small: Vec<_> = Vec::new();
    for _ in 0..50 {
        large.push(waiting(bucket.acquire_many(5)));
        small.push(waiting(bucket.acquire()));
    }
    bucket.set_burst(4);
    assert!(large.iter_mut().all(|waiter| waiter.poll().unwrap().unwrap_err().exceeds_burst()));
    for waiter in &mut small {
        assert_eq!(waiter.wakes(), 0);
        time.advance(ms(100));
        assert!(waiter.poll().unwrap().is_ok());
    }
}

// S46
#[test]
fn a_refund_serves_those_who_wait_first() {
    let (_, bucket) = with_initial(Quota::per_second(1).burst(10), 0);
    let mut waiters: Vec<_> = (0..5).map(|_| waiting(bucket.acquire())).collect();
    bucket.refund(8);
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().unwrap().is_ok()));
    assert_eq!(bucket.available(), 3);
}

// S41
#[test]
fn waiters_survive_a_clock_that_goes_back() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    time.advance(secs(10));
    assert!(bucket.try_acquire().is_ok());
    let start = time.clock().now();
    let mut waiter = waiting(bucket.acquire());
    time.set(start - secs(5));
    assert!(waiter.poll().is_none());
    time.advance(ms(5999));
    assert_eq!(waiter.wakes(), 0);
    time.advance(ms(1));
    assert!(waiter.poll().unwrap().is_ok());
}

/// A waker may call back into the bucket: nothing is locked while it runs.
#[test]
fn a_waker_may_use_the_bucket() {
    struct Nosy(TokenBucket, Mutex<Option<u64>>);
    impl std::task::Wake for Nosy {
        fn wake(self: Arc<Self>) {
            self.0.refund(1);
            *self.1.lock().unwrap() = Some(self.0.available());
        }
    }
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    let nosy = Arc::new(Nosy(bucket.clone(), Mutex::new(None)));
    let waker = Arc::clone(&nosy).into();
    let mut future = Box::pin(bucket.acquire());
    assert!(future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    time.advance(secs(1));
    assert_eq!(*nosy.1.lock().unwrap(), Some(1));
}

/// On a simulated executor with many tasks that come and go: served in order, at the computed instants.
#[test]
fn tasks_share_the_rate() {
    Sim::for_seeds(0..50, |sim| {
        let quota = Quota::per_second(100).burst(5);
        let bucket = TokenBucket::builder(quota).clock(sim.clock()).build().unwrap();
        let start = sim.clock().now();
        let served = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..30)
            .map(|id| {
                let (bucket, clock) = (bucket.clone(), sim.clock());
                let served = Arc::clone(&served);
                sim.spawn(format!("task {id}"), async move {
                    bucket.acquire().await.unwrap();
                    served.lock().unwrap().push(clock.now() - start);
                })
            })
            .collect();
        sim.run(async move {
            for task in tasks {
                task.await;
            }
        });
        let expected: Vec<_> = (0..30u64).map(|at| ms(10) * at.saturating_sub(4) as u32).collect();
        assert_eq!(*served.lock().unwrap(), expected);
    });
}

// S36, law 3: wherever a wait is dropped, all tokens are accounted for, and the others go on.
#[test]
fn dropped_at_every_await_no_token_is_lost() {
    let points = drop_at_every_await_in_sim(0..300, |sim| {
        let quota = Quota::per_second(10).burst(4);
        let bucket = TokenBucket::builder(quota).clock(sim.clock()).initial(0).build().unwrap();
        let spent = Arc::new(Mutex::new(0));
        for id in 0..4u64 {
            let (bucket, clock, spent) = (bucket.clone(), sim.clock(), Arc::clone(&spent));
            let (delay, n) = (sim.random_below(400), 1 + sim.random_below(3));
            sim.spawn(format!("other {id}"), async move {
                clock.sleep(ms(delay)).await;
                bucket.acquire_many(n).await.unwrap();
                *spent.lock().unwrap() += n;
            });
        }
        let (mine, clock, mine_spent) = (bucket.clone(), sim.clock(), Arc::clone(&spent));
        let n = 1 + sim.random_below(4);
        let under_test = async move {
            clock.sleep(ms(100)).await;
            for _ in 0..2 {
                mine.acquire_many(n).await.unwrap();
                *mine_spent.lock().unwrap() += n;
            }
        };
        let start = sim.clock().now();
        let check = move |sim: &Sim, _point: _| {
            sim.advance(secs(10) - (sim.clock().now() - start));
            assert_eq!((bucket.stats().waiting, sim.time().armed()), (0, 0));
            assert_eq!(bucket.tokens(), 4.0);
            // Taking the burst and walking on from there: the arrival time is sound.
            assert!(bucket.try_acquire_many(4).is_ok() && bucket.try_acquire().is_err());
            let total = *spent.lock().unwrap();
            assert!(total >= 4, "the others were served");
        };
        (under_test, check)
    });
    assert!(points > 600);
}

/// Real time and real timers, on the default clock: only that it works, not when.
#[test]
fn it_waits_on_the_system_clock() {
    let bucket = TokenBucket::new(Quota::per_second(2000).burst(1));
    futures_executor::block_on(async {
        for _ in 0..5 {
            bucket.acquire().await.unwrap();
        }
    });
    assert!(bucket.stats().granted >= 1);
    let quanta =
        TokenBucket::builder(Quota::per_second(2000).burst(1)).clock(Clock::quanta()).build().unwrap();
    futures_executor::block_on(async {
        for _ in 0..5 {
            quanta.acquire().await.unwrap();
        }
    });
    assert!(quanta.stats().granted >= 1);
}
