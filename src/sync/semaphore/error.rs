//! Why permits were refused.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

type Name = Cow<'static, str>;

/// Why a waiting acquisition failed.
#[derive(Clone, Debug)]
pub struct AcquireError {
    name: Name,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Closed,
    Weight { wanted: u32, capacity: u32 },
    QueueFull { allowed: usize },
    Timeout { limit: Duration },
}

impl AcquireError {
    pub(super) fn closed(name: &Name) -> Self {
        Self { name: name.clone(), kind: Kind::Closed }
    }

    pub(super) fn weight(name: &Name, wanted: u32, capacity: u32) -> Self {
        Self { name: name.clone(), kind: Kind::Weight { wanted, capacity } }
    }

    pub(super) fn queue_full(name: &Name, allowed: usize) -> Self {
        Self { name: name.clone(), kind: Kind::QueueFull { allowed } }
    }

    pub(super) fn timeout(name: &Name, limit: Duration) -> Self {
        Self { name: name.clone(), kind: Kind::Timeout { limit } }
    }

    /// The name of the semaphore.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The semaphore was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind, Kind::Closed)
    }

    /// The time limit passed first.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout { .. })
    }

    /// As many waited already as the request allows.
    pub fn is_queue_full(&self) -> bool {
        matches!(self.kind, Kind::QueueFull { .. })
    }

    /// More was wanted than there can ever be.
    pub fn exceeds_capacity(&self) -> bool {
        matches!(self.kind, Kind::Weight { wanted, capacity } if wanted > capacity)
    }

    /// Nothing was wanted: a request for zero permits.
    pub fn is_zero(&self) -> bool {
        matches!(self.kind, Kind::Weight { wanted: 0, .. })
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
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

impl std::error::Error for AcquireError {}

/// Why permits could not be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryAcquireError {
    name: Name,
    kind: TryKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TryKind {
    Closed,
    Weight { wanted: u32, capacity: u32 },
    NoPermits { wanted: u32, free: u32 },
}

impl TryAcquireError {
    pub(super) fn closed(name: &Name) -> Self {
        Self { name: name.clone(), kind: TryKind::Closed }
    }

    pub(super) fn weight(name: &Name, wanted: u32, capacity: u32) -> Self {
        Self { name: name.clone(), kind: TryKind::Weight { wanted, capacity } }
    }

    pub(super) fn no_permits(name: &Name, wanted: u32, free: u32) -> Self {
        Self { name: name.clone(), kind: TryKind::NoPermits { wanted, free } }
    }

    /// The name of the semaphore.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Too few permits are free, or others wait for them: try again later.
    pub fn is_no_permits(&self) -> bool {
        matches!(self.kind, TryKind::NoPermits { .. })
    }

    /// The semaphore was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind, TryKind::Closed)
    }

    /// More was wanted than there can ever be.
    pub fn exceeds_capacity(&self) -> bool {
        matches!(self.kind, TryKind::Weight { wanted, capacity } if wanted > capacity)
    }

    /// Nothing was wanted: a request for zero permits.
    pub fn is_zero(&self) -> bool {
        matches!(self.kind, TryKind::Weight { wanted: 0, .. })
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
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
