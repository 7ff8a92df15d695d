//! Settings of a bulkhead.

use crate::ConfigError;
use crate::resilience::{Bulkhead, BulkheadBuilder};
use std::time::Duration;

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
}

impl BulkheadSettings {
    /// So many calls at once, and none that wait.
    pub const fn new(running: u32) -> Self {
        Self { running, queue: 0, wait_limit: None }
    }

    /// A builder with these settings, for a name, a clock and an order.
    pub fn builder(&self) -> BulkheadBuilder {
        let builder = Bulkhead::builder(self.running).queue(self.queue);
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
}
