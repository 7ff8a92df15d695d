//! Settings of a cache.

use crate::ConfigError;
use crate::resilience::Cache;
use crate::resilience::cache::CacheBuilder;
use std::hash::Hash;
use std::time::Duration;

/// Settings of a [`Cache`]; see its [builder](CacheBuilder), whose defaults they have. What a value weighs, and how long each is fresh
/// for itself, are functions: add them to the [builder](Self::builder).
///
/// A cache has keys and values of some types, so it is in no [`StackSettings`](super::StackSettings): it is put in front of the stack that they
/// make.
///
/// ```
/// use cofferdam::resilience::config::CacheSettings;
/// use cofferdam::resilience::Cache;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let mut settings = CacheSettings::new(10_000);
/// settings.stale_while_revalidate = Duration::from_secs(30);
/// let users: Cache<u64, String> = settings.builder().name("users").build()?;
///
/// settings.ttl = Duration::from_secs(60);
/// settings.apply(&users)?;
///
/// settings.ttl = Duration::ZERO;
/// assert_eq!(settings.apply(&users).unwrap_err().to_string(), "cache: ttl = 0s: must be above zero");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct CacheSettings {
    /// How many values it keeps, or how much weight.
    pub capacity: u64,
    /// How long a value is fresh. 5 minutes unless told otherwise.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::limit::serialized::duration", default = "five_minutes")
    )]
    pub ttl: Duration,
    /// For how long after that it is handed out while one caller loads it anew. Not at all unless told otherwise.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration", default))]
    pub stale_while_revalidate: Duration,
    /// For how long after that it is handed out where loading it anew fails. Not at all unless told otherwise.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration", default))]
    pub stale_if_error: Duration,
    /// For how long errors are kept. Not at all unless told otherwise.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional", default))]
    pub keep_errors: Option<Duration>,
}

const fn five_minutes() -> Duration {
    Duration::from_secs(5 * 60)
}

impl CacheSettings {
    /// For so many values, each for 5 minutes.
    pub const fn new(capacity: u64) -> Self {
        Self {
            capacity,
            ttl: five_minutes(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            keep_errors: None,
        }
    }

    /// A builder with these settings, for functions, a name and a clock.
    pub fn builder<K, V, E>(&self) -> CacheBuilder<K, V, E> {
        let builder = Cache::builder(self.capacity)
            .ttl(self.ttl)
            .stale_while_revalidate(self.stale_while_revalidate)
            .stale_if_error(self.stale_if_error);
        match self.keep_errors {
            Some(ttl) => builder.keep_errors(ttl),
            None => builder,
        }
    }

    /// The cache.
    ///
    /// # Errors
    /// As [its builder's](CacheBuilder::build).
    pub fn build<K: Hash + Eq, V, E>(&self) -> Result<Cache<K, V, E>, ConfigError> {
        self.builder().build()
    }

    /// Puts these settings in force in a cache that is in use: see [`Cache::set`].
    ///
    /// # Errors
    /// As [`build`](Self::build): then nothing has changed.
    pub fn apply<K: Hash + Eq, V, E>(&self, cache: &Cache<K, V, E>) -> Result<(), ConfigError> {
        cache.set(self.builder())
    }
}
