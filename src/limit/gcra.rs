//! The generic cell rate algorithm in exact integers (ITU-T I.371, annex A, in its virtual scheduling form).
//!
//! Of a rate of `limit` tokens per `cost` nanoseconds in lowest terms, the unit of time is one `limit`-th of a nanosecond:
//! a token costs exactly `cost` units and a nanosecond is exactly `limit` units. The whole state is one number, the
//! theoretical arrival time: the moment at which the bucket would be full if nothing more were taken. `n` tokens are there
//! when `max(tat, now) + n * cost <= now + burst * cost`, and taking them makes the left side the new state. A full bucket
//! is `tat <= now`, so idling saves up nothing above the burst; a clock that steps back finds fewer tokens, never more.
//!
//! Zero and no limit are the same arithmetic: for zero a nanosecond is 0 units and a token 1; without limit both are 0.

use super::{Denied, Quota};

/// A quota in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Units in a nanosecond.
    pub(super) limit: u64,
    /// Units of a token.
    pub(super) cost: u64,
    /// Tokens at once.
    pub(super) burst: u64,
}

impl Terms {
    pub(super) const fn new(quota: Quota) -> Self {
        let (limit, cost) = quota.rate().reduced();
        Self { limit, cost, burst: quota.burst_size() }
    }

    /// Units from the epoch to `nanos` after it. Two 64-bit factors cannot overflow.
    pub(super) const fn at(self, nanos: u64) -> u128 {
        nanos as u128 * self.limit as u128
    }

    /// What `n` tokens cost.
    pub(super) const fn price(self, n: u64) -> u128 {
        n as u128 * self.cost as u128
    }

    /// What a full bucket holds.
    pub(super) const fn depth(self) -> u128 {
        self.price(self.burst)
    }

    /// The first nanosecond that is not before `units`; `u64::MAX` past the end of time. Of a rate that is not zero.
    pub(super) fn nanos(self, units: u128) -> u64 {
        match units.checked_add(u128::from(self.limit).saturating_sub(1)) {
            Some(sum) => sum
                .checked_div(u128::from(self.limit))
                .and_then(|nanos| u64::try_from(nanos).ok())
                .unwrap_or(u64::MAX),
            None => u64::MAX,
        }
    }

    /// The state after taking `n` tokens, whether they are there or not; `None` past the end of the numbers.
    pub(super) fn charge(self, tat: u128, now: u64, n: u64) -> Option<u128> {
        tat.max(self.at(now)).checked_add(self.price(n))
    }

    /// The state after taking `n` tokens that are there at `now`.
    pub(super) fn take(self, tat: u128, now: u64, n: u64) -> Result<u128, Denied> {
        let Self { limit, burst, .. } = self;
        if n == 0 {
            return Ok(tat);
        }
        if n > burst {
            return Err(Denied::never(n, burst));
        }
        let top = self.at(now).saturating_add(self.depth());
        match self.charge(tat, now, n) {
            Some(next) if next <= top => Ok(next),
            Some(_) | None if limit == 0 => Err(Denied::never(n, burst)),
            Some(next) => Err(Denied::after_nanos(n, burst, self.nanos(next - top))),
            None => Err(Denied::after_nanos(n, burst, u64::MAX)),
        }
    }

    /// Units in the bucket at `now`.
    pub(super) fn level(self, tat: u128, now: u64) -> u128 {
        let now = self.at(now);
        now.saturating_add(self.depth()).saturating_sub(tat.max(now))
    }
}

/// `x * mul / div` without overflow on the way, saturating at the end. `div` of 0 gives 0.
pub(super) fn scale(x: u128, mul: u64, div: u64, up: bool) -> u128 {
    if div == 0 {
        return 0;
    }
    let (mul, div, low) = (u128::from(mul), u128::from(div), u128::from(u64::MAX));
    let bottom = (x & low) * mul;
    let top = (x >> 64) * mul + (bottom >> 64);
    let rest = ((top % div) << 64) | (bottom & low);
    let (quotient, odd) = (rest / div + ((top / div) << 64), rest % div != 0);
    if (top / div) >> 64 != 0 {
        return u128::MAX;
    }
    quotient.saturating_add(u128::from(up && odd))
}
