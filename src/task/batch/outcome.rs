//! What becomes of an item.

use crate::task::Panic;
use std::fmt;
use std::time::Duration;

/// Why a batch ended before all its items were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// Its time limit has passed.
    #[non_exhaustive]
    TimeLimit {
        /// The time it had.
        limit: Duration,
    },
    /// An item failed, and the batch was to stop at the first failure.
    #[non_exhaustive]
    Failed {
        /// The item's place in the input, from 0.
        index: usize,
    },
    /// The surrounding work was cancelled.
    Cancelled,
    /// The deadline of the surrounding work has passed.
    DeadlineExceeded,
    /// The executor has dropped those who worked on it, or never took them.
    Closed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeLimit { limit } => write!(f, "batch not finished within its limit of {limit:?}"),
            Self::Failed { index } => write!(f, "item {index} failed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::DeadlineExceeded => f.write_str("deadline exceeded"),
            Self::Closed => f.write_str("the executor has dropped the workers"),
        }
    }
}

/// Why an item of a batch gave no result. `E` is what its operation fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ItemError<I, E> {
    /// It failed; or under a stack, a policy refused or ended it.
    Failed(E),
    /// Its operation panicked, where that is contained.
    Panicked(Panic),
    /// It was under way when the batch ended, and was dropped. It may have had effects.
    Interrupted(Ended),
    /// It was not begun when the batch ended: it has had no effect.
    #[non_exhaustive]
    NotRun {
        /// The item.
        item: I,
        /// Why the batch ended.
        ended: Ended,
    },
}

impl<I, E> ItemError<I, E> {
    pub(crate) fn not_run(item: I, ended: Ended) -> Self {
        Self::NotRun { item, ended }
    }

    /// Whether it failed; or under a stack, a policy refused or ended it.
    pub const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Whether its operation panicked.
    pub const fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether it was under way when the batch ended.
    pub const fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted(_))
    }

    /// Whether it was not begun when the batch ended.
    pub const fn is_not_run(&self) -> bool {
        matches!(self, Self::NotRun { .. })
    }

    /// Why the batch ended, if that is why there is no result.
    pub const fn ended(&self) -> Option<Ended> {
        match self {
            Self::Failed(_) | Self::Panicked(_) => None,
            Self::Interrupted(ended) | Self::NotRun { ended, .. } => Some(*ended),
        }
    }

    /// What it failed with.
    pub const fn error(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// As [`error`](Self::error), by value.
    pub fn into_error(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The item, if it was not begun.
    pub fn into_item(self) -> Option<I> {
        match self {
            Self::NotRun { item, .. } => Some(item),
            _ => None,
        }
    }
}

impl<I, E: fmt::Display> fmt::Display for ItemError<I, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Interrupted(ended) => write!(f, "interrupted: {ended}"),
            Self::NotRun { ended, .. } => write!(f, "not run: {ended}"),
        }
    }
}

/// A [`Failed`](ItemError::Failed) one stands for itself: its message and source are those of what it failed with.
impl<I: fmt::Debug, E: std::error::Error + 'static> std::error::Error for ItemError<I, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().and_then(std::error::Error::source)
    }
}
