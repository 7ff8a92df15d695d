//! Why a limiter said no, and from when on it would say yes.

use crate::sync::ContextError;
use std::fmt;
use std::time::Duration;

/// A limiter's refusal: nothing was taken.
///
/// It says after how long the same request would be admitted, if nobody else takes tokens meanwhile, or that it never can
/// be: more was wanted than the burst, or the rate is zero and the burst is spent.
#[derive(Clone, Copy)]
pub struct Denied {
    /// What kind of limiter it was.
    limiter: &'static str,
    wanted: u64,
    burst: u64,
    /// How far off: `short / limit` nanoseconds. A `limit` of 0 is never. The division waits until somebody asks.
    short: u64,
    limit: u64,
    /// By a pause, whatever is there.
    paused: bool,
    /// Of several limits, the one that it is.
    tier: Option<u16>,
}

impl Denied {
    #[inline(always)]
    pub(super) const fn short(
        limiter: &'static str,
        wanted: u64,
        burst: u64,
        short: u64,
        limit: u64,
    ) -> Self {
        Self { limiter, wanted, burst, short, limit, paused: false, tier: None }
    }

    pub(super) const fn after_nanos(limiter: &'static str, wanted: u64, burst: u64, nanos: u64) -> Self {
        Self { limiter, wanted, burst, short: nanos, limit: 1, paused: false, tier: None }
    }

    pub(super) const fn never(limiter: &'static str, wanted: u64, burst: u64) -> Self {
        Self { limiter, wanted, burst, short: 0, limit: 0, paused: false, tier: None }
    }

    /// The same refusal of a limiter that is called something else.
    #[allow(dead_code, reason = "for limiters that decide by another one's arithmetic")]
    pub(super) const fn by(self, limiter: &'static str) -> Self {
        Self { limiter, ..self }
    }

    /// The same refusal by a limiter that is paused.
    pub(super) const fn paused(self) -> Self {
        Self { paused: true, ..self }
    }

    /// The same refusal, by one of several limits.
    pub(super) fn in_tier(self, tier: usize) -> Self {
        Self { tier: u16::try_from(tier).ok(), ..self }
    }

    pub(super) const fn retry_nanos(self) -> Option<u64> {
        if self.is_never() || self.paused && self.short == u64::MAX {
            return None;
        }
        Some(self.short.div_ceil(self.limit))
    }

    /// From the moment of the refusal; `None` if waiting cannot help, or if the limiter is paused until somebody resumes it.
    pub const fn retry_after(self) -> Option<Duration> {
        match self.retry_nanos() {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }

    /// Whether waiting cannot help, as long as the quota stays what it is.
    pub const fn is_never(self) -> bool {
        self.limit == 0 || self.exceeds_burst()
    }

    /// Whether the limiter is paused; then it refuses whatever is there.
    pub const fn is_paused(self) -> bool {
        self.paused
    }

    /// Whether more was wanted than can ever be there at once.
    pub const fn exceeds_burst(self) -> bool {
        self.wanted > self.burst
    }

    /// The kind of limiter, in words: "token bucket".
    pub const fn limiter(self) -> &'static str {
        self.limiter
    }

    /// Of several limits, which one refused (counted from 0), or has the longest wait if more than one did; `None` if there is
    /// only one.
    pub fn tier(self) -> Option<usize> {
        self.tier.map(usize::from)
    }

    /// Tokens that were wanted.
    pub const fn wanted(self) -> u64 {
        self.wanted
    }

    /// The burst at that moment.
    pub const fn burst(self) -> u64 {
        self.burst
    }
}

impl PartialEq for Denied {
    fn eq(&self, other: &Self) -> bool {
        let parts = |denied: &Self| {
            let Self { limiter, wanted, burst, paused, tier, .. } = *denied;
            (limiter, wanted, burst, paused, tier, denied.retry_nanos())
        };
        parts(self) == parts(other)
    }
}

impl Eq for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limiter, wanted, burst, .. } = self;
        match self.retry_after() {
            Some(after) if self.paused => write!(f, "{limiter}: paused: {wanted} to be had in {after:?}"),
            None if self.paused && !self.is_never() => write!(f, "{limiter}: paused until it is resumed"),
            // Where any size is admitted in its turn.
            Some(after) if *burst == u64::MAX => {
                write!(f, "{limiter}: {wanted} wanted: to be had in {after:?}")
            }
            None if *burst == u64::MAX => write!(f, "{limiter}: {wanted} wanted, and the rate is zero"),
            Some(after) => {
                write!(f, "{limiter}: {wanted} wanted of a burst of {burst}: to be had in {after:?}")
            }
            None if self.exceeds_burst() => {
                write!(f, "{limiter}: {wanted} wanted at once, above the burst of {burst}")
            }
            None => {
                write!(f, "{limiter}: {wanted} wanted, a burst of {burst} is spent and the rate is zero")
            }
        }
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied")
            .field("limiter", &self.limiter)
            .field("wanted", &self.wanted)
            .field("burst", &self.burst)
            .field("retry_after", &self.retry_after())
            .field("paused", &self.paused)
            .field("tier", &self.tier)
            .finish()
    }
}

impl std::error::Error for Denied {}

/// Why a wait for tokens ended without them: nothing was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The tokens can never come, or not within the time allowed.
    Denied(Denied),
    /// As many wait as the limiter lets.
    #[non_exhaustive]
    QueueFull {
        /// How many that is.
        limit: usize,
    },
    /// The current context was cancelled or has expired.
    Ended(ContextError),
}

impl WaitError {
    /// From the moment of the refusal; `None` if waiting cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(denied) => denied.retry_after(),
            Self::QueueFull { .. } | Self::Ended(_) => None,
        }
    }

    /// Whether the tokens could have come, but not in time.
    pub fn is_too_late(&self) -> bool {
        matches!(self, Self::Denied(denied) if !denied.is_never())
    }

    /// Whether as many waited already as the limiter lets.
    pub fn is_queue_full(&self) -> bool {
        matches!(self, Self::QueueFull { .. })
    }

    /// Whether waiting could never have helped.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.is_never())
    }

    /// Whether more was wanted than can ever be there at once.
    pub fn exceeds_burst(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.exceeds_burst())
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::QueueFull { limit } => write!(f, "rate limiter: {limit} requests wait already"),
            Self::Ended(ended) => write!(f, "rate limiter: {ended}"),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::QueueFull { .. } => None,
            Self::Ended(ended) => Some(ended),
        }
    }
}

impl From<Denied> for WaitError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<ContextError> for WaitError {
    fn from(ended: ContextError) -> Self {
        Self::Ended(ended)
    }
}
