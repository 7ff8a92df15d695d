//! How a fallible map ends.

use std::error::Error;
use std::fmt;

/// The first item, in the order of the slice, for which the function of a [`try_map`](super::Parallel::try_map) failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryMapError<E> {
    pub(super) index: usize,
    pub(super) error: E,
}

impl<E> TryMapError<E> {
    /// Where in the slice it is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the function failed with.
    pub fn error(&self) -> &E {
        &self.error
    }

    /// As [`error`](Self::error), by value.
    pub fn into_error(self) -> E {
        self.error
    }
}

impl<E: fmt::Display> fmt::Display for TryMapError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {} failed: {}", self.index, self.error)
    }
}

impl<E: Error + 'static> Error for TryMapError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
