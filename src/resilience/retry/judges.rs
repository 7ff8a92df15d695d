//! Judges made of a judge and a closure, and the methods of builders that make them.

use super::judge::leave_to;
use super::{Judge, Next, Verdict};
use crate::resilience::{Error, NotRetryable, causes};
use std::error::Error as StdError;
use std::time::Duration;

/// Tries again only those of the operation's own errors of which a closure says so.
#[derive(Clone, Copy, Debug)]
pub struct When<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// As [`When`], of an error and what caused it.
#[derive(Clone, Copy, Debug)]
pub struct WhenCause<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Tries again a success of which a closure says so.
#[derive(Clone, Copy, Debug)]
pub struct WhenOk<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Does not try again the operation's own errors of which a closure says so.
#[derive(Clone, Copy, Debug)]
pub struct AbortOn<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// As [`AbortOn`], of an error and what caused it.
#[derive(Clone, Copy, Debug)]
pub struct AbortOnCause<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Heeds what an error says about when to come again.
#[derive(Clone, Copy, Debug)]
pub struct AfterError<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Sets the delay by the outcome.
#[derive(Clone, Copy, Debug)]
pub struct DelayBy<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Shows each error that is tried again to a closure.
#[derive(Clone, Copy, Debug)]
pub struct Notify<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// Shows the error with which a run gives up to a closure.
#[derive(Clone, Copy, Debug)]
pub struct OnGiveUp<J, F> {
    pub(in crate::resilience) judge: J,
    pub(in crate::resilience) f: F,
}

/// The operation's own error, if that is what happened last.
#[inline]
fn own<T, E>(outcome: &Result<T, Error<E>>) -> Option<&E> {
    match outcome {
        Err(error) if !error.is_rejection() => error.inner(),
        _ => None,
    }
}

/// Whether an error or one of its causes is what a closure looks for.
fn any_cause<E: StdError + 'static>(error: &E, f: &impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
    causes(error).any(f)
}

/// One that may only make a retry into an end.
macro_rules! narrows {
    ($name:ident, $e:ident: [$($bound:tt)*], $f:path, |$this:ident, $error:ident| $ends:expr) => {
        impl<T, $e: $($bound)*, J: Judge<T, $e>, F> Judge<T, $e> for $name<J, F>
        where
            F: $f,
        {
            #[inline]
            fn judge(&self, outcome: &Result<T, Error<$e>>) -> Verdict {
                let $this = self;
                match (self.judge.judge(outcome), own(outcome)) {
                    (Verdict::Retry | Verdict::RetryAfter(_), Some($error)) if $ends => Verdict::Done,
                    (verdict, _) => verdict,
                }
            }

            leave_to!(judge);
        }
    };
}

narrows!(When, E: [], Fn(&E) -> bool, |this, error| !(this.f)(error));
narrows!(AbortOn, E: [], Fn(&E) -> bool, |this, error| (this.f)(error));
narrows!(WhenCause, E: [StdError + 'static], Fn(&(dyn StdError + 'static)) -> bool, |this, error| !any_cause(error, &this.f));
narrows!(AbortOnCause, E: [StdError + 'static], Fn(&(dyn StdError + 'static)) -> bool, |this, error| any_cause(error, &this.f));

impl<T, E, J: Judge<T, E>, F: Fn(&T) -> bool> Judge<T, E> for WhenOk<J, F> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        match (self.judge.judge(outcome), outcome) {
            (Verdict::Done, Ok(value)) if (self.f)(value) => Verdict::Retry,
            (verdict, _) => verdict,
        }
    }

    leave_to!(judge);
}

impl<T, E, J: Judge<T, E>, F: Fn(&E) -> Option<Duration>> Judge<T, E> for AfterError<J, F> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        match (self.judge.judge(outcome), own(outcome)) {
            (Verdict::Retry, Some(error)) => (self.f)(error).map_or(Verdict::Retry, Verdict::RetryAfter),
            (verdict, _) => verdict,
        }
    }

    leave_to!(judge);
}

impl<T, E, J, F> Judge<T, E> for DelayBy<J, F>
where
    J: Judge<T, E>,
    F: Fn(&Result<T, Error<E>>, u32) -> Option<Duration>,
{
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        self.judge.judge(outcome)
    }

    #[inline]
    fn delay(&self, outcome: &Result<T, Error<E>>, index: u32) -> Option<Duration> {
        (self.f)(outcome, index).or_else(|| self.judge.delay(outcome, index))
    }

    leave_to!(@retrying judge);
    leave_to!(@gave_up judge);
}

impl<T, E, J: Judge<T, E>, F: Fn(&Error<E>, Next)> Judge<T, E> for Notify<J, F> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        self.judge.judge(outcome)
    }

    fn retrying(&self, outcome: &Result<T, Error<E>>, next: Next) {
        self.judge.retrying(outcome, next);
        if let Err(error) = outcome {
            (self.f)(error, next);
        }
    }

    leave_to!(@delay judge);
    leave_to!(@gave_up judge);
}

impl<T, E, J: Judge<T, E>, F: Fn(&Error<E>)> Judge<T, E> for OnGiveUp<J, F> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        self.judge.judge(outcome)
    }

    fn gave_up(&self, error: &Error<E>) {
        self.judge.gave_up(error);
        (self.f)(error);
    }

    leave_to!(@delay judge);
    leave_to!(@retrying judge);
}

pub(in crate::resilience) fn is_marked(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<NotRetryable>()
}

/// The methods that say what is tried again, for whatever has a judge and a `with_judge`.
macro_rules! judged_by {
    ($($builder:ident)::+ <$($life:lifetime,)? J $(, $more:ident)?>) => {
        /// Tries again only those of the operation's own errors of which `retryable` says so. What policies inside refuse is
        /// judged as before. Of several, all must say so. Default: all errors.
        pub fn when<E, F: Fn(&E) -> bool>(self, retryable: F) -> $($builder)::+<$($life,)? $crate::resilience::When<J, F> $(, $more)?> {
            self.with_judge(|judge| $crate::resilience::When { judge, f: retryable })
        }

        /// As [`when`](Self::when), with `retryable` asked of the error and, one by one, of what [caused](crate::resilience::causes)
        /// it, until it says so.
        ///
        /// ```
        /// use cofferdam::resilience::Retry;
        /// use std::io;
        ///
        /// let retry = Retry::builder()
        ///     .when_cause(|cause| cause.downcast_ref().is_some_and(|io: &io::Error| io.kind() == io::ErrorKind::TimedOut))
        ///     .build()?;
        /// # Ok::<(), cofferdam::ConfigError>(())
        /// ```
        pub fn when_cause<F>(self, retryable: F) -> $($builder)::+<$($life,)? $crate::resilience::WhenCause<J, F> $(, $more)?>
        where
            F: Fn(&(dyn std::error::Error + 'static)) -> bool,
        {
            self.with_judge(|judge| $crate::resilience::WhenCause { judge, f: retryable })
        }

        /// Tries again also the successes of which `retryable` says so: a response that says "not yet". When there is no
        /// further attempt to be had, it comes out as it is.
        pub fn when_ok<T, F: Fn(&T) -> bool>(self, retryable: F) -> $($builder)::+<$($life,)? $crate::resilience::WhenOk<J, F> $(, $more)?> {
            self.with_judge(|judge| $crate::resilience::WhenOk { judge, f: retryable })
        }

        /// Never tries again those of the operation's own errors of which `abort` says so, whatever else is said.
        pub fn abort_on<E, F: Fn(&E) -> bool>(self, abort: F) -> $($builder)::+<$($life,)? $crate::resilience::AbortOn<J, F> $(, $more)?> {
            self.with_judge(|judge| $crate::resilience::AbortOn { judge, f: abort })
        }

        /// As [`abort_on`](Self::abort_on), with `abort` asked of the error and, one by one, of what
        /// [caused](crate::resilience::causes) it, until it says so.
        pub fn abort_on_cause<F>(self, abort: F) -> $($builder)::+<$($life,)? $crate::resilience::AbortOnCause<J, F> $(, $more)?>
        where
            F: Fn(&(dyn std::error::Error + 'static)) -> bool,
        {
            self.with_judge(|judge| $crate::resilience::AbortOnCause { judge, f: abort })
        }

        /// Never tries again an error that is, or was caused by, a [`NotRetryable`](crate::resilience::NotRetryable).
        pub fn heed_not_retryable(self) -> $($builder)::+<$($life,)? $crate::resilience::AbortOnCause<J, fn(&(dyn std::error::Error + 'static)) -> bool> $(, $more)?> {
            let marked: fn(&(dyn std::error::Error + 'static)) -> bool = $crate::resilience::retry::is_marked;
            self.abort_on_cause(marked)
        }

        /// Judges whole outcomes: successes that are none, errors that say how long to wait, refusals of policies inside.
        /// Replaces all that was said before about what is tried again; a closure, or a [`Judge`](crate::resilience::Judge)
        /// by way of [`judged_by`](Self::judged_by).
        ///
        /// ```
        /// use cofferdam::resilience::{Error, Retry, Verdict};
        /// use std::time::Duration;
        ///
        /// struct Response { status: u16, retry_after: Option<Duration> }
        ///
        /// let retry = Retry::builder()
        ///     .judge(|outcome: &Result<Response, Error<std::io::Error>>| match outcome {
        ///         Ok(Response { status: 503, retry_after: Some(after) }) => Verdict::RetryAfter(*after),
        ///         Ok(Response { status: 500.., .. }) => Verdict::Retry,
        ///         Err(error) if error.is_retryable() => Verdict::Retry,
        ///         _ => Verdict::Done,
        ///     })
        ///     .build()?;
        /// # Ok::<(), cofferdam::ConfigError>(())
        /// ```
        pub fn judge<T, E, F>(self, judge: F) -> $($builder)::+<$($life,)? F $(, $more)?>
        where
            F: Fn(&Result<T, $crate::resilience::Error<E>>) -> $crate::resilience::Verdict,
        {
            self.judged_by(judge)
        }

        /// As [`judge`](Self::judge), by a judge that is more than a closure.
        pub fn judged_by<K>(self, judge: K) -> $($builder)::+<$($life,)? K $(, $more)?> {
            self.with_judge(|_| judge)
        }

        /// Heeds what an error says about when to come again: of those that are tried again, the longer of `after` and the
        /// backoff is waited, up to the policy's cap. It wins over what is known of a refusal.
        pub fn retry_after<E, F>(self, after: F) -> $($builder)::+<$($life,)? $crate::resilience::AfterError<J, F> $(, $more)?>
        where
            F: Fn(&E) -> Option<std::time::Duration>,
        {
            self.with_judge(|judge| $crate::resilience::AfterError { judge, f: after })
        }
    };
}
pub(in crate::resilience) use judged_by;

/// The methods that have to do with delays and with the end of a run.
macro_rules! followed_by {
    ($($builder:ident)::+ <$($life:lifetime,)? J $(, $more:ident)?>) => {
        /// Sets the delay before retry `index`, counted from 0, by what came out. `None` leaves it to the backoff.
        pub fn delay_by<T, E, F>(self, delay: F) -> $($builder)::+<$($life,)? $crate::resilience::DelayBy<J, F> $(, $more)?>
        where
            F: Fn(&Result<T, $crate::resilience::Error<E>>, u32) -> Option<std::time::Duration>,
        {
            self.with_judge(|judge| $crate::resilience::DelayBy { judge, f: delay })
        }

        /// Shows each error that is tried again, and when that will be. (A success that is tried again is an
        /// [event](crate::resilience::RetryEvent), for observers.)
        pub fn notify<E, F>(self, notify: F) -> $($builder)::+<$($life,)? $crate::resilience::Notify<J, F> $(, $more)?>
        where
            F: Fn(&$crate::resilience::Error<E>, $crate::resilience::Next),
        {
            self.with_judge(|judge| $crate::resilience::Notify { judge, f: notify })
        }

        /// Shows the error with which a run gives up after attempts that were in vain; it is
        /// [exhausted](crate::resilience::Error::is_exhausted) and says how many and why.
        pub fn on_give_up<E, F>(self, gave_up: F) -> $($builder)::+<$($life,)? $crate::resilience::OnGiveUp<J, F> $(, $more)?>
        where
            F: Fn(&$crate::resilience::Error<E>),
        {
            self.with_judge(|judge| $crate::resilience::OnGiveUp { judge, f: gave_up })
        }
    };
}
pub(in crate::resilience) use followed_by;
