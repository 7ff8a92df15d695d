//! Limits that hold for a while and end by themselves.

use super::{ms, secs, waiting, with_initial};
use cofferdam::limit::{Quota, Rate};
use cofferdam::time::Deadline;

// RL12
#[test]
fn a_temporary_limit_ends_by_itself_as_of_its_own_instant() {
    let (time, bucket) = with_initial(Quota::per_second(10), 0);
    bucket.set_temporarily(Quota::per_second(100), secs(1));
    assert_eq!(bucket.quota(), Quota::per_second(100));
    assert_eq!(bucket.temporary_until(), Some(Deadline::after(time.clock().now(), secs(1))));
    time.advance(ms(50));
    assert_eq!(bucket.available(), 5);
    assert!(bucket.try_acquire_many(5).is_ok());
    // Nobody looks while it ends: at that instant 95 tokens were there, of which the old bucket holds 10.
    time.advance(ms(1000));
    assert_eq!(bucket.available(), 10);
    assert_eq!((bucket.quota(), bucket.temporary_until()), (Quota::per_second(10), None));
    assert_eq!(time.armed(), 0, "no timer is needed for that");
}

// RL12: to the token, without anybody having looked in between.
#[test]
fn what_came_in_before_the_end_came_at_the_temporary_rate_and_what_came_after_it_did_not() {
    let (time, bucket) = with_initial(Quota::per_second(10).burst(1000), 0);
    bucket.set_temporarily(Quota::per_second(100).burst(1000), secs(1));
    time.advance(secs(2));
    assert_eq!(bucket.available(), 110);
    let (time, bucket) = with_initial(Quota::per_second(10).burst(1000), 0);
    bucket.set_temporarily(Quota::per_second(100).burst(1000), secs(1));
    time.advance(secs(2));
    assert_eq!((0..200).filter(|_| bucket.try_acquire().is_ok()).count(), 110, "by decisions alone");
}

// RL12
#[test]
fn nested_ones_give_way_to_the_one_around_them_and_then_to_the_first() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    bucket.set_temporarily(Quota::per_second(10), secs(10));
    time.advance(secs(2));
    bucket.set_temporarily(Quota::per_second(100), secs(3));
    assert_eq!(bucket.quota(), Quota::per_second(100));
    time.advance(secs(3));
    assert_eq!(bucket.quota(), Quota::per_second(10));
    time.advance(secs(5));
    assert_eq!(bucket.quota(), Quota::per_second(1));
}

// RL12
#[test]
fn one_that_outlasts_the_one_around_it_is_followed_by_the_first() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    bucket.set_temporarily(Quota::per_second(10), secs(2));
    bucket.set_temporarily(Quota::per_second(100), secs(5));
    time.advance(secs(5));
    assert_eq!(bucket.quota(), Quota::per_second(1));
}

// RL12, S40
#[test]
fn a_change_of_the_settings_meanwhile_holds_when_it_has_ended() {
    let (time, bucket) = with_initial(Quota::per_second(1), 0);
    bucket.set_temporarily(Quota::per_second(10), secs(2));
    bucket.set_rate(Rate::per_second(5));
    assert_eq!(bucket.quota(), Quota::per_second(10), "still in force");
    time.advance(secs(2));
    assert_eq!(bucket.quota(), Quota::per_second(5).burst(1));
}

// RL12
#[test]
fn all_that_is_temporary_can_be_ended_at_once() {
    let (_time, bucket) = with_initial(Quota::per_second(1), 0);
    bucket.set_temporarily(Quota::per_second(10), secs(2));
    bucket.set_temporarily(Quota::per_second(100), secs(2));
    bucket.clear_temporary();
    assert_eq!((bucket.quota(), bucket.temporary_until()), (Quota::per_second(1), None));
    bucket.clear_temporary();
}

// RL12: those who wait are planned anew at its beginning and at its end.
#[test]
fn those_who_wait_live_through_its_beginning_and_its_end() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let mut waiters: Vec<_> = (0..6).map(|_| waiting(bucket.acquire())).collect();
    bucket.set_temporarily(Quota::per_second(2).burst(1), ms(1750));
    let mut served = Vec::new();
    for quarter in 1..=24 {
        time.advance(ms(250));
        while waiters.first().is_some_and(|first| first.wakes() > 0) {
            assert!(waiters.remove(0).poll().unwrap().is_ok());
            served.push(quarter * 250);
        }
    }
    // Half a token is there when it ends; the other half takes half a second at the slower rate.
    assert_eq!(served, [500, 1000, 1500, 2250, 3250, 4250]);
}

// RL12, S34
#[test]
fn who_asked_for_more_than_the_temporary_burst_is_told() {
    let (_time, bucket) = with_initial(Quota::per_second(10), 0);
    let mut large = waiting(bucket.acquire_many(10));
    bucket.set_temporarily(Quota::per_second(10).burst(5), secs(1));
    assert!(large.poll().unwrap().unwrap_err().exceeds_burst());
}

// RL12 with MT9: whichever ends first.
#[test]
fn a_pause_and_a_temporary_limit_end_each_at_its_own_time() {
    for (pause, temporary) in [(secs(3), secs(5)), (secs(5), secs(3)), (secs(4), secs(4))] {
        let (time, bucket) = with_initial(Quota::per_second(1).burst(100), 0);
        bucket.pause_for(pause);
        bucket.set_temporarily(Quota::per_second(10).burst(100), temporary);
        time.advance(secs(10));
        assert_eq!(bucket.available(), (temporary.as_secs() * 10 + (10 - temporary.as_secs())).min(100));
        assert!(bucket.try_acquire().is_ok());
    }
}
