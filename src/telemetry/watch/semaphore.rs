//! Semaphores.

use super::while_there;
use crate::sync::Semaphore;
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};
use std::sync::Arc;

static CAPACITY: Metric = Metric::gauge("semaphore_capacity", "Permits in all.");
static AVAILABLE: Metric = Metric::gauge("semaphore_available", "Free permits.");
static IN_USE: Metric = Metric::gauge("semaphore_in_use", "Permits in use.");
static WAITING: Metric = Metric::gauge("semaphore_waiting", "Requests that wait.");

pub(super) static METRICS: [&Metric; 4] = [&CAPACITY, &AVAILABLE, &IN_USE, &WAITING];

impl Watch for Arc<Semaphore> {
    const COMPONENT: &'static str = "semaphore";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        let semaphore = Arc::downgrade(self);
        while_there(move || semaphore.upgrade(), read)
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}

fn read(semaphore: &Arc<Semaphore>, readings: &mut Readings<'_>) {
    let stats = semaphore.stats();
    readings.count(&CAPACITY, &[], stats.capacity);
    readings.count(&AVAILABLE, &[], stats.available);
    readings.count(&IN_USE, &[], stats.in_use);
    readings.count(&WAITING, &[], stats.waiting as u64);
}
