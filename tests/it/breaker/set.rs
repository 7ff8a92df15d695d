//! Other settings for a breaker in use. S83.

use super::{MS, Rig, rig};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{BreakerEvent, Builder, Outcome, State, Trigger, Window};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

impl Rig {
    fn set(&self, settings: impl FnOnce(Builder) -> Builder) {
        self.breaker.set(settings(self.breaker.settings())).unwrap();
    }
}

#[test]
fn settings_that_make_no_sense_leave_the_old_in_force() {
    let rig = rig(|builder| builder.failure_threshold(2));
    rig.fail(1);
    let bad = rig.breaker.set(rig.breaker.settings().failure_rate(1.5)).unwrap_err();
    assert_eq!(bad.knob(), "failure_rate");
    assert!(rig.events.lock().unwrap().is_empty());
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn the_end_of_a_present_break_follows_from_its_beginning() {
    let rig = rig(|builder| builder.failure_threshold(1).recovery_time(10 * SECOND));
    rig.fail(1);
    rig.time.advance(4 * SECOND);
    rig.set(|settings| settings.recovery_time(5 * SECOND));
    assert_eq!(rig.refused().retry_after(), Some(SECOND));
    rig.set(|settings| settings.recovery_time(20 * SECOND));
    assert_eq!(rig.refused().retry_after(), Some(16 * SECOND));
    rig.set(|settings| settings.recovery_time(3 * SECOND));
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    let open_for = |event: &BreakerEvent| match event {
        BreakerEvent::SettingsChanged { open_for, .. } => Some(*open_for),
        _ => None,
    };
    let told: Vec<_> = rig.events.lock().unwrap().iter().filter_map(open_for).collect();
    assert_eq!(told, [5, 20, 3].map(|secs| Some(secs * SECOND)));
}

#[test]
fn a_break_that_is_over_stays_over() {
    // S17: what the state was told to be is not taken back.
    let rig = rig(|builder| builder.failure_threshold(1).recovery_time(SECOND));
    rig.fail(1);
    rig.time.advance(SECOND);
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    rig.set(|settings| settings.recovery_time(10 * SECOND));
    assert_eq!(rig.breaker.state(), State::HalfOpen);
}

#[test]
fn a_break_with_an_end_of_its_own_keeps_it() {
    let rig = rig(|builder| builder);
    rig.breaker.trip_for(7 * SECOND).unwrap();
    rig.set(|settings| settings.recovery_time(SECOND));
    assert_eq!(rig.refused().retry_after(), Some(7 * SECOND));
}

#[test]
fn a_growing_break_keeps_its_place_in_the_growth() {
    let rig = rig(|builder| builder.failure_threshold(1).recovery_time(SECOND).recovery_growth(2.0));
    rig.fail(1);
    rig.time.advance(SECOND);
    rig.fail(1);
    assert_eq!(rig.refused().retry_after(), Some(2 * SECOND));
    rig.set(|settings| settings.recovery_growth(5.0));
    assert_eq!(rig.refused().retry_after(), Some(5 * SECOND));
}

#[test]
fn the_window_and_running_calls_survive_other_rules() {
    for window in [Window::calls(10), Window::time(SECOND)] {
        let rig = rig(|builder| builder.window(window).failure_rate(0.9).minimum_calls(4));
        let running = rig.breaker.try_acquire().unwrap();
        rig.fail(2);
        rig.breaker.try_acquire().unwrap().success();
        rig.set(|settings| settings.failure_rate(0.5));
        assert_eq!(rig.breaker.state(), State::Closed, "the next outcome is judged, not the past");
        running.success();
        let stats = rig.breaker.stats();
        assert_eq!((stats.state, stats.late), (State::Open, 0));
    }
}

#[test]
fn new_rules_judge_each_time_they_are_set() {
    // What is in the window is two failures of ever more calls.
    let rig = rig(|builder| builder.window(Window::calls(40)).failure_rate(1.0));
    rig.fail(2);
    for calls in 3..=30 {
        // Of so many calls the two are less; and after the next there are as many.
        let minimum = if calls % 3 == 0 { calls } else { 3 };
        rig.set(|settings| settings.minimum_calls(minimum).failure_rate(2.5 / f64::from(calls)));
        for _ in 0..calls % 2 {
            rig.breaker.try_acquire().unwrap().ignore();
        }
        rig.breaker.try_acquire().unwrap().success();
        assert_eq!(rig.breaker.state(), State::Closed, "{calls}");
    }
    rig.breaker.try_acquire().unwrap().success();
    rig.set(|settings| settings.minimum_calls(3).failure_rate(2.0 / 32.0));
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn another_window_begins_empty_and_what_runs_is_late() {
    let shapes = [
        Window::calls(10),
        Window::calls(11),
        Window::time(SECOND),
        Window::time_in_parts(SECOND, 5),
        Window::calls(500),
    ];
    let rig = rig(|builder| builder.window(Window::calls(3)).failure_rate(0.9).minimum_calls(3));
    for (n, window) in shapes.into_iter().chain(shapes).enumerate() {
        let running = rig.breaker.try_acquire().unwrap();
        rig.fail(2);
        rig.set(|settings| settings.window(window));
        assert_eq!(rig.breaker.stats().window.unwrap().calls, 0);
        running.failure();
        let stats = rig.breaker.stats();
        assert_eq!((stats.state, stats.late, stats.consecutive_failures), (State::Closed, n as u64 + 1, 0));
        rig.set(|settings| settings.window(window));
        rig.fail(2);
        rig.set(|settings| settings.window(window));
        assert_eq!(rig.breaker.stats().window.unwrap().failures, 2, "the same window");
        rig.breaker.try_acquire().unwrap().success();
        rig.time.advance(2 * SECOND);
    }
    assert_eq!(rig.breaker.stats().state_changes, 0);
}

#[test]
fn a_window_may_come_and_go() {
    let rig = rig(|builder| builder);
    assert_eq!(rig.breaker.stats().window, None);
    rig.fail(2);
    rig.set(|settings| settings.window(Window::calls(4)));
    assert_eq!(rig.breaker.stats().consecutive_failures, 0);
    rig.fail(1);
    assert_eq!(rig.breaker.stats().window.map(|window| window.failures), Some(1));
    rig.breaker.set(CircuitBreaker::builder()).unwrap();
    assert_eq!(rig.breaker.stats().window, None);
    rig.fail(5);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_call_that_began_untimed_is_never_slow() {
    let rig = rig(|builder| builder);
    let untimed = rig.breaker.try_acquire().unwrap();
    rig.set(|settings| settings.slow_call(MS));
    let timed = rig.breaker.try_acquire().unwrap();
    rig.time.advance(SECOND);
    untimed.success();
    assert_eq!(rig.breaker.stats().slow, 0);
    timed.success();
    let stats = rig.breaker.stats();
    assert_eq!((stats.slow, stats.successes, stats.late), (1, 2, 0));
}

#[test]
fn trials_begin_anew() {
    let rig = rig(|builder| builder.recovery_time(SECOND).half_open_requests(1).success_threshold(1));
    rig.trip();
    rig.time.advance(SECOND);
    let old = rig.breaker.try_acquire().unwrap();
    rig.set(|settings| settings.half_open_requests(2).success_threshold(2));
    let new: Vec<_> = (0..2).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    assert!(rig.refused().is_half_open());
    old.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::HalfOpen, 1));
    new.into_iter().for_each(|guard| guard.success());
    assert_eq!(rig.breaker.state(), State::Closed);
    // More places than there were at first are there, too.
    rig.set(|settings| settings.half_open_requests(500));
    rig.trip();
    rig.time.advance(SECOND);
    let many: Vec<_> = (0..500).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    assert!(rig.refused().is_half_open());
    drop(many);
}

#[test]
fn states_entered_by_hand_stay() {
    let rig = rig(|builder| builder);
    for force in [CircuitBreaker::force_open, CircuitBreaker::force_closed, CircuitBreaker::disable] {
        force(&rig.breaker).unwrap();
        let state = rig.breaker.state();
        rig.set(|settings| settings.window(Window::calls(5)).failures_in_window(1));
        assert_eq!(rig.breaker.state(), state);
    }
    rig.breaker.reset().unwrap();
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open, "what was set meanwhile is in force");
}

#[test]
fn an_observer_may_change_the_settings() {
    let rig = rig(|builder| builder.failure_threshold(1));
    let breaker = rig.breaker.clone();
    rig.breaker.observe(move |event: &BreakerEvent| {
        if let BreakerEvent::StateChanged { to: State::Open, .. } = event {
            breaker.set(breaker.settings().recovery_time(77 * SECOND)).unwrap();
        }
    });
    rig.breaker.try_acquire().unwrap().record(Outcome::Failure);
    assert_eq!(rig.refused().retry_after(), Some(77 * SECOND));
}

/// How often it was told that there are so many failures in a row.
fn told_in_a_row(rig: &Rig) -> Vec<u32> {
    let told = |event: &BreakerEvent| match event {
        BreakerEvent::ThresholdReached { trigger: Trigger::ConsecutiveFailures, failures, .. } => {
            Some(*failures)
        }
        _ => None,
    };
    rig.events.lock().unwrap().iter().filter_map(told).collect()
}

#[test]
fn in_metrics_only_a_threshold_that_is_lowered_is_told_of_with_the_next_failure() {
    for window in [false, true] {
        let rig = rig(|builder| {
            let builder = builder.failure_threshold(10).initial_state(State::MetricsOnly);
            if window { builder.window(Window::calls(20)) } else { builder }
        });
        rig.fail(5);
        rig.set(|settings| settings.failure_threshold(3));
        assert!(told_in_a_row(&rig).is_empty());
        rig.fail(3);
        assert_eq!(told_in_a_row(&rig), [6], "once");
        // Not reached any more, and then again.
        rig.set(|settings| settings.failure_threshold(10));
        rig.fail(2);
        assert_eq!(told_in_a_row(&rig), [6, 10]);
        rig.breaker.try_acquire().unwrap().success();
        rig.fail(12);
        assert_eq!(told_in_a_row(&rig), [6, 10, 10]);
    }
}

#[test]
fn an_outcome_beside_other_settings_is_judged_by_all_of_their_rules() {
    // The length of the break is asked for before it begins: the settings are others then.
    let other = Arc::new(Mutex::new(None::<CircuitBreaker>));
    let seen = Arc::clone(&other);
    let rig = rig(|builder| {
        builder.failure_rate(0.5).minimum_calls(2).recovery_with(move |_| {
            let breaker = seen.lock().unwrap().take();
            if let Some(breaker) = breaker {
                let settings = breaker.settings().failure_rate(1.0).minimum_calls(20).failures_in_window(2);
                breaker.set(settings).unwrap();
            }
            SECOND
        })
    });
    rig.breaker.try_acquire().unwrap().success();
    rig.breaker.try_acquire().unwrap().success();
    rig.fail(1);
    *other.lock().unwrap() = Some(rig.breaker.clone());
    rig.fail(1);
    assert_eq!(rig.changes(), [(State::Closed, State::Open, Trigger::FailuresInWindow)]);
}
