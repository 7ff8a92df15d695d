//! Optional settings of a token bucket.

use super::{Inner, TokenBucket};
use crate::ConfigError;
use crate::limit::Quota;
use crate::time::Clock;
use std::sync::Arc;

/// Builds a [`TokenBucket`].
///
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
///
/// let bucket = TokenBucket::builder(Quota::per_minute(60)).name("mailer").initial(0).build()?;
/// assert_eq!(bucket.name(), Some("mailer"));
/// assert!(bucket.try_acquire().is_err());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TokenBucketBuilder {
    quota: Quota,
    initial: Option<u64>,
    clock: Clock,
    name: Option<Arc<str>>,
    counted: bool,
}

impl TokenBucketBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, initial: None, clock: Clock::system(), name: None, counted: false }
    }

    /// Tokens in the bucket at the start; without it, the burst.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Where the time comes from; without it, [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A name for people, shown by `Debug`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Counts requests admitted and denied on the spot, for [`stats`](TokenBucket::stats). One more atomic addition each,
    /// which about doubles the cost of a decision at a given time; hence not by default.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// More initial tokens than the burst.
    pub fn build(self) -> Result<TokenBucket, ConfigError> {
        let burst = self.quota.burst_size();
        let initial = self.initial.unwrap_or(burst);
        if initial > burst {
            return Err(ConfigError::new("token bucket", "initial", initial, "must not be above the burst"));
        }
        let inner = Inner::new(self.quota, initial, self.clock, self.name, self.counted);
        Ok(TokenBucket { inner: Arc::new(inner) })
    }
}
