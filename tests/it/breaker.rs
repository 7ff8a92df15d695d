//! CB1, CB2, CB4-CB14, CB16, CB17; S1-S6, S9-S24.

use cofferdam::resilience::breaker::{
    BreakerEvent, Builder, Guard, OnCancel, OnOverdue, Open, Outcome, State, Trigger, Trip,
};
use cofferdam::resilience::{CircuitBreaker, Rejection};
use cofferdam::testkit::{ManualClock, Polled};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

mod calls;
mod half_open;
mod hostile;
mod keyed;
mod model;
mod set;
mod windows;

const MS: Duration = Duration::from_millis(1);

/// A breaker on a clock of its own, whose events are written down.
struct Rig {
    time: ManualClock,
    breaker: CircuitBreaker,
    events: Arc<Mutex<Vec<BreakerEvent>>>,
}

fn rig(settings: impl FnOnce(Builder) -> Builder) -> Rig {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let builder = CircuitBreaker::builder()
        .clock(time.clock())
        .observer(move |event: &BreakerEvent| seen.lock().unwrap().push(*event));
    Rig { time, breaker: settings(builder).build().unwrap(), events }
}

impl Rig {
    fn fail(&self, times: u32) {
        for _ in 0..times {
            self.breaker.try_acquire().unwrap().failure();
        }
    }

    /// Into open with a break of `recovery_time`, from closed.
    fn trip(&self) {
        self.breaker.trip().unwrap();
        assert_eq!(self.breaker.state(), State::Open);
    }

    fn refused(&self) -> Open {
        self.breaker.try_acquire().map(|_| ()).unwrap_err()
    }

    /// The changes of state since the last call, as (from, to, why).
    fn changes(&self) -> Vec<(State, State, Trigger)> {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        let changes = events.into_iter().filter_map(|event| match event {
            BreakerEvent::StateChanged { from, to, trigger, .. } => Some((from, to, trigger)),
            _ => None,
        });
        changes.collect()
    }
}

/// Opens at the first failure, for 100 ms, with one trial.
fn hair_trigger(builder: Builder) -> Builder {
    builder.failure_threshold(1).recovery_time(100 * MS).half_open_requests(1).success_threshold(1)
}

#[test]
fn the_defaults_are_five_failures_thirty_seconds_three_trials_two_successes() {
    // CB2, CB4, CB5
    let rig = rig(|builder| builder);
    rig.fail(4);
    rig.breaker.try_acquire().unwrap().success();
    rig.fail(4);
    assert_eq!(rig.breaker.state(), State::Closed, "a success begins the count anew");
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open);
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(30)));
    rig.time.advance(Duration::from_secs(30));
    let trials: Vec<_> = (0..3).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    assert!(rig.refused().is_half_open());
    for (trial, state) in trials.into_iter().zip([State::HalfOpen, State::Closed, State::Closed]) {
        trial.success();
        assert_eq!(rig.breaker.state(), state);
    }
    assert_eq!(rig.breaker.stats().late, 1, "the third came after the verdict");
}

#[test]
fn presets_have_the_numbers_of_their_row() {
    // CB16: failures, recovery, trials, successes
    for (preset, failures, secs, trials, successes) in [
        (CircuitBreaker::quick_failover(), 3, 10, 2, 1),
        (CircuitBreaker::conservative(), 10, 60, 5, 3),
        (CircuitBreaker::aggressive(), 2, 45, 1, 1),
    ] {
        let rig = rig(|builder| {
            drop(builder);
            preset
        });
        let time = ManualClock::new();
        let breaker = match (failures, secs) {
            (3, _) => CircuitBreaker::quick_failover(),
            (10, _) => CircuitBreaker::conservative(),
            _ => CircuitBreaker::aggressive(),
        };
        let rig = Rig { breaker: breaker.clock(time.clock()).build().unwrap(), time, ..rig };
        rig.fail(failures - 1);
        assert_eq!(rig.breaker.state(), State::Closed);
        rig.fail(1);
        assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(secs)));
        rig.time.advance(Duration::from_secs(secs));
        let guards: Vec<_> = (0..trials).map(|_| rig.breaker.try_acquire().unwrap()).collect();
        assert!(rig.refused().is_half_open());
        for (n, guard) in guards.into_iter().enumerate() {
            guard.success();
            let closed = n + 1 >= successes;
            assert_eq!(rig.breaker.state(), if closed { State::Closed } else { State::HalfOpen });
        }
    }
}

#[test]
fn states_have_names_in_words() {
    // CB1
    let names = [
        (State::Closed, "closed"),
        (State::MetricsOnly, "metrics only"),
        (State::ForcedClosed, "forced closed"),
        (State::Disabled, "disabled"),
        (State::Open, "open"),
        (State::HalfOpen, "half-open"),
        (State::ForcedOpen, "forced open"),
        (State::ShutDown, "shut down"),
    ];
    for (state, name) in names {
        assert_eq!(state.to_string(), name);
    }
}

#[test]
fn refusals_say_who_what_and_when() {
    // CB12
    let rig = rig(|builder| hair_trigger(builder).name("inventory"));
    rig.fail(1);
    let open = rig.refused();
    assert_eq!((open.name(), open.state()), ("inventory", State::Open));
    assert_eq!(open.to_string(), "inventory: open, retry after 100ms");
    let rejection = Rejection::from(open);
    assert!(rejection.is_circuit_open() && rejection.retry_after() == Some(100 * MS));
    rig.time.advance(100 * MS);
    let trial = rig.breaker.try_acquire().unwrap();
    let text = "inventory: half-open and all its trials are under way, retry after 100ms";
    assert_eq!(rig.refused().to_string(), text);
    drop(trial);
    rig.breaker.force_open().unwrap();
    assert_eq!(rig.refused().to_string(), "inventory: forced open");
    let error = rig.breaker.trip().unwrap_err();
    assert_eq!(error.to_string(), "inventory: cannot go from forced open to open");
    drop(rig.breaker.shutdown());
    assert_eq!(rig.refused().to_string(), "inventory: shut down");
    assert!(Rejection::from(rig.refused()).is_closed());
}

#[test]
fn an_ignored_trial_gives_its_place_back_and_is_no_evidence() {
    // S1
    let rig = rig(hair_trigger);
    rig.fail(1);
    rig.time.advance(100 * MS);
    rig.breaker.try_acquire().unwrap().ignore();
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    let stats = rig.breaker.stats();
    assert_eq!((stats.successes, stats.ignored, stats.failures), (0, 1, 1));
    drop(rig.breaker.try_acquire().expect("the place is free again at once"));
}

#[test]
fn an_ignored_call_does_not_interrupt_a_run_of_failures() {
    // S1
    let rig = rig(|builder| builder.failure_threshold(2));
    rig.fail(1);
    rig.breaker.try_acquire().unwrap().ignore();
    drop(rig.breaker.try_acquire().unwrap());
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_dropped_call_is_neither_success_nor_failure() {
    // S2, CB7
    let rig = rig(|builder| builder.failure_threshold(1));
    drop(rig.breaker.try_acquire().unwrap());
    assert_eq!(rig.breaker.state(), State::Closed);
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    for _ in 0..10 {
        drop(rig.breaker.try_acquire().unwrap());
    }
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    let stats = rig.breaker.stats();
    assert_eq!((stats.cancelled, stats.successes, stats.failures, stats.running), (11, 0, 0, 0));
}

#[test]
fn a_dropped_call_that_was_slow_is_a_failure_if_so_chosen() {
    // S3
    let limit = 300 * MS;
    let rig = rig(|builder| builder.failure_threshold(1).on_cancel(OnCancel::FailureIfOlderThan(limit)));
    let guard = rig.breaker.try_acquire().unwrap();
    rig.time.advance(limit);
    drop(guard);
    assert_eq!(rig.breaker.state(), State::Closed, "not older than the limit");
    let guard = rig.breaker.try_acquire().unwrap();
    rig.time.advance(limit + Duration::from_nanos(1));
    drop(guard);
    assert_eq!(rig.breaker.state(), State::Open);
    // A trial, too.
    rig.time.advance(Duration::from_secs(30));
    let trial = rig.breaker.try_acquire().unwrap();
    rig.time.advance(limit + MS);
    drop(trial);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_panic_is_a_failure_gives_the_place_back_and_goes_on() {
    // S5
    let rig = rig(hair_trigger);
    rig.fail(1);
    rig.time.advance(100 * MS);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _guard = rig.breaker.try_acquire().unwrap();
        std::panic::panic_any(7_u8);
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<u8>(), Some(&7));
    assert_eq!(rig.breaker.state(), State::Open);
    assert_eq!((rig.breaker.stats().running, rig.breaker.stats().failures), (0, 2));
}

#[test]
fn late_results_change_nothing() {
    // S9, CB8
    let rig = rig(|builder| hair_trigger(builder).failure_threshold(2));
    let in_closed: Vec<_> = (0..6).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    let mut in_closed = in_closed.into_iter();
    let mut end_two = || {
        in_closed.next().unwrap().failure();
        in_closed.next().unwrap().success();
    };
    rig.fail(2);
    end_two();
    assert_eq!(rig.refused().retry_after(), Some(100 * MS), "while open");
    rig.time.advance(100 * MS);
    let trial = rig.breaker.try_acquire().unwrap();
    end_two();
    assert_eq!(rig.breaker.state(), State::HalfOpen, "while half-open");
    trial.success();
    end_two();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().consecutive_failures), (State::Closed, 0));
    assert_eq!(rig.breaker.stats().late, 6);
    let told = rig.events.lock().unwrap();
    let late = told.iter().filter(|event| matches!(event, BreakerEvent::LateResult { .. })).count();
    assert_eq!(late, 6);
}

#[test]
fn a_reset_of_a_closed_breaker_begins_a_generation() {
    // S9
    let rig = rig(|builder| builder.failure_threshold(2));
    let before = rig.breaker.try_acquire().unwrap();
    rig.fail(1);
    rig.breaker.reset().unwrap();
    assert_eq!(rig.breaker.stats().consecutive_failures, 0);
    before.failure();
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Closed, "neither failure from before the reset counts");
    assert!(matches!(rig.events.lock().unwrap()[0], BreakerEvent::Cleared { .. }));
    assert!(rig.changes().is_empty());
}

#[test]
fn a_reset_of_a_closed_breaker_with_nothing_counted_is_silent() {
    // S9, S21
    let rig = rig(|builder| builder.failure_threshold(1));
    let running = rig.breaker.try_acquire().unwrap();
    rig.breaker.reset().unwrap();
    assert!(rig.events.lock().unwrap().is_empty());
    running.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Closed, 1));
}

#[test]
fn an_observer_that_resets_at_every_event_comes_to_an_end() {
    // S21
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let (inside, told) = (breaker.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&told);
    breaker.observe(move |_: &BreakerEvent| {
        assert!(seen.fetch_add(1, Ordering::Relaxed) < 10, "for ever");
        inside.reset().unwrap();
    });
    breaker.try_acquire().unwrap().failure();
    breaker.reset().unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 1);
    breaker.trip().unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 3, "open, closed");
    assert_eq!((breaker.state(), breaker.observer_panics()), (State::Closed, 0));
}

#[test]
fn exactly_so_many_trials_as_permitted_get_in_of_many_threads() {
    // S10, S22
    let rig = rig(|builder| builder.half_open_requests(3));
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    let barrier = Barrier::new(64);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let call = || {
            barrier.wait();
            rig.breaker.try_acquire()
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((admitted.len(), refused.len()), (3, 61));
    assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(Open::is_half_open)));
    assert_eq!(rig.changes().len(), 2, "to open, and once to half-open");
}

#[test]
fn the_verdict_comes_as_soon_as_it_is_certain() {
    // S11
    let rig = rig(|builder| builder.half_open_requests(4).success_threshold(2));
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    let [a, b, c, d] = std::array::from_fn(|_| rig.breaker.try_acquire().unwrap());
    a.success();
    b.failure();
    assert_eq!(rig.breaker.state(), State::Open);
    c.success();
    d.success();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Open, 2));
    rig.time.advance(Duration::from_secs(30));
    let [a, b, c, d] = std::array::from_fn(|_| rig.breaker.try_acquire().unwrap());
    a.success();
    b.success();
    assert_eq!(rig.breaker.state(), State::Closed);
    c.failure();
    d.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().consecutive_failures), (State::Closed, 0));
}

#[test]
fn ignored_and_dropped_trials_free_their_places() {
    // S12
    let rig = rig(|builder| builder.half_open_requests(2).success_threshold(2));
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    for n in 0..10 {
        let trial = rig.breaker.try_acquire().unwrap();
        if n % 2 == 0 { trial.ignore() } else { drop(trial) }
    }
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn trials_that_hang_do_not_keep_it_half_open() {
    // S13
    let rig = rig(hair_trigger);
    rig.fail(1);
    rig.time.advance(100 * MS);
    let hung = rig.breaker.try_acquire().unwrap();
    rig.time.advance(100 * MS - Duration::from_nanos(1));
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_nanos(1)));
    rig.time.advance(Duration::from_nanos(1));
    assert_eq!(rig.breaker.state(), State::Open);
    assert_eq!(rig.changes().len(), 2, "asking is no event");
    // The break counts from when the trials became overdue, whoever noticed it when.
    rig.time.advance(40 * MS);
    assert_eq!(rig.refused().retry_after(), Some(60 * MS));
    assert_eq!(rig.changes(), [(State::HalfOpen, State::Open, Trigger::TrialsOverdue)]);
    rig.time.advance(60 * MS);
    let trial = rig.breaker.try_acquire().unwrap();
    hung.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::HalfOpen, 1));
    trial.success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn overdue_trials_are_late_even_if_nobody_has_looked() {
    // S13
    let rig = rig(hair_trigger);
    rig.fail(1);
    rig.time.advance(100 * MS);
    let hung = rig.breaker.try_acquire().unwrap();
    rig.time.advance(100 * MS);
    hung.success();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Open, 1));
    // The next break was over before anybody called: two changes, then the trial.
    rig.time.advance(100 * MS);
    let trial = rig.breaker.try_acquire().unwrap();
    rig.time.advance(350 * MS);
    assert_eq!(rig.breaker.state(), State::HalfOpen, "overdue, and the break after that is over");
    rig.changes();
    let second = rig.breaker.try_acquire().unwrap();
    let half_open_to_open = (State::HalfOpen, State::Open, Trigger::TrialsOverdue);
    assert_eq!(rig.changes(), [half_open_to_open, (State::Open, State::HalfOpen, Trigger::BreakOver)]);
    drop((trial, second));
}

#[test]
fn overdue_trials_may_close_it_if_so_chosen() {
    // S13
    let rig = rig(|builder| hair_trigger(builder).on_overdue(OnOverdue::Close));
    rig.fail(1);
    rig.time.advance(100 * MS);
    let hung = rig.breaker.try_acquire().unwrap();
    rig.time.advance(100 * MS);
    assert_eq!(rig.breaker.state(), State::Closed);
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.poll_transition(), State::Closed);
    hung.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Closed, 1));
}

#[test]
fn a_half_open_breaker_with_few_calls_is_not_overdue_between_them() {
    // S13: the limit is for trials that hang, not for a callee that is seldom called.
    let rig = rig(|builder| builder.half_open_requests(2).success_threshold(2));
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    rig.breaker.try_acquire().unwrap().success();
    rig.time.advance(Duration::from_secs(3600));
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    let second = rig.breaker.try_acquire().unwrap();
    rig.time.advance(Duration::from_secs(30) - MS);
    second.success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn after_its_lease_a_trials_place_goes_to_another() {
    // S13
    let settings =
        |builder| hair_trigger(builder).half_open_limit(None).trial_lease(Some(20 * MS)).success_threshold(1);
    for first_ends_first in [true, false] {
        let rig = rig(settings);
        rig.fail(1);
        rig.time.advance(100 * MS);
        let first = rig.breaker.try_acquire().unwrap();
        assert_eq!(rig.refused().retry_after(), Some(20 * MS));
        rig.time.advance(20 * MS);
        let second = rig.breaker.try_acquire().unwrap();
        assert!(rig.refused().is_half_open(), "there is still only one place");
        if first_ends_first {
            first.success();
            assert_eq!(rig.breaker.state(), State::Closed, "its place was not judged yet");
            second.failure();
        } else {
            second.success();
            first.failure();
        }
        assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Closed, 1));
    }
}

#[test]
fn a_trial_that_lost_its_place_frees_nothing() {
    // S13
    let rig = rig(|builder| {
        builder.half_open_requests(2).success_threshold(2).half_open_limit(None).trial_lease(Some(20 * MS))
    });
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    let first = rig.breaker.try_acquire().unwrap();
    rig.time.advance(10 * MS);
    let other = rig.breaker.try_acquire().unwrap();
    rig.time.advance(10 * MS);
    let successor = rig.breaker.try_acquire().expect("the place whose lease is over");
    first.ignore();
    assert!(rig.refused().is_half_open(), "the successor has the place");
    // The successor's success judges the place, which is then not free.
    successor.success();
    assert!(rig.refused().is_half_open());
    other.success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn a_trial_that_lost_its_place_counts_if_its_successor_came_to_nothing() {
    // S13
    let rig = rig(|builder| {
        builder.half_open_requests(2).success_threshold(2).half_open_limit(None).trial_lease(Some(20 * MS))
    });
    rig.trip();
    rig.time.advance(Duration::from_secs(30));
    let first = rig.breaker.try_acquire().unwrap();
    let other = rig.breaker.try_acquire().unwrap();
    rig.time.advance(20 * MS);
    rig.breaker.try_acquire().unwrap().ignore();
    rig.breaker.try_acquire().unwrap().ignore();
    first.success();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::HalfOpen, 0));
    let successor = rig.breaker.try_acquire().expect("one place is free");
    assert!(rig.refused().is_half_open(), "the other is judged");
    successor.success();
    assert_eq!(rig.breaker.state(), State::Closed);
    other.failure();
    assert_eq!((rig.breaker.state(), rig.breaker.stats().late), (State::Closed, 1));
}

#[test]
fn a_lost_place_that_is_free_again_may_be_judged_with_no_trial_out() {
    // S13
    let rig = rig(|builder| hair_trigger(builder).half_open_limit(None).trial_lease(Some(20 * MS)));
    rig.fail(1);
    rig.time.advance(100 * MS);
    let first = rig.breaker.try_acquire().unwrap();
    rig.time.advance(20 * MS);
    rig.breaker.try_acquire().unwrap().ignore();
    first.success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn settings_that_make_no_sense_are_refused_each_by_its_own_error() {
    // S14
    let zero = Duration::ZERO;
    let cases: [(Builder, &str); 12] = [
        (CircuitBreaker::builder().failure_threshold(0), "failure_threshold = 0: must be at least 1"),
        (
            CircuitBreaker::builder().failure_threshold(1 << 27),
            "failure_threshold = 134217728: must be at most 134217727",
        ),
        (CircuitBreaker::builder().half_open_requests(0), "half_open_requests = 0: must be at least 1"),
        (CircuitBreaker::builder().half_open_requests(512), "half_open_requests = 512: must be at most 511"),
        (CircuitBreaker::builder().success_threshold(0), "success_threshold = 0: must be at least 1"),
        (
            CircuitBreaker::builder().success_threshold(4),
            "success_threshold = 4: must be at most half_open_requests: more successes cannot come in",
        ),
        (
            CircuitBreaker::builder().recovery_growth(0.5),
            "recovery_growth = 0.5: must be a finite number of at least 1",
        ),
        (
            CircuitBreaker::builder().recovery_growth(f64::NAN),
            "recovery_growth = NaN: must be a finite number of at least 1",
        ),
        (
            CircuitBreaker::builder().recovery_cap(Duration::from_secs(29)),
            "recovery_cap = 29s: must be at least recovery_time",
        ),
        (
            CircuitBreaker::builder().half_open_limit(Some(zero)),
            "half_open_limit = 0ns: must be more than zero: no trial could end in time",
        ),
        (
            CircuitBreaker::builder().trial_lease(Some(zero)),
            "trial_lease = 0ns: must be more than zero: every call would be a trial",
        ),
        (
            CircuitBreaker::builder().half_open_limit(None).trial_lease(None),
            "trial_lease = none: must be set where half_open_limit is none: a hung trial would block the breaker for ever",
        ),
    ];
    for (builder, text) in cases {
        assert_eq!(builder.build().unwrap_err().to_string(), format!("circuit breaker: {text}"));
    }
    let edge = CircuitBreaker::builder().failure_threshold((1 << 27) - 1).half_open_requests(511);
    assert!(edge.success_threshold(511).build().is_ok());
}

#[test]
fn the_break_ends_at_its_very_instant() {
    // S15
    let rig = rig(|builder| hair_trigger(builder).recovery_time(250 * MS));
    rig.fail(1);
    rig.time.advance(250 * MS - Duration::from_nanos(1));
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_nanos(1)));
    assert_eq!(rig.breaker.state(), State::Open);
    rig.time.advance(Duration::from_nanos(1));
    assert!(rig.breaker.try_acquire().is_ok());
}

#[test]
fn no_break_is_too_long_or_too_short() {
    // S15
    let forever = rig(|builder| hair_trigger(builder).recovery_time(Duration::MAX).recovery_growth(1e300));
    forever.fail(1);
    forever.time.advance(Duration::from_secs(1 << 33));
    assert!(forever.refused().retry_after().is_some_and(|after| after > Duration::from_secs(1 << 33)));
    assert_eq!(forever.breaker.state(), State::Open);

    let none = rig(|builder| hair_trigger(builder).recovery_time(Duration::ZERO).recovery_growth(1e300));
    none.fail(1);
    let trial = none.breaker.try_acquire().unwrap();
    assert!(none.refused().is_half_open());
    trial.failure();
    none.breaker.try_acquire().unwrap().success();
    assert_eq!(none.breaker.state(), State::Closed);
}

#[test]
fn a_clock_that_steps_back_makes_it_wait_and_nothing_else() {
    // S15
    let rig = rig(hair_trigger);
    let start = rig.time.clock().now();
    rig.time.advance(Duration::from_secs(10));
    rig.fail(1);
    rig.time.set(start);
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(10) + 100 * MS));
    rig.time.set(start + Duration::from_secs(10) + 100 * MS);
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn asking_for_the_state_changes_nothing_and_the_first_call_is_one_event() {
    // S17
    let rig = rig(hair_trigger);
    rig.fail(1);
    assert_eq!(rig.changes(), [(State::Closed, State::Open, Trigger::ConsecutiveFailures)]);
    rig.time.advance(100 * MS);
    for _ in 0..2 {
        assert_eq!(rig.breaker.state(), State::HalfOpen);
    }
    assert!(rig.changes().is_empty());
    let trial = rig.breaker.try_acquire().expect("no place was taken by asking");
    assert_eq!(rig.changes(), [(State::Open, State::HalfOpen, Trigger::BreakOver)]);
    drop(trial);
}

#[test]
fn polling_makes_the_change_on_time() {
    // S17
    let rig = rig(hair_trigger);
    rig.fail(1);
    assert_eq!(rig.breaker.poll_transition(), State::Open);
    rig.time.advance(100 * MS);
    assert_eq!(rig.breaker.poll_transition(), State::HalfOpen);
    assert_eq!(rig.breaker.poll_transition(), State::HalfOpen);
    assert_eq!(rig.changes().len(), 2);
    rig.time.advance(Duration::from_secs(3600));
    assert_eq!(rig.breaker.poll_transition(), State::HalfOpen, "no trial, nothing overdue");
    let trial = rig.breaker.try_acquire().unwrap();
    assert!(rig.refused().is_half_open(), "polling took no place, the call took the one there is");
    rig.time.advance(100 * MS);
    assert_eq!(rig.breaker.poll_transition(), State::Open);
    drop(trial);
}

#[test]
fn breaks_grow_until_it_closes() {
    // S19
    let rig = rig(|builder| hair_trigger(builder).recovery_time(Duration::from_secs(2)).recovery_growth(3.0));
    let expect = |secs| assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(secs)));
    let next_trial_fails = || {
        rig.time.advance(rig.refused().retry_after().unwrap());
        rig.fail(1);
    };
    rig.fail(1);
    expect(2);
    next_trial_fails();
    expect(6);
    next_trial_fails();
    expect(18);
    assert_eq!(rig.breaker.stats().consecutive_opens, 3);
    for _ in 0..10 {
        next_trial_fails();
    }
    expect(300);
    rig.time.advance(Duration::from_secs(300));
    rig.breaker.try_acquire().unwrap().success();
    rig.fail(1);
    expect(2);
    next_trial_fails();
    expect(6);
    rig.breaker.reset().unwrap();
    rig.fail(1);
    expect(2);
}

#[test]
fn overdue_trials_lengthen_the_break_too() {
    // S13, S19
    let rig = rig(|builder| hair_trigger(builder).recovery_growth(2.0));
    rig.fail(1);
    rig.time.advance(100 * MS);
    let mut hung = vec![rig.breaker.try_acquire().unwrap()];
    for expected in [200, 400, 800] {
        rig.time.advance(100 * MS);
        assert_eq!(rig.breaker.state(), State::Open);
        assert_eq!(rig.refused().retry_after(), Some(expected * MS));
        rig.time.advance(expected * MS);
        hung.push(rig.breaker.try_acquire().unwrap());
    }
}

#[test]
fn a_function_may_set_the_break_and_may_panic() {
    // S19
    let trips = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&trips);
    let rig = rig(|builder| {
        hair_trigger(builder).failure_threshold(2).recovery_with(move |trip: &Trip| {
            seen.lock().unwrap().push(*trip);
            assert!(trip.opens < 1, "planned");
            Duration::from_secs(7)
        })
    });
    rig.fail(2);
    assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(7)));
    let trip = trips.lock().unwrap()[0];
    assert_eq!((trip.opens, trip.failures, trip.retry_after), (0, 2, None));
    rig.time.advance(Duration::from_secs(7));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    rig.fail(1);
    std::panic::set_hook(hook);
    assert_eq!(rig.refused().retry_after(), Some(100 * MS), "the recovery time stands in");
}

#[test]
fn the_callee_may_ask_for_a_longer_break_up_to_the_cap() {
    // S19
    let cap = Duration::from_secs(60);
    let rig = rig(|builder| builder.failure_threshold(1).recovery_cap(cap));
    for (asked, expected) in [(10, 30), (45, 45), (3600, 60)] {
        let guard = rig.breaker.try_acquire().unwrap();
        guard.record(Outcome::RetryAfter(Duration::from_secs(asked)));
        assert_eq!(rig.refused().retry_after(), Some(Duration::from_secs(expected)));
        rig.breaker.reset().unwrap();
    }
}

#[test]
fn forced_open_ignores_time_and_results() {
    // S20, CB17
    let rig = rig(hair_trigger);
    let before = rig.breaker.try_acquire().unwrap();
    rig.breaker.force_open().unwrap();
    rig.time.advance(Duration::from_secs(365 * 24 * 3600));
    let refused = rig.refused();
    assert!(refused.is_forced() && refused.retry_after().is_none());
    before.success();
    assert_eq!((rig.breaker.state(), rig.breaker.poll_transition()), (State::ForcedOpen, State::ForcedOpen));
    rig.breaker.reset().unwrap();
    rig.breaker.try_acquire().unwrap().success();
    let trigger = [Trigger::Manual, Trigger::Reset];
    assert_eq!(
        rig.changes(),
        [(State::Closed, State::ForcedOpen, trigger[0]), (State::ForcedOpen, State::Closed, trigger[1])]
    );
}

#[test]
fn forced_closed_counts_and_disabled_does_not() {
    // S20, CB17
    let rig = rig(hair_trigger);
    rig.breaker.force_closed().unwrap();
    rig.fail(3);
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::ForcedClosed);
    rig.breaker.disable().unwrap();
    rig.fail(3);
    rig.breaker.try_acquire().unwrap().success();
    rig.breaker.try_acquire().unwrap().ignore();
    drop(rig.breaker.try_acquire().unwrap());
    let stats = rig.breaker.stats();
    assert_eq!(stats.state, State::Disabled);
    assert_eq!((stats.failures, stats.successes, stats.unrecorded, stats.running), (3, 1, 6, 0));
    assert_eq!((stats.ignored, stats.cancelled, stats.consecutive_failures), (0, 0, 0));
}

#[test]
fn a_breaker_may_begin_disabled() {
    // CB17
    let rig = rig(|builder| hair_trigger(builder).enabled(false));
    rig.fail(2);
    assert_eq!(rig.breaker.state(), State::Disabled);
    rig.breaker.reset().unwrap();
    rig.fail(1);
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn metrics_only_tells_once_for_each_run_of_failures() {
    // S20
    let rig = rig(|builder| builder.failure_threshold(3));
    rig.breaker.metrics_only().unwrap();
    rig.fail(5);
    rig.breaker.try_acquire().unwrap().success();
    rig.fail(3);
    let events = rig.events.lock().unwrap().clone();
    let crossings = events.iter().filter_map(|event| match event {
        BreakerEvent::ThresholdReached { failures, .. } => Some(*failures),
        _ => None,
    });
    assert_eq!(crossings.collect::<Vec<_>>(), [3, 3]);
    assert_eq!((rig.breaker.state(), rig.breaker.stats().rejected), (State::MetricsOnly, 0));
    // Leaving it begins with nothing counted.
    rig.breaker.reset().unwrap();
    assert_eq!(rig.breaker.stats().consecutive_failures, 0);
}

#[test]
fn asking_for_the_state_it_is_in_is_nothing_and_for_an_illegal_one_an_error() {
    // S20
    let rig = rig(hair_trigger);
    for (manual, state) in [
        (CircuitBreaker::force_open as fn(&CircuitBreaker) -> _, State::ForcedOpen),
        (CircuitBreaker::force_closed, State::ForcedClosed),
        (CircuitBreaker::disable, State::Disabled),
        (CircuitBreaker::metrics_only, State::MetricsOnly),
    ] {
        manual(&rig.breaker).unwrap();
        assert_eq!(rig.changes().len(), 1);
        let before = rig.breaker.stats().last_change;
        rig.time.advance(MS);
        manual(&rig.breaker).unwrap();
        assert!(rig.changes().is_empty());
        assert_eq!((rig.breaker.state(), rig.breaker.stats().last_change), (state, before));
        let error = rig.breaker.trip().unwrap_err();
        assert_eq!((error.from(), error.to()), (state, State::Open));
    }
    rig.breaker.reset().unwrap();
    rig.trip();
    rig.time.advance(40 * MS);
    rig.changes();
    rig.breaker.trip().unwrap();
    assert!(rig.changes().is_empty());
    assert_eq!(rig.refused().retry_after(), Some(60 * MS), "the break goes on");

    drop(rig.breaker.shutdown());
    rig.changes();
    drop(rig.breaker.shutdown());
    for illegal in [
        CircuitBreaker::reset as fn(&CircuitBreaker) -> _,
        CircuitBreaker::trip,
        CircuitBreaker::force_open,
        CircuitBreaker::force_closed,
        CircuitBreaker::disable,
        CircuitBreaker::metrics_only,
    ] {
        assert_eq!(illegal(&rig.breaker).unwrap_err().from(), State::ShutDown);
    }
    assert!(rig.changes().is_empty());
}

#[test]
fn tripping_by_hand_recovers_like_any_other() {
    let rig = rig(hair_trigger);
    rig.trip();
    assert_eq!(rig.changes(), [(State::Closed, State::Open, Trigger::Manual)]);
    rig.time.advance(100 * MS);
    rig.breaker.trip().unwrap();
    let entered = (State::Open, State::HalfOpen, Trigger::BreakOver);
    assert_eq!(rig.changes(), [entered, (State::HalfOpen, State::Open, Trigger::Manual)]);
    rig.time.advance(100 * MS);
    rig.breaker.try_acquire().unwrap().success();
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn an_observer_may_call_back_and_sees_events_in_order() {
    // S21, CB14
    let time = ManualClock::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let breaker = CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().unwrap();
    let (inside, seen) = (breaker.clone(), Arc::clone(&log));
    breaker.observe(move |event: &BreakerEvent| {
        if let BreakerEvent::StateChanged { to, .. } = event {
            seen.lock().unwrap().push((*to, inside.state()));
            if *to == State::Open {
                inside.reset().unwrap();
                assert!(inside.try_acquire().is_ok());
            }
        }
    });
    let second = Arc::clone(&log);
    breaker.observe(move |event: &BreakerEvent| {
        if let BreakerEvent::StateChanged { to, .. } = event {
            second.lock().unwrap().push((*to, *to));
        }
    });
    breaker.try_acquire().unwrap().failure();
    let log = log.lock().unwrap().clone();
    let (open, closed) = (State::Open, State::Closed);
    assert_eq!(log, [(open, open), (open, open), (closed, closed), (closed, closed)]);
}

#[test]
fn an_observer_that_panics_is_contained_and_counted() {
    // S21
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .failure_threshold(1)
        .clock(time.clock())
        .observer(|_: &BreakerEvent| std::panic::resume_unwind(Box::new("planned")))
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    assert!(breaker.try_acquire().is_err());
    assert_eq!((breaker.state(), breaker.observer_panics()), (State::Open, 2));
}

#[test]
fn events_carry_the_instant_and_the_break() {
    // S21
    let rig = rig(hair_trigger);
    rig.time.advance(5 * MS);
    let at = rig.time.clock().now();
    rig.fail(1);
    let event = rig.events.lock().unwrap()[0];
    let BreakerEvent::StateChanged { name, at: told, open_for, .. } = event else { panic!("{event:?}") };
    assert_eq!((name, told, open_for), ("circuit breaker", at, Some(100 * MS)));
    rig.refused();
    let event = *rig.events.lock().unwrap().last().unwrap();
    let BreakerEvent::NotPermitted { state, retry_after, .. } = event else { panic!("{event:?}") };
    assert_eq!((state, retry_after), (State::Open, Some(100 * MS)));
}

#[test]
fn clones_share_the_breaker() {
    // S23
    let rig = rig(hair_trigger);
    let clone = rig.breaker.clone();
    rig.fail(1);
    assert!(clone.try_acquire().is_err());
    clone.reset().unwrap();
    assert!(rig.breaker.try_acquire().is_ok());
}

#[test]
fn an_owned_guard_goes_anywhere() {
    // S24: what a service adapter needs.
    let rig = rig(hair_trigger);
    let guard = rig.breaker.try_acquire_owned().unwrap();
    std::thread::spawn(move || guard.failure()).join().unwrap();
    assert_eq!(rig.breaker.state(), State::Open);
    assert!(rig.breaker.try_acquire_owned().is_err());
}

#[test]
fn decisions_can_be_made_at_a_time_of_ones_own() {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
    let now: Instant = cofferdam::time::Clock::system().now();
    breaker.try_acquire_at(now).unwrap().record_at(Outcome::Failure, now);
    let late = now + Duration::from_secs(30);
    assert_eq!(breaker.state_at(late - MS), State::Open);
    assert_eq!(breaker.try_acquire_at(late - MS).unwrap_err().retry_after(), Some(MS));
    assert_eq!(breaker.state_at(late), State::HalfOpen);
    assert_eq!(breaker.poll_transition_at(late), State::HalfOpen);
    breaker.try_acquire_at(late).unwrap().record_at(Outcome::Success, late);
}

#[test]
fn stats_add_up() {
    let rig = rig(|builder| builder.failure_threshold(3));
    let at = rig.time.clock().now();
    rig.breaker.try_acquire().unwrap().success();
    rig.breaker.try_acquire().unwrap().ignore();
    drop(rig.breaker.try_acquire().unwrap());
    let running: Vec<_> = (0..2).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    rig.fail(2);
    assert_eq!((rig.breaker.stats().consecutive_failures, rig.breaker.stats().last_change), (2, None));
    rig.fail(1);
    rig.refused();
    let stats = rig.breaker.stats();
    assert_eq!((stats.requests, stats.running, stats.rejected), (9, 2, 1));
    assert_eq!((stats.successes, stats.failures, stats.ignored, stats.cancelled), (1, 3, 1, 1));
    assert_eq!((stats.state_changes, stats.last_change, stats.state), (1, Some(at), State::Open));
    assert_eq!((stats.consecutive_failures, stats.consecutive_opens), (0, 1));
    drop(running);
}

#[test]
fn counts_of_many_threads_are_exact() {
    // More threads than lines of their own, and two generations of them.
    let breaker = CircuitBreaker::builder().failure_threshold(1_000_000).build().unwrap();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..70 {
                scope.spawn(|| {
                    for n in 0..200 {
                        let guard = breaker.try_acquire().unwrap();
                        if n % 4 == 0 { guard.failure() } else { guard.success() }
                    }
                });
            }
        });
    }
    let stats = breaker.stats();
    assert_eq!((stats.requests, stats.running), (28_000, 0));
    assert_eq!((stats.successes, stats.failures), (21_000, 7_000));
}

#[test]
fn a_shutdown_refuses_at_once_and_waits_for_the_calls_that_run() {
    // CB11
    let rig = rig(hair_trigger);
    let (one, two) = (rig.breaker.try_acquire().unwrap(), rig.breaker.try_acquire().unwrap());
    let other = rig.breaker.clone();
    let mut first = Polled::new(rig.breaker.shutdown());
    let mut second = Polled::new(other.shutdown());
    assert!(rig.refused().is_shut_down());
    assert!(first.poll().is_none() && second.poll().is_none());
    one.success();
    assert!(first.poll().is_none());
    let woken = first.wakes();
    drop(two);
    assert!(first.wakes() > woken && second.wakes() > 0);
    assert!(first.poll().is_some() && second.poll().is_some());
    assert!(Polled::new(rig.breaker.shutdown()).poll().is_some(), "again, and at once");
    assert_eq!(rig.time.armed(), 0);
    assert_eq!(rig.changes(), [(State::Closed, State::ShutDown, Trigger::Shutdown)]);
}

#[test]
fn who_does_not_wait_for_the_shutdown_any_more_leaves_no_waker_behind() {
    struct Counted(AtomicUsize);
    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let rig = rig(hair_trigger);
    let call = rig.breaker.try_acquire().unwrap();
    let counters: [_; 3] = std::array::from_fn(|_| Arc::new(Counted(AtomicUsize::new(0))));
    let poll = |drained: &mut cofferdam::resilience::breaker::Drained<'_>, counter: &Arc<Counted>| {
        let waker = Waker::from(Arc::clone(counter));
        Pin::new(drained).poll(&mut std::task::Context::from_waker(&waker)).is_ready()
    };
    let held = || counters.each_ref().map(|counter| Arc::strong_count(counter) - 1);
    let (mut stays, mut goes) = (rig.breaker.shutdown(), rig.breaker.shutdown());
    assert!(!poll(&mut goes, &counters[0]) && !poll(&mut stays, &counters[0]));
    let of_two = held()[0];
    assert!(!poll(&mut goes, &counters[1]));
    assert!(held()[0] < of_two, "its former waker is not needed any more");
    drop(goes);
    assert_eq!(held()[1], 0, "it is gone, its waker is not");
    assert!(!poll(&mut stays, &counters[2]));
    assert_eq!(held()[0], 0);
    drop(call);
    assert_eq!(counters.each_ref().map(|counter| counter.0.load(Ordering::Relaxed)), [0, 0, 1]);
    assert!(poll(&mut stays, &counters[2]));
    assert_eq!(held(), [0; 3]);
}

#[test]
fn debug_neither_blocks_nor_lies() {
    let rig = rig(hair_trigger);
    let text = format!("{:?}", rig.breaker);
    assert_eq!(text, "CircuitBreaker { name: \"circuit breaker\", state: Closed, .. }");
    let guard: Guard<&CircuitBreaker> = rig.breaker.try_acquire().unwrap();
    assert_eq!(format!("{guard:?}"), "Guard { let_through_in: Closed, .. }");
}

fn assert_auto<T: Send + Sync + Unpin>() {}

#[test]
fn handles_and_guards_cross_threads() {
    assert_auto::<CircuitBreaker>();
    assert_auto::<Guard<&CircuitBreaker>>();
    assert_auto::<Open>();
}
