//! Settings.

use super::set::{AtZero, Made};
use super::{Bulkhead, Inner, Refused};
use crate::ConfigError;
use crate::limit::ConcurrencyLimiter;
use crate::limit::concurrency::{Discipline, Request};
use crate::observe::Observers;
use crate::time::Clock;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Bulkhead`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BulkheadBuilder {
    running: u32,
    queue: u32,
    wait_limit: Duration,
    order: Discipline,
    partitions: Vec<(Cow<'static, str>, u32)>,
    at_zero: AtZero,
    name: &'static str,
    clock: Clock,
}

impl BulkheadBuilder {
    pub(super) fn new(running: u32) -> Self {
        Self {
            running,
            queue: 0,
            wait_limit: Duration::MAX,
            order: Discipline::default(),
            partitions: Vec::new(),
            at_zero: AtZero::Refuse,
            name: "bulkhead",
            clock: Clock::system(),
        }
    }

    /// How many calls may wait for a place. Default: none.
    pub fn queue(self, queue: u32) -> Self {
        Self { queue, ..self }
    }

    /// How long a call may wait for a place, counted from when it finds none. Default: without limit.
    pub fn wait_limit(self, wait_limit: Duration) -> Self {
        Self { wait_limit, ..self }
    }

    /// Who of those who wait comes first, and who is sent away: an [`Order`](crate::sync::Order), with priority and ageing, say,
    /// or a [`Discipline`] for queues that are not to stand. Default: whoever came first.
    pub fn order(self, order: impl Into<Discipline>) -> Self {
        Self { order: order.into(), ..self }
    }

    /// Gives those who [say that they belong to it](Bulkhead::partition) a share of the places, in percent. A share is a
    /// claim, not a cage: as of [a limiter](crate::limit::concurrency::ConcurrencyLimiterBuilder::partition). Default: no partitions.
    pub fn partition(mut self, name: impl Into<Cow<'static, str>>, percent: u32) -> Self {
        self.partitions.push((name.into(), percent));
        self
    }

    /// What becomes of calls while there are [no places at all](Bulkhead::resize): refused, or held up. Default: refused.
    pub fn at_zero(self, at_zero: AtZero) -> Self {
        Self { at_zero, ..self }
    }

    /// What errors call it. Default: "bulkhead".
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The clock of the wait limit, of ageing and of disciplines. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The policy.
    ///
    /// # Errors
    /// No place at all, unless calls are [held up](Self::at_zero) then; a wait limit without a queue to wait in; an order or partitions that the
    /// [limiter](crate::limit::concurrency::ConcurrencyLimiterBuilder::build) refuses.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        self.check()?;
        let Self { running, queue, wait_limit, order, partitions, at_zero, name, clock } = self;
        let mut limiter = ConcurrencyLimiter::builder(running.max(1))
            .queue(queue)
            .wait_limit(wait_limit)
            .discipline(order)
            .waits_at_zero(at_zero == AtZero::Wait)
            .clock(clock);
        let made = Made { order, partitions: partitions.clone(), at_zero };
        for (name, percent) in partitions {
            limiter = limiter.partition(name, percent);
        }
        let limiter = limiter.build()?;
        if running == 0 {
            limiter.resize_to(0);
        }
        let (observers, refused) = (Observers::new(), Refused::default());
        let inner = Inner { limiter, made, name, observers, refused };
        Ok(Bulkhead::of(Arc::new(inner), Request::new(1)))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { running, queue, wait_limit, at_zero, .. } = self;
        if *running == 0 && *at_zero == AtZero::Refuse {
            return Err(ConfigError::new("bulkhead", "running", 0, "must be at least 1"));
        }
        if *queue == 0 && *wait_limit != Duration::MAX {
            let value = format_args!("{wait_limit:?}");
            return Err(ConfigError::new("bulkhead", "wait_limit", value, "needs a queue to wait in"));
        }
        Ok(())
    }

    /// The places, the bound of the queue, and how long one may wait: if the rest is as it was `made`.
    pub(super) fn changeable(&self, made: &Made) -> Result<(u32, u32, Duration), ConfigError> {
        self.check()?;
        let other = |knob, value: &dyn fmt::Debug| {
            let rule = "must be as it was when the bulkhead was made";
            Err(ConfigError::new("bulkhead", knob, format_args!("{value:?}"), rule))
        };
        if self.order != made.order {
            return other("order", &self.order);
        }
        if self.partitions != made.partitions {
            return other("partition", &self.partitions);
        }
        if self.at_zero != made.at_zero {
            return other("at_zero", &self.at_zero);
        }
        Ok((self.running, self.queue, self.wait_limit))
    }
}

impl fmt::Debug for BulkheadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder")
            .field("running", &self.running)
            .field("queue", &self.queue)
            .field("wait_limit", &(self.wait_limit < Duration::MAX).then_some(self.wait_limit))
            .field("order", &self.order)
            .field("partitions", &self.partitions)
            .field("at_zero", &self.at_zero)
            .field("name", &self.name)
            .field("clock", &self.clock)
            .finish()
    }
}
