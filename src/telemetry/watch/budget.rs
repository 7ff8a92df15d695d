//! Budgets of retries and hedges.

use super::{counters, while_there};
use crate::resilience::{Budget, BudgetStats};
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};

static REQUESTS: Metric = Metric::counter(
    "budget_requests",
    "Retries and hedges that asked for it, by whether there was enough: paid or refused.",
)
.labels(&["outcome"]);
static AVAILABLE: Metric = Metric::gauge("budget_available", "Retries and hedges that could be paid now.");

pub(super) static METRICS: [&Metric; 2] = [&REQUESTS, &AVAILABLE];

impl Watch for Budget {
    const COMPONENT: &'static str = "budget";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), |stats: &BudgetStats, readings: &mut Readings<'_>| {
            counters(readings, &REQUESTS, [("paid", stats.paid), ("refused", stats.refused)]);
            readings.count(&AVAILABLE, &[], stats.available);
        })
    }

    fn identity(&self) -> usize {
        self.address()
    }
}
