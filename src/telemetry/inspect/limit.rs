//! Limiters: of rates, and of what runs at once.

use super::{Inspect, Inspection, View};
use crate::limit::concurrency::ConcurrencyLimiter;
use crate::limit::{Algorithm, Limiter};
use std::time::Duration;

/// A [`Limiter`] at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimiterView {
    /// Tokens that could be taken now.
    pub available: u64,
    /// The most tokens that can be taken at once.
    pub capacity: u64,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that waited and got their tokens.
    pub granted: u64,
    /// Waits that were given up.
    pub cancelled: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// For how long still; `None` if it is not paused, or until it is told otherwise.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::perhaps"))]
    pub paused_for: Option<Duration>,
}

impl<A: Algorithm> Inspect for Limiter<A> {
    const COMPONENT: &'static str = "limiter";
    type View = LimiterView;

    fn inspect(&self) -> Inspection<LimiterView> {
        let weak = self.weak();
        Inspection::new(move || {
            let limiter = weak()?;
            let (stats, paused, now) = (limiter.stats(), limiter.paused_until(), limiter.clock().now());
            Some(LimiterView {
                available: limiter.available_at(now),
                capacity: limiter.capacity(),
                waiting: stats.waiting,
                granted: stats.granted,
                cancelled: stats.cancelled,
                paused: paused.is_some(),
                paused_for: paused.and_then(|until| until.remaining(now)),
            })
        })
    }
}

impl From<LimiterView> for View {
    fn from(view: LimiterView) -> Self {
        Self::Limiter(view)
    }
}

/// A [`ConcurrencyLimiter`] or a [`Bulkhead`](crate::resilience::Bulkhead) at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConcurrencyView {
    /// Places that are taken.
    pub running: u32,
    /// Places.
    pub limit: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that were refused, of those that it counts: a bulkhead counts all, a limiter those that its discipline has shed.
    pub refused: u64,
    /// Whether it is closed.
    pub closed: bool,
}

impl Inspect for ConcurrencyLimiter {
    const COMPONENT: &'static str = "concurrency";
    type View = ConcurrencyView;

    fn inspect(&self) -> Inspection<ConcurrencyView> {
        let weak = self.weak();
        Inspection::new(move || {
            let limiter = weak()?;
            let stats = limiter.stats();
            Some(ConcurrencyView {
                running: stats.in_flight,
                limit: stats.limit,
                waiting: stats.waiting,
                refused: stats.shed,
                closed: limiter.is_closed(),
            })
        })
    }
}

#[cfg(feature = "resilience")]
impl Inspect for crate::resilience::Bulkhead {
    const COMPONENT: &'static str = "bulkhead";
    type View = ConcurrencyView;

    fn inspect(&self) -> Inspection<ConcurrencyView> {
        let weak = self.downgrade();
        Inspection::new(move || {
            let (stats, closed) = weak()?;
            let refused =
                stats.refused_no_place + stats.refused_queue_full + stats.refused_too_late + stats.shed;
            Some(ConcurrencyView {
                running: stats.running,
                limit: stats.limit,
                waiting: stats.waiting,
                refused,
                closed,
            })
        })
    }
}

impl From<ConcurrencyView> for View {
    fn from(view: ConcurrencyView) -> Self {
        Self::Concurrency(view)
    }
}
