//! Settings of a bulkhead.

use crate::ConfigError;
use crate::limit::concurrency::Discipline;
use crate::resilience::{AtZero, Bulkhead, BulkheadBuilder};
use crate::sync::Order;
use std::time::Duration;

/// Who of those who wait comes first, and who is sent away; see [`Discipline`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum OrderSettings {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came last.
    Lifo,
    /// See [`Discipline::AdaptiveLifo`].
    AdaptiveLifo {
        /// For how long the queue must not have been empty to be overloaded.
        #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
        interval: Duration,
    },
    /// See [`Discipline::ControlledDelay`].
    ControlledDelay {
        /// How long anybody may wait in an overloaded queue.
        #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
        target: Duration,
        /// For how long the queue must not have been empty to be overloaded; nobody waits longer.
        #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
        interval: Duration,
        /// Whether the newest goes first while the queue is overloaded. Not unless told so.
        #[cfg_attr(feature = "serde", serde(default))]
        lifo: bool,
    },
}

impl OrderSettings {
    fn discipline(&self) -> Discipline {
        match *self {
            Self::Fifo => Order::Fifo.into(),
            Self::Lifo => Order::Lifo.into(),
            Self::AdaptiveLifo { interval } => Discipline::AdaptiveLifo { interval },
            Self::ControlledDelay { target, interval, lifo } => {
                Discipline::ControlledDelay { target, interval, lifo }
            }
        }
    }

    /// Where its knobs stand.
    fn path(&self) -> &'static str {
        match self {
            Self::AdaptiveLifo { .. } => "bulkhead.order.adaptive_lifo",
            Self::ControlledDelay { .. } => "bulkhead.order.controlled_delay",
            _ => "bulkhead.order",
        }
    }
}

/// Settings of a [`Bulkhead`]; see its [builder](BulkheadBuilder), whose defaults they have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct BulkheadSettings {
    /// How many calls may run at once.
    pub running: u32,
    /// How many may wait for a place. None unless told otherwise.
    #[cfg_attr(feature = "serde", serde(default))]
    pub queue: u32,
    /// How long a call may wait for a place. Without limit unless told otherwise.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional", default))]
    pub wait_limit: Option<Duration>,
    /// Who of those who wait comes first: in configuration `fifo`, `lifo`, or one of `adaptive_lifo` and
    /// `controlled_delay` with its times. Who came first, unless told otherwise.
    #[cfg_attr(feature = "serde", serde(default))]
    pub order: OrderSettings,
    /// What becomes of calls while `running` is 0: in configuration `refuse`, or `wait`, with which 0 pauses a bulkhead that is in use. To
    /// refuse, unless told otherwise; then 0 is an error.
    #[cfg_attr(feature = "serde", serde(default))]
    pub at_zero: AtZero,
}

impl BulkheadSettings {
    /// So many calls at once, and none that wait.
    pub const fn new(running: u32) -> Self {
        Self { running, queue: 0, wait_limit: None, order: OrderSettings::Fifo, at_zero: AtZero::Refuse }
    }

    /// A builder with these settings, for a name and a clock.
    pub fn builder(&self) -> BulkheadBuilder {
        let builder = Bulkhead::builder(self.running)
            .queue(self.queue)
            .order(self.order.discipline())
            .at_zero(self.at_zero);
        match self.wait_limit {
            Some(limit) => builder.wait_limit(limit),
            None => builder,
        }
    }

    /// The bulkhead.
    ///
    /// # Errors
    /// As [its builder's](BulkheadBuilder::build).
    pub fn build(&self) -> Result<Bulkhead, ConfigError> {
        self.builder().build()
    }

    /// Where the knob stands that is wrong.
    pub(super) fn path_of(&self, error: &ConfigError) -> &'static str {
        if error.component() == "bulkhead" { "bulkhead" } else { self.order.path() }
    }

    /// Puts these settings in force in a bulkhead that had those of `old`. False if that takes a new one.
    pub(super) fn put_in_force(&self, bulkhead: &Bulkhead, old: &Self) -> bool {
        // As it is, if nothing is to change: somebody may have resized it by hand.
        self == old || bulkhead.set(&self.builder()).is_ok()
    }
}
