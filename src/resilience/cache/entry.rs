//! What is kept, and what of it is handed out.

use crate::resilience::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

/// A value that is kept. Times are in nanoseconds of the cache's epoch; the latest of them never comes.
pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) loaded_at: Instant,
    pub(super) fresh_until: u64,
    pub(super) weight: u64,
}

/// An error that is kept.
pub(super) struct Failure<V, E> {
    pub(super) error: Error<E>,
    pub(super) until: u64,
    /// What it has taken the place of, for those who take a value however old.
    pub(super) old: Option<Arc<Entry<V>>>,
}

/// What is in the store: cloned under its lock, so of nothing that is the user's.
pub(super) enum Stored<V, E> {
    Value(Arc<Entry<V>>),
    Failure(Arc<Failure<V, E>>),
}

impl<V, E> Stored<V, E> {
    pub(super) fn weight(&self) -> u64 {
        self.entry().map_or(1, |entry| entry.weight)
    }

    /// The value, however old.
    pub(super) fn entry(&self) -> Option<&Arc<Entry<V>>> {
        match self {
            Self::Value(entry) => Some(entry),
            Self::Failure(failure) => failure.old.as_ref(),
        }
    }

    /// Whether it is the very same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => Arc::ptr_eq(a, b),
            (Self::Failure(a), Self::Failure(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether this, which is new, is to take the place of what is there. An error is not, where a value is there that can still
    /// be handed out; one that is too old for that it keeps.
    pub(super) fn displaces(
        &mut self,
        there: Option<&Self>,
        can_be_handed_out: impl FnOnce(&Entry<V>) -> bool,
    ) -> bool {
        let Self::Failure(failure) = self else { return true };
        let old = there.and_then(Self::entry);
        if old.is_some_and(|old| can_be_handed_out(old)) {
            return false;
        }
        if let Some(failure) = Arc::get_mut(failure) {
            failure.old = old.map(Arc::clone);
        }
        true
    }
}

impl<V, E> Clone for Stored<V, E> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Value(entry) => Self::Value(Arc::clone(entry)),
            Self::Failure(failure) => Self::Failure(Arc::clone(failure)),
        }
    }
}

/// Where a [`Cached`] value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The cache had it, and it was fresh.
    Hit,
    /// The cache had it. It was no longer fresh, and somebody else is loading it anew.
    Stale,
    /// The cache had it. It was no longer fresh, and loading it anew failed.
    StaleAfterError,
    /// The caller has loaded it.
    Loaded,
    /// The caller has waited for somebody else's load.
    Joined,
}

/// A value of a cache: shared with it, not copied.
pub struct Cached<V> {
    pub(super) entry: Arc<Entry<V>>,
    pub(super) origin: Origin,
}

impl<V> Cached<V> {
    /// Where it is from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it had outlived its time.
    pub fn is_stale(&self) -> bool {
        matches!(self.origin, Origin::Stale | Origin::StaleAfterError)
    }

    /// When it was loaded or put in, by the clock of the cache.
    pub fn loaded_at(&self) -> Instant {
        self.entry.loaded_at
    }

    /// A copy of the value; the value itself where the cache has let go of it already.
    pub fn into_value(self) -> V
    where
        V: Clone,
    {
        match Arc::try_unwrap(self.entry) {
            Ok(entry) => entry.value,
            Err(entry) => entry.value.clone(),
        }
    }
}

impl<V> Deref for Cached<V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        &self.entry.value
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), origin: self.origin }
    }
}

impl<V: fmt::Debug> fmt::Debug for Cached<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("value", &**self).field("origin", &self.origin).finish_non_exhaustive()
    }
}
