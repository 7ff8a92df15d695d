//! A rate and a burst.

use super::{Rate, text};
use crate::ConfigError;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a limiter admits: tokens at a [`Rate`], and at most a burst of them at once.
///
/// The burst is the capacity of the bucket: what has been saved up after a long silence. Without a word about it, it is
/// the count of the rate as written: `100/s` has a burst of 100, `1/90s` of 1. A burst of 0 admits nothing.
///
/// # Text
/// A count, one of `/`, `per` and `every`, and a period; then `burst` and a number, if the burst is not the count. Or
/// `unlimited`. Count and period may have decimals, and numbers underscores between their digits.
///
/// The period is a unit or a number of them. Units are `ns`, `us`, `ms`, `s`, `min`, `h`, `d` and `w`, or a name:
/// `second`, `seconds`, `sec`, and so on. (There is no `m`, which may be a minute, a month or a milli.) The case of letters
/// makes no difference.
///
/// | text | |
/// |---|---|
/// | `100/s`, `100 per second`, `100 / SEC` | a hundred a second |
/// | `5/min burst 20`, `5 per minute burst 20` | five a minute, up to twenty at once |
/// | `1/90s`, `1 every 90s`, `1 per 1.5 minutes` | one each 90 seconds |
/// | `0.1/s` | one each ten seconds |
/// | `1_000_000 per day burst 500` | a million a day, up to 500 at once |
///
/// It is printed with a slash, in whole numbers, and what is printed is read again as the same. With the
/// feature `serde` that is also how it stands in configuration files, where a number alone is so many a second.
///
/// ```
/// use cofferdam::limit::Quota;
///
/// let quota: Quota = "5/min burst 20".parse()?;
/// assert_eq!(quota, Quota::per_minute(5).burst(20));
/// assert_eq!(quota.to_string(), "5/min burst 20");
/// assert_eq!(Quota::per_second(100).to_string(), "100/s");
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    rate: Rate,
    burst: u64,
}

impl Quota {
    /// `rate`, and at most `burst` at once. An unlimited rate has no burst to speak of and ignores it.
    pub const fn new(rate: Rate, burst: u64) -> Self {
        let burst = if rate.is_unlimited() { u64::MAX } else { burst };
        Self { rate, burst }
    }

    /// `count` a second, all of them at once if saved up.
    pub const fn per_second(count: u64) -> Self {
        Self::new(Rate::per_second(count), count)
    }

    /// `count` a minute, all of them at once if saved up.
    pub const fn per_minute(count: u64) -> Self {
        Self::new(Rate::per_minute(count), count)
    }

    /// `count` an hour, all of them at once if saved up.
    pub const fn per_hour(count: u64) -> Self {
        Self::new(Rate::per_hour(count), count)
    }

    /// `count` in each `period`, all of them at once if saved up.
    ///
    /// # Errors
    /// As [`Rate::per`].
    pub fn per(count: u64, period: Duration) -> Result<Self, ConfigError> {
        Ok(Self::new(Rate::per(count, period)?, count))
    }

    /// One every `interval`, one at a time.
    ///
    /// # Errors
    /// As [`Rate::every`].
    pub fn every(interval: Duration) -> Result<Self, ConfigError> {
        Ok(Self::new(Rate::every(interval)?, 1))
    }

    /// A fractional number a second, at most a second's worth at once, but at least one (of a rate that is not zero).
    ///
    /// # Errors
    /// As [`Rate::per_second_f64`].
    pub fn per_second_f64(rate: f64) -> Result<Self, ConfigError> {
        let exact = Rate::per_second_f64(rate)?;
        let burst = if exact.is_zero() { 0 } else { (rate as u64).max(1) };
        Ok(Self::new(exact, burst))
    }

    /// `burst` tokens once, and never another.
    pub const fn zero(burst: u64) -> Self {
        Self::new(Rate::ZERO, burst)
    }

    /// No limit at all.
    pub const fn unlimited() -> Self {
        Self::new(Rate::UNLIMITED, u64::MAX)
    }

    /// At most `burst` at once. Without effect on an unlimited quota.
    #[must_use]
    pub const fn burst(self, burst: u64) -> Self {
        Self::new(self.rate, burst)
    }

    /// The rate.
    pub const fn rate(self) -> Rate {
        self.rate
    }

    /// The most that can be admitted at once: the capacity of the bucket.
    pub const fn burst_size(self) -> u64 {
        self.burst
    }
}

/// The rate, with its count as the burst.
impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        Self::new(rate, rate.count())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        if self.rate.is_unlimited() || self.burst == self.rate.count() {
            return Ok(());
        }
        write!(f, " burst {}", self.burst)
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        text::parse_quota(text).map_err(|wrong| {
            let rule = wrong.rule("must be like 100/s, 5 per minute burst 20, 1 every 90s or unlimited");
            ConfigError::new("quota", "text", format_args!("{text:?}"), rule)
        })
    }
}
