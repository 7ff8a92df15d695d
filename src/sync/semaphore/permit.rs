//! The guard.

use super::Semaphore;
use std::fmt;
use std::sync::Arc;

/// How a permit holds on to its semaphore: by reference, or by a share of it.
pub trait Handle: sealed::Sealed {
    #[doc(hidden)]
    fn semaphore(&self) -> &Semaphore;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::Semaphore {}
    impl Sealed for std::sync::Arc<super::Semaphore> {}
}

impl Handle for &Semaphore {
    #[inline]
    fn semaphore(&self) -> &Semaphore {
        self
    }
}

impl Handle for Arc<Semaphore> {
    #[inline]
    fn semaphore(&self) -> &Semaphore {
        self
    }
}

/// A permit that owns its share of the semaphore.
pub type OwnedPermit = Permit<Arc<Semaphore>>;

/// Permits that are yours until this is dropped.
#[must_use = "a permit that is not held is given back at once"]
#[clippy::has_significant_drop]
pub struct Permit<H: Handle> {
    handle: H,
    permits: u32,
}

impl<H: Handle> Permit<H> {
    #[inline]
    pub(super) fn new(handle: H, permits: u32) -> Self {
        Self { handle, permits }
    }

    /// Lets go of the guard, not of the permits.
    #[inline]
    pub(crate) fn into_count(mut self) -> u32 {
        std::mem::take(&mut self.permits)
    }

    /// How many permits it holds.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Takes `n` permits out into a guard of their own; `None`, and no change, where it holds fewer.
    ///
    /// ```
    /// use cofferdam::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(5);
    /// let mut batch = semaphore.try_acquire_many(5)?;
    /// let done = batch.split(2);
    /// drop(done);
    /// assert_eq!((batch.permits(), semaphore.available()), (3, 2));
    /// # Ok::<(), cofferdam::sync::TryAcquireError>(())
    /// ```
    pub fn split(&mut self, n: u32) -> Option<Self>
    where
        H: Clone,
    {
        self.permits = self.permits.checked_sub(n)?;
        Some(Self { handle: self.handle.clone(), permits: n })
    }

    /// Joins another guard of the same semaphore to this one.
    ///
    /// # Errors
    /// A guard of another semaphore comes back.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !std::ptr::eq(self.handle.semaphore(), other.handle.semaphore()) {
            return Err(other);
        }
        self.permits += std::mem::take(&mut other.permits);
        Ok(())
    }

    /// Gives the permits up for good: the capacity is lowered by them.
    pub fn forget(mut self) {
        let n = std::mem::take(&mut self.permits);
        self.handle.semaphore().forget(n);
    }

    /// The semaphore.
    pub fn semaphore(&self) -> &Semaphore {
        self.handle.semaphore()
    }
}

impl<H: Handle> Drop for Permit<H> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 {
            self.handle.semaphore().release(self.permits);
        }
    }
}

impl<H: Handle> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish_non_exhaustive()
    }
}
