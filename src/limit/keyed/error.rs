//! Why a keyed limiter said no.

use crate::limit::Denied;
use crate::sync::ContextError;
use std::fmt;
use std::time::Duration;

/// A keyed limiter's refusal: nothing was taken, and no key was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyDenied {
    /// By the limit of this key.
    Denied(Denied),
    /// It is a new key, and there is no room for it.
    TooManyKeys(TooManyKeys),
}

impl KeyDenied {
    /// From the moment of the refusal; `None` if waiting cannot help. Of too many keys: the first moment at which there may be
    /// room.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Denied(denied) => denied.retry_after(),
            Self::TooManyKeys(full) => full.retry_after(),
        }
    }

    /// Whether waiting cannot help.
    pub const fn is_never(self) -> bool {
        self.retry_after().is_none()
    }

    /// Whether it was for want of room, and not by the key's limit.
    pub const fn is_full(self) -> bool {
        matches!(self, Self::TooManyKeys(_))
    }

    /// The refusal by the key's limit.
    pub const fn denied(self) -> Option<Denied> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::TooManyKeys(_) => None,
        }
    }
}

impl From<Denied> for KeyDenied {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<TooManyKeys> for KeyDenied {
    fn from(full: TooManyKeys) -> Self {
        Self::TooManyKeys(full)
    }
}

impl fmt::Display for KeyDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::TooManyKeys(full) => full.fmt(f),
        }
    }
}

impl std::error::Error for KeyDenied {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::TooManyKeys(full) => Some(full),
        }
    }
}

/// Why a wait for tokens of a key ended without them: nothing was taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyWaitError {
    /// The tokens can never come, or not within the time allowed.
    Denied(Denied),
    /// It is a new key, and there is no room for it.
    TooManyKeys(TooManyKeys),
    /// The current context was cancelled or has expired.
    Ended(ContextError),
}

impl KeyWaitError {
    /// From the moment of the refusal; `None` if waiting cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(denied) => denied.retry_after(),
            Self::TooManyKeys(full) => full.retry_after(),
            Self::Ended(_) => None,
        }
    }

    /// Whether the tokens could have come, but not in time.
    pub fn is_too_late(&self) -> bool {
        matches!(self, Self::Denied(denied) if !denied.is_never())
    }

    /// Whether waiting could never have helped.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.is_never())
    }

    /// Whether there was no room for the key.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::TooManyKeys(_))
    }
}

impl From<Denied> for KeyWaitError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<TooManyKeys> for KeyWaitError {
    fn from(full: TooManyKeys) -> Self {
        Self::TooManyKeys(full)
    }
}

impl From<ContextError> for KeyWaitError {
    fn from(ended: ContextError) -> Self {
        Self::Ended(ended)
    }
}

impl fmt::Display for KeyWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::TooManyKeys(full) => full.fmt(f),
            Self::Ended(ended) => write!(f, "keyed limiter: {ended}"),
        }
    }
}

impl std::error::Error for KeyWaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::TooManyKeys(full) => Some(full),
            Self::Ended(ended) => Some(ended),
        }
    }
}

/// There was no room for a new key: as many are in use as there may be, or as many overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyKeys {
    what: &'static str,
    capacity: usize,
    retry_nanos: u64,
}

impl TooManyKeys {
    /// `u64::MAX` for never.
    pub(super) const fn new(what: &'static str, capacity: usize, retry_nanos: u64) -> Self {
        Self { what, capacity, retry_nanos }
    }

    /// How many there may be.
    pub const fn capacity(self) -> usize {
        self.capacity
    }

    /// After how long there may be room, as far as is known now: no key becomes idle before, by the passing of time alone. `None` if
    /// time makes no room.
    pub const fn retry_after(self) -> Option<Duration> {
        match self.retry_nanos {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl fmt::Display for TooManyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, capacity, .. } = self;
        write!(f, "{what}: no room for a new key, all {capacity} are in use")?;
        match self.retry_after() {
            Some(after) => write!(f, ": there may be in {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TooManyKeys {}
