//! How a member of a group ends without a result, and a group by the failure of one.

use crate::sync::{Cause, ContextError};
use crate::task::Panic;
use std::error::Error;
use std::fmt;

/// Why a member of a group has no result.
#[derive(Clone, Debug)]
pub struct MemberError(Member);

#[derive(Clone, Debug)]
enum Member {
    Panicked(Panic),
    Ended(ContextError),
    Dropped,
}

impl MemberError {
    pub(super) fn panicked(panic: Panic) -> Self {
        Self(Member::Panicked(panic))
    }

    pub(super) fn ended(error: ContextError) -> Self {
        Self(Member::Ended(error))
    }

    pub(super) fn dropped() -> Self {
        Self(Member::Dropped)
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Member::Panicked(_))
    }

    /// Whether it was cancelled: the group was, or the work around it, or another member failed where the first failure
    /// cancels the rest. It may have been under way, or not have begun.
    pub fn is_cancelled(&self) -> bool {
        matches!(&self.0, Member::Ended(error) if error.is_cancelled())
    }

    /// Whether the group's time, or that of the work around it, was over before the member was done.
    pub fn is_timeout(&self) -> bool {
        matches!(&self.0, Member::Ended(error) if error.is_deadline_exceeded())
    }

    /// Whether the executor dropped it: the runtime or the pool came to its end.
    pub fn is_dropped(&self) -> bool {
        matches!(self.0, Member::Dropped)
    }

    /// The panic, if it panicked.
    pub fn panic(&self) -> Option<&Panic> {
        match &self.0 {
            Member::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// Why it was cancelled, if it was.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.0 {
            Member::Ended(error) => error.cause(),
            _ => None,
        }
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Member::Panicked(panic) => write!(f, "the member {panic}"),
            Member::Ended(ContextError::DeadlineExceeded) => f.write_str("the member ran out of time"),
            Member::Ended(error) => write!(f, "the member was {error}"),
            Member::Dropped => f.write_str("the member was dropped by its executor"),
        }
    }
}

impl Error for MemberError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Member::Panicked(panic) => Some(panic),
            Member::Ended(error) => Some(error),
            Member::Dropped => None,
        }
    }
}

/// Why a future was not taken into a group. Gives it back.
pub struct SpawnError<F> {
    pub(super) future: F,
    pub(super) reason: Refusal,
}

#[derive(Debug)]
pub(super) enum Refusal {
    Full {
        width: usize,
    },
    Ended(ContextError),
    #[cfg(feature = "pool")]
    Pool(String),
}

impl<F> SpawnError<F> {
    /// The future, never polled.
    pub fn into_inner(self) -> F {
        self.future
    }

    /// Whether as many members run as may.
    pub fn is_full(&self) -> bool {
        matches!(self.reason, Refusal::Full { .. })
    }

    /// Whether the group, or the work around it, has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(&self.reason, Refusal::Ended(error) if error.is_cancelled())
    }

    /// Whether its time is over.
    pub fn is_timeout(&self) -> bool {
        matches!(&self.reason, Refusal::Ended(error) if error.is_deadline_exceeded())
    }

    /// Whether the pool takes nothing in, or has no room.
    pub fn is_refused_by_pool(&self) -> bool {
        !matches!(self.reason, Refusal::Full { .. } | Refusal::Ended(_))
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Refusal::Full { width } => write!(f, "group: {width} members are running, as many as may"),
            Refusal::Ended(error) => write!(f, "group: {error}"),
            #[cfg(feature = "pool")]
            Refusal::Pool(reason) => write!(f, "group: {reason}"),
        }
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnError({self})")
    }
}

impl<F> Error for SpawnError<F> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Refusal::Ended(error) => Some(error),
            _ => None,
        }
    }
}

/// The outcome of a member.
pub type Outcome<T> = Result<T, MemberError>;

/// The first failure of a member, in time; and what became of the others, none of which runs any more.
pub struct GroupError<T, E> {
    pub(super) index: usize,
    pub(super) failure: Failure<E>,
    pub(super) others: Vec<(usize, Outcome<Result<T, E>>)>,
}

#[derive(Debug)]
pub(super) enum Failure<E> {
    Failed(E),
    Member(MemberError),
}

impl<T, E> GroupError<T, E> {
    /// Which member it was, in the order in which they were spawned, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its own error. `None`, if it panicked, or was cancelled or out of time.
    pub fn error(&self) -> Option<&E> {
        match &self.failure {
            Failure::Failed(error) => Some(error),
            Failure::Member(_) => None,
        }
    }

    /// As [`error`](Self::error), by value.
    pub fn into_error(self) -> Option<E> {
        match self.failure {
            Failure::Failed(error) => Some(error),
            Failure::Member(_) => None,
        }
    }

    /// Why it had no result, if that was the failure.
    pub fn member_error(&self) -> Option<&MemberError> {
        match &self.failure {
            Failure::Member(error) => Some(error),
            Failure::Failed(_) => None,
        }
    }

    /// The outcomes of the others that had not been given out, with their numbers, in their order.
    pub fn others(&self) -> &[(usize, Outcome<Result<T, E>>)] {
        &self.others
    }

    /// As [`others`](Self::others), by value.
    pub fn into_others(self) -> Vec<(usize, Outcome<Result<T, E>>)> {
        self.others
    }

    /// The members that were not done when the group ended.
    pub fn interrupted(&self) -> impl Iterator<Item = usize> {
        let not_done = |outcome: &Outcome<Result<T, E>>| {
            outcome
                .as_ref()
                .is_err_and(|error| error.is_cancelled() || error.is_timeout() || error.is_dropped())
        };
        self.others.iter().filter(move |(_, outcome)| not_done(outcome)).map(|(index, _)| *index)
    }
}

impl<T, E: fmt::Display> fmt::Display for GroupError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.index;
        match &self.failure {
            Failure::Failed(error) => write!(f, "group: member {index} failed: {error}"),
            Failure::Member(error) => write!(f, "group: member {index}: {error}"),
        }
    }
}

impl<T, E: fmt::Debug> fmt::Debug for GroupError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupError")
            .field("index", &self.index)
            .field("failure", &self.failure)
            .field("others", &self.others.len())
            .finish()
    }
}

impl<T, E: Error + 'static> Error for GroupError<T, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.failure {
            Failure::Failed(error) => Some(error),
            Failure::Member(error) => Some(error),
        }
    }
}
