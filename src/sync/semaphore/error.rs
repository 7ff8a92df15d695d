//! Why permits were refused.

use crate::sync::ContextError;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why a waiting acquisition failed.
///
/// One word wide, so that success stays in registers; what it has to say is kept on the heap.
#[derive(Clone, Debug)]
pub struct AcquireError(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    name: Cow<'static, str>,
    kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Closed,
    Weight { wanted: u32, capacity: u32 },
    QueueFull { allowed: u32 },
    Timeout { limit: Duration },
    Ended(ContextError),
}

impl AcquireError {
    #[allow(clippy::ptr_arg, reason = "cloned as it is: a static name stays one")]
    #[cold]
    #[allow(clippy::ptr_arg, reason = "a borrowed name is copied as such")]
    pub(super) fn new(name: &Cow<'static, str>, kind: Kind) -> Self {
        Self(Box::new(Refusal { name: name.clone(), kind }))
    }

    /// The name of the semaphore.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The semaphore was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, Kind::Closed)
    }

    /// The time limit passed first.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout { .. })
    }

    /// As many waited already as the request allows.
    pub fn is_queue_full(&self) -> bool {
        matches!(self.0.kind, Kind::QueueFull { .. })
    }

    /// The current [`Context`](crate::sync::Context) was cancelled or past its deadline before anything was taken.
    pub fn context_error(&self) -> Option<&ContextError> {
        match &self.0.kind {
            Kind::Ended(error) => Some(error),
            _ => None,
        }
    }

    /// More was wanted than there can ever be.
    pub fn exceeds_capacity(&self) -> bool {
        matches!(self.0.kind, Kind::Weight { wanted, capacity } if wanted > capacity)
    }

    /// Nothing was wanted: a request for zero permits.
    pub fn is_zero(&self) -> bool {
        matches!(self.0.kind, Kind::Weight { wanted: 0, .. })
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.0.name;
        match &self.0.kind {
            Kind::Ended(error) => write!(f, "{name}: {error}"),
            Kind::Closed => write!(f, "{name}: closed"),
            Kind::Weight { wanted: 0, capacity: 0 } => write!(f, "{name}: the capacity is 0"),
            Kind::Weight { wanted: 0, .. } => write!(f, "{name}: 0 permits wanted, at least 1 expected"),
            Kind::Weight { wanted, capacity } => {
                write!(f, "{name}: {wanted} permits wanted, above the capacity of {capacity}")
            }
            Kind::QueueFull { allowed } => write!(f, "{name}: {allowed} requests wait already"),
            Kind::Timeout { limit } => write!(f, "{name}: no permit within {limit:?}"),
        }
    }
}

impl std::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

/// Why permits could not be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryAcquireError(TryKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TryKind {
    Closed,
    Weight { wanted: u32, capacity: u32 },
    NoPermits { wanted: u32, free: u32 },
}

impl TryAcquireError {
    pub(super) const CLOSED: Self = Self(TryKind::Closed);

    pub(super) fn weight(wanted: u32, capacity: u32) -> Self {
        Self(TryKind::Weight { wanted, capacity })
    }

    pub(super) fn no_permits(wanted: u32, free: u32) -> Self {
        Self(TryKind::NoPermits { wanted, free })
    }

    /// Too few permits are free, or others wait for them: try again later.
    pub fn is_no_permits(&self) -> bool {
        matches!(self.0, TryKind::NoPermits { .. })
    }

    /// The semaphore was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, TryKind::Closed)
    }

    /// More was wanted than there can ever be.
    pub fn exceeds_capacity(&self) -> bool {
        matches!(self.0, TryKind::Weight { wanted, capacity } if wanted > capacity)
    }

    /// Nothing was wanted: a request for zero permits.
    pub fn is_zero(&self) -> bool {
        matches!(self.0, TryKind::Weight { wanted: 0, .. })
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = "semaphore";
        match self.0 {
            TryKind::NoPermits { wanted, free } if free >= wanted => {
                write!(f, "{name}: {wanted} permits wanted, {free} free for others who wait")
            }
            TryKind::NoPermits { wanted, free } => write!(f, "{name}: {wanted} permits wanted, {free} free"),
            TryKind::Closed => write!(f, "{name}: closed"),
            TryKind::Weight { wanted: 0, .. } => write!(f, "{name}: 0 permits wanted, at least 1 expected"),
            TryKind::Weight { wanted, capacity } => {
                write!(f, "{name}: {wanted} permits wanted, above the capacity of {capacity}")
            }
        }
    }
}

impl std::error::Error for TryAcquireError {}
