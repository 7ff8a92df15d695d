//! The guard.

use super::ConcurrencyLimiter;
use crate::sync::{self, Semaphore};
use std::fmt;
use std::sync::Arc;

/// How a permit holds on to its limiter: by reference, or by a clone.
pub trait Handle: sealed::Sealed {
    /// How it holds on to the semaphore.
    #[doc(hidden)]
    type Semaphore: sync::Handle;

    #[doc(hidden)]
    fn limiter(&self) -> &ConcurrencyLimiter;

    #[doc(hidden)]
    fn wait(&self, request: sync::Request) -> sync::Acquire<Self::Semaphore>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::ConcurrencyLimiter {}
    impl Sealed for super::ConcurrencyLimiter {}
}

impl<'a> Handle for &'a ConcurrencyLimiter {
    type Semaphore = &'a Semaphore;

    #[inline]
    fn limiter(&self) -> &ConcurrencyLimiter {
        self
    }

    fn wait(&self, request: sync::Request) -> sync::Acquire<&'a Semaphore> {
        let limiter: &'a ConcurrencyLimiter = self;
        limiter.inner.semaphore.acquire_with(request)
    }
}

impl Handle for ConcurrencyLimiter {
    type Semaphore = Arc<Semaphore>;

    #[inline]
    fn limiter(&self) -> &ConcurrencyLimiter {
        self
    }

    fn wait(&self, request: sync::Request) -> sync::Acquire<Arc<Semaphore>> {
        self.inner.semaphore.acquire_with_owned(request)
    }
}

/// A permit that owns its share of the limiter.
pub type OwnedPermit = Permit<ConcurrencyLimiter>;

/// Permits that are in flight until this is dropped.
#[must_use = "a permit that is not held is given back at once"]
#[clippy::has_significant_drop]
pub struct Permit<H: Handle> {
    handle: H,
    permits: u32,
    lane: usize,
}

impl<H: Handle> Permit<H> {
    #[inline]
    pub(super) fn new(handle: H, permits: u32, lane: usize) -> Self {
        Self { handle, permits, lane }
    }

    /// Gives up the guard, but not what it holds: that is for [`ConcurrencyLimiter::give_back`].
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn hand_over(mut self) {
        self.permits = 0;
    }

    /// How many permits it holds.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// The limiter.
    pub fn limiter(&self) -> &ConcurrencyLimiter {
        self.handle.limiter()
    }
}

impl<H: Handle> Drop for Permit<H> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 {
            self.handle.limiter().release(self.permits, self.lane);
        }
    }
}

impl<H: Handle> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish_non_exhaustive()
    }
}
