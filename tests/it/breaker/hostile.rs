//! What happens between two steps of a breaker, made to happen by the functions that it calls in between.

use super::{MS, rig};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{BreakerEvent, KeyedBreaker, Outcome, State, Trigger, Window};
use cofferdam::testkit::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker that is open for a second; `meanwhile` is done when somebody has found that its break is over and has not taken
/// the lock yet.
fn put_off(meanwhile: fn(&CircuitBreaker), look: fn(&CircuitBreaker, std::time::Instant)) {
    let (breaker, armed) = (Arc::new(OnceLock::<CircuitBreaker>::new()), Arc::new(AtomicBool::new(false)));
    let (inner, fire) = (Arc::clone(&breaker), Arc::clone(&armed));
    let rig = rig(|builder| {
        builder.failure_threshold(1).recovery_with(move |_| {
            if fire.swap(false, Ordering::SeqCst) {
                meanwhile(inner.get().unwrap());
            }
            SECOND
        })
    });
    breaker.set(rig.breaker.clone()).unwrap();
    rig.fail(1);
    armed.store(true, Ordering::SeqCst);
    // The other thread's clock is a moment behind: to it, the breaker is open still.
    look(&rig.breaker, rig.time.clock().now() + SECOND);
    rig.time.advance(SECOND);
    assert_eq!(rig.breaker.state(), State::Open);
    assert_eq!(rig.refused().retry_after(), Some(59 * SECOND));
    assert_eq!(rig.changes(), [(State::Closed, State::Open, Trigger::ConsecutiveFailures)]);
}

#[test]
fn a_break_that_is_put_off_while_a_call_comes_in_goes_on() {
    let looks: [fn(&CircuitBreaker, std::time::Instant); 2] = [
        |breaker, now| assert!(breaker.try_acquire_at(now).is_err_and(|open| open.state() == State::Open)),
        |breaker, now| assert_eq!(breaker.poll_transition_at(now), State::Open),
    ];
    for look in looks {
        put_off(|breaker| breaker.trip_for(60 * SECOND).unwrap(), look);
        put_off(|breaker| breaker.set(breaker.settings().recovery_with(|_| 60 * SECOND)).unwrap(), look);
    }
}

#[test]
fn the_break_after_a_trial_knows_why_it_begins() {
    // S19
    for (outcome, trigger) in [
        (Outcome::Success, Trigger::TrialSlow),
        (Outcome::Failure, Trigger::TrialFailed),
        (Outcome::Trip(Duration::ZERO), Trigger::Outcome),
    ] {
        let rig = rig(|builder| {
            let builder = builder.slow_call(MS).slow_rate(0.5).recovery_with(|trip| match trip.trigger {
                Trigger::TrialSlow => 2 * SECOND,
                Trigger::TrialFailed => 3 * SECOND,
                Trigger::Outcome => 4 * SECOND,
                _ => SECOND,
            });
            builder.half_open_limit(Some(60 * SECOND)).trial_lease(Some(60 * SECOND))
        });
        rig.trip();
        rig.time.advance(SECOND);
        let trial = rig.breaker.try_acquire().unwrap();
        rig.time.advance(2 * MS);
        trial.record(outcome);
        assert_eq!(rig.changes().last(), Some(&(State::HalfOpen, State::Open, trigger)));
        let length = match trigger {
            Trigger::TrialSlow => 2,
            Trigger::TrialFailed => 3,
            _ => 4,
        };
        assert_eq!(rig.refused().retry_after(), Some(length * SECOND), "{trigger}");
    }
}

#[test]
fn a_slow_call_is_no_more_than_the_calls() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rig = rig(|builder| builder.slow_call(MS).count_cancelled_slow(true));
    let (breaker, stats) = (rig.breaker.clone(), Arc::clone(&seen));
    rig.breaker.observe(move |event: &BreakerEvent| {
        if let BreakerEvent::SlowCall { .. } = event {
            stats.lock().unwrap().push(breaker.stats());
        }
    });
    let ends: [fn(cofferdam::resilience::breaker::OwnedGuard); 3] =
        [|guard| guard.success(), |guard| guard.failure(), |guard| drop(guard)];
    for end in ends {
        let guard = rig.breaker.try_acquire_owned().unwrap();
        rig.time.advance(2 * MS);
        end(guard);
    }
    let seen = seen.lock().unwrap();
    for (stats, slow) in seen.iter().zip(1..) {
        assert_eq!((stats.slow, stats.successes + stats.failures + stats.cancelled), (slow, slow));
    }
    assert_eq!(seen.len(), 3);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn settings_that_panic_when_they_are_dropped_hold_no_event_back() {
    // S21
    let held = PanicsWhenDropped;
    let rig = rig(|builder| {
        builder.failure_threshold(1).recovery_with(move |_| {
            let _held = &held;
            SECOND
        })
    });
    let set = || rig.breaker.set(CircuitBreaker::builder().failure_threshold(2));
    assert!(catch_unwind(AssertUnwindSafe(set)).is_err());
    rig.fail(2);
    let told = rig.events.lock().unwrap().clone();
    assert!(matches!(
        told[..],
        [BreakerEvent::SettingsChanged { .. }, BreakerEvent::StateChanged { to: State::Open, .. }]
    ));
}

#[test]
fn a_window_after_very_many_others_is_a_new_one() {
    let rig = rig(|builder| builder.failures_in_window(100).window(Window::time(MS)));
    let set = |window| rig.breaker.set(rig.breaker.settings().window(window)).unwrap();
    rig.time.advance(1_000 * SECOND);
    rig.fail(1);
    for n in 1..=600 {
        set(Window::time(u32::from(n % 2 == 0) * SECOND + 10 * SECOND));
        if n % 255 < 2 || n % 255 == 254 {
            // (To look at it is no outcome.)
            assert_eq!(rig.breaker.stats().window.unwrap().calls, 0);
        }
        if n == 255 {
            rig.fail(1);
            rig.time.advance(3_600 * SECOND);
            assert_eq!(rig.breaker.stats().window.unwrap().calls, 0, "gone with its time");
            // As before the first of them.
            set(Window::time(MS));
            rig.fail(1);
        }
    }
}

#[test]
fn of_settings_that_change_while_they_change_the_last_are_in_force() {
    // S23, S83
    let time = ManualClock::new();
    let settings = |failures| CircuitBreaker::builder().failure_threshold(failures);
    let this = Arc::new(OnceLock::<KeyedBreaker<u32>>::new());
    let (inner, first) = (Arc::clone(&this), AtomicBool::new(true));
    let hosts = KeyedBreaker::builder(settings(5).clock(time.clock())).shards(1).observer(move |_, event| {
        if matches!(event, BreakerEvent::SettingsChanged { .. }) && first.swap(false, Ordering::SeqCst) {
            inner.get().unwrap().set(settings(1)).unwrap();
        }
    });
    let hosts = hosts.build().unwrap();
    this.set(hosts.clone()).unwrap();
    for key in 0..8 {
        hosts.breaker(&key).unwrap();
    }
    hosts.set(settings(3)).unwrap();
    for key in 0..9 {
        hosts.try_acquire(&key).unwrap().failure();
        assert_eq!(hosts.state(&key), Some(State::Open), "{key}");
    }
}

#[test]
fn a_breaker_that_is_made_while_the_settings_change_has_the_last() {
    let time = ManualClock::new();
    let this = Arc::new(OnceLock::<KeyedBreaker<u32>>::new());
    let inner = Arc::clone(&this);
    // Called with the breaker's first break, while it is made.
    let settings = CircuitBreaker::builder().initial_state(State::Open).recovery_with(move |_| {
        inner.get().unwrap().set(CircuitBreaker::builder().recovery_time(7 * SECOND)).unwrap();
        SECOND
    });
    let hosts = KeyedBreaker::builder(settings.clock(time.clock())).build().unwrap();
    this.set(hosts.clone()).unwrap();
    assert_eq!(hosts.try_acquire(&1).unwrap_err().retry_after(), Some(7 * SECOND));
}

#[test]
fn whatever_opens_it_an_observer_may_call_back() {
    // S21
    let rig = rig(|builder| builder.failure_rate(0.5).minimum_calls(2).failure_threshold(5));
    let breaker = rig.breaker.clone();
    rig.breaker.observe(move |event: &BreakerEvent| {
        if let BreakerEvent::StateChanged { to: State::Open, .. } = event {
            breaker.reset().unwrap();
        }
    });
    rig.fail(2);
    rig.breaker.try_acquire().unwrap().record(Outcome::Trip(SECOND));
    let triggers: Vec<_> = rig.changes().into_iter().map(|(_, _, trigger)| trigger).collect();
    assert_eq!(triggers, [Trigger::FailureRate, Trigger::Reset, Trigger::Outcome, Trigger::Reset]);
}

#[test]
fn a_place_judged_by_the_trial_that_lost_it_is_no_longer_out() {
    let rig = rig(|builder| {
        let builder = builder.recovery_time(SECOND).half_open_requests(2).success_threshold(2);
        builder.half_open_limit(None).trial_lease(Some(SECOND))
    });
    rig.trip();
    rig.time.advance(SECOND);
    let acquire = || rig.breaker.try_acquire().unwrap();
    let lost = acquire();
    rig.time.advance(SECOND);
    let (other, successor) = (acquire(), acquire());
    lost.success();
    drop(other);
    acquire().success();
    assert_eq!(rig.breaker.state(), State::Closed);
    successor.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Closed, 1));
}

#[test]
fn the_break_after_overdue_trials_is_that_of_the_settings_in_force() {
    // S83
    let limit = |builder: cofferdam::resilience::breaker::Builder| {
        builder.half_open_limit(Some(SECOND)).trial_lease(Some(SECOND))
    };
    let rig = rig(|builder| limit(builder).recovery_time(SECOND));
    rig.trip();
    rig.time.advance(SECOND);
    drop(rig.breaker.try_acquire().unwrap());
    rig.breaker.set(limit(rig.breaker.settings()).recovery_time(9 * SECOND)).unwrap();
    let _hangs = rig.breaker.try_acquire().unwrap();
    rig.time.advance(SECOND);
    assert_eq!(rig.refused().retry_after(), Some(9 * SECOND));
}

#[test]
fn a_break_until_an_instant_is_not_that_of_the_settings_even_if_those_began_it() {
    let rig = rig(|builder| builder.failure_threshold(1).recovery_time(10 * SECOND));
    rig.fail(1);
    rig.breaker.trip_for(60 * SECOND).unwrap();
    rig.breaker.set(rig.breaker.settings().recovery_time(5 * SECOND)).unwrap();
    assert_eq!(rig.refused().retry_after(), Some(60 * SECOND));
}

#[test]
fn a_lower_threshold_is_reached_by_the_next_failure() {
    let rig = rig(|builder| builder.failure_threshold(9));
    rig.fail(4);
    rig.breaker.set(rig.breaker.settings().failure_threshold(3)).unwrap();
    assert_eq!(rig.breaker.state(), State::Closed);
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_break_without_end_says_how_long_it_is() {
    // S15
    let rig =
        rig(|builder| builder.failure_threshold(1).recovery_time(Duration::MAX).recovery_cap(Duration::MAX));
    rig.fail(1);
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_nanos(u64::MAX - 1)));
}

#[test]
fn slow_trials_of_an_earlier_phase_do_not_count() {
    let rig = rig(|builder| {
        let builder = builder.recovery_time(SECOND).slow_call(MS).slow_rate(0.5);
        builder.half_open_requests(4).half_open_rate(0.5)
    });
    for _ in 0..3 {
        rig.breaker.trip_for(SECOND).unwrap();
        rig.time.advance(SECOND);
        let trial = rig.breaker.try_acquire().unwrap();
        rig.time.advance(2 * MS);
        trial.success();
        assert_eq!(rig.breaker.state(), State::HalfOpen);
    }
}

#[test]
fn a_window_of_calls_is_empty_after_very_many_generations() {
    let rig = rig(|builder| builder.window(Window::calls(10)).failures_in_window(2));
    rig.fail(1);
    for _ in 0..4_096 {
        rig.breaker.reset().unwrap();
    }
    assert_eq!(rig.breaker.stats().window.unwrap().calls, 0);
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn a_breaker_that_has_seen_a_slow_call_is_not_idle() {
    let time = ManualClock::new();
    let settings = CircuitBreaker::builder().slow_call(MS).slow_rate(0.9).clock(time.clock());
    let hosts = KeyedBreaker::<u32>::new(settings).unwrap();
    let guard = hosts.try_acquire(&1).unwrap();
    time.advance(2 * MS);
    guard.success();
    assert_eq!((hosts.remove_idle(), hosts.state(&1)), (0, Some(State::Closed)));
}
