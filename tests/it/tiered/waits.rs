//! Waiting: order, priorities, who may pass whom, bounds, deadlines, giving up, one timer.

use super::{build, ms, secs};
use cofferdam::limit::tiered::{Acquire, Request, ResourceTiers, Tier};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::sync::{Context, Priority};
use cofferdam::testkit::{Polled, drop_at_every_await_in_sim};
use std::sync::Arc;
use std::time::Duration;

const A: Request<'static> = Request::new("GET", "/a");
const B: Request<'static> = Request::new("GET", "/b");
const C: Request<'static> = Request::new("GET", "/c");

fn waiting(acquire: Acquire<'_>) -> Polled<Acquire<'_>> {
    let mut polled = Polled::new(acquire);
    assert!(polled.poll().is_none());
    polled
}

fn is_served(wait: &mut Polled<Acquire<'_>>) -> bool {
    wait.poll().is_some_and(|taken| taken.is_ok())
}

// MT10, S35
#[test]
fn waiters_are_served_in_order_each_woken_once_by_one_timer() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(10).burst(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let mut waits: Vec<_> = (0..100).map(|_| waiting(limiter.acquire(A))).collect();
    assert_eq!((time.armed(), limiter.stats().waiting), (1, 100));
    for served in 0..100 {
        time.advance(ms(100));
        for (at, wait) in waits.iter().enumerate() {
            assert_eq!(wait.wakes(), u64::from(at <= served), "{at} after {served}");
        }
        assert_eq!(time.armed(), usize::from(served < 99));
    }
    assert!(waits.iter_mut().all(is_served));
    assert_eq!((limiter.stats().granted, limiter.stats().waiting), (100, 0));
}

// MT10: N waiters cost N wake-ups, however many come due at once.
#[test]
fn a_crowd_that_is_served_at_once_is_woken_once_each() {
    let (time, limiter) = build(Tiered::builder());
    limiter.global().pause_for(secs(5));
    let paths: Vec<_> = (0..90).map(|at| format!("/p{at}/x")).collect();
    let mut waits: Vec<_> =
        paths.iter().map(|path| waiting(limiter.acquire(Request::new("GET", path)))).collect();
    assert_eq!(time.armed(), 1);
    time.advance(secs(5));
    assert_eq!(waits.iter().map(Polled::wakes).sum::<u64>(), 90);
    assert!(waits.iter_mut().all(is_served));
    assert_eq!(time.armed(), 0);
}

// S35
#[test]
fn nobody_overtakes_who_wants_a_token_that_somebody_waits_for_and_others_pass() {
    let (time, limiter) =
        build(Tiered::builder().default_route(Quota::per_second(1).burst(2)).global(Quota::per_second(10)));
    assert!(limiter.try_acquire(A.tokens(2)).is_ok());
    let mut large = waiting(limiter.acquire(A.tokens(2)));
    time.advance(ms(1000));
    // A token is there, but it is kept for the large one; the refusal counts what is ahead.
    assert_eq!(limiter.bucket(Tier::Route, A).unwrap().available(), 1);
    let refusal = limiter.try_acquire(A).unwrap_err();
    assert_eq!((refusal.tier(), refusal.retry_after()), (Tier::Route, Some(secs(2))));
    assert_eq!(limiter.peek(A).unwrap_err().retry_after(), Some(secs(2)));
    let mut small = waiting(limiter.acquire(A));
    // Another route has nothing to do with it, waiting or not.
    assert!(limiter.try_acquire(B).is_ok());
    assert!(Polled::new(limiter.acquire(B)).poll().is_some_and(|taken| taken.is_ok()));
    time.advance(secs(1));
    assert!(is_served(&mut large) && small.poll().is_none());
    time.advance(secs(1));
    assert!(is_served(&mut small));
    assert_eq!(time.armed(), 0);
}

// S35: of those who wait, too.
#[test]
fn a_waiter_passes_those_who_wait_for_other_buckets() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(10).burst(1)));
    limiter.bucket(Tier::Route, A).unwrap().pause_for(secs(100));
    assert!(limiter.try_acquire(B).is_ok());
    let mut paused = waiting(limiter.acquire(A));
    let mut other = waiting(limiter.acquire(B));
    time.advance(ms(100));
    assert!(is_served(&mut other) && paused.poll().is_none());
    // What is empty for a moment is not kept for him who is paused for long.
    limiter.global().drain_to(0);
    time.advance(ms(99));
    assert!(limiter.try_acquire(C).is_ok());
    // One who waits for the global bucket holds back everybody.
    limiter.global().drain_to(0);
    time.advance(ms(1));
    let mut first = waiting(limiter.acquire(B));
    time.advance(ms(8));
    assert_eq!(limiter.try_acquire(Request::new("GET", "/d")).unwrap_err().retry_after(), Some(ms(11)));
    assert!(first.poll().is_none());
    time.advance(ms(1));
    assert!(is_served(&mut first) && paused.poll().is_none());
}

// S43: whoever is refused by one bucket after another is served in the end, though each is always in demand.
#[test]
fn who_needs_two_buckets_that_others_empty_is_not_starved() {
    let builder = Tiered::builder()
        .global(Quota::unlimited())
        .resource_tiers(ResourceTiers::Each)
        .resource(Quota::per_second(10).burst(1))
        .user(Quota::per_second(10).burst(1))
        .default_route(Quota::unlimited());
    let (time, limiter) = build(builder);
    let (resource, user) = (A.resource("r"), A.user("u"));
    // Their tokens come at different moments.
    assert!(limiter.try_acquire(resource).is_ok());
    time.advance(ms(50));
    assert!(limiter.try_acquire(user).is_ok());
    let mut both = waiting(limiter.acquire(A.resource("r").user("u")));
    let mut others = Vec::new();
    for step in 0..40 {
        others.push(Polled::new(limiter.acquire(if step % 2 == 0 { resource } else { user })));
        let _ = others.last_mut().map(Polled::poll);
        time.advance(ms(50));
        if both.wakes() > 0 {
            break;
        }
    }
    assert!(is_served(&mut both), "starved for two seconds");
}

// MT11
#[test]
fn the_higher_priority_goes_first_and_waiting_ages() {
    let (time, limiter) =
        build(Tiered::builder().default_route(Quota::per_second(1).burst(1)).ageing(secs(2)));
    assert!(limiter.try_acquire(A).is_ok());
    let at = |priority| A.priority(priority);
    let mut low = waiting(limiter.acquire(at(Priority::Low)));
    let mut normal = waiting(limiter.acquire(at(Priority::Normal)));
    let mut high = waiting(limiter.acquire(at(Priority::High)));
    let mut critical = waiting(limiter.acquire(at(Priority::Critical)));
    time.advance(secs(1));
    assert!(is_served(&mut critical));
    // Low has waited 1 s at this moment: not worth a class yet. At 5 s it is worth two, and goes before a high one.
    time.advance(secs(1));
    assert!(is_served(&mut high));
    let mut second = waiting(limiter.acquire(at(Priority::High)));
    time.advance(secs(1));
    // Normal came at 0 and high at 2 s: of the same age in classes, and so first come, first served.
    assert!(is_served(&mut normal));
    time.advance(secs(1));
    assert!(is_served(&mut second));
    let mut third = waiting(limiter.acquire(at(Priority::High)));
    time.advance(secs(1));
    assert!(is_served(&mut low), "four seconds are two classes");
    time.advance(secs(1));
    assert!(is_served(&mut third));
    assert_eq!(time.armed(), 0);
}

// MT11: who comes before all that wait takes what they cannot use yet.
#[test]
fn a_higher_priority_takes_at_once_what_is_there() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1).burst(2)));
    assert!(limiter.try_acquire(A.tokens(2)).is_ok());
    let mut large = waiting(limiter.acquire(A.tokens(2)));
    time.advance(secs(1));
    assert!(Polled::new(limiter.acquire(A.priority(Priority::Low))).poll().is_none());
    let urgent = A.priority(Priority::Critical);
    let mut urgent = Polled::new(limiter.acquire_timeout(urgent, Duration::ZERO));
    assert!(urgent.poll().is_some_and(|taken| taken.is_ok()));
    time.advance(secs(1));
    assert!(large.poll().is_none());
    time.advance(secs(1));
    assert!(is_served(&mut large));
}

// MT10
#[test]
fn the_queue_is_bounded_and_says_when_it_is_full() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)).max_waiting(1));
    assert!(limiter.try_acquire(A).is_ok());
    let mut first = waiting(limiter.acquire(A));
    let error = Polled::new(limiter.acquire(A)).poll().unwrap().unwrap_err();
    assert!(error.is_full() && !error.is_too_late() && !error.is_never());
    assert_eq!(error.retry_after(), Some(secs(2)));
    assert_eq!((limiter.stats().queued, limiter.stats().dropped), (1, 1));
    time.advance(secs(1));
    assert!(is_served(&mut first));
    assert!(Polled::new(limiter.acquire(A)).poll().is_none());
    // None at all: whoever would have to wait is refused.
    let (_, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)).max_waiting(0));
    assert!(Polled::new(limiter.acquire(A)).poll().is_some_and(|taken| taken.is_ok()));
    assert!(Polled::new(limiter.acquire(A)).poll().unwrap().unwrap_err().is_full());
    // The default.
    let (_, limiter) = build(Tiered::builder());
    limiter.global().pause_for(secs(1));
    let waits: Vec<_> = (0..1000).map(|_| waiting(limiter.acquire(A))).collect();
    assert!(Polled::new(limiter.acquire(A)).poll().unwrap().unwrap_err().is_full());
    drop(waits);
    assert_eq!(limiter.stats().waiting, 0);
}

// S34
#[test]
fn a_wait_that_would_be_too_long_is_refused_at_once_and_takes_nothing() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(10).burst(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let global = limiter.global().available();
    let error = Polled::new(limiter.acquire_timeout(A, ms(99))).poll().unwrap().unwrap_err();
    assert!(error.is_too_late());
    assert_eq!((error.retry_after(), error.refusal().unwrap().tier()), (Some(ms(100)), Tier::Route));
    assert_eq!((limiter.global().available(), time.armed(), limiter.stats().queued), (global, 0, 0));
    let mut exactly = waiting(limiter.acquire_timeout(A, ms(100)));
    // Behind him it would take twice as long.
    let error = Polled::new(limiter.acquire_timeout(A, ms(199))).poll().unwrap().unwrap_err();
    assert_eq!(error.retry_after(), Some(ms(200)));
    let mut behind = waiting(limiter.acquire_timeout(A, ms(200)));
    time.advance(ms(100));
    assert!(is_served(&mut exactly));
    time.advance(ms(100));
    assert!(is_served(&mut behind));
}

// S34
#[test]
fn the_deadline_of_the_context_counts_and_an_ended_context_ends_it() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let context = Context::background().with_clock(time.clock()).with_timeout(ms(999));
    let error = context.scope_sync(|| Polled::new(limiter.acquire(A)).poll()).unwrap().unwrap_err();
    assert!(error.is_too_late());
    let context = Context::background().with_clock(time.clock()).with_timeout(secs(1));
    assert!(context.scope_sync(|| Polled::new(limiter.acquire(A)).poll()).is_none());
    let cancelled = Context::background().child();
    cancelled.cancel("stop");
    let error = cancelled.scope_sync(|| Polled::new(limiter.acquire(B)).poll()).unwrap().unwrap_err();
    assert!(error.refusal().is_none() && error.retry_after().is_none());
    assert!(error.to_string().starts_with("tiered limiter: "), "{error}");
    assert_eq!(limiter.bucket(Tier::Route, B).unwrap().available(), 1);
}

// S34: the estimate is a lower bound, so the limit is kept in the end.
#[test]
fn a_wait_ends_at_its_limit_when_others_were_ahead() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let mut normal = waiting(limiter.acquire_timeout(A, ms(1500)));
    let mut urgent = waiting(limiter.acquire(A.priority(Priority::High)));
    time.advance(secs(1));
    assert!(is_served(&mut urgent));
    // Known at once, when the other one was served.
    let error = normal.poll().unwrap().unwrap_err();
    assert!(error.is_too_late());
    assert_eq!((error.retry_after(), normal.wakes()), (Some(secs(1)), 1));
    // One that stands behind a blocked bucket is told when its time is over, and not later.
    limiter.bucket(Tier::Route, B).unwrap().drain_to(0);
    let mut first = waiting(limiter.acquire(B));
    let mut second = waiting(limiter.acquire_timeout(B, secs(2)));
    limiter.bucket(Tier::Route, B).unwrap().pause_for(secs(10));
    time.advance(ms(1999));
    assert_eq!(second.wakes(), 0);
    time.advance(ms(1));
    let error = second.poll().unwrap().unwrap_err();
    assert!(error.is_too_late() && error.retry_after().is_some());
    assert!(first.poll().is_none());
    time.advance(secs(8));
    assert!(is_served(&mut first));
    assert_eq!(time.armed(), 0);
}

// S36
#[test]
fn those_behind_move_up_when_somebody_gives_up() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(2).burst(2)));
    assert!(limiter.try_acquire(A.tokens(2)).is_ok());
    let first = waiting(limiter.acquire(A.tokens(2)));
    let mut second = waiting(limiter.acquire(A));
    time.advance(ms(200));
    drop(first);
    time.advance(ms(299));
    assert_eq!(second.wakes(), 0);
    time.advance(ms(1));
    assert!(is_served(&mut second));
    assert_eq!((time.armed(), limiter.stats().cancelled), (0, 1));
}

// S36
#[test]
fn a_grant_that_nobody_takes_goes_back_to_every_tier() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    let request = A.user("u");
    assert!(limiter.try_acquire(request).is_ok());
    let granted = waiting(limiter.acquire(request));
    let mut behind = waiting(limiter.acquire(request));
    time.advance(secs(1));
    assert_eq!((granted.wakes(), behind.wakes()), (1, 0));
    assert_eq!(limiter.bucket(Tier::Resource, request).unwrap().available(), 19);
    drop(granted);
    assert!(is_served(&mut behind));
    assert_eq!(limiter.bucket(Tier::Resource, request).unwrap().available(), 19);
    let taken = limiter.global().available();
    assert_eq!((taken, limiter.stats().granted, limiter.stats().cancelled), (99, 2, 1));
}

// S32
#[test]
fn a_wait_for_what_never_comes_is_refused_at_once_and_ends_when_it_becomes_so() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(5)));
    let error = Polled::new(limiter.acquire(A.tokens(6))).poll().unwrap().unwrap_err();
    assert!(error.is_never() && error.retry_after().is_none());
    assert!(limiter.try_acquire(A.tokens(5)).is_ok());
    let mut wait = waiting(limiter.acquire(A.tokens(5)));
    let mut small = waiting(limiter.acquire(A));
    limiter.set_quota(Tier::Route, Quota::per_second(4));
    assert!(wait.poll().unwrap().unwrap_err().is_never());
    // The other one is not behind it any more.
    time.advance(ms(250));
    assert!(is_served(&mut small));
}

#[test]
fn nothing_is_admitted_without_waiting() {
    let (_, limiter) = build(Tiered::builder());
    limiter.global().pause_for(secs(9));
    assert!(Polled::new(limiter.acquire(A.tokens(0))).poll().is_some_and(|taken| taken.is_ok()));
}

// S36: at every await, in the midst of others.
#[test]
fn a_wait_dropped_anywhere_leaks_no_token_and_strands_nobody() {
    const MILLI: Duration = Duration::from_millis(1);
    let points = drop_at_every_await_in_sim(0..60, |sim| {
        let limiter = Tiered::builder()
            .global(Quota::per_second(1000).burst(2))
            .default_route(Quota::per_second(500).burst(1))
            .clock(sim.clock())
            .build()
            .unwrap();
        let limiter = Arc::new(limiter);
        let tasks: Vec<_> = (0..4)
            .map(|other| {
                let (limiter, clock) = (Arc::clone(&limiter), sim.clock());
                let (pause, path) = (sim.random_below(3) as u32, ["/a", "/b"][other % 2]);
                sim.spawn(format!("other {other}"), async move {
                    for _ in 0..3 {
                        limiter.acquire(Request::new("GET", path)).await.unwrap();
                        clock.sleep(pause * MILLI).await;
                    }
                })
            })
            .collect();
        let ours = Arc::clone(&limiter);
        let under_test = async move {
            let _ = ours.acquire(A).await;
            let _ = ours.acquire_timeout(B.priority(Priority::High), 3 * MILLI).await;
        };
        (under_test, move |sim: &cofferdam::testkit::Sim, point| {
            sim.run(async {
                for task in tasks {
                    task.await;
                }
            });
            let stats = limiter.stats();
            assert_eq!((stats.waiting, sim.time().armed()), (0, 0), "{point:?}");
            // Once all is quiet everything is full again.
            sim.time().advance(secs(1));
            assert_eq!((limiter.global().available(), limiter.stats().active_buckets), (2, 0), "{point:?}");
        })
    });
    assert!(points >= 60 * 3, "only {points} points");
}

// S43: nor with somebody at the end of the queue who wants something else.
#[test]
fn what_is_kept_for_who_would_starve_is_kept_from_who_does_not_come_last() {
    let builder = Tiered::builder()
        .global(Quota::unlimited())
        .resource_tiers(ResourceTiers::Each)
        .resource(Quota::per_second(10).burst(1))
        .user(Quota::per_second(10).burst(1))
        .default_route(Quota::unlimited());
    let (time, limiter) = build(builder);
    let (resource, user) = (A.resource("r"), A.user("u"));
    limiter.bucket(Tier::Route, B).unwrap().pause_for(secs(1000));
    assert!(limiter.try_acquire(resource).is_ok());
    time.advance(ms(50));
    assert!(limiter.try_acquire(user).is_ok());
    let mut both = waiting(limiter.acquire(A.resource("r").user("u")));
    let _last = waiting(limiter.acquire(B.priority(Priority::Low)));
    for step in 0..40 {
        time.advance(ms(50));
        if both.wakes() > 0 {
            break;
        }
        let other = if step % 2 == 0 { resource } else { user };
        assert!(Polled::new(limiter.acquire_timeout(other, Duration::ZERO)).poll().is_some());
    }
    assert!(is_served(&mut both), "starved for two seconds");
}
