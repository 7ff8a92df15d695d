//! Half-open by rate and step by step. S10-S12, S14, S22.

use super::{MS, Rig, hair_trigger, rig};
use cofferdam::resilience::breaker::{BreakerEvent, Builder, Outcome, State, Trigger, Window};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn half_open(settings: impl FnOnce(Builder) -> Builder) -> Rig {
    let rig = rig(|builder| settings(builder.recovery_time(SECOND)));
    rig.trip();
    rig.time.advance(SECOND);
    rig.changes();
    rig
}

/// Begins all, then ends them: the state after each.
fn end_together(rig: &Rig, outcomes: &str) -> Vec<State> {
    let guards: Vec<_> = outcomes.chars().map(|_| rig.breaker.try_acquire().unwrap()).collect();
    let ends = guards.into_iter().zip(outcomes.chars()).map(|(guard, outcome)| {
        guard.record(if outcome == 'F' { Outcome::Failure } else { Outcome::Success });
        rig.breaker.state()
    });
    ends.collect()
}

#[test]
fn by_rate_the_verdict_is_given_as_soon_as_it_is_certain() {
    // S11: with four trials and half of them
    let by_rate = |builder: Builder| builder.half_open_requests(4).half_open_rate(0.5);
    use State::{Closed, HalfOpen, Open};
    for (outcomes, states) in [
        ("FFSS", [HalfOpen, Open, Open, Open]),
        ("SSSF", [HalfOpen, HalfOpen, Closed, Closed]),
        ("SFSF", [HalfOpen, HalfOpen, HalfOpen, Open]),
        ("FSSS", [HalfOpen, HalfOpen, HalfOpen, Closed]),
    ] {
        let rig = half_open(by_rate);
        assert_eq!(end_together(&rig, outcomes), states, "{outcomes}");
        let late = states.iter().filter(|state| **state != HalfOpen).count() as u64 - 1;
        assert_eq!(rig.breaker.stats().late, late, "{outcomes}");
    }
}

#[test]
fn by_rate_the_tally_is_by_trials_whatever_the_window_is() {
    // S14 (r4j#597): a window of time, and a minimum that the trials could never reach.
    let rig = half_open(|builder| {
        let builder = builder.window(Window::time(MS)).failure_rate(0.5).minimum_calls(100);
        builder.half_open_requests(2).half_open_rate(1.0)
    });
    for _ in 0..2 {
        rig.breaker.try_acquire().unwrap().failure();
        rig.time.advance(100 * MS);
    }
    assert_eq!(rig.changes().last(), Some(&(State::HalfOpen, State::Open, Trigger::TrialFailed)));
}

#[test]
fn ignored_trials_free_their_places_by_rate_too() {
    // S12
    let rig = half_open(|builder| builder.half_open_requests(2).half_open_rate(0.5));
    for _ in 0..5 {
        rig.breaker.try_acquire().unwrap().ignore();
        drop(rig.breaker.try_acquire().unwrap());
    }
    assert_eq!(end_together(&rig, "SS"), [State::HalfOpen, State::Closed]);
}

#[test]
fn slow_trials_are_against_the_callee_if_slow_calls_are() {
    let slow = |builder: Builder| builder.slow_call(100 * MS).half_open_requests(4).success_threshold(2);
    let end_slowly = |rig: &Rig| {
        let guard = rig.breaker.try_acquire().unwrap();
        rig.time.advance(101 * MS);
        guard.success();
        (rig.breaker.state(), rig.changes().last().map(|(_, _, trigger)| *trigger))
    };
    let opens = half_open(|builder| slow(builder).slow_rate(0.5));
    assert_eq!(end_slowly(&opens), (State::Open, Some(Trigger::TrialSlow)));
    let only_counted = half_open(slow);
    assert_eq!(end_slowly(&only_counted).0, State::HalfOpen);
    assert_eq!(end_slowly(&only_counted), (State::Closed, Some(Trigger::TrialsSucceeded)));
    let by_rate = half_open(|builder| slow(builder).slow_rate(0.5).half_open_rate(0.5));
    assert_eq!(end_slowly(&by_rate).0, State::HalfOpen);
    assert_eq!(end_slowly(&by_rate), (State::Open, Some(Trigger::TrialSlow)));
}

#[test]
fn a_trial_that_is_dropped_when_it_is_slow_is_no_success() {
    let drop_slowly = |rig: &Rig| {
        let guard = rig.breaker.try_acquire().unwrap();
        rig.time.advance(101 * MS);
        drop(guard);
        rig.breaker.state()
    };
    let slow = |builder: Builder| {
        let builder = builder.slow_call(100 * MS).count_cancelled_slow(true);
        builder.half_open_requests(1).success_threshold(1)
    };
    assert_eq!(drop_slowly(&half_open(slow)), State::HalfOpen);
    assert_eq!(drop_slowly(&half_open(|builder| slow(builder).slow_rate(0.5))), State::Open);
}

fn ramp(builder: Builder) -> Builder {
    builder.half_open_requests(2).success_threshold(2).half_open_ramp(&[0.1, 0.25, 0.5])
}

#[test]
fn a_ramp_lets_a_share_through_step_by_step_and_then_closes() {
    let rig = half_open(ramp);
    for every in [10, 4, 2] {
        for _ in 0..2 {
            rig.breaker.try_acquire().expect("the first of them").success();
            if rig.breaker.state() == State::Closed {
                break;
            }
            let next_is_first = rig.breaker.stats().successes % 2 == 0;
            for _ in 1..if next_is_first { 1 } else { every } {
                let refused = rig.refused();
                assert!(refused.is_half_open() && refused.retry_after().is_none());
            }
        }
    }
    assert_eq!(rig.breaker.state(), State::Closed);
    assert_eq!(rig.breaker.stats().rejected, 9 + 3 + 1);
    let events = rig.events.lock().unwrap().clone();
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            BreakerEvent::NextStep { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [1, 2]);
    drop(events);
    assert_eq!(rig.changes().len(), 2, "half-open is one state");
}

#[test]
fn a_failure_on_any_step_opens_and_the_next_time_begins_at_the_first() {
    let rig = half_open(|builder| ramp(builder).recovery_growth(3.0));
    rig.breaker.try_acquire().unwrap().success();
    (1..10).for_each(|_| drop(rig.refused()));
    rig.breaker.try_acquire().unwrap().success();
    rig.breaker.try_acquire().expect("the second step").failure();
    assert_eq!(rig.refused().retry_after(), Some(3 * SECOND), "the opens go on over the steps");
    rig.time.advance(3 * SECOND);
    drop(rig.breaker.try_acquire().unwrap());
    (1..10).for_each(|_| drop(rig.refused()));
    drop(rig.breaker.try_acquire().unwrap());
}

#[test]
fn results_of_an_earlier_step_are_late() {
    // S9, S11
    let rig = half_open(|builder| ramp(builder).half_open_requests(3).half_open_ramp(&[0.9, 1.0]));
    let guards: Vec<_> = (0..4).filter_map(|_| rig.breaker.try_acquire().ok()).collect();
    let mut guards = guards.into_iter();
    guards.next().unwrap().success();
    guards.next().unwrap().success();
    guards.next().unwrap().failure();
    let stats = rig.breaker.stats();
    assert_eq!((stats.state, stats.successes, stats.late), (State::HalfOpen, 2, 1));
}

#[test]
fn a_step_that_hangs_is_overdue_like_any_other() {
    // S13
    let rig = half_open(|builder| ramp(builder).half_open_limit(Some(5 * SECOND)));
    let _first = rig.breaker.try_acquire().unwrap();
    rig.time.advance(5 * SECOND);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn where_lease_and_limit_are_over_at_once_the_verdict_goes_first() {
    // As they are unless told otherwise. The refusal says when the breaker decides anew, not that it lets a call through then.
    let rig = rig(|builder| hair_trigger(builder).half_open_limit(Some(50 * MS)).trial_lease(Some(50 * MS)));
    rig.trip();
    rig.time.advance(100 * MS);
    let trial = rig.breaker.try_acquire().unwrap();
    let refused = rig.refused();
    assert_eq!((refused.state(), refused.retry_after()), (State::HalfOpen, Some(50 * MS)));
    rig.time.advance(50 * MS);
    let refused = rig.refused();
    assert_eq!((refused.state(), refused.retry_after()), (State::Open, Some(100 * MS)));
    drop(trial);
}
