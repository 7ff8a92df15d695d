//! Tells the sinks that want to be told.

use super::hub::Hub;
use super::{Counter, Gauge, Metric, Telemetry, Value};
use crate::panics::contain;
use crate::sync::RunUntilCancelled;
use crate::time::{Clock, Sleep};
use pin_project_lite::pin_project;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What the sinks were told, and by which handles.
#[derive(Default)]
pub(super) struct Publication {
    round: u64,
    series: BTreeMap<Key, Told>,
}

/// The metric, what the component is watched as, and the values of the metric's own labels.
type Key = (&'static str, Arc<str>, Vec<String>);

struct Told {
    /// When it was there last.
    round: u64,
    /// Of which component.
    serial: u64,
    handles: Handles,
}

enum Handles {
    Counter { told: u64, handles: Vec<Box<dyn Counter>> },
    Gauge(Vec<Box<dyn Gauge>>),
}

impl Publication {
    /// Tells of every number once. Series that are not there any more are forgotten.
    pub(super) fn round(&mut self, hub: &Hub) {
        self.round += 1;
        let Self { round, series } = self;
        hub.each(|watched, metric, labels, value| {
            let key = (
                metric.name(),
                Arc::clone(&watched.name),
                labels.iter().map(|label| (*label).to_owned()).collect(),
            );
            let told = match series.get_mut(&key) {
                Some(told) => told,
                None => {
                    let Some(handles) = Handles::new(hub, metric, &watched.name, labels) else { return };
                    series.entry(key).or_insert(Told { round: *round, serial: watched.serial, handles })
                }
            };
            told.round = *round;
            let anew = std::mem::replace(&mut told.serial, watched.serial) != watched.serial;
            told.handles.tell(&value, anew);
        });
        series.retain(|_, told| {
            let is_there = told.round == *round;
            if !is_there {
                // Foreign drops may panic.
                let handles = std::mem::replace(&mut told.handles, Handles::Gauge(Vec::new()));
                contain(|| drop(handles));
            }
            is_there
        });
    }
}

impl Handles {
    /// Histograms have theirs already.
    fn new(hub: &Hub, metric: &'static Metric, name: &str, labels: &[&str]) -> Option<Self> {
        match metric.kind() {
            super::MetricKind::Counter => {
                Some(Self::Counter { told: 0, handles: hub.counter_handles(metric, name, labels) })
            }
            super::MetricKind::Gauge => Some(Self::Gauge(hub.gauge_handles(metric, name, labels))),
            super::MetricKind::Histogram => None,
        }
    }

    /// Of a component that began to count `anew`, or of the same as the last time.
    fn tell(&mut self, value: &Value, anew: bool) {
        match (self, value) {
            (Self::Counter { told, handles }, Value::Counter(now)) => {
                let more = if anew { *now } else { now.saturating_sub(*told) };
                *told = *now;
                if more > 0 {
                    for handle in handles {
                        contain(|| handle.add(more));
                    }
                }
            }
            (Self::Gauge(handles), Value::Gauge(now)) => {
                for handle in handles {
                    contain(|| handle.set(*now));
                }
            }
            _ => {}
        }
    }
}

pin_project! {
    /// Publishes again and again; see [`Telemetry::publish_every`].
    #[must_use = "nothing is published unless it is polled"]
    pub struct Publisher {
        hub: Weak<Hub>,
        clock: Clock,
        interval: Duration,
        #[pin]
        sleep: RunUntilCancelled<Sleep>,
    }
}

impl Publisher {
    pub(super) fn new(telemetry: &Telemetry, interval: Duration) -> Self {
        let clock = telemetry.hub.clock.clone();
        let sleep = telemetry.hub.over.run(clock.sleep(interval));
        Self { hub: Arc::downgrade(&telemetry.hub), clock, interval, sleep }
    }
}

impl Future for Publisher {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let slept = ready!(this.sleep.as_mut().poll(cx));
        let (Ok(()), Some(hub)) = (slept, this.hub.upgrade()) else { return Poll::Ready(()) };
        hub.publish();
        this.sleep.set(hub.over.run(this.clock.sleep(*this.interval)));
        // Not here and now: an interval that is over at once would keep the thread for ever.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("interval", &self.interval).finish_non_exhaustive()
    }
}
