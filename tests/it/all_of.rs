//! Several limiters at once, in virtual time: all or none.

mod model;

use cofferdam::limit::{AllOf, Joint, Quota, Rate, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A set of token buckets, and the buckets.
fn set<const N: usize>(quotas: [Quota; N]) -> (ManualClock, AllOf, [TokenBucket; N]) {
    let time = ManualClock::new();
    let buckets = quotas.map(|quota| TokenBucket::builder(quota).clock(time.clock()).build().unwrap());
    (time, of(&buckets), buckets)
}

fn of(buckets: &[TokenBucket]) -> AllOf {
    let members = buckets.iter().zip(["a", "b", "c", "d"]);
    let joint = members.fold(Joint::builder(), |joint, (bucket, name)| joint.with(name, bucket.clone()));
    AllOf::of(joint.build().unwrap())
}

// RL20, S43
#[test]
fn a_request_is_charged_in_all_or_in_none() {
    let (_time, all, [global, route]) = set([Quota::per_second(3), Quota::per_second(2)]);
    assert_eq!((0..4).filter(|_| all.try_acquire().is_ok()).count(), 2);
    assert_eq!((global.available(), route.available(), all.available()), (1, 0, 0));
}

// S43
#[test]
fn the_one_with_the_longest_wait_is_named() {
    let (time, all, [fast, slow]) = set([Quota::per_second(10).burst(1), Quota::per_minute(6).burst(1)]);
    assert!(all.try_acquire().is_ok());
    let denied = all.try_acquire().unwrap_err();
    assert_eq!((denied.tier(), denied.retry_after()), (Some(1), Some(secs(10))));
    assert_eq!(all.algorithm().name(1), Some("b"));
    time.advance(secs(10));
    assert!(slow.try_acquire().is_ok() && fast.try_acquire().is_ok());
    time.advance(secs(10));
    assert!(fast.try_acquire().is_ok());
    let denied = all.try_acquire().unwrap_err();
    assert_eq!((denied.tier(), denied.retry_after()), (Some(0), Some(ms(100))));
    assert_eq!(all.peek(1), Err(denied));
}

// S35, MT9
#[test]
fn in_a_pause_nobody_is_refused_for_a_limit_that_ends_in_time() {
    let (time, all, [slow, _]) = set([Quota::per_second(10), Quota::per_second(10)]);
    assert!(all.try_acquire_many(10).is_ok());
    slow.set_temporarily(Quota::per_hour(10), secs(1));
    all.pause_for(ms(500));
    // By the rate of now it would be there in six minutes, by that of a second later in a tenth of one more.
    let mut waiting = Polled::new(all.acquire_timeout(secs(5)));
    assert!(waiting.poll().is_none());
    time.advance(ms(1100));
    assert!(waiting.poll().unwrap().is_ok());
}

// S35
#[test]
fn who_comes_behind_one_that_gives_up_in_time_is_not_refused() {
    let (time, all, [_, slow]) = set([Quota::per_second(1000).burst(4), Quota::per_second(10).burst(4)]);
    slow.drain_to(1);
    let mut ahead = Polled::new(all.acquire_many_timeout(3, ms(250)));
    assert!(ahead.poll().is_none());
    // The one ahead needs two tokens more: it is never served, as others take them. This one is there at its limit.
    let mut behind = Polled::new(all.acquire_timeout(ms(150)));
    assert!(behind.poll().is_some_and(|outcome| outcome.is_err()), "nobody gives up before");
    let mut behind = Polled::new(all.acquire_timeout(ms(250)));
    assert!(behind.poll().is_none());
    assert!(slow.try_acquire().is_ok());
    time.advance(ms(250));
    assert!(ahead.poll().unwrap().is_err());
    assert!(behind.poll().unwrap().is_ok());
}

// S33
#[test]
fn more_than_the_smallest_can_hold_is_never() {
    let (_time, all, [large, small]) = set([Quota::per_second(30), Quota::per_second(2)]);
    assert_eq!(all.capacity(), 2);
    let denied = all.try_acquire_many(3).unwrap_err();
    assert!(denied.is_never());
    assert_eq!(denied.tier(), Some(1));
    assert!(Polled::new(all.acquire_many(3)).poll().unwrap().unwrap_err().is_never());
    assert!(all.try_acquire_many(0).is_ok());
    assert_eq!((large.available(), small.available()), (30, 2));
}

// RL8, S35
#[test]
fn those_who_wait_are_served_in_order_with_one_wake_each_and_one_timer() {
    let (time, all, _buckets) = set([Quota::per_second(1000).burst(1), Quota::per_second(500).burst(2)]);
    assert!(all.try_acquire().is_ok() && all.try_acquire().is_err());
    let mut waiters: Vec<_> = (0..200).map(|_| Polled::new(all.acquire())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()));
    assert_eq!(time.armed(), 1);
    assert!(all.try_acquire().is_err(), "nobody barges in");
    let mut served = 0;
    for _ in 0..400 {
        time.advance(ms(1));
        while waiters.get(served).is_some_and(|waiter| waiter.wakes() > 0) {
            served += 1;
        }
        assert!(waiters.iter().skip(served).all(|waiter| waiter.wakes() == 0), "out of order");
    }
    assert_eq!((served, time.armed()), (200, 0));
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().unwrap().is_ok() && waiter.wakes() == 1));
    assert_eq!((all.stats().waiting, all.stats().granted), (0, 200));
}

// S34
#[test]
fn a_wait_that_is_known_to_be_too_long_is_refused_and_one_that_turns_out_so_ends_when_it_is_over() {
    let (time, all, [shared, _own]) = set([Quota::per_second(1).burst(1), Quota::per_second(10).burst(1)]);
    assert!(all.try_acquire().is_ok());
    assert!(Polled::new(all.acquire_timeout(ms(999))).poll().unwrap().unwrap_err().is_too_late());
    let mut just = Polled::new(all.acquire_timeout(secs(1)));
    let mut behind = Polled::new(all.acquire_timeout(ms(1500)));
    assert!(just.poll().is_none() && behind.poll().is_none());
    time.advance(secs(1));
    assert!(just.poll().unwrap().is_ok(), "exactly as long is allowed");
    time.advance(ms(500));
    assert!(behind.poll().unwrap().unwrap_err().is_too_late());
    assert_eq!((time.armed(), all.stats().waiting), (0, 0));
    time.advance(ms(500));
    assert_eq!(shared.available(), 1, "it took nothing");
}

// S36
#[test]
fn giving_up_moves_the_others_up() {
    let (time, all, [bucket, _]) = set([Quota::per_second(2), Quota::per_second(1000)]);
    bucket.drain_to(0);
    let mut large = Polled::new(all.acquire_many(2));
    let mut small = Polled::new(all.acquire());
    assert!(large.poll().is_none() && small.poll().is_none());
    time.advance(ms(500));
    assert_eq!(small.wakes(), 0, "behind the large one");
    drop(large);
    assert!(small.poll().unwrap().is_ok());
}

// MT9, RL11: what happens at a member is noticed.
#[test]
fn a_member_that_changes_lets_those_through_who_wait_for_the_set() {
    let (time, all, [first, second]) = set([Quota::per_hour(1), Quota::per_hour(1)]);
    assert!(all.try_acquire().is_ok());
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    first.refund(1);
    assert_eq!(waiter.wakes(), 0, "the second is still short");
    second.set_rate(Rate::per_second(1));
    time.advance(secs(1));
    assert!(waiter.poll().unwrap().is_ok());

    first.set_quota(Quota::per_second(1));
    time.advance(secs(1));
    second.pause();
    let denied = all.try_acquire().unwrap_err();
    assert_eq!((denied.is_paused(), denied.retry_after(), denied.tier()), (true, None, Some(1)));
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    assert_eq!(time.armed(), 0, "nobody knows when");
    second.resume();
    assert!(waiter.poll().unwrap().is_ok());
}

// RL12: the end of a temporary limit of a member is foreseen.
#[test]
fn the_end_of_a_temporary_limit_of_a_member_is_not_slept_through() {
    let (time, all, [first, second]) = set([Quota::per_second(1), Quota::per_second(1)]);
    first.set_temporarily(Quota::per_hour(1), secs(3));
    first.drain_to(0);
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    time.advance(secs(3));
    assert_eq!(waiter.wakes(), 0);
    time.advance(secs(1));
    assert!(waiter.poll().unwrap().is_ok());
    assert_eq!((first.available(), second.available()), (0, 0));
}

// RL9, S46
#[test]
fn what_is_given_back_goes_back_to_all() {
    let (_time, all, [first, second]) = set([Quota::per_second(5), Quota::per_second(3)]);
    assert!(all.try_acquire_many(3).is_ok());
    all.refund(2);
    assert_eq!((first.available(), second.available()), (4, 2));
    drop(all.reserve(2).unwrap());
    assert_eq!((first.available(), second.available()), (4, 2));
    all.reserve(2).unwrap().commit();
    assert_eq!((first.available(), second.available()), (2, 0));
    assert!(all.reserve(1).is_err(), "nothing is promised together");
    all.drain_to(1);
    assert_eq!(first.available(), 1);
}

// MT9
#[test]
fn the_set_itself_can_be_paused() {
    let (time, all, [first, _]) = set([Quota::per_second(5), Quota::per_second(3)]);
    all.pause_for(secs(2));
    assert_eq!(all.try_acquire().unwrap_err().retry_after(), Some(secs(2)));
    assert!(first.try_acquire().is_ok(), "its members are not");
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    assert!(Polled::new(all.acquire_timeout(secs(1))).poll().unwrap().is_err());
    time.advance(secs(2));
    assert!(waiter.poll().unwrap().is_ok());
}

// ERR2, ERR9
#[test]
fn sets_that_cannot_be_are_refused() {
    let bucket = TokenBucket::new(Quota::per_second(1));
    let other = of(std::slice::from_ref(&bucket));
    let none = Joint::builder().build().unwrap_err();
    assert_eq!(none.to_string(), "limits: members = 0: must be at least one");
    let twice = Joint::builder().with("x", bucket.clone()).with("y", bucket.clone()).build().unwrap_err();
    assert_eq!(twice.rule(), "must not be the same limiter twice");
    let nested = Joint::builder().with("x", other).build().unwrap_err();
    assert_eq!(nested.to_string(), "limits: members = x: must not be a set itself: give its members");
    let joint = Joint::builder().with("x", bucket).build().unwrap();
    let clock = AllOf::builder(joint).clock(ManualClock::new().clock()).build().unwrap_err();
    assert_eq!(clock.knob(), "clock");
}

// S36, QA6
#[test]
fn dropped_at_any_await_it_loses_nothing() {
    let points = drop_at_every_await_in_sim(0..100, |sim| {
        let quotas = [Quota::per_second(2).burst(1000), Quota::per_second(3).burst(1000)];
        let buckets =
            quotas.map(|quota| TokenBucket::builder(quota).clock(sim.clock()).initial(0).build().unwrap());
        let all = of(&buckets);
        let spent = Arc::new(Mutex::new(0));
        for id in 0..3 {
            let (all, clock, spent) = (all.clone(), sim.clock(), Arc::clone(&spent));
            let (delay, n) = (sim.random_below(900), 1 + sim.random_below(2));
            sim.spawn(format!("other {id}"), async move {
                clock.sleep(ms(delay)).await;
                all.acquire_many(n).await.unwrap();
                *spent.lock().unwrap() += n;
            });
        }
        let (mine, mine_spent) = (all.clone(), Arc::clone(&spent));
        let under_test = async move {
            for _ in 0..2 {
                mine.acquire_many(2).await.unwrap();
                *mine_spent.lock().unwrap() += 2;
            }
        };
        let start = sim.clock().now();
        let check = move |sim: &Sim, _point: _| {
            // Never full, so that what came in is what was spent and what is left.
            sim.advance(secs(20) - (sim.clock().now() - start));
            assert_eq!((all.stats().waiting, sim.time().armed()), (0, 0));
            let spent = *spent.lock().unwrap();
            assert_eq!(buckets.each_ref().map(|bucket| bucket.available() + spent), [40, 60]);
        };
        (under_test, check)
    });
    assert!(points > 300, "{points}");
}

// MT9, S34: those who have not the time to wait for the end of a pause of the set are told when it begins.
#[test]
fn a_pause_of_the_set_is_no_sleep_without_end_for_who_has_a_limit() {
    for pause in [None, Some(secs(60))] {
        let (time, all, [member]) = set([Quota::per_second(1).burst(1)]);
        assert!(all.try_acquire().is_ok());
        let mut ahead = Polled::new(all.acquire());
        let mut short = Polled::new(all.acquire_timeout(secs(5)));
        assert!(ahead.poll().is_none() && short.poll().is_none());
        match pause {
            None => all.pause(),
            Some(pause) => all.pause_for(pause),
        }
        let error = short.poll().expect("told").unwrap_err();
        assert!(error.is_too_late());
        assert_eq!(error.retry_after(), pause);
        assert!(ahead.poll().is_none());
        time.advance(secs(60));
        all.resume();
        assert!(ahead.poll().unwrap().is_ok());
        assert_eq!((member.available(), time.armed(), all.stats().waiting), (0, 0, 0));
    }
}

// MT9: what is not known when the wait begins may be known when the pause of the set is over.
#[test]
fn the_end_of_a_pause_of_the_set_is_not_slept_through_while_a_member_is_paused_without_end() {
    let (time, all, [_, member]) = set([Quota::per_second(5), Quota::per_second(3)]);
    member.pause();
    all.pause_for(secs(2));
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    member.resume();
    time.advance(secs(2));
    assert!(waiter.poll().unwrap().is_ok());
}

// RL19: a member may come to hold more.
#[test]
fn more_than_a_member_could_hold_at_first_is_no_longer_never() {
    let (time, all, [small, _]) = set([Quota::per_second(1), Quota::per_second(5)]);
    assert!(all.try_acquire().is_ok());
    small.set_burst(2);
    assert_eq!(all.capacity(), 2);
    let mut first = Polled::new(all.acquire());
    let mut second = Polled::new(all.acquire_many(2));
    assert!(first.poll().is_none() && second.poll().is_none());
    assert!(!all.try_acquire_many(2).unwrap_err().is_never());
    time.advance(secs(3));
    assert!(first.poll().unwrap().is_ok() && second.poll().unwrap().is_ok());
    all.pause();
    assert!(!all.try_acquire_many(2).unwrap_err().is_never());
}

// S36: whose time is over moves the others up, as who gives up does.
#[test]
fn who_is_behind_one_whose_time_is_over_is_tried_at_once() {
    let (time, all, [member]) = set([Quota::per_second(1).burst(10)]);
    member.drain_to(0);
    let mut large = Polled::new(all.acquire_many_timeout(10, secs(10)));
    let mut small = Polled::new(all.acquire());
    assert!(large.poll().is_none() && small.poll().is_none());
    time.advance(secs(5));
    assert!(member.try_acquire_many(5).is_ok());
    time.advance(secs(5));
    assert!(large.poll().unwrap().unwrap_err().is_too_late());
    assert_eq!(small.wakes(), 1, "five are there");
    assert!(small.poll().unwrap().is_ok());
}

// RL10: a set that is made later counts its time from later, and is the same to the limiter all the same.
#[test]
fn other_members_decide_at_the_same_time_as_the_first() {
    let (time, all, _) = set([Quota::per_second(1).burst(1)]);
    time.advance(secs(100));
    let bucket =
        TokenBucket::builder(Quota::per_second(1).burst(9)).clock(time.clock()).initial(0).build().unwrap();
    let other = Joint::builder().with("other", bucket.clone()).build().unwrap();
    all.set(other.clone());
    assert_eq!((all.available(), all.try_acquire().is_err()), (0, true));
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    time.advance(secs(1));
    assert!(waiter.poll().unwrap().is_ok());
    // What happens at them is noticed as at the first.
    for _ in 0..3 {
        all.set(other.clone());
        all.set_temporarily(other.clone(), secs(1));
    }
    let mut waiter = Polled::new(all.acquire());
    assert!(waiter.poll().is_none());
    bucket.refund(1);
    assert!(waiter.poll().unwrap().is_ok());
}

// ERR2: what is refused has done nothing.
#[test]
fn a_set_that_is_not_built_has_drained_nobody() {
    let bucket = TokenBucket::new(Quota::per_hour(5));
    let joint = Joint::builder().with("x", bucket.clone()).build().unwrap();
    assert!(AllOf::builder(joint).initial(0).jitter(2.0).build().is_err());
    assert_eq!(bucket.available(), 5);
}

// RL12: whoever was due before a change of the settings of a member is served by those before it, also if a set
// is the first to look after it.
#[test]
fn a_late_timer_and_a_set_do_not_put_those_who_were_due_under_later_settings() {
    use std::task::{Context, Wake, Waker};
    struct Trying(AllOf);
    impl Wake for Trying {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_acquire();
        }
    }
    let (time, all, [early, member]) = set([Quota::per_second(1).burst(1), Quota::per_second(10).burst(2)]);
    member.set_temporarily(Quota::per_second(10).burst(10), ms(1500));
    member.drain_to(0);
    early.drain_to(0);
    let mut first = Box::pin(early.acquire_many(1));
    let trying = Waker::from(Arc::new(Trying(all.clone())));
    assert!(first.as_mut().poll(&mut Context::from_waker(&trying)).is_pending());
    early.set_rate(Rate::per_second(2));
    let mut due = Polled::new(member.acquire_many(10));
    assert!(due.poll().is_none());
    // The timer of the first fires first, and both do late.
    time.set(time.clock().now() + secs(2));
    assert!(due.poll().unwrap().is_ok());
}

proptest! {
    // RL20, S43: whatever is asked of sets and members, in any order, charges are whole, and what a set admits, each of its
    // members would have admitted at that time.
    #[test]
    fn sets_that_share_members_agree_with_plain_arithmetic(
        steps in prop::collection::vec((0u8..4, 1u64..4, 0u64..700), 1..80),
    ) {
        let quotas = [Quota::per_second(2), Quota::per_second(3).burst(5), Quota::per_second(1).burst(3)];
        let (time, _, buckets) = set(quotas);
        let sets = [of(&buckets[..2]), of(&buckets[1..])];
        // Tokens in units of a millisecond's share: exact, as all rates are whole per second.
        let mut model: Vec<u64> = quotas.iter().map(|quota| quota.burst_size() * 1000).collect();
        for (what, n, pass) in steps {
            let members: &[usize] = match what { 0 => &[0, 1], 1 => &[1, 2], 2 => &[0], _ => &[2] };
            let fits = members.iter().all(|at| model[*at] >= n * 1000);
            let taken = match what {
                0 | 1 => sets[usize::from(what)].try_acquire_many(n),
                2 => buckets[0].try_acquire_many(n),
                _ => buckets[2].try_acquire_many(n),
            };
            prop_assert_eq!(taken.is_ok(), fits);
            for at in members.iter().filter(|_| fits) {
                model[*at] -= n * 1000;
            }
            time.advance(ms(pass));
            for (tokens, quota) in model.iter_mut().zip(quotas) {
                *tokens = (*tokens + pass * quota.rate().count()).min(quota.burst_size() * 1000);
            }
        }
        for (bucket, tokens) in buckets.iter().zip(&model) {
            prop_assert_eq!(bucket.available(), tokens / 1000);
        }
    }
}
