//! Windows and the rules over them. CB3; S3, S18, S25-S30.

use super::{MS, Rig, rig};
use cofferdam::resilience::breaker::{BreakerEvent, Builder, OnCancel, Outcome, State, Trigger, Window};
use cofferdam::resilience::{CircuitBreaker, Stack, Timeout};
use cofferdam::testkit::{ManualClock, Polled};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

impl Rig {
    /// `F`: fails, `S`: succeeds; the state after each.
    fn outcomes(&self, outcomes: &str) -> Vec<State> {
        let one = |outcome| {
            let guard = self.breaker.try_acquire().unwrap();
            guard.record(if outcome == 'F' { Outcome::Failure } else { Outcome::Success });
            self.breaker.state()
        };
        outcomes.chars().map(one).collect()
    }

    fn held(&self) -> [u64; 3] {
        let window = self.breaker.stats().window.unwrap();
        [window.calls, window.failures, window.slow]
    }

    fn call_of(&self, length: Duration, outcome: Outcome) {
        let guard = self.breaker.try_acquire().unwrap();
        self.time.advance(length);
        guard.record(outcome);
    }

    fn why(&self) -> Option<Trigger> {
        self.changes().last().map(|(_, _, trigger)| *trigger)
    }
}

fn half_of_four(builder: Builder) -> Builder {
    builder.failure_rate(0.5).minimum_calls(4)
}

#[test]
fn every_outcome_is_judged_a_success_too() {
    // S18: in whatever order they come.
    for outcomes in ["FFSS", "SSFF", "FSFS", "SFFS"] {
        for window in [Window::calls(10), Window::time(SECOND)] {
            let rig = rig(|builder| half_of_four(builder).window(window));
            let states = rig.outcomes(outcomes);
            assert_eq!(states, [State::Closed, State::Closed, State::Closed, State::Open], "{outcomes}");
            assert_eq!(rig.why(), Some(Trigger::FailureRate));
        }
    }
}

#[test]
fn a_share_that_is_not_reached_opens_nothing() {
    let rig = rig(|builder| builder.window(Window::calls(100)).failure_rate(0.3).minimum_calls(10));
    rig.outcomes("SSSSSSSFF");
    assert_eq!(rig.outcomes("S"), [State::Closed], "2 of 10");
    assert_eq!(rig.outcomes("F"), [State::Closed], "3 of 11");
    assert_eq!(rig.outcomes("F"), [State::Open], "4 of 12");
}

#[test]
fn with_a_rate_and_no_threshold_failures_in_a_row_do_not_count() {
    let few = rig(|builder| builder.window(Window::calls(100)).failure_rate(0.5).minimum_calls(50));
    assert_eq!(few.outcomes(&"F".repeat(49)).last(), Some(&State::Closed));
    assert_eq!(few.outcomes("F"), [State::Open]);
    // With both, the first that says so.
    let both = rig(|builder| {
        builder.window(Window::calls(100)).failure_rate(0.5).minimum_calls(50).failure_threshold(3)
    });
    assert_eq!(both.outcomes("FFSFFF").last(), Some(&State::Open));
    assert_eq!(both.why(), Some(Trigger::ConsecutiveFailures));
}

#[test]
fn failures_far_from_the_limit_are_counted_exactly_and_the_one_at_the_limit_opens() {
    // Of each ten calls one fails, over many blocks of outcomes: a glance says that this is not too much.
    let rig = rig(|builder| builder.window(Window::calls(50)).failures_in_window(20).failure_threshold(7));
    let ten = "SSSFSSSSSS".repeat(30);
    assert!(rig.outcomes(&ten).iter().all(|state| *state == State::Closed));
    assert_eq!((rig.held(), rig.breaker.stats().failures), ([50, 5, 0], 30));
    assert_eq!(rig.outcomes("FFFFFF").last(), Some(&State::Closed), "six in a row");
    assert_eq!(rig.held(), [50, 10, 0], "one of the five has left");
    rig.breaker.set(rig.breaker.settings().failure_threshold(1000)).unwrap();
    let mut before = 10;
    while rig.outcomes("F") == [State::Closed] {
        before = rig.held()[1];
        assert!(before < 20, "that is too many");
    }
    assert_eq!(before, 19);
    assert_eq!(rig.why(), Some(Trigger::FailuresInWindow));
}

#[test]
fn in_a_row_a_failure_counts_in_a_breaker_with_a_window_too() {
    let rig = rig(|builder| builder.window(Window::calls(100)).failures_in_window(50).failure_threshold(3));
    rig.outcomes(&"S".repeat(30));
    assert_eq!(rig.outcomes("FFSFF").last(), Some(&State::Closed));
    assert_eq!(rig.outcomes("F"), [State::Open]);
    assert_eq!(rig.why(), Some(Trigger::ConsecutiveFailures));
}

#[test]
fn m_of_n_opens_whatever_the_minimum_is() {
    // a.1: m of n
    let rig = rig(|builder| builder.window(Window::calls(5)).failures_in_window(3));
    assert_eq!(rig.outcomes("FSSFSSFSSFSS").last(), Some(&State::Closed), "at most two of five");
    assert_eq!(rig.outcomes("FF").last(), Some(&State::Open), "three of five");
    assert_eq!(rig.why(), Some(Trigger::FailuresInWindow));
}

#[test]
fn a_window_of_calls_slides_call_by_call() {
    // S29. A window that only grew would need a thousand failures (tower-resilience 0.14), one that tumbles may need 19.
    for calls in [1, 7, 10, 50, 200] {
        let rig =
            rig(|builder| builder.window(Window::calls(calls)).failure_rate(0.5).minimum_calls(calls.min(5)));
        rig.outcomes(&"S".repeat(1000));
        let failures = rig.outcomes(&"F".repeat(calls.div_ceil(2) as usize));
        let (last, before) = failures.split_last().unwrap();
        assert_eq!(*last, State::Open, "{calls}");
        assert!(before.iter().all(|state| *state == State::Closed), "{calls}");
    }
}

#[test]
fn the_minimum_looks_at_the_same_window_as_the_rate() {
    // S30: not at all the calls there have been.
    let rig = rig(|builder| builder.window(Window::time(SECOND)).failure_rate(0.5).minimum_calls(2));
    rig.outcomes(&"S".repeat(100));
    rig.time.advance(2 * SECOND);
    assert_eq!(rig.outcomes("F"), [State::Closed]);
    assert_eq!(rig.outcomes("F"), [State::Open]);
}

#[test]
fn edges_of_a_window_of_time_do_not_move_with_the_calls() {
    // S25. (failsafe re-bases each slice on the instant of a call.)
    let [asked, unasked] =
        [(), ()].map(|()| rig(|builder| builder.window(Window::time_in_parts(6 * SECOND, 6))));
    let mut sums = Vec::new();
    for step in [0, 300, 999, 1, 1700, 2500, 10, 4000, 59_999, 1] {
        for rig in [&asked, &unasked] {
            rig.time.advance(step * MS / 2);
        }
        let _ = (asked.breaker.stats(), asked.breaker.state(), asked.breaker.poll_transition());
        for rig in [&asked, &unasked] {
            rig.time.advance(step * MS - step * MS / 2);
            rig.outcomes("FSS");
        }
        sums.push(unasked.held());
        assert_eq!(asked.held(), unasked.held());
    }
    // Steps of up to 4 s within windows of 5 to 6 s, then a pause.
    assert_eq!(sums[4], [15, 5, 0]);
    assert_eq!(sums[8], [3, 1, 0]);
}

#[test]
fn the_outcome_that_begins_a_new_part_is_judged_with_the_others() {
    // S25 (line/armeria#2761)
    let rig = rig(|builder| half_of_four(builder).window(Window::time_in_parts(6 * SECOND, 6)));
    rig.outcomes("FSF");
    rig.time.advance(SECOND);
    assert_eq!(rig.outcomes("F"), [State::Open]);
}

#[test]
fn outcomes_expire_when_they_are_read_and_when_others_come() {
    // S26, S28
    let rig = rig(|builder| builder.window(Window::time_in_parts(6 * SECOND, 6)).failure_threshold(100));
    rig.outcomes(&"F".repeat(20));
    rig.time.advance(6 * SECOND - MS);
    assert_eq!(rig.held(), [20, 20, 0]);
    rig.time.advance(MS);
    assert_eq!(rig.held(), [0, 0, 0]);
    rig.outcomes("S");
    assert_eq!(rig.held(), [1, 0, 0]);
    rig.time.advance(12 * SECOND);
    assert_eq!(rig.breaker.stats().window.unwrap().failure_rate(), None);
}

#[test]
fn a_pause_of_years_costs_no_more_than_one_of_a_window() {
    // S27
    let rig = rig(|builder| builder.window(Window::time(MS)));
    rig.outcomes("F");
    rig.time.advance(Duration::from_secs(10 * 365 * 24 * 3600));
    rig.outcomes("F");
    assert_eq!(rig.held(), [1, 1, 0]);
}

#[test]
fn a_window_may_be_shorter_than_its_parts_would_like() {
    // failsafe 1.3: a success-rate window of 4 ms panics with a division by zero.
    let rig = rig(|builder| half_of_four(builder).window(Window::time(Duration::from_micros(10))));
    assert_eq!(rig.outcomes("FFSS").last(), Some(&State::Open));
    let short = CircuitBreaker::builder().window(Window::time(Duration::from_nanos(9_999)));
    assert!(short.build().is_err_and(|error| error.knob() == "window"));
}

#[test]
fn a_clock_that_steps_back_counts_in_the_present_part() {
    let rig = rig(|builder| builder.window(Window::time(SECOND)));
    let now = rig.time.clock().now();
    for at in [500, 900, 100, 0] {
        rig.breaker.try_acquire().unwrap().record_at(Outcome::Failure, now + at * MS);
    }
    assert_eq!(rig.held(), [4, 4, 0]);
}

#[test]
fn slow_calls_open_it_by_their_share_whether_they_fail_or_not() {
    let slow = |builder: Builder| {
        builder.window(Window::calls(10)).slow_call(300 * MS).slow_rate(0.3).minimum_calls(3)
    };
    let rig = rig(slow);
    rig.call_of(300 * MS, Outcome::Success);
    assert_eq!(rig.held(), [1, 0, 0], "slow is longer than that");
    rig.call_of(301 * MS, Outcome::Success);
    assert_eq!(rig.breaker.state(), State::Closed, "too few");
    rig.call_of(MS, Outcome::Success);
    assert_eq!(
        rig.breaker.state(),
        State::Open,
        "one of three is slow: a quick success completes the minimum"
    );
    assert_eq!(rig.why(), Some(Trigger::SlowRate));
    assert_eq!(rig.breaker.stats().slow, 1);
}

#[test]
fn a_slow_call_is_told_once_with_how_it_ended() {
    let rig = rig(|builder| builder.slow_call(10 * MS).count_cancelled_slow(true));
    rig.call_of(11 * MS, Outcome::Failure);
    rig.call_of(10 * MS, Outcome::Failure);
    rig.call_of(12 * MS, Outcome::Ignore);
    let guard = rig.breaker.try_acquire().unwrap();
    rig.time.advance(20 * MS);
    drop(guard);
    let events = rig.events.lock().unwrap();
    let slow = events.iter().filter_map(|event| match event {
        BreakerEvent::SlowCall { took, outcome, .. } => Some((*took, *outcome)),
        _ => None,
    });
    assert_eq!(slow.collect::<Vec<_>>(), [(11 * MS, Some(Outcome::Failure)), (20 * MS, None)]);
    let ignored = events.iter().filter(|event| matches!(event, BreakerEvent::Ignored { .. }));
    assert_eq!(ignored.count(), 1);
}

/// S3: three calls of a callee that hangs, under a total timeout outside of the breaker.
fn hang_three_times(settings: impl Fn(Builder) -> Builder) -> (State, Vec<String>) {
    let rig = rig(|builder| settings(builder.window(Window::calls(10)).minimum_calls(3).slow_rate(0.3)));
    let limit = Timeout::total(SECOND).clock(rig.time.clock());
    let stack = Stack::new().timeout(limit).breaker(rig.breaker.clone());
    let errors = (0..3).map(|_| {
        let mut call = Polled::new(stack.call(std::future::pending::<Result<(), std::io::Error>>));
        assert!(call.poll().is_none());
        rig.time.advance(SECOND);
        call.poll().expect("the limit has passed").unwrap_err().to_string()
    });
    let errors = errors.collect();
    (rig.breaker.state(), errors)
}

#[test]
fn a_callee_that_hangs_under_an_outer_timeout_is_seen_if_so_chosen() {
    let (with, errors) = hang_three_times(|builder| builder.slow_call(300 * MS).count_cancelled_slow(true));
    let (without, same) = hang_three_times(|builder| builder.slow_call(300 * MS));
    assert_eq!((with, without), (State::Open, State::Closed));
    assert_eq!(errors, same);
}

#[test]
fn one_outcome_may_open_it_for_as_long_as_the_callee_asks() {
    // a.1: trip on a single result
    let rig = rig(|builder| builder.window(Window::calls(10)).failure_rate(0.5).recovery_time(SECOND));
    rig.breaker.try_acquire().unwrap().record(Outcome::Trip(20 * SECOND));
    assert_eq!(rig.refused().retry_after(), Some(20 * SECOND));
    assert_eq!(rig.why(), Some(Trigger::Outcome));
    // From half-open, too, and no shorter than the settings have it, and no longer than the cap.
    rig.time.advance(20 * SECOND);
    rig.breaker.try_acquire().unwrap().record(Outcome::Trip(Duration::ZERO));
    assert_eq!((rig.refused().retry_after(), rig.why()), (Some(SECOND), Some(Trigger::Outcome)));
    rig.time.advance(SECOND);
    rig.breaker.try_acquire().unwrap().record(Outcome::Trip(Duration::MAX));
    assert_eq!(rig.refused().retry_after(), Some(300 * SECOND));
}

#[test]
fn by_the_classifier_a_503_opens_it() {
    let rig = rig(|builder| builder.recovery_time(SECOND));
    let by_status =
        rig.breaker.classify(|result: &Result<u16, cofferdam::resilience::Error<()>>| match result {
            Ok(503) => Outcome::Trip(7 * SECOND),
            other => Outcome::of(other),
        });
    assert_eq!(by_status.call_sync(|| Ok(200)).unwrap(), 200);
    assert_eq!(by_status.call_sync(|| Ok(503)).unwrap(), 503);
    assert!(by_status.call_sync(|| Ok(200)).is_err_and(|error| error.retry_after() == Some(7 * SECOND)));
}

#[test]
fn metrics_only_tells_of_each_rule_once_when_it_is_reached() {
    // S20
    let rig = rig(|builder| half_of_four(builder).window(Window::calls(4)).failures_in_window(3));
    rig.breaker.metrics_only().unwrap();
    let told = |outcomes: &str| -> Vec<Trigger> {
        rig.events.lock().unwrap().clear();
        rig.outcomes(outcomes);
        let events = rig.events.lock().unwrap();
        let reached = events.iter().filter_map(|event| match event {
            BreakerEvent::ThresholdReached { trigger, .. } => Some(*trigger),
            _ => None,
        });
        reached.collect()
    };
    assert_eq!(told("SSFF"), [Trigger::FailureRate]);
    assert_eq!(told("F"), [Trigger::FailuresInWindow]);
    assert_eq!(told("F"), []);
    assert_eq!(told("SS"), [], "2 of 4");
    assert_eq!(told("SS"), []);
    assert_eq!(told("FF"), [Trigger::FailureRate]);
}

#[test]
fn leaving_a_state_empties_the_window() {
    // S9, S20
    for window in [Window::calls(20), Window::time(SECOND)] {
        let rig = rig(|builder| half_of_four(builder).window(window));
        let old = rig.breaker.try_acquire().unwrap();
        rig.outcomes("FFF");
        rig.breaker.force_closed().unwrap();
        rig.outcomes("FFFFF");
        rig.breaker.reset().unwrap();
        assert_eq!(rig.held(), [0, 0, 0]);
        old.failure();
        assert_eq!((rig.held(), rig.breaker.stats().late), ([0, 0, 0], 1), "a late result changes nothing");
        rig.outcomes("FFF");
        assert_eq!(rig.breaker.state(), State::Closed);
        rig.breaker.reset().unwrap();
        assert_eq!(rig.held(), [0, 0, 0]);
        let cleared = |rig: &Rig| {
            let events = rig.events.lock().unwrap();
            events.iter().filter(|event| matches!(event, BreakerEvent::Cleared { .. })).count()
        };
        assert_eq!(cleared(&rig), 1);
        rig.outcomes("S");
        rig.breaker.reset().unwrap();
        assert_eq!(cleared(&rig), 2, "a success in the window is something to forget");
        rig.breaker.reset().unwrap();
        assert_eq!(cleared(&rig), 2);
    }
}

#[test]
fn the_change_says_what_was_in_the_window() {
    let rig = rig(|builder| half_of_four(builder).window(Window::calls(20)));
    rig.outcomes("SFSF");
    let events = rig.events.lock().unwrap().clone();
    let [BreakerEvent::StateChanged { window: Some(window), trigger, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((window.calls, window.failures, window.successes()), (4, 2, 2));
    assert_eq!((window.failure_rate(), window.success_rate()), (Some(0.5), Some(0.5)));
    assert_eq!((window.slow_rate(), trigger), (Some(0.0), Trigger::FailureRate));
}

#[test]
fn the_break_may_depend_on_the_window_and_the_outcome() {
    // S19
    let seen = Arc::new(Mutex::new(Vec::new()));
    let trips = Arc::clone(&seen);
    let rig = rig(|builder| {
        half_of_four(builder).window(Window::calls(20)).recovery_with(move |trip| {
            trips.lock().unwrap().push(*trip);
            let rate = trip.window.and_then(|window| window.failure_rate()).unwrap_or(1.0);
            SECOND.mul_f64(rate * 4.0)
        })
    });
    rig.outcomes("SFSF");
    assert_eq!(rig.refused().retry_after(), Some(2 * SECOND));
    let trip = seen.lock().unwrap()[0];
    assert_eq!((trip.opens, trip.trigger, trip.failures), (0, Trigger::FailureRate, 0));
    assert_eq!((trip.outcome, trip.retry_after), (Some(Outcome::Failure), None));
}

#[test]
fn ignored_and_dropped_calls_are_in_no_window() {
    // S1, S2
    let rig = rig(|builder| half_of_four(builder).window(Window::calls(4)));
    rig.outcomes("FFS");
    for _ in 0..10 {
        rig.breaker.try_acquire().unwrap().ignore();
        drop(rig.breaker.try_acquire().unwrap());
    }
    assert_eq!((rig.held(), rig.breaker.state()), ([3, 2, 0], State::Closed));
}

#[test]
fn the_last_success_and_failure_are_noted_where_that_is_asked_for() {
    // CB15
    let timed: [fn(Builder) -> Builder; 3] = [
        |builder| builder.timestamps(true),
        |builder| builder.timestamps(true).slow_call(SECOND),
        |builder| builder.timestamps(true).window(Window::time(SECOND)),
    ];
    for settings in timed {
        let rig = rig(settings);
        let start = rig.time.clock().now();
        let stats = rig.breaker.stats();
        assert_eq!((stats.last_success, stats.last_failure, stats.last_change), (None, None, None));
        rig.outcomes("S");
        rig.time.advance(5 * MS);
        rig.outcomes("F");
        rig.breaker.try_acquire().unwrap().ignore();
        let stats = rig.breaker.stats();
        assert_eq!((stats.last_success, stats.last_failure), (Some(start), Some(start + 5 * MS)));
        rig.trip();
        rig.time.advance(60 * SECOND);
        rig.outcomes("S");
        assert_eq!(rig.breaker.stats().last_success, Some(start + 5 * MS + 60 * SECOND));
    }
    let timed = rig(|builder| builder.slow_call(SECOND).window(Window::time(SECOND)));
    let plain = rig(|builder| builder);
    for rig in [&timed, &plain] {
        rig.outcomes("SF");
        let stats = rig.breaker.stats();
        assert_eq!((stats.last_success, stats.last_failure), (None, None));
    }
    let stats = plain.breaker.stats();
    assert_eq!(
        (stats.failure_rate(), stats.success_rate(), stats.is_healthy()),
        (Some(0.5), Some(0.5), true)
    );
    plain.trip();
    assert!(!plain.breaker.stats().is_healthy());
}

#[test]
fn a_rule_whose_means_are_missing_or_whose_numbers_cannot_be_is_refused() {
    // S14, each by its own error
    let builder = CircuitBreaker::builder;
    let cases = [
        (builder().window(Window::calls(0)), "window = 0 calls: must be at least one call"),
        (builder().window(Window::calls(16_384)), "window = 16384 calls: must be at most 16383 calls"),
        (
            builder().window(Window::time(Duration::ZERO)),
            "window = 0ns in 10 parts: must have parts of at least a microsecond",
        ),
        (
            builder().window(Window::time(Duration::MAX)),
            "window = 18446744073709551615.999999999s in 10 parts: must have parts of at most 78 hours",
        ),
        (builder().window(Window::time_in_parts(SECOND, 0)), "window = 0 parts: must have at least one part"),
        (
            builder().window(Window::time_in_parts(SECOND, 61)),
            "window = 61 parts: must have at most 60 parts",
        ),
        (builder().failure_rate(0.0), "failure_rate = 0: must be more than 0 and at most 1"),
        (builder().failure_rate(f64::NAN), "failure_rate = NaN: must be more than 0 and at most 1"),
        (builder().slow_call(SECOND).slow_rate(1.1), "slow_rate = 1.1: must be more than 0 and at most 1"),
        (builder().slow_rate(0.5), "slow_rate = 0.5: needs slow_call, which says what is slow"),
        (
            builder().slow_call(Duration::ZERO),
            "slow_call = 0ns: must be more than zero: every call would be slow",
        ),
        (
            builder().count_cancelled_slow(true),
            "count_cancelled_slow = true: needs slow_call, which says what is slow",
        ),
        (builder().failures_in_window(0), "failures_in_window = 0: must be at least 1"),
        (
            builder().window(Window::calls(4)).failures_in_window(5),
            "failures_in_window = 5: must be at most the calls in the window",
        ),
        (builder().failure_rate(0.5).minimum_calls(0), "minimum_calls = 0: must be at least 1"),
        (
            builder().failure_rate(0.5).minimum_calls(101),
            "minimum_calls = 101: must be at most the calls in the window: more cannot come in",
        ),
        (
            builder().minimum_calls(5),
            "minimum_calls = 5: needs failure_rate or slow_rate: no other rule looks at it",
        ),
        (builder().half_open_rate(0.0), "half_open_rate = 0: must be more than 0 and at most 1"),
        (builder().half_open_ramp(&[0.5, 1.5]), "half_open_ramp = 1.5: must be more than 0 and at most 1"),
        (
            builder().half_open_ramp(&[0.5, 0.5]),
            "half_open_ramp = 0.5: must be more than the share before it",
        ),
        (
            builder().initial_state(State::HalfOpen),
            "initial_state = half-open: must not be one that only calls or a shutdown lead to",
        ),
    ];
    for (builder, text) in cases {
        assert_eq!(builder.build().unwrap_err().to_string(), format!("circuit breaker: {text}"));
    }
}

#[test]
fn windows_count_what_many_threads_bring_exactly() {
    for window in [Window::calls(16_000), Window::time(Duration::from_secs(3600))] {
        let rig = rig(|builder| builder.window(window).slow_call(SECOND));
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let (rig, barrier) = (&rig, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for n in 0..4_000 {
                        let guard = rig.breaker.try_acquire().unwrap();
                        let failed = (n + thread) % 4 == 0;
                        guard.record(if failed { Outcome::Failure } else { Outcome::Success });
                    }
                });
            }
        });
        assert_eq!(rig.held(), [16_000, 4_000, 0]);
    }
}

#[test]
fn a_small_window_under_many_threads_holds_what_came_last() {
    let rig = rig(|builder| builder.window(Window::calls(3)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..5_000 {
                    let guard = rig.breaker.try_acquire().unwrap();
                    guard.record(if n % 2 == 0 { Outcome::Failure } else { Outcome::Success });
                }
            });
        }
    });
    rig.outcomes("SFS");
    assert_eq!(rig.held(), [3, 1, 0]);
}

#[test]
fn a_breaker_may_begin_in_a_state_of_ones_choice() {
    for state in [State::Closed, State::ForcedOpen, State::ForcedClosed, State::Disabled, State::MetricsOnly]
    {
        let time = ManualClock::new();
        let breaker = CircuitBreaker::builder().clock(time.clock()).initial_state(state).build().unwrap();
        assert_eq!((breaker.state(), breaker.stats().state_changes), (state, 0));
    }
    let rig = rig(|builder| builder.initial_state(State::Open).recovery_time(SECOND));
    assert_eq!(rig.refused().retry_after(), Some(SECOND));
    rig.time.advance(SECOND);
    assert_eq!(rig.breaker.state(), State::HalfOpen);
}

#[test]
fn it_can_be_opened_for_a_time_and_until_an_instant() {
    let rig = rig(|builder| builder.recovery_time(SECOND).recovery_cap(SECOND));
    rig.breaker.trip_for(100 * SECOND).unwrap();
    assert_eq!(rig.refused().retry_after(), Some(100 * SECOND), "whatever the cap");
    rig.breaker.trip().unwrap();
    assert_eq!(rig.refused().retry_after(), Some(100 * SECOND), "is open already");
    rig.breaker.trip_until(rig.time.clock().now() + 3 * SECOND).unwrap();
    assert_eq!(rig.refused().retry_after(), Some(3 * SECOND), "another end");
    assert_eq!(rig.changes().len(), 1, "and no other event");
    rig.time.advance(3 * SECOND);
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    rig.breaker.trip_for(Duration::MAX).unwrap();
    rig.time.advance(Duration::from_secs(1 << 33));
    assert_eq!(rig.breaker.state(), State::Open);
    rig.breaker.force_open().unwrap();
    assert!(rig.breaker.trip_for(SECOND).is_err_and(|error| error.to() == State::Open));
}

#[test]
fn a_cancelled_call_that_is_old_is_a_failure_in_the_window() {
    let rig = rig(|builder| builder.window(Window::calls(4)).on_cancel(OnCancel::FailureIfOlderThan(SECOND)));
    for length in [SECOND, 2 * SECOND] {
        let guard = rig.breaker.try_acquire().unwrap();
        rig.time.advance(length);
        drop(guard);
    }
    assert_eq!(rig.held(), [1, 1, 0]);
}

#[test]
fn of_successes_only_the_one_that_completes_the_calls_opens_it() {
    // S18: whatever the window holds before and after, and in the calls that begin a block of it
    for minimum in 1..=40 {
        for failures in [1, minimum / 2 + 1, minimum] {
            let rig = rig(|builder| {
                builder
                    .window(Window::calls(40))
                    .failure_rate(1e-9)
                    .minimum_calls(minimum)
                    .failure_threshold(99)
            });
            for n in 1..=minimum {
                assert_eq!(rig.breaker.state(), State::Closed, "{n} of {minimum}");
                rig.outcomes(if n < minimum && n <= failures { "F" } else { "S" });
            }
            let expected = if minimum == 1 { State::Closed } else { State::Open };
            assert_eq!(rig.breaker.state(), expected, "{failures} of {minimum}");
        }
    }
}

#[test]
fn a_success_opens_it_where_older_ones_have_left_a_window_of_time() {
    // S28: the rate has risen with the time, and nobody has come to judge it
    let rig = rig(|builder| {
        builder.window(Window::time_in_parts(2 * SECOND, 2)).failure_rate(0.5).minimum_calls(3)
    });
    rig.outcomes("SSSSSS");
    rig.time.advance(SECOND);
    rig.outcomes("FFFS");
    assert_eq!(rig.breaker.state(), State::Closed);
    rig.time.advance(SECOND);
    rig.outcomes("S");
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_time_far_ahead_holds_a_window_of_time_until_it_gets_another() {
    let rig = rig(|builder| builder.window(Window::time(2 * SECOND)).failure_rate(1.0).minimum_calls(100));
    rig.outcomes("SF");
    let ahead = rig.time.clock().now() + 3600 * SECOND;
    rig.breaker.try_acquire().unwrap().record_at(Outcome::Success, ahead);
    assert_eq!(rig.held(), [1, 0, 0]);
    for calls in 2..10 {
        rig.time.advance(10 * SECOND);
        rig.outcomes("S");
        assert_eq!(rig.held(), [calls, 0, 0], "nothing leaves it");
    }
    rig.breaker.set(rig.breaker.settings().window(Window::time(3 * SECOND))).unwrap();
    rig.outcomes("SF");
    assert_eq!(rig.held(), [2, 1, 0]);
    rig.time.advance(3 * SECOND);
    assert_eq!(rig.held(), [0, 0, 0]);
}
