//! When a closed breaker opens.

use super::Trigger;
use super::window::{Counts, LONGEST_BUCKET, MOST_BUCKETS, MOST_CALLS, Shape};
use crate::ConfigError;
use std::fmt;
use std::time::Duration;

/// Over which calls a breaker counts and computes rates; see [`Builder::window`](super::Builder::window).
///
/// | | of calls | of time |
/// |---|---|---|
/// | what it holds | the last `n` outcomes, exactly: the outcome that comes in takes the place of the oldest | the outcomes of the present part and of the parts before it |
/// | an old outcome leaves | with the `n`th outcome after it, however long that takes | with the end of its part's time, whether or not there are calls |
/// | covers | `n` calls | the window's length, less up to one part of it (with ten parts: 90 to 100 percent) |
/// | reads the clock | no | at the end of each call |
///
/// The parts of a window of time begin at multiples of their length since the breaker was made, whenever the calls come.
///
/// Ignored and cancelled calls are in neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window(pub(in crate::resilience) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::resilience) enum Kind {
    Calls(u32),
    Time { length: Duration, parts: u32 },
}

/// Of a window of time, unless told otherwise.
pub(in crate::resilience) const PARTS: u32 = 10;

impl Window {
    /// The last so many calls: at most 16,383.
    pub const fn calls(calls: u32) -> Self {
        Self(Kind::Calls(calls))
    }

    /// So much time, in ten parts.
    pub const fn time(length: Duration) -> Self {
        Self(Kind::Time { length, parts: PARTS })
    }

    /// So much time, in so many parts of the same length (at most 60): the more, the more smoothly it slides.
    pub const fn time_in_parts(length: Duration, parts: u32) -> Self {
        Self(Kind::Time { length, parts })
    }

    pub(super) fn shape(self) -> Result<Shape, ConfigError> {
        let fail =
            |value: &dyn fmt::Display, rule| Err(ConfigError::new("circuit breaker", "window", value, rule));
        match self.0 {
            Kind::Calls(0) => fail(&"0 calls", "must be at least one call"),
            Kind::Calls(calls) if calls > MOST_CALLS => {
                fail(&format_args!("{calls} calls"), "must be at most 16383 calls")
            }
            Kind::Calls(calls) => Ok(Shape::calls(calls)),
            Kind::Time { parts: 0, .. } => fail(&"0 parts", "must have at least one part"),
            Kind::Time { parts, .. } if parts > MOST_BUCKETS => {
                fail(&format_args!("{parts} parts"), "must have at most 60 parts")
            }
            Kind::Time { length, parts } => {
                let part = length.as_nanos() / u128::from(parts);
                let text = format_args!("{length:?} in {parts} parts");
                if part < 1_000 {
                    return fail(&text, "must have parts of at least a microsecond");
                }
                match u64::try_from(part) {
                    Ok(part) if part <= LONGEST_BUCKET => Ok(Shape::time(parts, part)),
                    _ => fail(&text, "must have parts of at most 78 hours"),
                }
            }
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Calls(calls) => write!(f, "{calls} calls"),
            Kind::Time { length, .. } => write!(f, "{length:?}"),
        }
    }
}

/// No call in a window is more than this of them.
const WHOLE: u64 = 1_000_000_000;
const NEVER: u32 = u32::MAX;

/// The share of the calls, in thousand-millionths.
///
/// Rounded down, so that what is a share of whole numbers is reached by those numbers: 1 of 3 reaches 1.0 / 3.0.
pub(super) fn share(share: f64) -> u32 {
    (share * WHOLE as f64) as u32
}

/// So many of `calls` are that share of them, rounded up: the least number that reaches it.
pub(super) fn least(share: u32, calls: u32) -> u32 {
    (u64::from(share) * u64::from(calls)).div_ceil(WHOLE).max(1) as u32
}

/// What a window must hold for the breaker to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// With fewer calls in the window no rate is judged.
    pub(super) minimum: u32,
    pub(super) failures: u32,
    /// Shares.
    pub(super) failure_rate: u32,
    pub(super) slow_rate: u32,
}

impl Rules {
    pub(super) const NONE: Self = Self { minimum: 1, failures: NEVER, failure_rate: NEVER, slow_rate: NEVER };

    pub(super) fn are_none(self) -> bool {
        Self { minimum: Self::NONE.minimum, ..self } == Self::NONE
    }

    /// Which rules say that the breaker has to open: bits in the order of `TRIGGERS`.
    #[inline]
    pub(super) fn reached(self, counts: Counts) -> u32 {
        let enough = counts.calls >= u64::from(self.minimum);
        let at = |part: u64, share: u32| {
            enough && u128::from(part) * u128::from(WHOLE) >= u128::from(share) * u128::from(counts.calls)
        };
        let (failures, slow) = (counts.failures, counts.slow);
        u32::from(at(failures, self.failure_rate))
            | u32::from(at(slow, self.slow_rate)) << 1
            | u32::from(self.failures != NEVER && failures >= u64::from(self.failures)) << 2
    }

    /// The first of them.
    #[inline]
    pub(super) fn trigger(reached: u32) -> Option<Trigger> {
        let first = reached.trailing_zeros() as usize;
        TRIGGERS.get(first).copied()
    }
}

pub(super) const TRIGGERS: [Trigger; 3] =
    [Trigger::FailureRate, Trigger::SlowRate, Trigger::FailuresInWindow];

#[cfg(test)]
mod tests {
    use super::*;

    /// A quotient that is computed is reached by the numbers that it is the quotient of, and not by one fewer.
    #[test]
    fn a_share_is_reached_by_its_own_numbers() {
        for calls in 1..400_u32 {
            for part in 1..=calls {
                let rate = share(f64::from(part) / f64::from(calls));
                let rules = Rules { failure_rate: rate, ..Rules::NONE };
                for scale in [1, 1 << 29] {
                    let counts = |failures| Counts { calls: u64::from(calls) * scale, failures, slow: 0 };
                    let part = u64::from(part) * scale;
                    assert_eq!(rules.reached(counts(part)), 1, "{part} of {calls}");
                    assert_eq!(rules.reached(counts(part - scale)), 0, "{part} of {calls}");
                }
                assert_eq!(least(rate, calls), part);
            }
        }
    }

    #[test]
    fn no_rule_is_never_reached() {
        for calls in [16_383, u64::from(u32::MAX), 1 << 38] {
            assert_eq!(Rules::NONE.reached(Counts { calls, failures: calls, slow: calls }), 0);
        }
    }
}
