//! What becomes of an item.

use crate::resilience::Error;
use std::fmt;
use std::time::Duration;

/// Why a batch ended before all its items were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// Its [time limit](super::Map::time_limit) has passed.
    #[non_exhaustive]
    TimeLimit {
        /// The time it had.
        limit: Duration,
    },
    /// An item failed, and the batch was to [stop at the first failure](super::Map::fail_fast).
    #[non_exhaustive]
    Failed {
        /// The item's place in the input, from 0.
        index: usize,
    },
    /// The surrounding work was cancelled.
    Cancelled,
    /// The deadline of the surrounding work has passed.
    DeadlineExceeded,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeLimit { limit } => write!(f, "batch not finished within its limit of {limit:?}"),
            Self::Failed { index } => write!(f, "item {index} failed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::DeadlineExceeded => f.write_str("deadline exceeded"),
        }
    }
}

/// Why an item of a batch gave no result.
///
/// ```
/// use cofferdam::resilience::{ItemError, Stack};
///
/// # futures_executor::block_on(async {
/// let numbers = ["17", "x", "19"];
/// let stack = Stack::new();
/// let outcomes =
///     stack.map(numbers, |text| async { text.parse::<u32>() }).concurrency(1).fail_fast().collect().await;
/// assert_eq!(outcomes[0], Ok(17));
/// assert!(outcomes[1].as_ref().is_err_and(|error| error.is_failed()));
/// let not_run = outcomes[2].clone().unwrap_err();
/// assert_eq!(not_run.to_string(), "not run: item 1 failed");
/// assert_eq!(not_run.into_item(), Some("19"));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ItemError<I, E> {
    /// It failed, or a policy refused or ended it.
    Failed(Error<E>),
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
    pub(super) fn not_run(item: I, ended: Ended) -> Self {
        Self::NotRun { item, ended }
    }

    /// Whether it failed, or a policy refused or ended it.
    pub const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
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
            Self::Failed(_) => None,
            Self::Interrupted(ended) | Self::NotRun { ended, .. } => Some(*ended),
        }
    }

    /// What came out of the stack.
    pub const fn error(&self) -> Option<&Error<E>> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// As [`error`](Self::error), by value.
    pub fn into_error(self) -> Option<Error<E>> {
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
            Self::Interrupted(ended) => write!(f, "interrupted: {ended}"),
            Self::NotRun { ended, .. } => write!(f, "not run: {ended}"),
        }
    }
}

/// A [`Failed`](ItemError::Failed) one stands for itself: its message and source are those of what came out of the stack.
impl<I: fmt::Debug, E: std::error::Error + 'static> std::error::Error for ItemError<I, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().and_then(std::error::Error::source)
    }
}
