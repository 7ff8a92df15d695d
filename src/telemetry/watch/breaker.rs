//! Circuit breakers.

use super::{counters, while_there};
use crate::resilience::CircuitBreaker;
use crate::resilience::breaker::{BreakerEvent, State};
use crate::telemetry::{Level, Log, Metric, Readings, Scope, Source, Unit, Watch};
use std::fmt::Display;

static CALLS: Metric = Metric::counter(
    "breaker_calls",
    "Calls that have ended, by how: success, failure, ignored, cancelled, rejected, late or unrecorded.",
)
.labels(&["outcome"]);
static SLOW: Metric = Metric::counter("breaker_slow_calls", "Calls that took longer than a call may.");
static RUNNING: Metric = Metric::gauge("breaker_running", "Calls let through that have not ended.");
static STATE: Metric =
    Metric::gauge("breaker_state", "1 for the state that the breaker is in, 0 for the others.")
        .labels(&["state"]);
static CHANGES: Metric = Metric::counter("breaker_state_changes", "Changes of state.");
static RESETS: Metric = Metric::counter("breaker_resets", "Times that it was reset by hand.");
static IN_A_ROW: Metric = Metric::gauge("breaker_consecutive_failures", "Failures in a row up to now.");
static FAILURES: Metric =
    Metric::gauge("breaker_window_failure", "The share of failures among the calls in the window.")
        .unit(Unit::Ratio);
static IN_WINDOW: Metric = Metric::gauge("breaker_window_calls", "Calls in the window.");

pub(super) static METRICS: [&Metric; 9] =
    [&CALLS, &SLOW, &RUNNING, &STATE, &CHANGES, &RESETS, &IN_A_ROW, &FAILURES, &IN_WINDOW];

pub(super) const STATES: [(State, &str); 8] = [
    (State::Closed, "closed"),
    (State::Open, "open"),
    (State::HalfOpen, "half_open"),
    (State::ForcedOpen, "forced_open"),
    (State::ForcedClosed, "forced_closed"),
    (State::MetricsOnly, "metrics_only"),
    (State::Disabled, "disabled"),
    (State::ShutDown, "shut_down"),
];

impl Watch for CircuitBreaker {
    const COMPONENT: &'static str = "breaker";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        scope.keep_log(|log| self.observers().attach(move |event: &BreakerEvent| tell(&log, event)));
        while_there(self.weak(), read)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read(breaker: &CircuitBreaker, readings: &mut Readings<'_>) {
    let stats = breaker.stats();
    let sums = [
        ("success", stats.successes),
        ("failure", stats.failures),
        ("ignored", stats.ignored),
        ("cancelled", stats.cancelled),
        ("rejected", stats.rejected),
        ("late", stats.late),
        ("unrecorded", stats.unrecorded),
    ];
    counters(readings, &CALLS, sums);
    readings.counter(&SLOW, &[], stats.slow);
    readings.count(&RUNNING, &[], stats.running);
    for (state, name) in STATES {
        readings.count(&STATE, &[name], u64::from(stats.state == state));
    }
    readings.counter(&CHANGES, &[], stats.state_changes);
    readings.counter(&RESETS, &[], stats.resets);
    readings.count(&IN_A_ROW, &[], stats.consecutive_failures);
    if let Some(window) = stats.window {
        readings.count(&IN_WINDOW, &[], window.calls);
        readings.gauge(&FAILURES, &[], window.failure_rate().unwrap_or(0.0));
    }
}

fn tell(log: &Log, event: &BreakerEvent) {
    match event {
        BreakerEvent::StateChanged { from, to, trigger, open_for, window, .. } => {
            let level = match to {
                State::Open | State::ForcedOpen => Level::Warn,
                _ => Level::Info,
            };
            let open_for = open_for.map_or_else(|| "-".to_owned(), |open_for| format!("{open_for:?}"));
            let window = window.map_or_else(
                || "-".to_owned(),
                |window| format!("{} of {} failed", window.failures, window.calls),
            );
            let fields: [(_, &dyn Display); 5] = [
                ("from", from),
                ("to", to),
                ("trigger", trigger),
                ("open_for", &open_for),
                ("window", &window),
            ];
            log.write(level, "state changed", &fields);
        }
        BreakerEvent::NextStep { step, .. } => {
            log.write(Level::Info, "next step of the ramp", &[("step", step)])
        }
        BreakerEvent::SettingsChanged { .. } => log.write(Level::Info, "settings changed", &[]),
        BreakerEvent::Cleared { .. } => log.write(Level::Info, "reset", &[]),
        BreakerEvent::NotPermitted { state, .. } => {
            log.write(Level::Debug, "call refused", &[("state", state)]);
        }
        BreakerEvent::SlowCall { took, .. } => {
            log.write(Level::Debug, "slow call", &[("seconds", &took.as_secs_f64())]);
        }
        BreakerEvent::LateResult { .. } => log.write(Level::Debug, "late result", &[]),
        BreakerEvent::ThresholdReached { trigger, failures, .. } => {
            log.write(Level::Warn, "would have opened", &[("trigger", trigger), ("failures", failures)]);
        }
        _ => {}
    }
}
