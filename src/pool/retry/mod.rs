//! Tasks that are repeated when they fail.
//!
//! | state | where the task is | next |
//! |---|---|---|
//! | waiting | in the queue | running |
//! | running | with a worker: its factory has made a future, which is polled | an error that is to be retried: delayed. Anything else: ended |
//! | delayed | in the queue again, not due yet; no worker has it | running, when due; ended, if it is cancelled or the pool is aborted |
//! | ended | with its last result | if it has failed for good, panicked or was timed out: a dead letter, from which it can be requeued |

#![forbid(unsafe_code)]

mod attempts;
mod letters;
mod parked;
mod task;

pub use attempts::Retried;
pub(super) use attempts::{Attempts, Revive};
pub(super) use letters::Letters;
pub use letters::{DeadLetter, DeadLetters, RequeueError};
pub(super) use parked::Parked;
pub(super) use task::Mute;

use crate::ConfigError;
use crate::time::Backoff;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is to become of a task whose attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is tried again, after the delay of the policy's backoff. If it was the last attempt, it is a dead letter.
    Retry,
    /// It is tried again after this delay; zero puts it at the end of the queue, as a message that is rejected to be
    /// delivered again. If it was the last attempt, it is a dead letter.
    RetryAfter(Duration),
    /// It is not tried again, and is a dead letter.
    DeadLetter,
    /// It is not tried again, and nothing is kept of it.
    Discard,
}

type Judge<E> = Arc<dyn Fn(&E) -> Verdict + Send + Sync>;

/// How often, when, and after which errors a task is tried again; see [`WorkerPool::retry_task`](super::WorkerPool::retry_task).
///
/// Between two attempts no worker has the task. For retrying one call inside a task, or outside any pool, see
/// `resilience::Retry`, which has budgets and more.
///
/// ```
/// use cofferdam::pool::{RetryPolicy, Verdict};
/// use cofferdam::time::{Backoff, Jitter};
/// use std::io::{Error, ErrorKind};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::new(5)?
///     .backoff(Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::Full))
///     .judge(|error: &Error| match error.kind() {
///         ErrorKind::NotFound => Verdict::DeadLetter,
///         _ => Verdict::Retry,
///     });
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub struct RetryPolicy<E> {
    max_attempts: u32,
    backoff: Backoff,
    judge: Judge<E>,
}

impl<E> RetryPolicy<E> {
    /// At most `max_attempts` attempts, the first included; after every error, and at once.
    ///
    /// # Errors
    /// 0 attempts.
    pub fn new(max_attempts: u32) -> Result<Self, ConfigError> {
        if max_attempts == 0 {
            return Err(ConfigError::new("retry policy", "max_attempts", 0, "must be at least 1"));
        }
        Ok(Self {
            max_attempts,
            backoff: Backoff::fixed(Duration::ZERO),
            judge: Arc::new(|_| Verdict::Retry),
        })
    }

    /// How long the task waits before each further attempt; by default not at all.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// What is to become of the task after an error; by default it is tried again.
    #[must_use]
    pub fn judge(mut self, judge: impl Fn(&E) -> Verdict + Send + Sync + 'static) -> Self {
        self.judge = Arc::new(judge);
        self
    }

    /// The most attempts, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }
}

impl<E> Clone for RetryPolicy<E> {
    fn clone(&self) -> Self {
        Self { max_attempts: self.max_attempts, backoff: self.backoff, judge: Arc::clone(&self.judge) }
    }
}

impl<E> fmt::Debug for RetryPolicy<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
