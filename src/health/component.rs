//! Components whose health can be read.

use super::{Baseline, Finding, ResourceLimits, Resources};
use crate::sync::Semaphore;
use std::sync::Arc;

/// What reads a component for as long as it is there; after that, `None`.
pub type Reading = Box<dyn Fn() -> Option<Finding> + Send + Sync>;

/// A component whose health can be read at once, without asking anybody, for [`Check::of`](super::Check::of).
///
/// | component | unhealthy | circuit-open | degraded |
/// |---|---|---|---|
/// | `CircuitBreaker` | shut down | open, forced open | half-open |
/// | `WorkerPool` | closed | | somebody waits for room, its queue is full, or it has no worker |
/// | `Semaphore`, `ConcurrencyLimiter`, `Bulkhead` | closed | | somebody waits, and nothing is free |
/// | `AdaptiveLimiter` | closed | | somebody waits, and nothing is free |
/// | `Limiter` | | | paused; or somebody waits, and nothing is free |
/// | `Tiered` | | | its global bucket is paused; or somebody waits, and nothing is free there |
/// | `AdmissionControl` | | | it turns calls away |
/// | `KeyedBreaker` | | | at least one of its breakers is open |
/// | `Budget` | | | not even one retry can be paid |
/// | [`Baseline`] | | | it is not as it used to be |
/// | [`ResourceLimits`] | above one | | close to one |
pub trait Healthy {
    /// What reads it. It must not keep the component alive.
    fn reading(&self) -> Reading;
}

/// Reads a component for as long as it is there.
fn while_there<C: 'static>(
    weak: impl Fn() -> Option<C> + Send + Sync + 'static,
    judge: impl Fn(&C) -> Finding + Send + Sync + 'static,
) -> Reading {
    Box::new(move || weak().map(|component| judge(&component)))
}

/// Of something with room for so much.
fn crowded(closed: bool, free: bool, waiting: usize) -> Finding {
    match () {
        () if closed => Finding::unhealthy("closed"),
        () if !free && waiting > 0 => Finding::degraded(format!("nothing is free, and {waiting} wait")),
        () => Finding::healthy(),
    }
}

impl Healthy for Arc<Semaphore> {
    fn reading(&self) -> Reading {
        let weak = Arc::downgrade(self);
        while_there(
            move || weak.upgrade(),
            |semaphore| crowded(semaphore.is_closed(), semaphore.available() > 0, semaphore.waiting()),
        )
    }
}

impl Healthy for Baseline {
    fn reading(&self) -> Reading {
        while_there(self.weak(), Self::judge)
    }
}

/// Where resources cannot be read, all is well, and the reason says so.
impl Healthy for ResourceLimits {
    fn reading(&self) -> Reading {
        let limits = *self;
        Box::new(move || {
            Some(Resources::read().map_or_else(
                || Finding::new(super::Status::Healthy, "resources cannot be read on this system"),
                |resources| limits.judge(&resources),
            ))
        })
    }
}

#[cfg(feature = "limit")]
mod limit {
    use super::{Finding, Healthy, Reading, crowded, while_there};
    use crate::limit::concurrency::{AdaptiveLimiter, ConcurrencyLimiter};
    use crate::limit::{AdmissionControl, Algorithm, Limiter, Tiered};

    impl<A: Algorithm> Healthy for Limiter<A> {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |limiter| {
                if limiter.is_paused() {
                    return Finding::degraded("paused");
                }
                crowded(false, limiter.available() > 0, limiter.stats().waiting)
            })
        }
    }

    impl Healthy for ConcurrencyLimiter {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |limiter| {
                crowded(limiter.is_closed(), limiter.available() > 0, limiter.waiting())
            })
        }
    }

    impl Healthy for AdaptiveLimiter {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |limiter| {
                let stats = limiter.stats();
                crowded(limiter.is_closed(), stats.available > 0, stats.waiting)
            })
        }
    }

    impl Healthy for Tiered {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |limiter| {
                let global = limiter.global();
                if global.is_paused() {
                    return Finding::degraded("paused");
                }
                crowded(false, global.available() > 0, limiter.stats().waiting)
            })
        }
    }

    impl Healthy for AdmissionControl {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |admission| match admission.stats().probability {
                turned_away if turned_away > 0.0 => {
                    Finding::degraded(format!("{:.0} of 100 calls are turned away", 100.0 * turned_away))
                }
                _ => Finding::healthy(),
            })
        }
    }
}

#[cfg(feature = "resilience")]
mod resilience {
    use super::{Finding, Healthy, Reading, crowded, while_there};
    use crate::health::Status;
    use crate::resilience::breaker::{KeyedBreaker, State};
    use crate::resilience::{Budget, Bulkhead, CircuitBreaker};
    use std::hash::Hash;

    impl Healthy for CircuitBreaker {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |breaker| {
                let state = breaker.state();
                let status = match state {
                    State::Open | State::ForcedOpen => Status::CircuitOpen,
                    State::HalfOpen => Status::Degraded,
                    State::ShutDown => Status::Unhealthy,
                    _ => return Finding::healthy(),
                };
                Finding::new(status, format!("the circuit breaker is {state}"))
            })
        }
    }

    impl<K: Hash + Eq + Clone + Send + Sync + 'static> Healthy for KeyedBreaker<K> {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |breakers| {
                let (mut all, mut open) = (0_usize, 0_usize);
                breakers.for_each(|_, breaker| {
                    all += 1;
                    open += usize::from(matches!(breaker.state(), State::Open | State::ForcedOpen));
                });
                match open {
                    0 => Finding::healthy(),
                    _ => Finding::degraded(format!("{open} of {all} circuit breakers are open")),
                }
            })
        }
    }

    impl Healthy for Budget {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |stats| match stats.available {
                0 => Finding::degraded("no retry can be paid"),
                _ => Finding::healthy(),
            })
        }
    }

    impl Healthy for Bulkhead {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |bulkhead| {
                let limiter = bulkhead.limiter();
                crowded(limiter.is_closed(), limiter.available() > 0, limiter.waiting())
            })
        }
    }
}

#[cfg(feature = "pool")]
mod pool {
    use super::{Finding, Healthy, Reading, while_there};
    use crate::pool::WorkerPool;

    impl Healthy for WorkerPool {
        fn reading(&self) -> Reading {
            while_there(self.weak(), |(stats, closed, places)| {
                let ready = stats.queued.saturating_sub(stats.delayed);
                let full = places.is_some_and(|places| places > 0 && ready >= places as u64);
                match () {
                    () if *closed => Finding::unhealthy("closed"),
                    () if stats.workers == 0 => Finding::degraded("no worker"),
                    () if full || stats.waiting > 0 => Finding::degraded(format!(
                        "{ready} tasks in the queue, {} wait for room",
                        stats.waiting
                    )),
                    () => Finding::healthy(),
                }
            })
        }
    }
}
