//! Settings.

use super::engine::{CLOSED, QUEUED, WATCHED, permits};
use super::queue::Queue;
use super::{Order, Semaphore};
use crate::ConfigError;
use crate::shim::{AtomicU32, AtomicU64, Mutex};
use crate::time::{Clock, Epoch};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

/// Builds a [`Semaphore`]; see [`Semaphore::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct SemaphoreBuilder {
    capacity: u32,
    initial: Option<u32>,
    order: Order,
    clock: Clock,
    name: Cow<'static, str>,
    waits_at_zero: bool,
}

impl SemaphoreBuilder {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            initial: None,
            order: Order::default(),
            clock: Clock::system(),
            name: Cow::Borrowed("semaphore"),
            waits_at_zero: false,
        }
    }

    /// Who goes first. Default: [`Order::Fifo`].
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// How many permits are free at the start. Default: all. The rest count as in use until [`Semaphore::add_permits`].
    pub fn initial(self, permits: u32) -> Self {
        Self { initial: Some(permits), ..self }
    }

    /// The clock of time limits and of ageing. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// A name for errors and logs. Default: "semaphore".
    pub fn name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Whether a capacity of zero holds up those who come, in place of refusing them.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn waits_at_zero(self, waits_at_zero: bool) -> Self {
        Self { waits_at_zero, ..self }
    }

    /// The semaphore.
    ///
    /// # Errors
    /// `initial` above the capacity; an ageing of zero, which would make all classes one.
    pub fn build(self) -> Result<Semaphore, ConfigError> {
        let initial = self.initial.unwrap_or(self.capacity);
        if initial > self.capacity {
            return Err(ConfigError::new("semaphore", "initial", initial, "must not be above the capacity"));
        }
        if self.order == (Order::Priority { ageing: Duration::ZERO }) {
            return Err(ConfigError::new("semaphore", "ageing", "0s", "must be above zero"));
        }
        Ok(self.assemble(initial))
    }

    pub(super) fn assemble(self, initial: u32) -> Semaphore {
        let queued = if self.order == Order::Barging { 0 } else { QUEUED };
        Semaphore {
            word: AtomicU64::new(permits(initial)),
            barred: CLOSED | WATCHED | queued,
            observers: OnceLock::new(),
            rule: self.order.rule(),
            ageing: self.order.ageing(),
            passed: AtomicU32::new(0),
            capacity: AtomicU32::new(self.capacity),
            queue: Mutex::new(Queue::new(
                self.capacity,
                self.capacity.saturating_sub(initial),
                self.waits_at_zero,
            )),
            epoch: Epoch::new(self.clock),
            name: self.name,
        }
    }
}
