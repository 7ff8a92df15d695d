//! Delays that do not fall on one another.

use super::backoff::from_nanos;
use crate::ConfigError;
use std::time::Duration;

/// How the delays of a [`Backoff`](super::Backoff) are spread.
///
/// With *d* the delay, *U(a, b)* a uniform draw with both ends possible, and *previous* the delay before (the base, at
/// first):
///
/// | kind | delay |
/// |---|---|
/// | `None` | d |
/// | `Full` | U(0, d) |
/// | `Equal` | d/2 + U(0, d/2) |
/// | `Decorrelated` | min(cap, U(base, 3 x previous)), whatever the shape of the backoff |
/// | `Proportional` | U(d - p d, d + p d); d is lowered first so that the largest draw is the cap |
///
/// Full jitter makes the fewest calls and finishes first when many callers compete (Brooker, "Exponential Backoff and
/// Jitter", AWS Architecture Blog, 2015); equal keeps a least delay; proportional is for those who want to recognise the
/// schedule.
///
/// One draw takes one 64-bit number of the generator, whatever the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// Not spread.
    #[default]
    None,
    /// From nothing to the whole delay.
    Full,
    /// Half of it fixed, half of it drawn.
    Equal,
    /// Drawn between the base and three times the delay before.
    Decorrelated,
    /// Up to a share more or less; made by [`Jitter::proportional`].
    #[non_exhaustive]
    Proportional {
        /// The share, from 0 to 1.
        share: f64,
    },
}

impl Jitter {
    /// Up to `share` of the delay more or less: 0.2 is 20 percent either way.
    ///
    /// # Errors
    /// Not a number from 0 to 1.
    pub fn proportional(share: f64) -> Result<Self, ConfigError> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self::Proportional { share })
        } else {
            Err(ConfigError::new("jitter", "share", share, "must be a number from 0 to 1"))
        }
    }

    /// One delay. `delay` is capped already.
    pub(super) fn spread(
        self,
        delay: Duration,
        base: Duration,
        cap: Duration,
        previous: Duration,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        match self {
            Self::None => delay,
            Self::Full => between(Duration::ZERO, delay, rng),
            Self::Equal => between(delay / 2, delay, rng),
            Self::Decorrelated => between(base, previous.saturating_mul(3), rng).min(cap),
            Self::Proportional { share } => {
                let centre = times(cap, 1.0 / (1.0 + share)).min(delay);
                let most = times(centre, 1.0 + share).min(cap);
                between(times(centre, 1.0 - share), most, rng)
            }
        }
    }
}

fn times(duration: Duration, factor: f64) -> Duration {
    from_nanos(duration.as_nanos() as f64 * factor).unwrap_or(Duration::MAX)
}

/// A uniform draw from `low` to `high`, both possible; `low` if they are the wrong way round. The spread is at most 584
/// years.
fn between(low: Duration, high: Duration, rng: &mut fastrand::Rng) -> Duration {
    let spread = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
    // The high half of the product of a 64-bit fraction and the number of possible values.
    let draw = (u128::from(rng.u64(..)) * (u128::from(spread) + 1)) >> 64;
    low.saturating_add(Duration::from_nanos(draw as u64))
}
