//! Settings.

use super::line::Line;
use super::{Bounds, ConcurrencyLimiter, Discipline, Inner};
use crate::ConfigError;
use crate::observe::Observers;
use crate::sync::{Order, Semaphore};
use crate::time::Clock;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`ConcurrencyLimiter`]; see [`ConcurrencyLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ConcurrencyLimiterBuilder {
    limit: u32,
    initial: u32,
    discipline: Discipline,
    partitions: Vec<(Cow<'static, str>, u32)>,
    max_waiting: u32,
    wait_limit: Duration,
    waits_at_zero: bool,
    clock: Clock,
}

impl ConcurrencyLimiterBuilder {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            initial: u32::MAX,
            discipline: Discipline::default(),
            partitions: Vec::new(),
            max_waiting: u32::MAX,
            wait_limit: Duration::MAX,
            waits_at_zero: false,
            clock: Clock::system(),
        }
    }

    /// How many permits are free at the start; more than the limit are the limit. Default: all. The rest count as in
    /// flight until [`ConcurrencyLimiter::add_permits`].
    pub fn initial(self, permits: u32) -> Self {
        Self { initial: permits, ..self }
    }

    /// Who of those who wait goes first, and who is sent away. Default: [`Order::Fifo`].
    pub fn discipline(self, discipline: impl Into<Discipline>) -> Self {
        Self { discipline: discipline.into(), ..self }
    }

    /// Gives those who [say that they belong to it](super::Request::partition) a share of the limit, in percent. What
    /// the shares leave belongs to the rest. Default: no partitions.
    ///
    /// A share is a claim, not a cage: permits that are free are anybody's. When somebody waits, permits that come back go
    /// to the partition that holds least in proportion to its share; so one below its share goes before all that are above
    /// theirs, and what nobody claims is divided in proportion. The queue bound is for all together, the
    /// [discipline](Self::discipline) for each.
    ///
    /// Where the shares sum up to 100 nothing is left for the rest, and it gets permits only while nobody else waits.
    pub fn partition(mut self, name: impl Into<Cow<'static, str>>, percent: u32) -> Self {
        self.partitions.push((name.into(), percent));
        self
    }

    /// How many requests may wait; more are refused at once. Default: any number.
    pub fn queue(self, requests: u32) -> Self {
        Self { max_waiting: requests, ..self }
    }

    /// How long a request may wait. Default: without limit.
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self { wait_limit: limit, ..self }
    }

    /// Whether a limit of zero holds up those who come, in place of refusing them.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn waits_at_zero(self, waits_at_zero: bool) -> Self {
        Self { waits_at_zero, ..self }
    }

    /// The clock of time limits, ageing and disciplines. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The limiter.
    ///
    /// # Errors
    /// A limit of zero; a wait limit without a queue to wait in; times of zero in the discipline, or a target above its
    /// interval; partitions without a share, of the same name, of more than 100 percent in sum, or with
    /// [`Order::Priority`] or [`Order::Barging`].
    pub fn build(self) -> Result<ConcurrencyLimiter, ConfigError> {
        const ME: &str = "concurrency limiter";
        let Self { limit, initial, discipline, partitions, max_waiting, wait_limit, waits_at_zero, clock } =
            self;
        if limit == 0 {
            return Err(ConfigError::new(ME, "limit", limit, "must be at least 1"));
        }
        if max_waiting == 0 && wait_limit < Duration::MAX {
            let value = format_args!("{wait_limit:?}");
            return Err(ConfigError::new(ME, "wait_limit", value, "needs a queue to wait in"));
        }
        let mut rest = 100u32;
        let mut names: Vec<Cow<'static, str>> = Vec::with_capacity(partitions.len());
        let mut shares = vec![0];
        for (name, percent) in partitions {
            let Some(left) = rest.checked_sub(percent).filter(|_| percent > 0) else {
                let rule = "must be at least 1, and with the others at most 100";
                return Err(ConfigError::new(ME, "partition", percent, rule));
            };
            if names.contains(&name) {
                return Err(ConfigError::new(ME, "partition", name, "must have a name of its own"));
            }
            rest = left;
            names.push(name);
            shares.push(percent);
        }
        if let Some(share) = shares.first_mut() {
            *share = rest;
        }
        let rule = discipline.rule(!names.is_empty())?;
        let order = match discipline {
            Discipline::Order(order) if rule.is_none() => order,
            _ => Order::Fifo,
        };
        let semaphore = Semaphore::builder(limit)
            .initial(initial.min(limit))
            .order(order)
            .waits_at_zero(waits_at_zero)
            .clock(clock.clone())
            .name(ME)
            .build()?;
        let line = rule.map(|rule| Line::new(rule, &shares, clock.clone()));
        let names = names.into_boxed_slice();
        let queue = Bounds::new(max_waiting, wait_limit);
        let (semaphore, observers) = (Arc::new(semaphore), Observers::new());
        let inner = Inner { semaphore, line, discipline, names, queue, clock, observers };
        Ok(ConcurrencyLimiter { inner: Arc::new(inner) })
    }
}
