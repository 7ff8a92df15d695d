//! Draining in a pause, where there are tokens although somebody waits. The two lines must agree: the token bucket has its own,
//! the leaky bucket, which decides by the same numbers, has everybody else's.

use super::{ms, secs, waiting};
use cofferdam::limit::{Acquire, Algorithm, Gcra, Leaky, Limiter, Quota};
use cofferdam::testkit::{ManualClock, Polled};
use proptest::prelude::*;

fn full<A: Algorithm + From<Quota>>(quota: Quota) -> (ManualClock, Limiter<A>) {
    let time = ManualClock::new();
    let limiter = Limiter::builder(quota).clock(time.clock()).build().unwrap();
    (time, limiter)
}

/// The same for both lines.
macro_rules! both {
    ($(#[$of:meta])* fn $name:ident<$algorithm:ident>() $body:block) => {
        $(#[$of])*
        #[test]
        fn $name() {
            fn of<$algorithm: Algorithm + From<Quota>>() $body
            of::<Gcra>();
            of::<Leaky>();
        }
    };
}

both! {
    /// S45: who waits through a pause gets nothing of what a server has said is gone.
    fn what_is_drained_in_a_pause_is_drained_ahead_of_those_who_wait<A>() {
        let (time, limiter) = full::<A>(Quota::per_second(1).burst(10));
        limiter.pause_for(secs(100));
        let mut waiters: Vec<_> = (0..3).map(|_| waiting(limiter.acquire())).collect();
        time.advance(secs(50));
        limiter.drain_to(1);
        limiter.resume();
        assert!(waiters[0].poll().unwrap().is_ok(), "the one that was left");
        for waiter in &mut waiters[1..] {
            time.advance(ms(999));
            assert_eq!(waiter.wakes(), 0);
            time.advance(ms(1));
            assert!(waiter.poll().unwrap().is_ok());
        }
        time.advance(secs(4));
        assert_eq!(limiter.available(), 4, "nothing else is owed");
    }
}

both! {
    /// S45, S39: nothing comes in twice, and nothing is lost.
    fn the_end_of_a_pause_after_a_drain_owes_no_more_than_was_drained<A>() {
        let (time, limiter) = full::<A>(Quota::per_second(1).burst(10));
        limiter.pause_for(secs(100));
        let mut waiter = waiting(limiter.acquire());
        time.advance(secs(50));
        limiter.drain_to(0);
        time.advance(secs(50));
        assert!(waiter.poll().unwrap().is_ok(), "full again");
        assert_eq!(limiter.available(), 9);
    }
}

both! {
    /// S40, S45
    fn a_smaller_burst_after_a_drain_in_a_pause_takes_nothing_from_newcomers<A>() {
        let (time, limiter) = full::<A>(Quota::per_second(1).burst(10));
        limiter.pause_for(secs(100));
        let mut waiter = waiting(limiter.acquire());
        time.advance(secs(50));
        limiter.drain_to(8);
        limiter.set(Quota::per_second(1).burst(4));
        limiter.resume();
        assert!(waiter.poll().unwrap().is_ok());
        assert_eq!(limiter.available(), 3);
    }
}

both! {
    /// S34, S45
    fn who_can_no_longer_be_served_in_time_after_a_drain_is_told_at_once<A>() {
        let (_time, limiter) = full::<A>(Quota::per_second(1).burst(10));
        limiter.pause_for(secs(3));
        let mut short = waiting(limiter.acquire_many_timeout(5, secs(4)));
        let mut long = waiting(limiter.acquire_many_timeout(5, secs(5)));
        limiter.drain_to(0);
        let told = short.poll().unwrap().unwrap_err();
        assert!(told.is_too_late());
        assert_eq!(told.retry_after(), Some(secs(5)));
        assert!(long.poll().is_none(), "the first now, and just in time");
        assert_eq!(limiter.stats().waiting, 1);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Wait { n: u64, limit: Option<u64> },
    Take(u64),
    Pause(u64),
    Resume,
    Drain(u64),
    Set { burst: u64, slow: bool },
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1u64..4, prop::option::weighted(0.3, 0u64..12)).prop_map(|(n, limit)| Op::Wait { n, limit }),
        1 => (1u64..3).prop_map(Op::Take),
        2 => (0u64..12).prop_map(Op::Pause),
        1 => Just(Op::Resume),
        2 => (0u64..6).prop_map(Op::Drain),
        1 => (1u64..8, any::<bool>()).prop_map(|(burst, slow)| Op::Set { burst, slow }),
        3 => (0u64..6).prop_map(Op::Advance),
    ]
}

/// Who heard what and when, and what there was.
fn play<A: Algorithm + From<Quota>>(ops: &[Op]) -> String {
    let (time, limiter) = full::<A>(Quota::per_second(1).burst(6));
    let mut line: Vec<(usize, Polled<Acquire<'_, A>>)> = Vec::new();
    let mut heard = Vec::new();
    let said = |result: Result<(), cofferdam::limit::WaitError>| {
        result.map_err(|error| (error.is_never(), error.retry_after()))
    };
    for (id, op) in ops.iter().enumerate() {
        let mut now = None;
        match *op {
            Op::Wait { n, limit } => {
                let acquire = match limit {
                    Some(limit) => limiter.acquire_many_timeout(n, secs(limit)),
                    None => limiter.acquire_many(n),
                };
                let mut polled = Polled::new(acquire);
                match polled.poll() {
                    Some(result) => now = Some(said(result)),
                    None => line.push((id, polled)),
                }
            }
            Op::Take(n) => {
                let taken = limiter.try_acquire_many(n);
                now = Some(taken.map_err(|denied| (denied.is_never(), denied.retry_after())));
            }
            Op::Pause(seconds) => limiter.pause_for(secs(seconds)),
            Op::Resume => limiter.resume(),
            // Without a pause as well.
            Op::Drain(n) => limiter.drain_to(n),
            Op::Set { burst, slow } => {
                let quota = Quota::per(1, secs(if slow { 2 } else { 1 })).unwrap();
                limiter.set(quota.burst(burst));
            }
            Op::Advance(seconds) => {
                for _ in 0..seconds {
                    time.advance(secs(1));
                    line.retain_mut(|(id, polled)| match polled.poll() {
                        Some(result) => {
                            heard.push((time.elapsed(), *id, Some(said(result)), 0));
                            false
                        }
                        None => true,
                    });
                }
            }
        }
        line.retain_mut(|(id, polled)| match polled.poll() {
            Some(result) => {
                heard.push((time.elapsed(), *id, Some(said(result)), 0));
                false
            }
            None => true,
        });
        heard.push((time.elapsed(), id, now, limiter.available()));
    }
    format!("{heard:?}")
}

proptest! {
    /// S35, S40, S45: two lines, one behaviour.
    #[test]
    fn both_lines_say_the_same_about_pauses_drains_and_changes(ops in prop::collection::vec(op(), 1..25)) {
        let (chain, plan) = (play::<Gcra>(&ops), play::<Leaky>(&ops));
        prop_assert_eq!(chain, plan);
    }
}
