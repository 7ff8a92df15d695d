//! What comes out of a policy.

use super::Rejection;
use crate::wait::Outlined;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// What comes out of a policy or a [`Stack`](super::Stack): the operation's own error, or why a policy refused, ended or
/// gave up the call.
///
/// The predicates see through [`Exhausted`]: an error is a timeout if the last thing that happened was one.
///
/// ```
/// use cofferdam::resilience::{Error, Rejection, Scope};
/// use std::time::Duration;
///
/// let error: Error<std::io::Error> =
///     Rejection::timed_out("inventory", Duration::from_secs(2), Scope::Attempt).into();
/// assert!(error.is_timeout() && error.is_rejection());
/// assert_eq!(error.to_string(), "inventory: attempt not finished within its limit of 2s");
/// assert!(error.into_inner().is_none());
/// ```
///
/// It is a [`std::error::Error`] if `E` is one. A `Box<dyn Error>` is none, so a call whose operation fails with one
/// gives an error that `?` does not take; [`map`](Self::map) the box into a type of your own:
///
/// ```
/// use cofferdam::resilience::Timeout;
/// use std::fmt;
/// use std::time::Duration;
///
/// type Boxed = Box<dyn std::error::Error + Send + Sync>;
///
/// #[derive(Debug)]
/// struct CallFailed(Boxed);
///
/// impl fmt::Display for CallFailed {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         self.0.fmt(f)
///     }
/// }
///
/// impl std::error::Error for CallFailed {}
///
/// async fn operation() -> Result<u32, Boxed> {
///     Ok("17".parse()?)
/// }
///
/// # fn main() -> Result<(), Boxed> {
/// # futures_executor::block_on(async {
/// let timeout = Timeout::total(Duration::from_secs(1));
/// let number = timeout.call(operation).await.map_err(|error| error.map(CallFailed))?;
/// assert_eq!(number, 17);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The operation ran and failed.
    Inner(E),
    /// A policy refused the call or ended it.
    Rejected(Rejection),
    /// A retry gave up. Boxed, so that the success path does not carry its size around.
    Exhausted(Box<Exhausted<E>>),
    /// A fallback ran and failed, too. Boxed, as above.
    FallbackFailed(Box<FallbackFailed<E>>),
}

impl<E> Error<E> {
    /// The operation's own error, if it ever ran to one: the last, out of an exhausted retry.
    pub fn inner(&self) -> Option<&E> {
        match self {
            Self::Inner(inner) => Some(inner),
            Self::Rejected(_) => None,
            Self::Exhausted(exhausted) => exhausted.inner(),
            Self::FallbackFailed(failed) => failed.0.own.inner(),
        }
    }

    /// As [`inner`](Self::inner), by value.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(inner) => Some(inner),
            Self::Rejected(_) => None,
            Self::Exhausted(exhausted) => exhausted.into_inner(),
            Self::FallbackFailed(failed) => failed.into_parts().0.into_inner(),
        }
    }

    /// The refusal of a policy, if that is the last thing that happened.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Inner(_) => None,
            Self::Rejected(rejection) => Some(rejection),
            Self::Exhausted(exhausted) => exhausted.0.last.rejection(),
            Self::FallbackFailed(failed) => failed.0.own.rejection(),
        }
    }

    /// The retry that gave up, if one did.
    pub fn exhausted(&self) -> Option<&Exhausted<E>> {
        match self {
            Self::Exhausted(exhausted) => Some(exhausted),
            _ => None,
        }
    }

    /// The fallback that failed, if one did, and what it was to make up for. All else that is asked of the error is about
    /// the fallback's own.
    pub fn fallback_failed(&self) -> Option<&FallbackFailed<E>> {
        match self {
            Self::FallbackFailed(failed) => Some(failed),
            _ => None,
        }
    }

    /// Whether a policy refused or ended the call, as opposed to the operation's own failure.
    pub fn is_rejection(&self) -> bool {
        self.rejection().is_some()
    }

    /// Whether a retry gave up.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted().is_some()
    }

    /// Whether a retry gave up because its budget had nothing left.
    pub fn is_budget_exhausted(&self) -> bool {
        self.exhausted().is_some_and(|exhausted| exhausted.0.reason == GaveUp::Budget)
    }

    /// Whether a timeout ended the call.
    pub fn is_timeout(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_timeout)
    }

    /// Whether a circuit breaker refused the call.
    pub fn is_circuit_open(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_circuit_open)
    }

    /// Whether a rate limiter refused the call.
    pub fn is_rate_limited(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_rate_limited)
    }

    /// Whether a bulkhead or a queue had no room.
    pub fn is_full(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_full)
    }

    /// Whether the call was shed to protect the callee.
    pub fn is_shed(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_shed)
    }

    /// Whether the surrounding work was cancelled: a policy refused or ended the call for it, or a retry gave up.
    pub fn is_cancelled(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_cancelled) || self.gave_up_for(GaveUp::Cancelled)
    }

    /// Whether the deadline of the surrounding work left no time: for the call, or for a retry's next attempt.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_deadline_exceeded) || self.gave_up_for(GaveUp::Deadline)
    }

    /// Whether a retry gave up for this reason, or the one inside it whose giving up it passes on.
    fn gave_up_for(&self, reason: GaveUp) -> bool {
        match self {
            Self::Inner(_) | Self::Rejected(_) => false,
            Self::Exhausted(retry) => retry.0.reason == reason || retry.0.last.gave_up_for(reason),
            Self::FallbackFailed(failed) => failed.0.own.gave_up_for(reason),
        }
    }

    /// Whether a component was closed.
    pub fn is_closed(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_closed)
    }

    /// Whether trying the same call again is sensible: after a failure of the operation, a timeout, or a rate limit that
    /// says when. It is what a [`Retry`](super::Retry) goes by unless told otherwise.
    ///
    /// An open circuit, a full bulkhead and a shed call are not: each asks for less load, not for more. What another
    /// retry has given up is, where it ran out of attempts or out of its own time: retries multiply.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Inner(_) => true,
            Self::Rejected(rejection) => rejection.is_retryable(),
            Self::Exhausted(exhausted) => exhausted.0.reason.is_hopeful() && exhausted.0.last.is_retryable(),
            Self::FallbackFailed(failed) => failed.0.own.is_retryable(),
        }
    }

    /// Whether the refusal passes by itself: the same call may be let through later.
    pub fn is_temporary(&self) -> bool {
        self.rejection().is_some_and(Rejection::is_temporary)
    }

    /// How long to wait before the same call can be let through, where the policy that refused knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.rejection().and_then(Rejection::retry_after)
    }

    /// Changes the operation's own error.
    pub fn map<U>(self, mut f: impl FnMut(E) -> U) -> Error<U> {
        self.map_with(&mut f)
    }

    fn map_with<U>(self, f: &mut impl FnMut(E) -> U) -> Error<U> {
        match self {
            Self::Inner(inner) => Error::Inner(f(inner)),
            Self::Rejected(rejection) => Error::Rejected(rejection),
            Self::Exhausted(exhausted) => {
                let GivenUp { policy, attempts, reason, last, before, earlier } = exhausted.0.into_inner();
                let before = before.map(&mut *f);
                let earlier: Vec<_> = earlier.into_iter().map(|error| error.map_with(f)).collect();
                let last = last.map_with(f);
                let exhausted = Exhausted::new(policy, attempts, reason, last, before);
                Error::Exhausted(Box::new(exhausted.with_earlier(earlier)))
            }
            Self::FallbackFailed(failed) => {
                let Both { policy, own, original } = failed.0.into_inner();
                let (own, original) = (own.map_with(f), original.map_with(f));
                Error::FallbackFailed(Box::new(FallbackFailed::new(policy, own, original)))
            }
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(inner) => inner.fmt(f),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Exhausted(exhausted) => exhausted.fmt(f),
            Self::FallbackFailed(failed) => failed.fmt(f),
        }
    }
}

/// An [`Inner`](Error::Inner) error stands for itself: its message is the operation's, its source the operation's
/// source. The source of an [`Exhausted`](Error::Exhausted) one is the last error of the operation, that of a
/// [`FallbackFailed`](Error::FallbackFailed) one the error for which the fallback ran.
impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(inner) => inner.source(),
            Self::Rejected(_) => None,
            Self::Exhausted(exhausted) => std::error::Error::source(&**exhausted),
            Self::FallbackFailed(failed) => std::error::Error::source(&**failed),
        }
    }
}

/// Why a retry made no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// All attempts were made.
    Attempts,
    /// The budget for retries had nothing left.
    Budget,
    /// The next attempt would have begun after the longest duration of the run.
    Duration,
    /// The next attempt would have begun after the deadline of the surrounding work.
    Deadline,
    /// The surrounding work was cancelled.
    Cancelled,
    /// A later attempt ended in something that is not retried, after earlier ones had failed.
    NotRetryable,
}

impl GaveUp {
    /// Whether a retry further out may try where this one has given up.
    const fn is_hopeful(self) -> bool {
        matches!(self, Self::Attempts | Self::Duration)
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "no attempts left",
            Self::Budget => "retry budget spent",
            Self::Duration => "no time left",
            Self::Deadline => "deadline too near",
            Self::Cancelled => "cancelled",
            Self::NotRetryable => "not retryable",
        })
    }
}

/// What a retry that gave up has to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Exhausted<E>(Outlined<GivenUp<E>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct GivenUp<E> {
    policy: &'static str,
    attempts: u32,
    reason: GaveUp,
    last: Error<E>,
    /// The operation's last own error, if neither the last attempt nor those in `earlier` got as far as the operation.
    before: Option<E>,
    /// The outcomes before the last one, oldest first, as far as they were kept.
    earlier: VecDeque<Error<E>>,
}

impl<E> Exhausted<E> {
    /// A retry named `policy` that gave up after `attempts`. `before` is the operation's last own error, where `last`,
    /// the outcome of the last attempt, has none.
    pub fn new(
        policy: &'static str,
        attempts: u32,
        reason: GaveUp,
        last: Error<E>,
        before: Option<E>,
    ) -> Self {
        let earlier = VecDeque::new();
        Self(Outlined::new(GivenUp { policy, attempts, reason, last, before, earlier }))
    }

    /// The same with the errors of attempts before the last one, oldest first.
    #[must_use]
    pub fn with_earlier(mut self, earlier: impl IntoIterator<Item = Error<E>>) -> Self {
        self.0.earlier = earlier.into_iter().collect();
        self
    }

    /// The name of the retry.
    pub fn policy(&self) -> &'static str {
        self.0.policy
    }

    /// How many attempts were made, the first included.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Why there was no further attempt.
    pub fn reason(&self) -> GaveUp {
        self.0.reason
    }

    /// The outcome of the last attempt.
    pub fn last(&self) -> &Error<E> {
        &self.0.last
    }

    /// The outcome of the last attempt, by value.
    pub fn into_last(self) -> Error<E> {
        self.0.into_inner().last
    }

    /// The errors of the attempts before the last one, oldest first: as many as the retry was told to
    /// [keep](super::RetryBuilder::keep_errors).
    pub fn earlier(&self) -> impl ExactSizeIterator<Item = &Error<E>> + DoubleEndedIterator {
        self.0.earlier.iter()
    }

    /// All errors that were kept, by value, oldest first; the outcome of the last attempt is the last of them.
    pub fn into_errors(self) -> impl Iterator<Item = Error<E>> {
        let GivenUp { earlier, last, .. } = self.0.into_inner();
        earlier.into_iter().chain([last])
    }

    /// The operation's last own error.
    pub fn inner(&self) -> Option<&E> {
        let kept = || self.0.earlier.iter().rev().find_map(Error::inner);
        self.0.last.inner().or_else(kept).or(self.0.before.as_ref())
    }

    /// The operation's last own error, by value.
    pub fn into_inner(self) -> Option<E> {
        let GivenUp { earlier, last, before, .. } = self.0.into_inner();
        let kept = || earlier.into_iter().rev().find_map(Error::into_inner);
        last.into_inner().or_else(kept).or(before)
    }
}

impl<E: fmt::Debug> fmt::Debug for Exhausted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GivenUp { policy, attempts, reason, last, before, earlier } = &*self.0;
        f.debug_struct("Exhausted")
            .field("policy", policy)
            .field("attempts", attempts)
            .field("reason", reason)
            .field("last", last)
            .field("before", before)
            .field("earlier", earlier)
            .finish()
    }
}

impl<E: fmt::Display> fmt::Display for Exhausted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.attempts == 1 { "" } else { "s" };
        write!(f, "{}: gave up after {} attempt{plural}: {}", self.0.policy, self.0.attempts, self.0.reason)?;
        match &self.0.last {
            // The operation's error is the source.
            Error::Inner(_) => Ok(()),
            other => write!(f, ": {other}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Exhausted<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let inner = self.inner()?;
        Some(inner)
    }
}

/// A fallback that failed, and what it was to make up for.
#[derive(Clone, PartialEq, Eq)]
pub struct FallbackFailed<E>(Outlined<Both<E>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Both<E> {
    policy: &'static str,
    own: Error<E>,
    original: Error<E>,
}

impl<E> FallbackFailed<E> {
    /// A fallback named `policy` that ran for `original` and failed with `own`.
    pub fn new(policy: &'static str, own: Error<E>, original: Error<E>) -> Self {
        Self(Outlined::new(Both { policy, own, original }))
    }

    /// The name of the fallback.
    pub fn policy(&self) -> &'static str {
        self.0.policy
    }

    /// Its own error.
    pub fn own(&self) -> &Error<E> {
        &self.0.own
    }

    /// The error for which it ran.
    pub fn original(&self) -> &Error<E> {
        &self.0.original
    }

    /// Its own error, and the one for which it ran.
    pub fn into_parts(self) -> (Error<E>, Error<E>) {
        let Both { own, original, .. } = self.0.into_inner();
        (own, original)
    }
}

impl<E: fmt::Debug> fmt::Debug for FallbackFailed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Both { policy, own, original } = &*self.0;
        f.debug_struct("FallbackFailed")
            .field("policy", policy)
            .field("own", own)
            .field("original", original)
            .finish()
    }
}

impl<E: fmt::Display> fmt::Display for FallbackFailed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The original is the source.
        write!(f, "{}: failed, too: {}", self.0.policy, self.0.own)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for FallbackFailed<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.original)
    }
}
