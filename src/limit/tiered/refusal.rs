//! Why a request was refused: by which bucket, and for how long.

use super::Tier;
use crate::sync::ContextError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A request that was refused: it was charged nowhere.
///
/// It names the tier whose wait is the longest (and of equal waits, or where several can never be, the widest), with what
/// that tier's bucket had at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) tier: Tier,
    pub(super) bucket: Arc<str>,
    pub(super) wanted: u64,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Nanoseconds; `None` is never.
    pub(super) retry: Option<u64>,
    pub(super) paused: bool,
}

impl Refusal {
    /// The tier.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The bucket: the route's pattern or normal path, with the major parameters that split it, or whose resource it is.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether it is the limit of everything, so that no other request would do better.
    pub fn is_global(&self) -> bool {
        self.tier == Tier::Global
    }

    /// Tokens that were wanted.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// The most that the bucket admits at once.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Tokens in the bucket.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// From the moment of the refusal; `None` if waiting cannot help. Exact where nobody else takes tokens meanwhile and
    /// nobody waits; a lower bound where somebody does.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry.map(Duration::from_nanos)
    }

    /// Whether waiting cannot help, as long as the quotas stay what they are.
    pub fn is_never(&self) -> bool {
        self.retry.is_none()
    }

    /// Whether the bucket is paused, by its server or by hand.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether more was wanted than can ever be there at once.
    pub fn exceeds_burst(&self) -> bool {
        self.wanted > self.limit
    }

    /// As it stands `nanos` later.
    pub(super) fn after(mut self, nanos: u64) -> Self {
        self.retry = self.retry.map(|retry| retry.saturating_sub(nanos).max(1));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, bucket, wanted, limit, remaining, .. } = self;
        write!(f, "tiered limiter: {tier} bucket {bucket:?}: {wanted} wanted, {remaining} of {limit} there")?;
        match self.retry_after() {
            Some(after) if self.paused => write!(f, ", paused: to be had in {after:?}"),
            Some(after) => write!(f, ": to be had in {after:?}"),
            None if self.exceeds_burst() => f.write_str(": never so many at once"),
            None => f.write_str(": the rate is zero"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a wait ended without tokens: nothing was charged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The tokens can never come, or not within the time allowed.
    Refused(Refusal),
    /// They could, but as many wait already as may.
    Full(Refusal),
    /// The current context was cancelled or has expired.
    Ended(ContextError),
}

impl WaitError {
    /// What the limiter said; `None` if the context ended.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Full(refusal) => Some(refusal),
            Self::Ended(_) => None,
        }
    }

    /// From the moment of the refusal; `None` if waiting cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(Refusal::retry_after)
    }

    /// Whether the tokens could have come, but not in time.
    pub fn is_too_late(&self) -> bool {
        matches!(self, Self::Refused(refusal) if !refusal.is_never())
    }

    /// Whether waiting could never have helped.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_never())
    }

    /// Whether too many wait already.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Full(refusal) => write!(f, "{refusal}; and the queue is full"),
            Self::Ended(ended) => write!(f, "tiered limiter: {ended}"),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) | Self::Full(refusal) => Some(refusal),
            Self::Ended(ended) => Some(ended),
        }
    }
}

impl From<ContextError> for WaitError {
    fn from(ended: ContextError) -> Self {
        Self::Ended(ended)
    }
}
