//! Semaphores, and who waits for them.

use super::{Inspect, Inspection, View};
use crate::sync::Semaphore;
use std::sync::Arc;
use std::time::Duration;

/// Of those who wait, so many are listed.
const LISTED: usize = 64;

/// A [`Semaphore`] at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SemaphoreView {
    /// Permits in all.
    pub capacity: u32,
    /// Free permits.
    pub available: u32,
    /// Permits in use.
    pub in_use: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Whether it is closed.
    pub closed: bool,
    /// The first 64 of those who wait, in the order in which they will be served if nobody comes or goes.
    pub waiters: Vec<WaiterView>,
}

/// Somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WaiterView {
    /// For so many permits.
    pub permits: u32,
    /// For so long; `None` if that was not noted.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::perhaps"))]
    pub waited: Option<Duration>,
}

impl Inspect for Arc<Semaphore> {
    const COMPONENT: &'static str = "semaphore";
    type View = SemaphoreView;

    fn inspect(&self) -> Inspection<SemaphoreView> {
        let semaphore = Arc::downgrade(self);
        Inspection::new(move || {
            let semaphore = semaphore.upgrade()?;
            let (stats, waiters) = semaphore.waiters(LISTED);
            let waiters = waiters.into_iter().map(|(permits, waited)| WaiterView { permits, waited });
            Some(SemaphoreView {
                capacity: stats.capacity,
                available: stats.available,
                in_use: stats.in_use,
                waiting: stats.waiting,
                closed: semaphore.is_closed(),
                waiters: waiters.collect(),
            })
        })
    }
}

impl From<SemaphoreView> for View {
    fn from(view: SemaphoreView) -> Self {
        Self::Semaphore(view)
    }
}
