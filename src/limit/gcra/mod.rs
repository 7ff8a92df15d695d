//! The generic cell rate algorithm in exact integers (ITU-T I.371, annex A, in its virtual scheduling form).
//!
//! Of a rate of `limit` tokens per `cost` nanoseconds in lowest terms, the unit of time is one `limit`-th of a nanosecond:
//! a token costs exactly `cost` units and a nanosecond is exactly `limit` units. The whole state is one number, the
//! theoretical arrival time: the moment at which the bucket would be full if nothing more were taken. `n` tokens are there
//! when `max(tat, now) + n * cost <= now + burst * cost`, and taking them makes the left side the new state. A full bucket
//! is `tat <= now`, so idling saves up nothing above the burst; a clock that steps back finds fewer tokens, never more.
//!
//! Zero and no limit are the same arithmetic: for zero a nanosecond is 0 units and a token 1; without limit both are 0.

mod chain;

use super::algorithm::Algorithm;
use super::limiter::{Engine, Packed, Params, Step, WORD_BITS};
use super::{Denied, Quota};
use chain::Chain;
use std::fmt;

pub(super) const NAME: &str = "token bucket";

/// The arithmetic of a token bucket: the generic cell rate algorithm of a [`Quota`], exact.
///
/// The state is the theoretical arrival time, in units of which a nanosecond has as many as the rate has tokens to a period
/// in lowest terms: 16 bytes for each key, whatever the quota.
///
/// ```
/// use cofferdam::limit::{Algorithm, Gcra, Quota};
///
/// let per_second = Gcra::new(Quota::per_second(10).burst(2));
/// let mut state = per_second.fresh(0);
/// assert!(per_second.take(&mut state, 0, 2).is_ok());
/// let denied = per_second.take(&mut state, 30_000_000, 1).unwrap_err();
/// assert_eq!(denied.retry_after().unwrap().as_millis(), 70);
/// assert_eq!(per_second.charge(&mut state, 30_000_000, 1), Ok(100_000_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    token: Token,
    pub(super) terms: Terms,
    quota: Quota,
}

impl Gcra {
    /// Of this quota.
    pub const fn new(quota: Quota) -> Self {
        Self::with(quota, Terms::new(quota))
    }

    const fn with(quota: Quota, terms: Terms) -> Self {
        Self { token: Token::of(terms), terms, quota }
    }

    /// The quota.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Tokens at `now`, with their fraction; negative by what has been charged beyond what is there, infinite without limit.
    pub fn tokens(&self, state: u128, now: u64) -> f64 {
        let terms = self.terms;
        if terms.cost == 0 {
            return f64::INFINITY;
        }
        let debt = state.saturating_sub(terms.at(now).saturating_add(terms.depth()));
        (terms.level(state, now) as f64 - debt as f64) / terms.cost as f64
    }
}

impl From<Quota> for Gcra {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

impl fmt::Debug for Gcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gcra({})", self.quota)
    }
}

/// Packed: the arrival time in units since the base. Parameters: units in a nanosecond, cost of a token, cost of a burst, burst.
impl Engine for Gcra {
    type Line = Chain;

    fn params(&self, _: u64) -> Params {
        let Terms { limit, cost, burst } = self.terms;
        // Depths that no word holds need not be told apart, but from all that one does.
        let depth = u64::try_from(self.terms.depth()).unwrap_or(u64::MAX);
        [limit, cost, depth, burst]
    }

    fn span(&self) -> u64 {
        let room = 1u128 << WORD_BITS;
        let (cost, depth) = (u128::from(self.terms.cost), self.terms.depth());
        if cost > room / 2 || depth > room / 2 {
            return 0;
        }
        (room - 1 - depth)
            .checked_div(u128::from(self.terms.limit))
            .map_or(u64::MAX, |span| u64::try_from(span).unwrap_or(u64::MAX))
    }

    fn encode(&self, tat: &u128, base: u64) -> Option<u64> {
        // An arrival time before the base is a full bucket there: all that matters to later times.
        u64::try_from(tat.saturating_sub(self.terms.at(base))).ok()
    }

    fn decode(&self, bits: u64, base: u64) -> u128 {
        self.terms.at(base) + u128::from(bits)
    }

    #[inline(always)]
    fn step(&[limit, cost, depth, burst]: &Params, packed: Packed, since: u64, n: u64) -> Step {
        const END: u64 = 1 << WORD_BITS;
        let price = if n == 1 { cost } else { n.checked_mul(cost).map_or(END, |all| all.min(END)) };
        if price == 0 {
            // Without limit, or nothing wanted.
            return Step::Free;
        }
        // No overflow where the parameters belong together (`span`); where they do not, the result is thrown away.
        let (tat, base) = packed.whole();
        let now = base.wrapping_add(since.wrapping_mul(limit));
        let top = now.wrapping_add(depth);
        let next = tat.max(now).wrapping_add(price);
        if next > top {
            return Step::Denied(Denied::short(NAME, n, burst, next.wrapping_sub(top), limit));
        }
        Step::Next(next)
    }
}

impl Algorithm for Gcra {
    type State = u128;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> u128 {
        self.terms.at(now)
    }

    fn capacity(&self) -> u64 {
        self.terms.burst
    }

    fn charge(&self, state: &mut u128, now: u64, n: u64) -> Result<u64, Denied> {
        let denied = match self.take(state, now, n) {
            Ok(()) => return Ok(now),
            Err(denied) if denied.is_never() => return Err(denied),
            Err(denied) => denied,
        };
        let tat = self.terms.charge(*state, now, n).ok_or(denied)?;
        *state = tat;
        Ok(self.terms.nanos(tat.saturating_sub(self.terms.depth())))
    }

    #[inline]
    fn take(&self, state: &mut u128, now: u64, n: u64) -> Result<(), Denied> {
        if n == 1 {
            if let Some(next) = self.token.taken(*state, now) {
                *state = next;
                return Ok(());
            }
        }
        *state = self.terms.take(*state, now, n)?;
        Ok(())
    }

    fn available(&self, state: &u128, now: u64) -> u64 {
        self.terms.available(*state, now)
    }

    fn refund(&self, state: &mut u128, _: u64, n: u64) {
        // Below the present it is a full bucket, and no more.
        *state = state.saturating_sub(self.terms.price(n));
    }

    fn drain_to(&self, state: &mut u128, now: u64, n: u64) {
        *state = self.terms.drained(*state, now, n);
    }

    fn carry(&self, next: &Self, state: &u128, now: u64) -> u128 {
        let (old, new) = (self.terms, next.terms);
        if old.cost == 0 {
            // Without limit there was no debt.
            return new.at(now);
        }
        let missing = state.saturating_sub(old.at(now));
        let top = new.at(now).saturating_add(new.depth());
        match missing.checked_sub(old.depth()) {
            Some(debt) => top.saturating_add(scale(debt, new.cost, old.cost, true)),
            None => {
                let kept = scale(old.depth() - missing, new.cost, old.cost, false);
                top.saturating_sub(kept.min(new.depth()))
            }
        }
    }

    fn fresh_at(&self, state: &u128) -> u64 {
        if *state == 0 { 0 } else { self.terms.nanos(*state) }
    }
}

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
    #[inline(always)]
    pub(super) fn take(self, tat: u128, now: u64, n: u64) -> Result<u128, Denied> {
        if n == 0 {
            return Ok(tat);
        }
        match self.taken(tat, now, n) {
            Some(next) => Ok(next),
            None => Err(self.refusal(tat, now, n)),
        }
    }

    /// As [`take`](Self::take), of at least one token, without a word on why not.
    #[inline(always)]
    pub(super) fn taken(self, tat: u128, now: u64, n: u64) -> Option<u128> {
        let at = self.at(now);
        let next = tat.max(at).checked_add(self.price(n))?;
        // Compared from `at` on, so that the top of the bucket cannot be past the end of the numbers.
        (n <= self.burst && next.wrapping_sub(at) <= self.depth()).then_some(next)
    }

    /// Why not, of what is not there.
    #[cold]
    fn refusal(self, tat: u128, now: u64, n: u64) -> Denied {
        let Self { limit, burst, .. } = self;
        if n > burst || limit == 0 {
            return Denied::never(NAME, n, burst);
        }
        let top = self.at(now).saturating_add(self.depth());
        match self.charge(tat, now, n).map(|next| next.saturating_sub(top)) {
            None => Denied::after_nanos(NAME, n, burst, u64::MAX),
            Some(short) => match u64::try_from(short) {
                Ok(short) => Denied::short(NAME, n, burst, short, limit),
                Err(_) => Denied::after_nanos(NAME, n, burst, self.nanos(short)),
            },
        }
    }

    /// The state with at most `n` tokens left at `now`.
    pub(super) fn drained(self, tat: u128, now: u64, n: u64) -> u128 {
        let missing = self.price(self.burst.saturating_sub(n));
        tat.max(self.at(now).saturating_add(missing))
    }

    /// Whole tokens in the bucket at `now`.
    pub(super) fn available(self, tat: u128, now: u64) -> u64 {
        match self.level(tat, now).checked_div(u128::from(self.cost)) {
            Some(tokens) => u64::try_from(tokens).unwrap_or(u64::MAX),
            None => u64::MAX,
        }
    }

    /// Units in the bucket at `now`.
    pub(super) fn level(self, tat: u128, now: u64) -> u128 {
        let now = self.at(now);
        now.saturating_add(self.depth()).saturating_sub(tat.max(now))
    }
}

/// What taking one token comes to where 64 bits hold all of it: no wide numbers, and one product.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Token {
    /// From this time on they may not; 0 if they never do.
    end: u64,
    /// Units in a nanosecond.
    limit: u64,
    /// Units of the token.
    cost: u64,
    /// How far the arrival time may be ahead for the token to be there.
    room: u64,
}

impl Token {
    const fn of(terms: Terms) -> Self {
        let Terms { limit, cost, burst } = terms;
        let room = match burst.checked_mul(cost) {
            Some(depth) if burst > 0 && cost > 0 => depth - cost,
            _ => return Self { end: 0, limit, cost, room: 0 },
        };
        // Then the arrival time is at most as far ahead as a burst.
        let left = u64::MAX - room - cost;
        let end = match left.checked_div(limit) {
            Some(end) => end,
            None => u64::MAX,
        };
        Self { end, limit, cost, room }
    }

    /// The state after taking the token. `None` if it is not there, and where numbers may be too large.
    #[inline(always)]
    fn taken(self, tat: u128, now: u64) -> Option<u128> {
        // As a cast would cut it.
        let (high, tat) = ((tat >> 64) as u64, tat as u64);
        if high != 0 || now >= self.end {
            return None;
        }
        let at = now * self.limit;
        let ahead = tat.saturating_sub(at);
        (ahead <= self.room).then(|| u128::from(at + ahead + self.cost))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;
    use std::time::Duration;

    /// Numbers of every size, and those where sizes end.
    fn number(random: &mut fastrand::Rng) -> u64 {
        match random.u8(0..4) {
            0 => random.u64(0..4),
            1 => u64::MAX - random.u64(0..4),
            _ => random.u64(..) >> random.u32(0..64),
        }
    }

    #[test]
    fn one_token_by_short_numbers_is_one_token_by_long_ones() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..200_000 {
            let rate = Rate::per(number(&mut random), Duration::from_nanos(number(&mut random).max(1)));
            let gcra = Gcra::new(Quota::new(rate.unwrap_or(Rate::UNLIMITED), number(&mut random)));
            let Gcra { token, terms, .. } = gcra;
            // Up to where short numbers end, and near to where a burst ends.
            let nows = [number(&mut random), token.end.saturating_sub(1), token.end];
            for now in nows.map(|now| now.saturating_sub(random.u64(0..2))) {
                let top = terms.at(now).saturating_add(terms.depth()).saturating_sub(u128::from(terms.cost));
                let near = top.saturating_add(random.u128(0..4)).saturating_sub(2);
                for tat in [near, number(&mut random).into(), random.u128(..) >> random.u32(0..128)] {
                    let long = terms.taken(tat, now, 1);
                    match token.taken(tat, now) {
                        Some(next) => {
                            assert_eq!(long, Some(next), "{gcra:?} with {tat} at {now}");
                            taken += 1;
                        }
                        None if now < token.end && tat <= u64::MAX.into() => {
                            assert_eq!(long, None, "{gcra:?} with {tat} at {now}");
                            refused += 1;
                        }
                        None => {}
                    }
                    let mut state = tat;
                    let result = gcra.take(&mut state, now, 1);
                    assert_eq!((result, state), (terms.take(tat, now, 1).map(drop), long.unwrap_or(tat)));
                }
            }
        }
        assert!(taken > 10_000 && refused > 10_000, "{taken} {refused}");
    }

    #[test]
    fn short_numbers_last_for_the_usual_quotas() {
        let year = 365 * 24 * 3600 * 1_000_000_000;
        for (quota, years) in
            [(Quota::per_second(1000), 500), (Quota::per_minute(7), 80), (Quota::per_hour(60), 500)]
        {
            assert!(Gcra::new(quota).token.end > years * year, "{quota}");
        }
        assert_eq!(Gcra::new(Quota::new(Rate::UNLIMITED, 1)).token.end, 0, "nothing to take");
    }
}
