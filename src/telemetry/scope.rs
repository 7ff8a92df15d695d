//! What a component is given when it begins to be watched.

use super::distribution::Distribution;
use super::hub::{Hub, Kept, Outlets};
use super::{Level, Metric, Record, Source, Timing};
use crate::observe::Attached;
use crate::panics::contain;
use crate::shim::{AtomicBool, Mutex, Ordering};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A component that can be watched: it says its numbers when it is asked, and tells of what happens.
///
/// Every component of the crate that counts is one. For your own, say in [`watch`](Self::watch) where the numbers come from.
///
/// ```
/// use cofferdam::telemetry::{Metric, Readings, Scope, Source, Telemetry, Watch};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static TURNS: Metric = Metric::counter("mill_turns", "Turns of the mill.");
///
/// #[derive(Default)]
/// struct Mill(Arc<AtomicU64>);
///
/// impl Watch for Mill {
///     const COMPONENT: &'static str = "mill";
///
///     fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
///         let turns = Arc::downgrade(&self.0);
///         Box::new(move |readings: &mut Readings<'_>| {
///             let Some(turns) = turns.upgrade() else { return false };
///             readings.counter(&TURNS, &[], turns.load(Ordering::Relaxed));
///             true
///         })
///     }
/// }
///
/// let (telemetry, mill) = (Telemetry::new(), Mill::default());
/// telemetry.watch("north", &mill)?;
/// mill.0.fetch_add(3, Ordering::Relaxed);
/// assert_eq!(telemetry.samples()[0].name, "cofferdam_mill_turns_total");
/// # Ok::<(), cofferdam::telemetry::WatchError>(())
/// ```
pub trait Watch {
    /// What kind of component it is, in one word: the first of its metrics' names.
    const COMPONENT: &'static str;

    /// Begins to be watched: makes the handles it needs out of `scope`, and gives what its numbers are read from, which must
    /// not keep the component alive.
    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source>;

    /// The same number for the same component, so that it can be watched twice without harm; 0 if that cannot be told.
    fn identity(&self) -> usize {
        0
    }
}

/// What is made for one component when it begins to be watched.
pub struct Scope<'a> {
    pub(super) hub: &'a Hub,
    pub(super) component: &'static str,
    pub(super) name: Arc<str>,
    pub(super) kept: Vec<Kept>,
    pub(super) attached: Vec<Attached>,
}

impl Scope<'_> {
    /// What the component is watched as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where durations of this metric go, with the values of its own labels. Without effect where histograms are switched off.
    pub fn timing(&mut self, metric: &'static Metric, labels: &[&str]) -> Timing {
        if !self.hub.histograms {
            return Timing(None);
        }
        let sinks = self.hub.histogram_handles(metric, &self.name, labels);
        let on = Arc::clone(&self.hub.on);
        let distribution = Arc::new(Distribution::new(on, self.hub.bounds.clone(), sinks));
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.kept.push(Kept { metric, labels, distribution: Arc::clone(&distribution) });
        Timing(Some(distribution))
    }

    /// Whether durations go anywhere.
    #[cfg(feature = "pool")]
    pub(super) fn has_histograms(&self) -> bool {
        self.hub.histograms
    }

    /// An observer that is to go when the telemetry goes, or the component.
    pub fn keep(&mut self, attached: Attached) {
        self.attached.push(attached);
    }

    /// Keeps an observer who does nothing but write lines of the log: only where there is a log, as otherwise its component would
    /// make events for nobody.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(super) fn keep_log(&mut self, attach: impl FnOnce(Log) -> Attached) {
        if !self.hub.outlets.loggers.is_empty() {
            let attached = attach(self.log());
            self.keep(attached);
        }
    }

    /// Where lines of the log go.
    pub fn log(&self) -> Log {
        Log {
            on: Arc::clone(&self.hub.on),
            outlets: Arc::clone(&self.hub.outlets),
            component: self.component,
            name: Arc::clone(&self.name),
        }
    }

    /// A bound on the values of a label that come from outside.
    pub fn label_values(&self) -> LabelValues {
        LabelValues { most: self.hub.label_values, seen: Mutex::new(BTreeSet::new()) }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("component", &self.component).field("name", &self.name).finish()
    }
}

/// Where a component's lines of the log go.
#[derive(Clone)]
pub struct Log {
    on: Arc<AtomicBool>,
    outlets: Arc<Outlets>,
    component: &'static str,
    name: Arc<str>,
}

impl Log {
    /// Whether anybody wants such lines. [`write`](Self::write) asks, too; this is for fields that cost something to make.
    pub fn is_enabled(&self, level: Level) -> bool {
        // Relaxed: it guards no memory.
        self.on.load(Ordering::Relaxed)
            && self.outlets.loggers.iter().any(|logger| contain(|| logger.is_enabled(level)) == Some(true))
    }

    /// One line. A logger that panics is contained.
    pub fn write(&self, level: Level, message: &'static str, fields: &[(&'static str, &dyn fmt::Display)]) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let record = Record { level, component: self.component, name: &self.name, message, fields };
        for logger in &self.outlets.loggers {
            contain(|| {
                if logger.is_enabled(level) {
                    logger.log(&record)
                }
            });
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("component", &self.component).field("name", &self.name).finish()
    }
}

/// A bound on how many values a label takes: the first ones that come are told apart, and all further ones are `other`.
/// So keys that come from outside, users and addresses, cannot make more series than a store of metrics can bear.
pub struct LabelValues {
    most: usize,
    seen: Mutex<BTreeSet<Arc<str>>>,
}

impl LabelValues {
    /// What stands for all values beyond the bound.
    pub const OTHER: &'static str = "other";

    /// The value, or [`OTHER`](Self::OTHER).
    pub fn admit(&self, value: &str) -> Arc<str> {
        let mut seen = self.seen.lock();
        if let Some(known) = seen.get(value) {
            return Arc::clone(known);
        }
        if seen.len() >= self.most {
            return Arc::from(Self::OTHER);
        }
        let value: Arc<str> = Arc::from(value);
        seen.insert(Arc::clone(&value));
        value
    }
}

impl fmt::Debug for LabelValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelValues").field("most", &self.most).finish_non_exhaustive()
    }
}
