//! Admission control.

use super::{counters, while_there};
use crate::limit::AdmissionControl;
use crate::telemetry::{Metric, Readings, Scope, Source, Unit, Watch};

static CALLS: Metric = Metric::counter(
    "admission_calls",
    "Calls, by how they went: shed before they began, or accepted, rejected, ignored or cancelled.",
)
.labels(&["outcome"]);
static RUNNING: Metric = Metric::gauge("admission_running", "Calls let through that have not ended.");
static PROBABILITY: Metric =
    Metric::gauge("admission_shedding", "The probability with which the next call is turned away.")
        .unit(Unit::Ratio);

pub(super) static METRICS: [&Metric; 3] = [&CALLS, &RUNNING, &PROBABILITY];

impl Watch for AdmissionControl {
    const COMPONENT: &'static str = "admission";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), read)
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

fn read(admission: &AdmissionControl, readings: &mut Readings<'_>) {
    let stats = admission.stats();
    let sums = [
        ("shed", stats.shed),
        ("accepted", stats.accepted),
        ("rejected", stats.rejected),
        ("ignored", stats.ignored),
        ("cancelled", stats.cancelled),
    ];
    counters(readings, &CALLS, sums);
    readings.count(&RUNNING, &[], stats.running);
    readings.gauge(&PROBABILITY, &[], stats.probability);
}
