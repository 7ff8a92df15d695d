//! Rate limiters.

use super::while_there;
use crate::limit::{Algorithm, Limiter, LimiterEvent};
use crate::telemetry::{Level, Metric, Readings, Scope, Source, Watch};

static REQUESTS: Metric = Metric::counter(
    "limiter_requests",
    "Requests, by how they went: allowed or denied on the spot, granted after a wait, or cancelled.",
)
.labels(&["outcome"]);
static WAIT: Metric = Metric::histogram(
    "limiter_wait",
    "How long requests waited that got their tokens or were dropped, by which.",
)
.labels(&["outcome"]);
static AVAILABLE: Metric = Metric::gauge("limiter_available", "Tokens that could be taken now.");
static CAPACITY: Metric = Metric::gauge("limiter_capacity", "The most tokens that can be taken at once.");
static WAITING: Metric = Metric::gauge("limiter_waiting", "Requests that wait.");
static PAUSED: Metric = Metric::gauge("limiter_paused", "1 while it is paused, else 0.");
static STEPS_BACK: Metric = Metric::counter("limiter_clock_steps_back", "How often the clock went back.");

pub(super) static METRICS: [&Metric; 7] =
    [&REQUESTS, &WAIT, &AVAILABLE, &CAPACITY, &WAITING, &PAUSED, &STEPS_BACK];

/// From then on it counts its decisions.
impl<A: Algorithm> Watch for Limiter<A> {
    const COMPONENT: &'static str = "limiter";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let (granted, cancelled) = (scope.timing(&WAIT, &["granted"]), scope.timing(&WAIT, &["cancelled"]));
        let log = scope.log();
        let attached = self.count_and_attach(move |event: &LimiterEvent| match event {
            LimiterEvent::Granted { waited, .. } => granted.record(*waited),
            LimiterEvent::Cancelled { waited, .. } => cancelled.record(*waited),
            LimiterEvent::Changed => log.write(Level::Info, "settings changed", &[]),
            LimiterEvent::Paused { pause } => {
                let pause = pause.map_or_else(|| "until resumed".to_owned(), |pause| format!("{pause:?}"));
                log.write(Level::Info, "paused", &[("pause", &pause)]);
            }
            LimiterEvent::Resumed => log.write(Level::Info, "resumed", &[]),
            _ => {}
        });
        scope.keep(attached);
        while_there(self.weak(), read::<A>)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read<A: Algorithm>(limiter: &Limiter<A>, readings: &mut Readings<'_>) {
    let stats = limiter.stats();
    if let Some(decided) = stats.decided {
        readings.counter(&REQUESTS, &["allowed"], decided.allowed);
        readings.counter(&REQUESTS, &["denied"], decided.denied);
    }
    readings.counter(&REQUESTS, &["granted"], stats.granted);
    readings.counter(&REQUESTS, &["cancelled"], stats.cancelled);
    readings.count(&AVAILABLE, &[], limiter.available());
    readings.count(&CAPACITY, &[], limiter.capacity());
    readings.count(&WAITING, &[], stats.waiting as u64);
    readings.count(&PAUSED, &[], u64::from(limiter.is_paused()));
    readings.counter(&STEPS_BACK, &[], stats.clock_steps_back);
}
