//! Who of those who wait goes first, for how long anybody may wait, and what is asked for.

use super::lane::{NewestFirst, Rule};
use crate::ConfigError;
use crate::sync::{Order, Priority};
use std::time::Duration;

/// Who of those who wait for a permit goes first, and who is sent away.
///
/// | discipline | good for |
/// |---|---|
/// | [`Order::Fifo`] | most: short queues, with a bound and a [wait limit](super::ConcurrencyLimiterBuilder::wait_limit) |
/// | [`Order::Lifo`] | callers who give up: who came last is still there |
/// | [`Order::Priority`] | classes of work, with ageing so that none starves |
/// | [`Order::Barging`] | throughput above fairness |
/// | [`AdaptiveLifo`](Self::AdaptiveLifo) | FIFO's fairness in normal times, LIFO's fresh answers in an overload |
/// | [`ControlledDelay`](Self::ControlledDelay) | a queue that takes up bursts, and is not allowed to stand |
///
/// A queue is *overloaded* when it has not been empty for a whole `interval`: a burst passes within it, a standing queue
/// means that more comes than is served, and waiting helps nobody. It is the scheme of Maurer, "Fail at Scale" (ACM Queue
/// 13/8, 2015), after the CoDel of Nichols and Jacobson (RFC 8289).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discipline {
    /// As a [`Semaphore`](crate::sync::Semaphore) has it.
    Order(Order),
    /// First come, first served; last come, first served while the queue is overloaded.
    AdaptiveLifo {
        /// For how long the queue must not have been empty to be overloaded: some tens to hundreds of milliseconds.
        interval: Duration,
    },
    /// Nobody waits longer than `interval`, and while the queue is overloaded nobody longer than `target`: those are
    /// [shed](super::AcquireError::is_shed).
    ///
    /// It is decided when a permit comes free, by how long each has waited. A waiter whose time is over is told at once
    /// even if no permit comes free: its queue stays overloaded as long as it is in it, so it could not be served any more.
    ControlledDelay {
        /// How long anybody may wait in an overloaded queue: about what a healthy queue would ask, 5 to 20 ms.
        target: Duration,
        /// As in [`AdaptiveLifo`](Self::AdaptiveLifo); usually 100 ms.
        interval: Duration,
        /// Whether the newest goes first while the queue is overloaded: then most are served that have hardly waited,
        /// instead of all being served that have almost waited too long.
        lifo: bool,
    },
}

impl Default for Discipline {
    fn default() -> Self {
        Self::Order(Order::default())
    }
}

impl From<Order> for Discipline {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Discipline {
    /// The rule of a line of our own; `None` where the semaphore's own order does.
    pub(super) fn rule(self, partitioned: bool) -> Result<Option<Rule>, ConfigError> {
        let refuse = |knob, value: Duration, rule| {
            Err(ConfigError::new("concurrency limiter", knob, format_args!("{value:?}"), rule))
        };
        let untimed = |newest| Ok(Some(Rule { newest, interval: u64::MAX, target: None }));
        match self {
            Self::Order(_) if !partitioned => Ok(None),
            Self::Order(Order::Fifo) => untimed(NewestFirst::Never),
            Self::Order(Order::Lifo) => untimed(NewestFirst::Always),
            Self::Order(order) => Err(ConfigError::new(
                "concurrency limiter",
                "discipline",
                format_args!("{order:?}"),
                "must not be an order of its own where there are partitions",
            )),
            Self::AdaptiveLifo { interval: Duration::ZERO }
            | Self::ControlledDelay { interval: Duration::ZERO, .. } => {
                refuse("interval", Duration::ZERO, "must be above zero")
            }
            Self::AdaptiveLifo { interval } => Ok(Some(Rule {
                newest: NewestFirst::WhileOverloaded,
                interval: nanos(interval),
                target: None,
            })),
            Self::ControlledDelay { target, interval, .. } if target.is_zero() || target > interval => {
                refuse("target", target, "must be above zero, and not above the interval")
            }
            Self::ControlledDelay { target, interval, lifo } => Ok(Some(Rule {
                newest: if lifo { NewestFirst::WhileOverloaded } else { NewestFirst::Never },
                interval: nanos(interval),
                target: Some(nanos(target)),
            })),
        }
    }
}

/// One of the partitions of a limiter; see [`ConcurrencyLimiter::partition`](super::ConcurrencyLimiter::partition).
///
/// In a limiter that has no such partition it stands for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Partition(pub(super) u16);

impl Partition {
    /// What is in none of the named partitions.
    pub const REST: Self = Self(0);
}

/// What to acquire, and how to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a request does nothing until it is made"]
pub struct Request {
    pub(crate) permits: u32,
    pub(super) partition: Partition,
    pub(super) priority: Priority,
    pub(super) wait_limit: Option<Duration>,
}

impl Request {
    /// `permits` permits. None are let through at once, whatever is in flight: for health checks, say.
    pub const fn new(permits: u32) -> Self {
        Self { permits, partition: Partition::REST, priority: Priority::Normal, wait_limit: None }
    }

    /// The same for another number of permits.
    pub const fn permits(self, permits: u32) -> Self {
        Self { permits, ..self }
    }

    /// On account of a partition. Default: the [rest](Partition::REST).
    pub const fn partition(self, partition: Partition) -> Self {
        Self { partition, ..self }
    }

    /// The class, for [`Order::Priority`]; in other disciplines without effect.
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Waits at most so long, counted from when it finds no permits. Default: the limiter's
    /// [wait limit](super::ConcurrencyLimiterBuilder::wait_limit).
    pub const fn wait_limit(self, limit: Duration) -> Self {
        Self { wait_limit: Some(limit), ..self }
    }
}
