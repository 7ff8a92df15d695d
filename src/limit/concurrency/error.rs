//! Why no permit was to be had.

use crate::sync::ContextError;
use std::fmt;
use std::time::Duration;

/// Why a permit was refused: nothing was taken.
#[derive(Clone, Debug)]
pub struct AcquireError(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Full { limit: u32, waiting: usize },
    Timeout { limit: Duration },
    Shed { allowed: Duration },
    Above { wanted: u32, limit: u32 },
    Closed,
    Ended(ContextError),
}

impl From<Kind> for AcquireError {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl AcquireError {
    /// All permits are taken, and there was no waiting for one: it was not asked for, or too many wait already.
    pub fn is_full(&self) -> bool {
        matches!(self.0, Kind::Full { .. })
    }

    /// The limit, and how many waited, if all permits were taken.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn seen(&self) -> Option<(u32, usize)> {
        match self.0 {
            Kind::Full { limit, waiting } => Some((limit, waiting)),
            _ => None,
        }
    }

    /// The wait limit passed first.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::Timeout { .. })
    }

    /// It had waited for longer than the [discipline](super::Discipline::ControlledDelay) allows.
    pub fn is_shed(&self) -> bool {
        matches!(self.0, Kind::Shed { .. })
    }

    /// More was wanted than the limit, as it is now, allows at all.
    pub fn exceeds_limit(&self) -> bool {
        matches!(self.0, Kind::Above { .. })
    }

    /// The limiter was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Kind::Closed)
    }

    /// The current [`Context`](crate::sync::Context) ended first.
    pub fn context_error(&self) -> Option<&ContextError> {
        match &self.0 {
            Kind::Ended(error) => Some(error),
            _ => None,
        }
    }

    /// How long it waited, where it is the length of the wait that ended it.
    pub fn waited(&self) -> Option<Duration> {
        match self.0 {
            Kind::Timeout { limit: waited } | Kind::Shed { allowed: waited } => Some(waited),
            _ => None,
        }
    }

    /// Whether it passes by itself: the same request may be let through later. When, nobody knows: it is up to those who
    /// hold the permits.
    pub fn is_temporary(&self) -> bool {
        matches!(self.0, Kind::Full { .. } | Kind::Timeout { .. } | Kind::Shed { .. })
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("concurrency limiter: ")?;
        match &self.0 {
            Kind::Full { limit, waiting } => {
                write!(f, "full: all permits of {limit} taken, {waiting} requests wait")
            }
            Kind::Timeout { limit } => write!(f, "no permit within {limit:?}"),
            Kind::Shed { allowed } => {
                write!(f, "shed: waited for more than {allowed:?} in an overloaded queue")
            }
            Kind::Above { wanted, limit } => write!(f, "{wanted} permits wanted, above the limit of {limit}"),
            Kind::Closed => f.write_str("closed"),
            Kind::Ended(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}
