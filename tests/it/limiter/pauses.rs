//! Pauses: nobody is admitted, tokens come in, waits are planned from the end on.

use super::{ms, secs, waiting, with_initial};
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::Deadline;
use proptest::prelude::*;
use std::time::Duration;

// MT9
#[test]
fn a_pause_refuses_what_is_there_and_says_when_it_ends() {
    let (time, bucket) = with_initial(Quota::per_second(10), 10);
    bucket.pause_for(secs(4));
    let denied = bucket.try_acquire().unwrap_err();
    assert!(denied.is_paused() && !denied.is_never());
    assert_eq!(denied.retry_after(), Some(secs(4)));
    assert_eq!(denied.to_string(), "token bucket: paused: 1 to be had in 4s");
    assert_eq!(bucket.peek(1), Err(denied));
    assert_eq!((bucket.available(), bucket.is_paused()), (0, true));
    assert_eq!(bucket.paused_until(), Some(Deadline::after(time.clock().now(), secs(4))));
    assert!(bucket.try_acquire_many(11).unwrap_err().is_never());
    assert!(bucket.try_acquire_many(0).is_ok() && bucket.peek(0).is_ok());
    assert!(bucket.reserve(1).unwrap_err().is_paused());
    time.advance(secs(4) - std::time::Duration::from_nanos(1));
    assert!(bucket.try_acquire().is_err());
    time.advance(std::time::Duration::from_nanos(1));
    assert_eq!(bucket.paused_until(), None);
    assert!(bucket.try_acquire_many(10).is_ok(), "nothing was spent");
}

// MT9, RL2: a pause is no drain.
#[test]
fn tokens_come_in_during_a_pause_and_the_bucket_holds_no_more_than_its_burst() {
    let (time, bucket) = with_initial(Quota::per_second(10).burst(4), 0);
    bucket.pause_for(ms(200));
    // What the end of the pause will not have yet is to be waited for behind it.
    assert_eq!(bucket.try_acquire_many(3).unwrap_err().retry_after(), Some(ms(300)));
    time.advance(ms(200));
    assert_eq!(bucket.available(), 2);
    bucket.pause_for(secs(9));
    time.advance(secs(9));
    assert_eq!(bucket.available(), 4);
}

// MT9
#[test]
fn a_pause_without_end_ends_with_resume() {
    let (time, bucket) = with_initial(Quota::per_second(10), 1);
    bucket.pause();
    let denied = bucket.try_acquire().unwrap_err();
    assert_eq!((denied.retry_after(), denied.is_never(), denied.is_paused()), (None, false, true));
    assert_eq!(denied.to_string(), "token bucket: paused until it is resumed");
    assert_eq!(bucket.paused_until(), Some(Deadline::NEVER));
    let mut waiter = waiting(bucket.acquire());
    assert!(Polled::new(bucket.acquire_timeout(secs(1))).poll().unwrap().is_err(), "nobody knows when");
    time.advance(secs(3600));
    assert_eq!((waiter.wakes(), time.armed()), (0, 0));
    bucket.resume();
    assert!(waiter.poll().unwrap().is_ok());
    assert!(!bucket.is_paused());
    bucket.resume();
    assert_eq!(bucket.available(), 9);
}

// S45
#[test]
fn a_pause_is_not_shortened_by_another_one_but_by_resume() {
    let (time, bucket) = with_initial(Quota::per_second(1), 1);
    bucket.pause_for(secs(4));
    bucket.pause_for(secs(1));
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(4)));
    bucket.pause_until(time.clock().now());
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(4)));
    bucket.pause_for(secs(6));
    assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(6)));
    bucket.resume();
    assert!(bucket.try_acquire().is_ok());
}

// MT9, S35: the rate holds for those who waited through a pause.
#[test]
fn those_who_waited_leave_a_pause_at_the_rate() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let mut waiters: Vec<_> = (0..5).map(|_| waiting(bucket.acquire())).collect();
    bucket.pause_for(secs(10));
    let mut late = waiting(bucket.acquire());
    assert_eq!(time.next_deadline(), Some(time.clock().now() + secs(10)));
    time.advance(secs(9));
    assert!(waiters.iter().all(|waiter| waiter.wakes() == 0));
    time.advance(secs(1));
    for at in 0..5 {
        assert!(waiters[at].poll().unwrap().is_ok(), "{at}");
        assert!(waiters.get(at + 1).is_none_or(|next| next.wakes() == 0));
        assert_eq!(late.wakes(), 0);
        time.advance(secs(1));
    }
    assert!(late.poll().unwrap().is_ok());
    assert_eq!(late.wakes(), 1);
}

// MT9
#[test]
fn an_early_resume_serves_those_who_wait_as_if_it_had_been_meant_to_end_then() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(2), 0);
    let mut waiters: Vec<_> = (0..4).map(|_| waiting(bucket.acquire())).collect();
    bucket.pause_for(secs(100));
    time.advance(secs(5));
    bucket.resume();
    // A full bucket for two of them, then one a second.
    assert!(waiters[0].poll().unwrap().is_ok() && waiters[1].poll().unwrap().is_ok());
    assert_eq!(waiters[2].wakes(), 0);
    time.advance(secs(1));
    assert!(waiters[2].poll().unwrap().is_ok());
    time.advance(secs(1));
    assert!(waiters[3].poll().unwrap().is_ok());
}

// S34
#[test]
fn who_cannot_be_served_in_time_after_a_pause_is_told_when_it_begins() {
    let (_time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let mut short = waiting(bucket.acquire_timeout(secs(3)));
    let mut long = waiting(bucket.acquire_timeout(secs(10)));
    bucket.pause_for(secs(10));
    let error = short.poll().unwrap().unwrap_err();
    assert!(error.is_too_late());
    assert!(long.poll().is_none(), "ten seconds are just enough, now that it is the first");
    let refused = Polled::new(bucket.acquire_timeout(secs(10))).poll().unwrap().unwrap_err();
    assert_eq!(refused.retry_after(), Some(secs(11)), "behind the one in line");
    assert_eq!(bucket.stats().waiting, 1);
}

// MT9, S34: those who were in line are told as those who come.
#[test]
fn who_is_told_when_a_pause_begins_hears_what_a_newcomer_would() {
    for (pause, after) in [(secs(10), Some(secs(10))), (Duration::MAX, None)] {
        let (_time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
        let mut short = waiting(bucket.acquire_timeout(secs(3)));
        bucket.pause_for(pause);
        let told = short.poll().unwrap().unwrap_err();
        let newcomer = Polled::new(bucket.acquire_timeout(secs(3))).poll().unwrap().unwrap_err();
        assert_eq!((told.retry_after(), newcomer.retry_after()), (after, after));
        assert_eq!(told.to_string(), newcomer.to_string());
    }
}

// S36
#[test]
fn giving_up_in_a_pause_moves_the_others_up() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let mut waiters: Vec<_> = (0..3).map(|_| waiting(bucket.acquire())).collect();
    bucket.pause_for(secs(10));
    drop(waiters.remove(0));
    time.advance(secs(10));
    assert!(waiters[0].poll().unwrap().is_ok());
    time.advance(secs(1));
    assert!(waiters[1].poll().unwrap().is_ok());
}

// S40 within a pause.
#[test]
fn settings_may_be_changed_in_a_pause() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let mut waiters: Vec<_> = (0..3).map(|_| waiting(bucket.acquire())).collect();
    bucket.pause_for(secs(10));
    bucket.set_rate(cofferdam::limit::Rate::per_second(2));
    time.advance(secs(10));
    assert!(waiters[0].poll().unwrap().is_ok());
    time.advance(ms(500));
    assert!(waiters[1].poll().unwrap().is_ok());
    time.advance(ms(500));
    assert!(waiters[2].poll().unwrap().is_ok());
}

// MT9, S39, S40: what a bucket cannot hold is lost, also where somebody in line keeps it from being taken.
#[test]
fn a_larger_burst_brings_back_nothing_of_what_ran_over_in_a_pause() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(2), 2);
    bucket.pause_for(secs(20));
    let mut waiter = waiting(bucket.acquire());
    time.advance(secs(10));
    bucket.set_quota(Quota::per_hour(1).burst(9));
    time.advance(secs(10));
    assert!(waiter.poll().unwrap().is_ok());
    assert_eq!(bucket.available(), 1, "of two");
}

// MT9, S32: the end of a pause is known, whatever the rate.
#[test]
fn a_pause_without_a_rate_ends_as_any_other() {
    for (quota, left) in [(Quota::zero(2), 1), (Quota::unlimited(), u64::MAX)] {
        let (time, bucket) = with_initial(quota, quota.burst_size());
        bucket.pause_for(secs(3));
        assert_eq!(bucket.try_acquire().unwrap_err().retry_after(), Some(secs(3)));
        let mut waiter = waiting(bucket.acquire_timeout(secs(3)));
        assert!(Polled::new(bucket.acquire_timeout(ms(2999))).poll().unwrap().unwrap_err().is_too_late());
        time.advance(secs(3));
        assert!(waiter.poll().unwrap().is_ok());
        assert_eq!(bucket.available(), left);
    }
    let (_time, bucket) = with_initial(Quota::zero(2), 1);
    for pause in [secs(3), Duration::MAX] {
        bucket.pause_for(pause);
        assert!(bucket.try_acquire_many(2).unwrap_err().is_never());
        assert!(Polled::new(bucket.acquire_many(2)).poll().unwrap().unwrap_err().is_never());
    }
}

type Line<'a> = Vec<Polled<cofferdam::limit::Acquire<'a>>>;

/// Takes those out who have been served: in order, and outside a pause.
fn served(
    line: &mut Line<'_>,
    bucket: &TokenBucket,
    time: &ManualClock,
    admitted: &mut Vec<u64>,
) -> Result<(), TestCaseError> {
    while line.first().is_some_and(|first| first.wakes() > 0) {
        prop_assert!(!bucket.is_paused());
        prop_assert!(line.remove(0).poll().unwrap().is_ok());
        admitted.push(time.elapsed().as_millis() as u64);
    }
    prop_assert!(line.iter().all(|wait| wait.wakes() == 0));
    Ok(())
}

proptest! {
    // MT9, S31, S35: with random pauses, resumes, arrivals and drops, admissions never exceed the burst plus what the rate
    // brings over any stretch, come in order, and the last of them comes no later than pauses and rate demand.
    #[test]
    fn pauses_neither_mint_nor_lose_tokens(
        steps in prop::collection::vec((0u8..8, 0u64..3000), 1..60),
        burst in 1u64..4,
    ) {
        let quota = Quota::per_second(1).burst(burst);
        let time = ManualClock::new();
        let bucket = TokenBucket::builder(quota).clock(time.clock()).build().unwrap();
        let mut line: Line<'_> = Vec::new();
        let mut admitted: Vec<u64> = Vec::new();
        for (kind, amount) in steps {
            match kind {
                0 | 1 => {
                    let mut wait = Polled::new(bucket.acquire());
                    match wait.poll() {
                        Some(result) => {
                            prop_assert!(result.is_ok() && !bucket.is_paused() && line.is_empty());
                            admitted.push(time.elapsed().as_millis() as u64);
                        }
                        None => line.push(wait),
                    }
                }
                2 => bucket.pause_for(ms(amount)),
                3 => bucket.resume(),
                4 if !line.is_empty() => drop(line.remove(amount as usize % line.len())),
                5 if bucket.try_acquire().is_ok() => {
                    prop_assert!(!bucket.is_paused() && line.is_empty());
                    admitted.push(time.elapsed().as_millis() as u64);
                }
                6 | 7 => for _ in 0..amount {
                    time.advance(ms(1));
                    served(&mut line, &bucket, &time, &mut admitted)?;
                },
                _ => {}
            }
            served(&mut line, &bucket, &time, &mut admitted)?;
        }
        for (from, start) in admitted.iter().enumerate() {
            for (to, end) in admitted.iter().enumerate().skip(from) {
                prop_assert!((to - from + 1) as u64 <= burst + (end - start) / 1000);
            }
        }
        // Nobody is forgotten: from here on one a second, or at once from a full bucket.
        bucket.resume();
        for left in (0..line.len()).rev() {
            time.advance(secs(1));
            prop_assert!(line[line.len() - 1 - left].wakes() > 0);
        }
    }
}

// S39
#[test]
fn a_refund_in_a_pause_soon_after_the_start_brings_those_in_line_no_closer_together() {
    let every = Duration::from_nanos(400);
    let (time, bucket) = with_initial(Quota::every(every).unwrap().burst(2), 2);
    bucket.pause_for(Duration::from_nanos(600));
    let _both = [waiting(bucket.acquire()), waiting(bucket.acquire())];
    time.advance(Duration::from_nanos(100));
    bucket.refund(2);
    // The two leave a full bucket at 600, and two more come until 1400.
    let refused = Polled::new(bucket.acquire_many_timeout(2, every)).poll().unwrap().unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_nanos(1300)));
}
