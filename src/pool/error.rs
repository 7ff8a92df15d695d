//! What can go wrong with a task, and with handing one in.

#![forbid(unsafe_code)]

use crate::shim::Mutex;
use crate::sync::{Cause, ContextError};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a task has no result.
pub struct JoinError(Join);

/// Small: every result has room for one.
enum Join {
    Panicked(Box<Panicked>),
    Cancelled(Option<Box<ContextError>>),
    TimedOut(Duration),
    Expired,
    Dropped,
}

struct Panicked {
    message: Option<String>,
    /// In a lock that is never contended, because a payload need not be `Sync`.
    payload: Mutex<Box<dyn Any + Send>>,
}

/// How the books count it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Panicked,
    Cancelled,
    TimedOut,
    Expired,
    Dropped,
    HandedBack,
}

impl JoinError {
    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let message = message(&*payload).map(str::to_owned);
        Self(Join::Panicked(Box::new(Panicked { message, payload: Mutex::new(payload) })))
    }

    pub(super) fn cancelled(error: Option<ContextError>) -> Self {
        Self(Join::Cancelled(error.map(Box::new)))
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self(Join::TimedOut(limit))
    }

    pub(super) fn expired() -> Self {
        Self(Join::Expired)
    }

    pub(super) fn dropped() -> Self {
        Self(Join::Dropped)
    }

    pub(super) fn ending(&self) -> Ending {
        match self.0 {
            Join::Panicked(_) => Ending::Panicked,
            Join::Cancelled(_) => Ending::Cancelled,
            Join::TimedOut(_) => Ending::TimedOut,
            Join::Expired => Ending::Expired,
            Join::Dropped => Ending::Dropped,
        }
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Join::Panicked(_))
    }

    /// Whether it was cancelled: by its handle, with the context it ran in, or while it ran when the pool's time to shut
    /// down was over.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Join::Cancelled(_))
    }

    /// Whether it ran longer than its limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Join::TimedOut(_))
    }

    /// Whether it was too old when its turn came, and was never run.
    pub fn is_expired(&self) -> bool {
        matches!(self.0, Join::Expired)
    }

    /// Whether the pool came to its end first: the task had not begun, or its worker was dropped.
    pub fn is_dropped(&self) -> bool {
        matches!(self.0, Join::Dropped)
    }

    /// How the context ended, if it was that which cancelled the task.
    pub fn context(&self) -> Option<&ContextError> {
        match &self.0 {
            Join::Cancelled(error) => error.as_deref(),
            _ => None,
        }
    }

    /// Why the context was cancelled, if it was that which cancelled the task.
    pub fn cause(&self) -> Option<&Cause> {
        self.context().and_then(ContextError::cause)
    }

    /// The text of the panic, if it panicked with one.
    pub fn panic_message(&self) -> Option<&str> {
        match &self.0 {
            Join::Panicked(panicked) => panicked.message.as_deref(),
            _ => None,
        }
    }

    /// What the task panicked with, to be looked at or resumed.
    ///
    /// # Errors
    /// It did not panic; the error comes back.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.0 {
            Join::Panicked(panicked) => Ok(panicked.payload.into_inner()),
            other => Err(Self(other)),
        }
    }
}

/// The text of a panic, if it is one.
pub(super) fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Join::Panicked(panicked) => match &panicked.message {
                Some(message) => write!(f, "the task panicked: {message}"),
                None => f.write_str("the task panicked"),
            },
            Join::Cancelled(None) => f.write_str("the task was cancelled"),
            Join::Cancelled(Some(error)) => match ContextError::cause(error).and_then(Cause::text) {
                Some(text) => write!(f, "the task was cancelled: {text}"),
                None => f.write_str("the task was cancelled by the end of its context"),
            },
            Join::TimedOut(limit) => write!(f, "the task ran longer than its limit of {limit:?}"),
            Join::Expired => f.write_str("the task expired before its turn came"),
            Join::Dropped => f.write_str("the pool ended before the task did"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Join::Panicked(panicked) => f.debug_tuple("Panicked").field(&panicked.message).finish(),
            Join::Cancelled(error) => f.debug_tuple("Cancelled").field(error).finish(),
            Join::TimedOut(limit) => f.debug_tuple("TimedOut").field(limit).finish(),
            Join::Expired => f.write_str("Expired"),
            Join::Dropped => f.write_str("Dropped"),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context().map(|error| error as &(dyn Error + 'static))
    }
}

/// Why not all of many tasks were taken in. Gives back what was accepted, and what was not.
pub struct SubmitAllError<I: Iterator, A> {
    pub(super) accepted: Vec<A>,
    pub(super) refused: Vec<I::Item>,
    pub(super) rest: Option<I>,
    pub(super) reason: Refusal,
    pub(super) pool: Arc<str>,
}

impl<I: Iterator, A> SubmitAllError<I, A> {
    /// How many tasks were accepted; they run.
    pub fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// What was accepted (handles, or as many units), the tasks that had been taken from the iterator and were not accepted,
    /// never polled, and the rest of the iterator.
    pub fn into_parts(self) -> (Vec<A>, Vec<I::Item>, Option<I>) {
        (self.accepted, self.refused, self.rest)
    }

    /// Whether the pool takes nothing in any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.reason, Refusal::Closed)
    }

    /// How the current context, or the pool's own, had ended, if that was it.
    pub fn context(&self) -> Option<&ContextError> {
        match &self.reason {
            Refusal::Context(error) => Some(error),
            _ => None,
        }
    }
}

impl<I: Iterator, A> fmt::Display for SubmitAllError<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.write(f, &self.pool)?;
        write!(f, "; {} tasks were accepted before", self.accepted.len())
    }
}

impl<I: Iterator, A> fmt::Debug for SubmitAllError<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitAllError({self})")
    }
}

impl<I: Iterator, A> Error for SubmitAllError<I, A> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context().map(|error| error as &(dyn Error + 'static))
    }
}

/// Why a task was not taken in. Gives the future back.
///
/// It is boxed: the result of a task that was taken in has no room for its future.
pub struct SubmitError<F>(Box<NotTaken<F>>);

struct NotTaken<F> {
    future: F,
    reason: Refusal,
    pool: Arc<str>,
}

#[derive(Debug)]
pub(super) enum Refusal {
    Full { capacity: usize },
    Closed,
    TimedOut(Duration),
    Context(ContextError),
    Expired,
    NoSuchQueue(Box<str>),
    Unmanaged,
}

impl Refusal {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, pool: &str) -> fmt::Result {
        match self {
            Self::Full { capacity: 0 } => write!(f, "{pool}: no worker is free, and there is no queue"),
            Self::Full { capacity } => write!(f, "{pool}: all {capacity} places of the queue are taken"),
            Self::Closed => write!(f, "{pool}: closed"),
            Self::TimedOut(limit) => write!(f, "{pool}: no room within {limit:?}"),
            Self::Context(error) => write!(f, "{pool}: not submitted: {error}"),
            Self::Expired => write!(f, "{pool}: the task expired before there was room"),
            Self::NoSuchQueue(name) => write!(f, "{pool}: there is no queue named {name:?}"),
            Self::Unmanaged => {
                write!(f, "{pool}: its queue is not managed: no options of single tasks")
            }
        }
    }
}

impl<F> SubmitError<F> {
    #[cold]
    pub(super) fn new(future: F, reason: Refusal, pool: &Arc<str>) -> Self {
        Self(Box::new(NotTaken { future, reason, pool: Arc::clone(pool) }))
    }

    pub(super) fn into_parts(self) -> (F, Refusal) {
        (self.0.future, self.0.reason)
    }

    /// The future, never polled.
    pub fn into_inner(self) -> F {
        self.0.future
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self.0.reason, Refusal::Full { .. })
    }

    /// Whether the pool takes nothing in any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.reason, Refusal::Closed)
    }

    /// Whether there was no room within the limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.reason, Refusal::TimedOut(_))
    }

    /// Whether the task was too old before there was room for it, or was not to run before it would be.
    pub fn is_expired(&self) -> bool {
        matches!(self.0.reason, Refusal::Expired)
    }

    /// Whether the pool cannot do what was asked for: it has no queue of that name, or no
    /// [managed](super::PoolBuilder::managed) queue at all.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0.reason, Refusal::NoSuchQueue(_) | Refusal::Unmanaged)
    }

    /// How the current context, or the pool's own, had ended, if that was it.
    pub fn context(&self) -> Option<&ContextError> {
        match &self.0.reason {
            Refusal::Context(error) => Some(error),
            _ => None,
        }
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reason.write(f, &self.0.pool)
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitError({self})")
    }
}

impl<F> Error for SubmitError<F> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context().map(|error| error as &(dyn Error + 'static))
    }
}
