//! Policies that make more than one attempt, or end one: retries, hedges, timeouts, fallbacks.

use super::{counters, while_there};
use crate::resilience::fallback::{FallbackEvent, FallbackStats};
use crate::resilience::{Fallback, Hedge, HedgeStats, Retry, RetryEvent, RetryStats, Timeout};
use crate::telemetry::{Level, Log, Metric, Readings, Scope, Source, Watch};
use std::fmt::Display;

static RUNS: Metric = Metric::counter(
    "retry_runs",
    "Runs of more than one attempt, or of one that went wrong, by how they ended: recovered, aborted, out_of_attempts, \
     out_of_budget, out_of_time or cancelled.",
)
.labels(&["outcome"]);
static RETRIES: Metric = Metric::counter("retry_retries", "Attempts after the first ones.");
static HEDGES: Metric =
    Metric::counter("hedge_hedges", "Hedges, by whether they were started or suppressed.")
        .labels(&["decision"]);
static WINS: Metric =
    Metric::counter("hedge_wins", "Calls with hedges, by who won: hedge or primary.").labels(&["winner"]);
static TIMED_OUT: Metric =
    Metric::counter("timeout_timed_out", "Calls and attempts that were not finished within their limit.");
static FALLBACKS: Metric =
    Metric::counter("fallback_runs", "Fallbacks that ran, by how: used or failed.").labels(&["outcome"]);

pub(super) static METRICS: [&Metric; 6] = [&RUNS, &RETRIES, &HEDGES, &WINS, &TIMED_OUT, &FALLBACKS];

impl<J: 'static> Watch for Retry<J> {
    const COMPONENT: &'static str = "retry";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        scope.keep_log(|log| self.observers().attach(move |event: &RetryEvent| tell(&log, event)));
        while_there(self.weak(), |stats: &RetryStats, readings| {
            let sums = [
                ("recovered", stats.recovered),
                ("aborted", stats.aborted),
                ("out_of_attempts", stats.out_of_attempts),
                ("out_of_budget", stats.out_of_budget),
                ("out_of_time", stats.out_of_time),
                ("cancelled", stats.cancelled),
            ];
            counters(readings, &RUNS, sums);
            readings.counter(&RETRIES, &[], stats.retries);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn tell(log: &Log, event: &RetryEvent) {
    match event {
        RetryEvent::Scheduled { attempt, delay, .. } => {
            let fields: [(_, &dyn Display); 2] = [("attempt", attempt), ("delay", &delay.as_secs_f64())];
            log.write(Level::Debug, "trying again", &fields);
        }
        RetryEvent::GaveUp { attempts, reason, .. } => {
            log.write(Level::Warn, "gave up", &[("attempts", attempts), ("reason", reason)]);
        }
        _ => {}
    }
}

impl<J: 'static> Watch for Hedge<J> {
    const COMPONENT: &'static str = "hedge";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), |stats: &HedgeStats, readings| {
            readings.counter(&HEDGES, &["started"], stats.started);
            readings.counter(&HEDGES, &["suppressed"], stats.suppressed);
            readings.counter(&WINS, &["hedge"], stats.won);
            readings.counter(&WINS, &["primary"], stats.primary_won);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

impl Watch for Timeout {
    const COMPONENT: &'static str = "timeout";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), |timed_out: &u64, readings: &mut Readings<'_>| {
            readings.counter(&TIMED_OUT, &[], *timed_out);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

impl<R: 'static, H: 'static> Watch for Fallback<R, H> {
    const COMPONENT: &'static str = "fallback";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        scope.keep_log(|log| {
            self.observers().attach(move |event: &FallbackEvent| {
                if let FallbackEvent::Failed { .. } = event {
                    log.write(Level::Warn, "the fallback failed, too", &[]);
                }
            })
        });
        while_there(self.weak(), |stats: &FallbackStats, readings| {
            readings.counter(&FALLBACKS, &["used"], stats.used);
            readings.counter(&FALLBACKS, &["failed"], stats.failed);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}
