//! How much per how long, exactly.

use super::text;
use crate::ConfigError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::time::Duration;

pub(super) const SECOND: u64 = 1_000_000_000;

/// Tokens per period: an exact rational, kept as it was written.
///
/// Two rates are equal when they are the same speed: 60 a minute is 1 a second. The text form works both ways.
///
/// ```
/// use cofferdam::limit::Rate;
/// use std::time::Duration;
///
/// assert_eq!(Rate::per_minute(60), Rate::per_second(1));
/// assert_eq!(Rate::every(Duration::from_secs(90))?.to_string(), "1/90s");
/// assert_eq!("0.1/s".parse::<Rate>()?, Rate::every(Duration::from_secs(10))?);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Rate {
    count: u64,
    /// Nanoseconds; 0 means unlimited.
    period: u64,
}

impl Rate {
    /// Nothing, ever.
    pub const ZERO: Self = Self::per_second(0);

    /// No limit.
    pub const UNLIMITED: Self = Self { count: 1, period: 0 };

    /// `count` a second; 0 is [`ZERO`](Self::ZERO).
    pub const fn per_second(count: u64) -> Self {
        Self { count, period: SECOND }
    }

    /// `count` a minute.
    pub const fn per_minute(count: u64) -> Self {
        Self { count, period: 60 * SECOND }
    }

    /// `count` an hour.
    pub const fn per_hour(count: u64) -> Self {
        Self { count, period: 3600 * SECOND }
    }

    /// `count` in each `period`, spread evenly over it.
    ///
    /// # Errors
    /// A period of zero, or one longer than 2^64 nanoseconds (584 years).
    pub fn per(count: u64, period: Duration) -> Result<Self, ConfigError> {
        match u64::try_from(period.as_nanos()) {
            Ok(0) => Err(ConfigError::new("rate", "period", "0s", "must be longer than zero")),
            Ok(period) => Ok(Self { count, period }),
            Err(_) => {
                Err(ConfigError::new("rate", "period", format_args!("{period:?}"), "must be under 584 years"))
            }
        }
    }

    /// One every `interval`.
    ///
    /// # Errors
    /// As [`per`](Self::per).
    pub fn every(interval: Duration) -> Result<Self, ConfigError> {
        Self::per(1, interval)
    }

    /// A fractional number a second.
    ///
    /// The number is taken as the decimal in which it prints (0.1 is one in ten seconds, exactly) when that has at most
    /// nine decimals; otherwise it is rounded by less than one part in a thousand million.
    ///
    /// # Errors
    /// A rate that is not a number, infinite (say [`UNLIMITED`](Self::UNLIMITED)), negative, 2^64 or more, or slower than one
    /// in 584 years (say [`ZERO`](Self::ZERO)).
    pub fn per_second_f64(rate: f64) -> Result<Self, ConfigError> {
        let refuse = |rule| Err(ConfigError::new("rate", "per second", rate, rule));
        if rate.is_nan() {
            return refuse("must be a number");
        }
        if rate.is_infinite() {
            return refuse("must be finite; an endless rate is `unlimited`");
        }
        if rate < 0.0 {
            return refuse("must not be negative");
        }
        if rate == 0.0 {
            return Ok(Self::ZERO);
        }
        if rate >= u64::MAX as f64 {
            return refuse("must be less than 2^64");
        }
        if let Some(exact) = text::decimal(&rate.to_string()).filter(|number| number.decimals() <= 9) {
            if let Some((count, period)) = exact.per(SECOND) {
                return Ok(Self { count, period });
            }
        }
        // A whole count over a period of at least a second: the period's rounding is the only error.
        let count = rate.ceil();
        let period = (count / rate * SECOND as f64).round();
        if period >= u64::MAX as f64 {
            return refuse("must be at least one in 584 years; no tokens at all is `zero`");
        }
        Ok(Self { count: count as u64, period: period as u64 })
    }

    pub(super) const fn from_parts(count: u64, period: u64) -> Self {
        Self { count, period }
    }

    /// Tokens in each [`period`](Self::period).
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The period; zero if unlimited.
    pub const fn period(self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// Whether no token ever comes.
    pub const fn is_zero(self) -> bool {
        self.count == 0 && self.period != 0
    }

    /// Whether there is no limit.
    pub const fn is_unlimited(self) -> bool {
        self.period == 0
    }

    /// Tokens a second, rounded: for gauges, not for decisions.
    pub fn as_per_second_f64(self) -> f64 {
        if self.is_unlimited() {
            return f64::INFINITY;
        }
        self.count as f64 / (self.period as f64 / SECOND as f64)
    }

    /// Count and period in lowest terms: (0, 1) for zero, (0, 0) for unlimited.
    pub(super) const fn reduced(self) -> (u64, u64) {
        if self.is_unlimited() {
            return (0, 0);
        }
        let divisor = gcd(self.count, self.period);
        (self.count / divisor, self.period / divisor)
    }

    pub(super) const fn period_nanos(self) -> u64 {
        self.period
    }
}

/// The greatest common divisor; `b` is not zero.
pub(super) const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        self.reduced() == other.reduced()
    }
}

impl Eq for Rate {}

impl Hash for Rate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_rate(f, *self)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

/// Reads `100/s`, `5 per minute`, `1 every 90s`, `0.5/h`, `unlimited`; see [`Quota`](super::Quota#text) for the grammar.
impl FromStr for Rate {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        text::parse_rate(text).map_err(|wrong| {
            let rule = wrong.rule("must be like 100/s, 5 per minute, 0.1/s, 1 every 90s or unlimited");
            ConfigError::new("rate", "text", format_args!("{text:?}"), rule)
        })
    }
}
