//! What is made for each key or name: maps, breakers, registries.

use super::{counters, while_there};
use crate::limit::{Idle, KeyedMap, KeyedMapStats};
use crate::telemetry::{Metric, Readings, Scope, Source, Watch};
use std::hash::{BuildHasher, Hash};

/// The metrics of what keeps its values in a [`KeyedMap`].
struct OfKeys {
    keys: Metric,
    capacity: Metric,
    created: Metric,
    forgotten: Metric,
    rejected: Metric,
}

impl OfKeys {
    const fn all(&'static self) -> [&'static Metric; 5] {
        let Self { keys, capacity, created, forgotten, rejected } = self;
        [keys, capacity, created, forgotten, rejected]
    }

    fn read(&'static self, stats: &KeyedMapStats, readings: &mut Readings<'_>) {
        readings.count(&self.keys, &[], stats.keys as u64);
        readings.count(&self.capacity, &[], stats.capacity as u64);
        readings.counter(&self.created, &[], stats.created);
        counters(readings, &self.forgotten, [("expired", stats.expired), ("removed", stats.removed)]);
        readings.counter(&self.rejected, &[], stats.rejected);
    }
}

macro_rules! of_keys {
    ($component:literal) => {
        OfKeys {
            keys: Metric::gauge(concat!($component, "_keys"), "Keys with a value."),
            capacity: Metric::gauge(concat!($component, "_capacity"), "The most keys with a value."),
            created: Metric::counter(concat!($component, "_created"), "Values that were made."),
            forgotten: Metric::counter(
                concat!($component, "_forgotten"),
                "Values that were forgotten, by why: expired (idle) or removed (by hand).",
            )
            .labels(&["why"]),
            rejected: Metric::counter(
                concat!($component, "_rejected"),
                "Requests that were refused, as there was no room for their key.",
            ),
        }
    };
}

static MAP: OfKeys = of_keys!("keyed_map");

pub(super) static METRICS: [&Metric; 5] = MAP.all();

impl<K, V, S> Watch for KeyedMap<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Idle + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    const COMPONENT: &'static str = "keyed_map";

    fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
        while_there(self.weak(), |map: &Self, readings: &mut Readings<'_>| MAP.read(&map.stats(), readings))
    }

    fn identity(&self) -> usize {
        self.address()
    }
}

#[cfg(feature = "resilience")]
pub(super) use resilience::METRICS as OF_POLICIES;

#[cfg(feature = "resilience")]
mod resilience {
    use super::super::breaker::STATES;
    use super::super::{counters, while_there};
    use super::OfKeys;
    use crate::resilience::breaker::KeyedBreaker;
    use crate::resilience::registry::{Registry, RegistryEvent};
    use crate::shim::{AtomicU64, Ordering};
    use crate::telemetry::{Metric, Readings, Scope, Source, Watch};
    use std::hash::Hash;
    use std::sync::Arc;

    static BREAKERS: OfKeys = of_keys!("keyed_breaker");
    static IN_STATE: Metric =
        Metric::gauge("keyed_breaker_breakers", "Breakers that are in a state.").labels(&["state"]);
    static NAMES: Metric = Metric::gauge("registry_names", "Names that stand for something.");
    static CAPACITY: Metric = Metric::gauge("registry_capacity", "The most names there may be.");
    static CHANGES: Metric =
        Metric::counter("registry_changes", "Changes of what names stand for: added, replaced or removed.")
            .labels(&["change"]);

    pub(in super::super) static METRICS: [&Metric; 9] = {
        let [keys, capacity, created, forgotten, rejected] = BREAKERS.all();
        [keys, capacity, created, forgotten, rejected, &IN_STATE, &NAMES, &CAPACITY, &CHANGES]
    };

    /// Reading it goes through all of its breakers.
    impl<K: Hash + Eq + Clone + Send + Sync + 'static> Watch for KeyedBreaker<K> {
        const COMPONENT: &'static str = "keyed_breaker";

        fn watch(&self, _: &mut Scope<'_>) -> Box<dyn Source> {
            while_there(self.weak(), |breakers: &Self, readings: &mut Readings<'_>| {
                BREAKERS.read(&breakers.stats(), readings);
                let mut in_state = [0_u64; STATES.len()];
                breakers.for_each(|_, breaker| {
                    let state = breaker.state();
                    let at = STATES.iter().position(|(known, _)| *known == state);
                    if let Some(count) = at.and_then(|at| in_state.get_mut(at)) {
                        *count += 1;
                    }
                });
                for ((_, name), breakers) in STATES.iter().zip(in_state) {
                    readings.count(&IN_STATE, &[name], breakers);
                }
            })
        }

        fn identity(&self) -> usize {
            self.address()
        }
    }

    impl<C: Send + Sync + 'static> Watch for Registry<C> {
        const COMPONENT: &'static str = "registry";

        fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
            let changes: Arc<[AtomicU64; 3]> = Arc::default();
            let counted = Arc::clone(&changes);
            scope.keep(self.observers().attach(move |event: &RegistryEvent<C>| {
                let [added, replaced, removed] = &*counted;
                let count = match event {
                    RegistryEvent::Added { .. } => added,
                    RegistryEvent::Replaced { .. } => replaced,
                    RegistryEvent::Removed { .. } => removed,
                };
                // Relaxed: it guards no memory.
                count.fetch_add(1, Ordering::Relaxed);
            }));
            while_there(self.weak(), move |registry: &Self, readings: &mut Readings<'_>| {
                readings.count(&NAMES, &[], registry.len() as u64);
                readings.count(&CAPACITY, &[], registry.capacity() as u64);
                let [added, replaced, removed] =
                    changes.each_ref().map(|count| count.load(Ordering::Relaxed));
                counters(
                    readings,
                    &CHANGES,
                    [("added", added), ("replaced", replaced), ("removed", removed)],
                );
            })
        }

        fn identity(&self) -> usize {
            self.address()
        }
    }
}
