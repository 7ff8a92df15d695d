//! Waiting for a key: order, deadlines, giving up, one timer for a shard.

use super::{builder, ms, secs};
use cofferdam::limit::{AcquireKey, Gcra, Keyed, Limiter, Quota, Seeded, WhenFull};
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use proptest::prelude::*;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Wait<'a> = AcquireKey<'a, String, str, Gcra, Seeded>;

fn waiting(acquire: Wait<'_>) -> Polled<Wait<'_>> {
    let mut polled = Polled::new(acquire);
    assert!(polled.poll().is_none());
    polled
}

/// With `a` spent.
fn spent(quota: Quota) -> (ManualClock, Keyed<String>) {
    let (time, builder) = builder::<String>(quota);
    let limiter = builder.shards(1).build().unwrap();
    limiter.drain_to("a", 0).unwrap();
    (time, limiter)
}

#[test]
fn tokens_that_are_there_need_no_waiting() {
    let (time, limiter) = spent(Quota::per_second(10));
    assert!(Polled::new(limiter.acquire("b")).poll().unwrap().is_ok());
    assert!(Polled::new(limiter.acquire_many("b", 9)).poll().unwrap().is_ok());
    assert!(Polled::new(limiter.acquire_many("a", 0)).poll().unwrap().is_ok());
    assert_eq!((time.armed(), limiter.available("b"), limiter.stats().waiting), (0, 0, 0));
}

// S35
#[test]
fn each_key_s_waiters_are_served_in_order_with_one_wake_each_and_one_timer() {
    let (time, limiter) = spent(Quota::per_second(10).burst(5));
    limiter.drain_to("b", 0).unwrap();
    time.advance(ms(50));
    let mut a: Vec<_> = (0..100).map(|_| waiting(limiter.acquire("a"))).collect();
    let mut b: Vec<_> = (0..100).map(|_| waiting(limiter.acquire_many("b", 2))).collect();
    assert_eq!((time.armed(), limiter.stats().waiting), (1, 200));
    assert!(limiter.try_acquire("a").is_err(), "nobody barges");
    time.advance(ms(50));
    assert_eq!(limiter.try_acquire("a").unwrap_err().retry_after(), Some(secs(10)));
    for served in 1..100 {
        assert_eq!((a[served - 1].wakes(), a[served].wakes()), (1, 0));
        let halves = served / 2;
        assert!(b.iter().take(halves).all(|wait| wait.wakes() == 1) && b[halves].wakes() == 0);
        assert_eq!(time.armed(), 1);
        time.advance(ms(100));
    }
    time.advance(secs(11));
    assert!(a.iter_mut().chain(&mut b).all(|wait| wait.poll().unwrap().is_ok() && wait.wakes() == 1));
    let stats = limiter.stats();
    assert_eq!((stats.waiting, stats.granted, time.armed()), (0, 200, 0));
}

#[test]
fn a_large_request_is_not_starved_and_keys_do_not_hold_up_each_other() {
    let (time, limiter) = spent(Quota::per_second(1).burst(4));
    let mut large = waiting(limiter.acquire_many("a", 4));
    let mut small = waiting(limiter.acquire("a"));
    for _ in 0..3 {
        time.advance(secs(1));
        assert!(limiter.try_acquire("a").is_err() && limiter.try_acquire("b").is_ok());
    }
    time.advance(secs(1));
    assert!(large.poll().unwrap().is_ok() && small.poll().is_none());
    time.advance(secs(1));
    assert!(small.poll().unwrap().is_ok());
}

// S34, S32, S33
#[test]
fn what_comes_too_late_or_never_or_finds_no_room_is_refused_at_once() {
    let (time, builder) = builder::<String>(Quota::per_second(10).burst(3));
    let limiter = builder.capacity(1).when_full(WhenFull::RejectNew).build().unwrap();
    limiter.drain_to("a", 0).unwrap();
    let refused = |wait: Wait<'_>| Polled::new(wait).poll().unwrap().unwrap_err();
    let late = refused(limiter.acquire_timeout("a", ms(99)));
    assert!(late.is_too_late() && !late.is_never() && late.retry_after() == Some(ms(100)));
    let never = refused(limiter.acquire_many("a", 4));
    assert!(never.is_never() && never.retry_after().is_none());
    let full = refused(limiter.acquire("b"));
    assert!(full.is_full() && !full.is_never() && full.retry_after() == Some(ms(300)));
    assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
    let mut just_in_time = waiting(limiter.acquire_timeout("a", ms(100)));
    assert!(refused(limiter.acquire_many_timeout("a", 2, ms(299))).is_too_late());
    assert!(Polled::new(limiter.acquire_many_timeout("a", 2, ms(300))).poll().is_none());
    time.advance(ms(100));
    assert!(just_in_time.poll().unwrap().is_ok());
    limiter.set(Quota::zero(3));
    assert!(refused(limiter.acquire("a")).is_never());
}

#[test]
fn contexts_bound_waits() {
    let (time, limiter) = spent(Quota::per_second(10));
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(50));
    let late = Polled::new(context.scope(limiter.acquire("a"))).poll().unwrap().unwrap_err();
    assert!(late.is_too_late());
    time.advance(ms(50));
    let ended = Polled::new(context.scope(limiter.acquire("b"))).poll().unwrap().unwrap_err();
    assert_eq!(ended.to_string(), "keyed limiter: the deadline of the context has passed");
    assert!(ended.retry_after().is_none() && std::error::Error::source(&ended).is_some());
    assert!(!limiter.contains("b"), "nothing was taken");
}

#[test]
fn giving_up_moves_the_others_up_wherever_it_happens() {
    let (time, limiter) = spent(Quota::per_second(10));
    let first = waiting(limiter.acquire("a"));
    let second = waiting(limiter.acquire_many("a", 3));
    let mut third = waiting(limiter.acquire("a"));
    drop(second);
    time.advance(ms(100));
    assert_eq!((first.wakes(), third.wakes()), (1, 0));
    // Granted, and dropped without having been told: the token goes to the next.
    drop(first);
    assert_eq!(third.wakes(), 1);
    assert!(third.poll().unwrap().is_ok());
    assert_eq!((limiter.available("a"), time.armed(), limiter.stats().cancelled), (0, 0, 2));
    // Alone in line; and with a grant when the line has ended.
    drop(waiting(limiter.acquire("a")));
    let granted = waiting(limiter.acquire("a"));
    time.advance(ms(100));
    assert_eq!((granted.wakes(), limiter.stats().waiting), (1, 0));
    drop(granted);
    assert_eq!((limiter.available("a"), limiter.stats().cancelled), (1, 4));
    // With a grant of a line that has ended, and another line there by now.
    let old = waiting(limiter.acquire_many("a", 2));
    time.advance(ms(100));
    assert_eq!(old.wakes(), 1);
    let mut new = waiting(limiter.acquire_many("a", 3));
    let mut behind = waiting(limiter.acquire("a"));
    time.advance(ms(100));
    drop(old);
    assert_eq!((new.wakes(), behind.wakes()), (1, 0), "two came back, one came in");
    assert!(new.poll().unwrap().is_ok());
    time.advance(ms(100));
    assert!(behind.poll().unwrap().is_ok());
    assert_eq!((limiter.available("a"), time.armed()), (0, 0));
}

#[test]
fn a_key_that_somebody_waits_for_is_neither_forgotten_nor_removed() {
    let (time, builder) = builder::<String>(Quota::per_second(1).burst(2));
    let limiter = builder.capacity(2).shards(1).when_full(WhenFull::EvictIdleMost).build().unwrap();
    limiter.drain_to("a", 1).unwrap();
    let mut wait = waiting(limiter.acquire_many("a", 2));
    assert!(!limiter.remove("a"));
    for key in 0..10 {
        assert_eq!(limiter.try_acquire_many(&key.to_string(), 2), Ok(()));
    }
    assert!(limiter.contains("a") && limiter.contains("9") && limiter.len() == 2);
    assert_eq!((limiter.keys().len(), limiter.stats().evicted), (2, 9));
    let mut told = Vec::new();
    limiter.for_each(|key, state| told.push((key, state.available, state.idle_in)));
    told.sort();
    assert_eq!(told, [("9".into(), 0, Some(secs(2))), ("a".into(), 0, Some(secs(3)))]);
    time.advance(secs(1));
    assert!(wait.poll().unwrap().is_ok());
    assert_eq!(limiter.remove_idle(), 0);
    time.advance(secs(2));
    assert_eq!((limiter.remove_idle(), limiter.len()), (2, 0), "afterwards it is as any other");
    // All in line: even that policy has nobody to evict.
    limiter.drain_to("a", 0).unwrap();
    limiter.drain_to("b", 0).unwrap();
    let _waits = [waiting(limiter.acquire("a")), waiting(limiter.acquire("b"))];
    assert!(limiter.try_acquire("c").unwrap_err().is_full());
}

#[test]
fn refunds_and_changes_of_the_limits_reach_those_in_line() {
    let (time, limiter) = spent(Quota::per_second(1).burst(4));
    let mut waits: Vec<_> = (0..4).map(|_| waiting(limiter.acquire("a"))).collect();
    limiter.refund("a", 1);
    assert!(waits[0].poll().unwrap().is_ok() && waits[1].wakes() == 0);
    time.advance(ms(500));
    limiter.set(Quota::per_second(10).burst(4));
    time.advance(ms(49));
    assert_eq!(waits[1].wakes(), 0);
    time.advance(ms(1));
    assert!(waits[1].poll().unwrap().is_ok(), "the half that had come was kept");
    limiter.set_override("a".into(), Quota::per_second(1).burst(4)).unwrap();
    time.advance(ms(100));
    assert_eq!(waits[2].wakes(), 0);
    limiter.set(Quota::per_second(1000).burst(4));
    time.advance(ms(800));
    assert_eq!(waits[2].wakes(), 0, "its limits are its own");
    time.advance(ms(100));
    assert!(waits[2].poll().unwrap().is_ok());
    assert!(limiter.remove_override("a").is_some());
    time.advance(ms(1));
    assert!(waits[3].poll().unwrap().is_ok(), "as all others");
    assert_eq!(limiter.peek("a", 1).unwrap_err().retry_after(), Some(ms(1)));
    time.advance(ms(4));
    assert_eq!(limiter.available("a"), 4);
}

#[test]
fn who_was_due_before_a_change_was_due_by_the_old_limits_and_who_never_can_be_is_told() {
    let (time, limiter) = spent(Quota::per_second(10).burst(4));
    let mut due = waiting(limiter.acquire("a"));
    let mut large = waiting(limiter.acquire_many("a", 4));
    let mut small = waiting(limiter.acquire_timeout("a", secs(2)));
    limiter.set(Quota::per_second(5).burst(2));
    let never = large.poll().unwrap().unwrap_err();
    assert!(never.is_never() && never.retry_after().is_none());
    time.advance(ms(200));
    assert!(due.poll().unwrap().is_ok());
    limiter.set(Quota::per_minute(1).burst(2));
    assert!(small.poll().unwrap().unwrap_err().is_too_late());
    assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
    // A rate of zero and back, with a line in between: the state comes back in the terms of all.
    let mut wait = waiting(limiter.acquire("a"));
    limiter.set(Quota::zero(2));
    assert!(wait.poll().unwrap().unwrap_err().is_never());
    limiter.set(Quota::per_second(4).burst(2));
    time.advance(ms(250));
    assert_eq!(limiter.available("a"), 1);
}

// S35: no waiter's future drives the others.
#[test]
fn a_waiter_that_is_never_polled_again_stops_nobody() {
    let (time, limiter) = spent(Quota::per_second(1));
    let _forgotten = waiting(limiter.acquire("a"));
    let mut second = waiting(limiter.acquire("a"));
    time.advance(secs(2));
    assert!(second.wakes() == 1 && second.poll().unwrap().is_ok());
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (time, limiter) = spent(Quota::per_second(1));
    let mut wait = Box::pin(limiter.acquire("a"));
    let wakers = [cofferdam::testkit::WakeCounter::new(), cofferdam::testkit::WakeCounter::new()];
    for counter in &wakers {
        let waker = counter.waker();
        assert!(wait.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    }
    time.advance(secs(1));
    assert_eq!((wakers[0].count(), wakers[1].count()), (0, 1));
}

#[test]
fn dropping_at_every_await_leaks_neither_tokens_nor_places_nor_timers() {
    let points = drop_at_every_await_in_sim(0..200, |sim| {
        let builder = Keyed::<u64>::builder(Quota::per_second(10).burst(4));
        let limiter = builder.clock(sim.clock()).shards(1).build().unwrap();
        for key in 0..2 {
            limiter.drain_to(&key, 0).unwrap();
        }
        let spent = Arc::new(Mutex::new(0));
        for id in 0..4 {
            let (limiter, clock, spent) = (limiter.clone(), sim.clock(), Arc::clone(&spent));
            let (delay, n) = (sim.random_below(400), 1 + sim.random_below(3));
            sim.spawn(format!("other {id}"), async move {
                clock.sleep(ms(delay)).await;
                limiter.acquire_many(&(id % 2), n).await.unwrap();
                *spent.lock().unwrap() += n;
            });
        }
        let (mine, clock) = (limiter.clone(), sim.clock());
        let n = 1 + sim.random_below(4);
        let under_test = async move {
            clock.sleep(ms(100)).await;
            for key in [0, 1, 0] {
                mine.acquire_many(&key, n).await.unwrap();
            }
        };
        let start = sim.clock().now();
        let check = move |sim: &Sim, _point: _| {
            sim.advance(secs(10) - (sim.clock().now() - start));
            let stats = limiter.stats();
            assert_eq!((stats.waiting, sim.time().armed()), (0, 0));
            assert!(*spent.lock().unwrap() >= 4, "the others were served");
            for key in 0..2 {
                assert!(limiter.try_acquire_many(&key, 4).is_ok() && limiter.try_acquire(&key).is_err());
            }
            sim.advance(secs(1));
            assert_eq!((limiter.remove_idle(), limiter.len()), (2, 0));
        };
        (under_test, check)
    });
    assert!(points >= 4, "{points}");
}

#[derive(Clone, Debug)]
enum Step {
    Try(usize, u64),
    Wait(usize, u64),
    GiveUp(usize),
    Poll(usize),
    Refund(usize, u64),
    All(u64, u64),
    RemoveIdle,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..3_usize;
    prop_oneof![
        3 => (key.clone(), 1..4_u64).prop_map(|(key, n)| Step::Try(key, n)),
        5 => (key.clone(), 1..4_u64).prop_map(|(key, n)| Step::Wait(key, n)),
        3 => (0..20_usize).prop_map(Step::GiveUp),
        3 => (0..20_usize).prop_map(Step::Poll),
        1 => (key, 1..3_u64).prop_map(|(key, n)| Step::Refund(key, n)),
        1 => (1..30_u64, 3..5_u64).prop_map(|(rate, burst)| Step::All(rate, burst)),
        1 => Just(Step::RemoveIdle),
        4 => (0..800_u64).prop_map(Step::Advance),
    ]
}

/// A wait for a key, and the same for a limiter of that key alone.
type Pair<'a> =
    (Polled<AcquireKey<'a, usize, usize, Gcra, Seeded>>, Polled<cofferdam::limit::Acquire<'a, Gcra>>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_key_is_a_limiter_of_its_own(steps in prop::collection::vec(step(), 1..80)) {
        let keys = [0_usize, 1, 2];
        let quota = Quota::per_second(10).burst(3);
        let (time, builder) = builder::<usize>(quota);
        let keyed = builder.shards(1).build().unwrap();
        let single = || Limiter::builder(Gcra::new(quota)).clock(time.clock()).build().unwrap();
        let alone: Vec<Limiter> = keys.iter().map(|_| single()).collect();
        let mut waits: Vec<Pair<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Try(key, n) => {
                    let mine = keyed.try_acquire_many(&keys[key], n);
                    prop_assert_eq!(mine.map_err(|denied| denied.denied().unwrap()), alone[key].try_acquire_many(n));
                }
                Step::Wait(key, n) => {
                    let (mut mine, mut other) =
                        (Polled::new(keyed.acquire_many(&keys[key], n)), Polled::new(alone[key].acquire_many(n)));
                    let (one, two) = (mine.poll().map(|done| done.is_ok()), other.poll().map(|done| done.is_ok()));
                    prop_assert_eq!(one, two);
                    if two.is_none() {
                        waits.push((mine, other));
                    }
                }
                Step::GiveUp(at) if at < waits.len() => drop(waits.swap_remove(at)),
                Step::Poll(at) if at < waits.len() => {
                    let (mine, other) = &mut waits[at];
                    let (one, two) = (mine.poll().map(|done| done.is_ok()), other.poll().map(|done| done.is_ok()));
                    prop_assert_eq!(one, two);
                    if two.is_some() {
                        drop(waits.swap_remove(at));
                    }
                }
                Step::GiveUp(_) | Step::Poll(_) => {}
                Step::Refund(key, n) => {
                    keyed.refund(&keys[key], n);
                    alone[key].refund(n);
                }
                Step::All(rate, burst) => {
                    // Under a larger burst an idle key begins anew, which a limiter on its own does not.
                    let burst = burst.min(3);
                    keyed.set(Quota::per_second(rate).burst(burst));
                    alone.iter().for_each(|one| one.set(Gcra::new(Quota::per_second(rate).burst(burst))));
                }
                Step::RemoveIdle => drop(keyed.remove_idle()),
                Step::Advance(millis) => time.advance(Duration::from_millis(millis)),
            }
            for (mine, other) in &waits {
                prop_assert_eq!(mine.wakes(), other.wakes());
            }
            for key in keys {
                prop_assert_eq!(keyed.available(&key), alone[key].available(), "key {}", key);
            }
            let stats = keyed.stats();
            prop_assert_eq!(stats.waiting, alone.iter().map(|one| one.stats().waiting).sum::<usize>());
            prop_assert_eq!(stats.granted, alone.iter().map(|one| one.stats().granted).sum::<u64>());
        }
    }
}
