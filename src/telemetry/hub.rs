//! What all handles of one [`Telemetry`](super::Telemetry) share.
//!
//! Foreign code (sources, sinks, loggers) runs under none of these locks: a list is cloned before it is gone through, and who
//! publishes takes the publication out of its lock and puts it back.

use super::distribution::{Bounds, Distribution};
use super::publish::Publication;
use super::{
    Counter, Gauge, Histogram, Label, Logger, Metric, Metrics, Readings, Sample, Series, Source, Tracer,
    Value,
};
use crate::observe::Attached;
use crate::panics::contain;
use crate::shim::{AtomicBool, Mutex, Ordering};
use crate::sync::CancelToken;
use crate::time::Clock;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) struct Hub {
    pub(super) prefix: String,
    pub(super) constant: Vec<Label>,
    pub(super) bounds: Bounds,
    pub(super) histograms: bool,
    pub(super) label_values: usize,
    pub(super) clock: Clock,
    pub(super) on: Arc<AtomicBool>,
    pub(super) outlets: Arc<Outlets>,
    /// Ends the publishers.
    pub(super) over: CancelToken,
    list: Mutex<List>,
    /// Not there while somebody publishes.
    publication: Mutex<Option<Publication>>,
}

/// Where everything goes.
pub(super) struct Outlets {
    pub(super) metrics: Vec<Box<dyn Metrics>>,
    pub(super) loggers: Vec<Box<dyn Logger>>,
    pub(super) tracer: Option<Box<dyn Tracer>>,
}

#[derive(Default)]
struct List {
    watched: Vec<Arc<Watched>>,
    /// Those who are about to be: their names, and who they are.
    reserved: Vec<(&'static str, Arc<str>, usize)>,
    /// With so many, those that are gone are looked for.
    enough: usize,
}

/// With fewer it is not worth while.
pub(super) const FEW: usize = 64;

/// A component that is watched.
pub(super) struct Watched {
    pub(super) component: &'static str,
    pub(super) name: Arc<str>,
    pub(super) identity: usize,
    /// Tells it from one that was there before it, under its name.
    pub(super) serial: u64,
    pub(super) source: Box<dyn Source>,
    pub(super) kept: Vec<Kept>,
    /// What looks at the component for it: goes with it.
    #[allow(dead_code, reason = "held, to be dropped in time")]
    pub(super) attached: Vec<Attached>,
}

/// A histogram of a component.
pub(super) struct Kept {
    pub(super) metric: &'static Metric,
    pub(super) labels: Vec<String>,
    pub(super) distribution: Arc<Distribution>,
}

impl Watched {
    /// Says all its numbers. False if it is gone.
    fn read(&self, out: &mut dyn FnMut(&'static Metric, &[&str], Value)) -> bool {
        if !self.source.read(&mut Readings { out }) {
            return false;
        }
        for Kept { metric, labels, distribution } in &self.kept {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            out(metric, &labels, Value::Histogram(distribution.snapshot()));
        }
        true
    }

    pub(super) fn is_there(&self) -> bool {
        self.source.read(&mut Readings { out: &mut |_, _, _| {} })
    }
}

impl Hub {
    pub(super) fn new(settings: super::builder::Settings, prefix: String, outlets: Outlets) -> Self {
        Self {
            prefix,
            constant: settings.labels,
            bounds: Bounds::new(&settings.buckets),
            histograms: settings.histograms,
            label_values: settings.label_values,
            clock: settings.clock,
            on: Arc::new(AtomicBool::new(true)),
            outlets: Arc::new(outlets),
            over: CancelToken::new(),
            list: Mutex::new(List::default()),
            publication: Mutex::new(Some(Publication::default())),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        // Relaxed: it guards no memory.
        self.on.load(Ordering::Relaxed)
    }

    pub(super) fn find(&self, component: &str, name: &str) -> Option<Arc<Watched>> {
        let list = self.list.lock();
        list.watched.iter().find(|one| one.component == component && *one.name == *name).cloned()
    }

    pub(super) fn forget(&self, gone: &Arc<Watched>) {
        // Not the last one of it: `gone` is dropped by the caller, without the lock.
        self.list.lock().watched.retain(|one| !Arc::ptr_eq(one, gone));
    }

    /// Keeps a name for a component that is about to be watched. If it is taken: whether by this very component, which somebody
    /// else has watched meanwhile, or is about to.
    pub(super) fn reserve(
        &self,
        component: &'static str,
        name: &Arc<str>,
        identity: usize,
    ) -> Result<Place<'_>, bool> {
        let mut list = self.list.lock();
        let watched = list.watched.iter().map(|one| (one.component, &one.name, one.identity));
        let reserved = list.reserved.iter().map(|(component, name, identity)| (*component, name, *identity));
        let taken = watched.chain(reserved).find(|(kind, taken, _)| (*kind, *taken) == (component, name));
        if let Some((.., other)) = taken {
            return Err(identity != 0 && other == identity);
        }
        list.reserved.push((component, Arc::clone(name), identity));
        Ok(Place { hub: self, component, name: Arc::clone(name) })
    }

    /// Forgets those that are gone. Only who reads does so otherwise, and there may be nobody.
    fn sweep(&self, all: Vec<Arc<Watched>>) {
        // One whose source panics is there.
        let is_gone = |one: &&Arc<Watched>| contain(|| one.is_there()) == Some(false);
        let gone: BTreeSet<_> = all.iter().filter(is_gone).map(|one| one.serial).collect();
        let mut list = self.list.lock();
        // Not the last ones of them: `all` is dropped without the lock.
        list.watched.retain(|one| !gone.contains(&one.serial));
        list.enough = 2 * list.watched.len();
    }

    /// Goes through all that are watched, and forgets those that are gone.
    pub(super) fn each(&self, mut visit: impl FnMut(&Watched, &'static Metric, &[&str], Value)) {
        let all = self.list.lock().watched.clone();
        for watched in all {
            if !watched.read(&mut |metric, labels, value| visit(&watched, metric, labels, value)) {
                self.forget(&watched);
            }
        }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        if self.is_on() {
            self.each(|watched, metric, labels, value| {
                let (name, labels) =
                    (metric.full_name(&self.prefix), self.labels(metric, &watched.name, labels));
                samples.push(Sample { metric, name, labels, value });
            });
        }
        samples
    }

    fn labels(&self, metric: &Metric, name: &str, own: &[&str]) -> Vec<Label> {
        // No label twice: of a metric of somebody's own, its own labels go first.
        let constant = self.constant.iter().filter(|(label, _)| !metric.label_names().contains(&&**label));
        let mut labels: Vec<Label> = constant.cloned().collect();
        labels.push((Cow::Borrowed("name"), Cow::Owned(name.to_owned())));
        let own = metric.label_names().iter().zip(own);
        labels.extend(own.map(|(label, value)| (Cow::Borrowed(*label), Cow::Owned((*value).to_owned()))));
        labels
    }

    /// A handle of each sink for a series; none of one that panics over it, which the others must not suffer from.
    fn handles<H>(
        &self,
        metric: &'static Metric,
        name: &str,
        labels: &[&str],
        make: impl Fn(&dyn Metrics, &Series<'_>) -> H,
    ) -> Vec<H> {
        if self.outlets.metrics.is_empty() {
            return Vec::new();
        }
        let (full, labels) = (metric.full_name(&self.prefix), self.labels(metric, name, labels));
        let series = Series { metric, name: &full, labels: &labels, bounds: &self.bounds.seconds };
        self.outlets.metrics.iter().filter_map(|metrics| contain(|| make(&**metrics, &series))).collect()
    }

    pub(super) fn counter_handles(
        &self,
        metric: &'static Metric,
        name: &str,
        labels: &[&str],
    ) -> Vec<Box<dyn Counter>> {
        self.handles(metric, name, labels, |metrics, series| metrics.counter(series))
    }

    pub(super) fn gauge_handles(
        &self,
        metric: &'static Metric,
        name: &str,
        labels: &[&str],
    ) -> Vec<Box<dyn Gauge>> {
        self.handles(metric, name, labels, |metrics, series| metrics.gauge(series))
    }

    pub(super) fn histogram_handles(
        &self,
        metric: &'static Metric,
        name: &str,
        labels: &[&str],
    ) -> Vec<Box<dyn Histogram>> {
        self.handles(metric, name, labels, |metrics, series| metrics.histogram(series))
    }

    /// Tells the sinks what has changed; false if that is switched off, or being done already.
    pub(super) fn publish(&self) -> bool {
        if !self.is_on() {
            return false;
        }
        let Some(publication) = self.publication.lock().take() else { return false };
        // Put back also if a source panics.
        let mut turn = Turn { hub: self, publication: Some(publication) };
        if let Some(publication) = &mut turn.publication {
            publication.round(self);
        }
        true
    }
}

struct Turn<'a> {
    hub: &'a Hub,
    publication: Option<Publication>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.hub.publication.lock() = self.publication.take();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.on.store(false, Ordering::Relaxed);
        self.over.cancel();
    }
}

/// The name of a component that is about to be watched; given back when it is dropped.
pub(super) struct Place<'a> {
    hub: &'a Hub,
    component: &'static str,
    name: Arc<str>,
}

impl Place<'_> {
    pub(super) fn fill(self, watched: Watched) {
        let mut list = self.hub.list.lock();
        list.watched.push(Arc::new(watched));
        let all = (list.watched.len() >= list.enough.max(FEW)).then(|| list.watched.clone());
        drop(list);
        if let Some(all) = all {
            self.hub.sweep(all);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut list = self.hub.list.lock();
        list.reserved.retain(|(component, name, _)| (*component, name) != (self.component, &self.name));
    }
}
