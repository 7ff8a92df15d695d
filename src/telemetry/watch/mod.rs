//! How each component of the crate is watched: which numbers it has, and what it tells of.
//!
//! Each file is one component: its metrics, as a table of `static`s, and where they come from.

#[cfg(feature = "limit")]
mod admission;
#[cfg(feature = "resilience")]
mod attempts;
#[cfg(feature = "resilience")]
mod breaker;
#[cfg(feature = "resilience")]
mod cache;
#[cfg(feature = "limit")]
mod keyed;
#[cfg(feature = "limit")]
mod limiter;
#[cfg(feature = "pool")]
mod pool;
mod semaphore;
#[cfg(feature = "limit")]
mod tiered;

use super::{Metric, Readings, Source};

/// The metrics of the crate's components, for tables.
pub(super) fn catalogue() -> Vec<&'static Metric> {
    let all: &[&[&Metric]] = &[
        #[cfg(feature = "limit")]
        &admission::METRICS,
        #[cfg(feature = "resilience")]
        &attempts::METRICS,
        #[cfg(feature = "resilience")]
        &breaker::METRICS,
        #[cfg(feature = "resilience")]
        &cache::METRICS,
        #[cfg(feature = "resilience")]
        &super::calls::METRICS,
        #[cfg(feature = "limit")]
        &keyed::METRICS,
        #[cfg(feature = "limit")]
        &limiter::METRICS,
        #[cfg(feature = "pool")]
        &pool::METRICS,
        &semaphore::METRICS,
        #[cfg(feature = "limit")]
        &tiered::METRICS,
    ];
    all.iter().flat_map(|some| some.iter().copied()).collect()
}

/// Reads a component for as long as it is there.
pub(super) fn while_there<C>(
    weak: impl Fn() -> Option<C> + Send + Sync + 'static,
    read: impl Fn(&C, &mut Readings<'_>) + Send + Sync + 'static,
) -> Box<dyn Source> {
    Box::new(move |readings: &mut Readings<'_>| match weak() {
        Some(component) => {
            read(&component, readings);
            true
        }
        None => false,
    })
}
