//! The fixed window: so many in each, and every window begins anew.

use super::{Edges, bits, length, nanos};
use crate::ConfigError;
use crate::limit::limiter::{Engine, Packed, Params, Plan, Step, WORD_BITS};
use crate::limit::{Algorithm, Denied, Limiter};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NAME: &str = "fixed window";

/// Counts in windows of fixed edges: at most `limit` tokens in each.
///
/// A window begins anew, whatever was used in the one before. What does not fit into the rest of a window waits for the next.
/// Windows begin at the epoch and every `window` after it, or where [`offset`](Self::offset) or [`aligned`](Self::aligned)
/// put their edges.
///
/// # Error
/// Never more than `limit` in a window between its edges. Around an edge up to twice that: `limit` just before it and `limit`
/// just after, so in any stretch of time as long as a window at most `2 * limit`. Where that is too much take
/// [`SlidingCounter`](super::SlidingCounter) or [`SlidingLog`](super::SlidingLog). Nobody is refused while there is room in
/// the window.
///
/// # Memory
/// 16 bytes for each state.
///
/// ```
/// use cofferdam::limit::{Algorithm, Fixed};
/// use std::time::Duration;
///
/// let four = Fixed::new(4, Duration::from_millis(500))?;
/// let mut state = four.fresh(0);
/// assert!(four.take(&mut state, 499_000_000, 4).is_ok());
/// let denied = four.take(&mut state, 499_000_000, 1).unwrap_err();
/// assert_eq!(denied.retry_after(), Some(Duration::from_millis(1)));
/// assert!(four.take(&mut state, 500_000_000, 4).is_ok());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    limit: u64,
    edges: Edges,
}

/// The window that was used last, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedState {
    number: u64,
    used: u64,
}

impl Fixed {
    /// `limit` tokens in each `window`. A limit of 0 admits nothing.
    ///
    /// # Errors
    /// A window of zero, or of 584 years and more.
    pub fn new(limit: u64, window: Duration) -> Result<Self, ConfigError> {
        Ok(Self { limit, edges: Edges::new(length(NAME, window)?) })
    }

    /// Places the edges so that the epoch is `into` a window instead of at its beginning. Whole windows make no difference.
    #[must_use]
    pub fn offset(self, into: Duration) -> Self {
        Self { edges: self.edges.with_phase(into.as_nanos()), ..self }
    }

    /// Places the edges at whole numbers of windows since 1970, UTC, for an epoch that is at `epoch` by the calendar: a window
    /// of a minute begins with each minute of the clock, and one of a day at midnight.
    #[must_use]
    pub fn aligned(self, epoch: SystemTime) -> Self {
        let into = match epoch.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos(),
            Err(before) => {
                let length = u128::from(self.edges.length.get());
                length - before.duration().as_nanos() % length
            }
        };
        Self { edges: self.edges.with_phase(into), ..self }
    }

    /// Tokens in each window.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The length of a window.
    pub fn window(&self) -> Duration {
        self.edges.duration()
    }

    /// How far into its window the epoch is.
    pub const fn phase(&self) -> Duration {
        Duration::from_nanos(self.edges.phase)
    }

    /// The state as of now: as it is, or a window that nobody has used.
    fn settled(&self, state: &FixedState, now: u64) -> FixedState {
        let (number, _) = self.edges.locate(now);
        if number > state.number { FixedState { number, used: 0 } } else { *state }
    }

    /// The state with `n` more, and the instant from which they are there.
    fn plan(&self, state: &FixedState, now: u64, n: u64) -> Result<(FixedState, u128), Denied> {
        if n > self.limit {
            return Err(Denied::never(NAME, n, self.limit));
        }
        let mut next = self.settled(state, now);
        if self.limit.saturating_sub(next.used) < n {
            let number = next.number.checked_add(1);
            let number = number.ok_or(Denied::after_nanos(NAME, n, self.limit, u64::MAX))?;
            next = FixedState { number, used: 0 };
        }
        next.used += n;
        Ok((next, self.edges.instant(next.number, 0).max(now.into())))
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fixed({} per {:?})", self.limit, self.window())
    }
}

/// Packed: the number of the window, counted from the one that holds the base, above what was used of it. Parameters: length of a
/// window, how far into its window the base is, limit, bits of what was used.
impl Engine for Fixed {
    type Line = Plan<Self>;

    fn params(&self, base: u64) -> Params {
        [self.edges.length.get(), self.edges.locate(base).1, self.limit, bits(self.limit).into()]
    }

    fn span(&self) -> u64 {
        self.edges.span(WORD_BITS.saturating_sub(bits(self.limit)))
    }

    fn encode(&self, state: &FixedState, base: u64) -> Option<u64> {
        if state.used > self.limit {
            // By settings that were before these.
            return None;
        }
        match state.number.checked_sub(self.edges.locate(base).0) {
            // Of a window before the base nothing matters.
            None => Some(0),
            Some(number) if self.edges.fits(number, WORD_BITS.saturating_sub(bits(self.limit))) => {
                Some(number << bits(self.limit) | state.used)
            }
            Some(_) => None,
        }
    }

    fn decode(&self, packed: u64, base: u64) -> FixedState {
        let (number, used) = unpack(packed, bits(self.limit));
        FixedState { number: self.edges.locate(base).0 + number, used }
    }

    /// A window that is over has taken its tokens with it.
    fn give_back(&self, state: &mut FixedState, due: u64, now: u64, n: u64) {
        if self.edges.locate(due).0 >= state.number {
            self.refund(state, now, n);
        }
    }

    #[inline(always)]
    fn step(&[length, into, limit, shift]: &Params, packed: Packed, since: u64, n: u64) -> Step {
        if n > limit {
            return Step::Denied(Denied::never(NAME, n, limit));
        }
        let shift = shift as u32;
        // Nothing overflows where the parameters belong together (`span`); where they do not, the result is thrown away.
        let at = since.wrapping_add(into);
        let now = at.checked_div(length).unwrap_or(0);
        let (number, used) = unpack(packed.state(), shift);
        let used = if now > number { 0 } else { used };
        let number = number.max(now);
        let fits = n <= limit.wrapping_sub(used);
        if number == now && fits {
            return packed.with(number.wrapping_shl(shift) | used.wrapping_add(n));
        }
        let begins = number.wrapping_add(u64::from(!fits)).wrapping_mul(length);
        Step::Denied(Denied::after_nanos(NAME, n, limit, begins.wrapping_sub(at)))
    }
}

/// The number of a window, and what was used.
#[inline(always)]
const fn unpack(packed: u64, shift: u32) -> (u64, u64) {
    let used = packed & !u64::MAX.wrapping_shl(shift);
    (packed.wrapping_shr(shift), used)
}

impl Algorithm for Fixed {
    type State = FixedState;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> FixedState {
        FixedState { number: self.edges.locate(now).0, used: 0 }
    }

    fn capacity(&self) -> u64 {
        self.limit
    }

    fn charge(&self, state: &mut FixedState, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 {
            return Ok(now);
        }
        let (next, due) = self.plan(state, now, n)?;
        *state = next;
        Ok(nanos(due))
    }

    fn take(&self, state: &mut FixedState, now: u64, n: u64) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let (next, due) = self.plan(state, now, n)?;
        if due > now.into() {
            return Err(Denied::after_nanos(NAME, n, self.limit, nanos(due - u128::from(now))));
        }
        *state = next;
        Ok(())
    }

    fn available(&self, state: &FixedState, now: u64) -> u64 {
        let state = self.settled(state, now);
        if self.edges.instant(state.number, 0) > now.into() {
            return 0;
        }
        self.limit.saturating_sub(state.used)
    }

    /// To the window that was charged last; what was used in one that is over is gone with it.
    fn refund(&self, state: &mut FixedState, now: u64, n: u64) {
        *state = self.settled(state, now);
        state.used = state.used.saturating_sub(n);
    }

    fn drain_to(&self, state: &mut FixedState, now: u64, n: u64) {
        let there = self.available(state, now);
        if there > n {
            *state = self.settled(state, now);
            state.used += there - n;
        }
    }

    /// What was used in the present window, or promised in a later one, counts in the window of the new settings that holds
    /// the present, or the beginning of the later one.
    fn carry(&self, next: &Self, state: &FixedState, now: u64) -> FixedState {
        let state = self.settled(state, now);
        let number = if next.edges == self.edges {
            state.number
        } else {
            next.edges.locate(self.edges.start(state.number).max(now)).0
        };
        FixedState { number, used: state.used }
    }

    fn fresh_at(&self, state: &FixedState) -> u64 {
        let over = u64::from(state.used > 0);
        state.number.checked_add(over).map_or(u64::MAX, |number| self.edges.start(number))
    }
}

/// Admits so many in each window; see [`Fixed`]. Lock-free to decide, for limits below 2^40 or so.
///
/// ```
/// use cofferdam::limit::FixedWindow;
/// use std::time::Duration;
///
/// let window = FixedWindow::new(2, Duration::from_secs(3600))?;
/// assert!(window.try_acquire_many(2).is_ok());
/// assert!(window.try_acquire().is_err());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub type FixedWindow = Limiter<Fixed>;

impl Limiter<Fixed> {
    /// `limit` tokens in each `window` from now on, on the system's clock.
    ///
    /// # Errors
    /// As [`Fixed::new`].
    pub fn new(limit: u64, window: Duration) -> Result<Self, ConfigError> {
        Ok(Self::of(Fixed::new(limit, window)?))
    }
}
