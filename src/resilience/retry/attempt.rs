//! One run of a retry.

use super::budget::Withdrawal;
use super::{Judge, Retry, RetryEvent, Verdict};
use crate::resilience::{Attempt, Error, Exhausted, GaveUp, Rejection};
use crate::sync::{Context as TaskContext, ContextError, context};
use crate::time::{Deadline, Sleep, Spread};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

pin_project! {
    /// What is inside a [`Retry`]. `E` is the error of `A`, spelt out: as `A::Err` in a field it would keep the compiler
    /// from seeing that a task with a retry in it is `Send`, wherever a lifetime is in the operation or its error.
    ///
    /// It is moved about before it is polled, so it is kept small: what only a run needs that sleeps, or that has more to
    /// do than to count, is boxed when it comes to that.
    pub struct RetryAttempt<'a, J, A, E> {
        retry: &'a Retry<J>,
        #[pin]
        inner: A,
        run: Run<'a, E>,
    }
}

struct Run<'a, E> {
    /// Attempts that have come out.
    attempts: u32,
    /// For the jitter of the delays.
    spread: Option<Spread>,
    /// The operation's own last error.
    before: Option<E>,
    rest: Option<Box<Rest<'a>>>,
}

#[derive(Default)]
struct Rest<'a> {
    /// The sleep before the next attempt; `None` while one is under way, or about to be.
    sleep: Option<Sleep>,
    /// When the run began, where there is a longest duration.
    began: Option<Instant>,
    /// What the attempt that is being slept for has paid.
    paid: Option<Withdrawal<'a>>,
    /// What each attempt runs in, where attempts are marked.
    context: Option<TaskContext>,
    /// Whether another retry further out does the repeating.
    yields: bool,
}

impl<'a, J, A, E> RetryAttempt<'a, J, A, E> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<J>, inner: A) -> Self {
        Self { retry, inner, run: Run::FRESH }
    }
}

impl<J, A, E> Attempt for RetryAttempt<'_, J, A, E>
where
    A: Attempt<Err = E>,
    J: Judge<A::Ok, E>,
{
    type Ok = A::Ok;
    type Err = E;

    #[inline]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<E>>> {
        let mut this = self.project();
        let retry: &Retry<J> = this.retry;
        if this.run.is_fresh() {
            if retry.has_beginning {
                this.run.begin(retry);
            } else {
                let outcome = ready!(this.inner.as_mut().poll_attempt(cx));
                let verdict = retry.judge.judge(&outcome);
                if matches!(verdict, Verdict::Done) && outcome.is_ok() {
                    return Poll::Ready(outcome);
                }
                if let Some(outcome) = this.run.next(retry, outcome, verdict) {
                    *this.run = Run::FRESH;
                    return Poll::Ready(outcome);
                }
            }
        }
        this.run.poll(retry, this.inner, cx)
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        // A retry that was paid for and has not begun is given back.
        *this.run = Run::FRESH;
        this.inner.cancel();
    }
}

impl<'a, E> Run<'a, E> {
    const FRESH: Self = Self { attempts: 0, spread: None, before: None, rest: None };

    /// Whether nothing has come out yet, and there is nothing to keep.
    #[inline]
    fn is_fresh(&self) -> bool {
        self.attempts == 0 && self.rest.is_none()
    }

    /// Drives a run that is more than its first attempt.
    #[inline(never)]
    fn poll<T, J, A>(
        &mut self,
        retry: &'a Retry<J>,
        mut inner: Pin<&mut A>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Error<E>>>
    where
        A: Attempt<Ok = T, Err = E>,
        J: Judge<T, E>,
    {
        loop {
            let attempt = inner.as_mut();
            let outcome = match self.rest.as_deref_mut() {
                None => ready!(attempt.poll_attempt(cx)),
                Some(rest) => {
                    if let Some(sleep) = &mut rest.sleep {
                        ready!(Pin::new(sleep).poll(cx));
                        if let Err(ended) = rest.wake(retry, self.attempts) {
                            let error = self.interrupted(retry, &ended);
                            *self = Self::FRESH;
                            return Poll::Ready(Err(error));
                        }
                    }
                    ready!(match &rest.context {
                        None => attempt.poll_attempt(cx),
                        Some(context) => context.scope_sync(|| attempt.poll_attempt(cx)),
                    })
                }
            };
            let verdict = retry.judge.judge(&outcome);
            if matches!(verdict, Verdict::Done) && outcome.is_ok() {
                self.succeeded(retry);
                *self = Self::FRESH;
                return Poll::Ready(outcome);
            }
            if let Some(outcome) = self.next(retry, outcome, verdict) {
                *self = Self::FRESH;
                return Poll::Ready(outcome);
            }
        }
    }

    fn rest(&mut self) -> &mut Rest<'a> {
        self.rest.get_or_insert_with(Box::default)
    }

    /// Begins a run that has something to do at its beginning.
    #[cold]
    fn begin<J>(&mut self, retry: &'a Retry<J>) {
        if let Some(budget) = &retry.budget {
            budget.call();
        }
        let rest = self.rest();
        if retry.max_duration.is_some() {
            rest.began = Some(retry.clock.now());
        }
        rest.yields = retry.yields && TaskContext::current().value::<AttemptMark>().is_some();
        rest.mark(retry, 1);
    }

    /// An attempt has come out well.
    fn succeeded<J>(&self, retry: &Retry<J>) {
        // This one has not been counted.
        let attempts = self.attempts.saturating_add(1);
        if let Some(budget) = &retry.budget {
            budget.success(attempts > 1);
        }
        if attempts > 1 {
            retry.observers.emit(|| RetryEvent::Recovered { policy: retry.name, attempts });
        }
    }

    /// An attempt has come out, and not simply well: the outcome of the run, or `None` if there is another attempt.
    #[inline(never)]
    fn next<T, J>(
        &mut self,
        retry: &'a Retry<J>,
        outcome: Result<T, Error<E>>,
        verdict: Verdict,
    ) -> Option<Result<T, Error<E>>> {
        self.attempts = self.attempts.saturating_add(1);
        let server = match (verdict, &outcome) {
            (Verdict::Retry, _) => None,
            (Verdict::RetryAfter(after), _) => Some(after.min(retry.server_delay_cap)),
            (Verdict::Done, Err(Error::Rejected(open)))
                if open.is_circuit_open() && retry.wait_for_breaker =>
            {
                open.retry_after().map(|after| after.min(retry.server_delay_cap))
            }
            (Verdict::Done, Err(Error::Rejected(_))) if self.attempts > 1 => {
                return Some(self.give_up(retry, outcome, GaveUp::NotRetryable));
            }
            (Verdict::Done, _) => return Some(outcome),
        };
        let delay = match self.schedule(retry, server) {
            Ok(delay) => delay,
            Err(reason) => return Some(self.give_up(retry, outcome, reason)),
        };
        let attempt = self.attempts;
        retry.observers.emit(|| RetryEvent::Scheduled { policy: retry.name, attempt, delay });
        match outcome {
            Err(Error::Inner(inner)) => self.before = Some(inner),
            Err(error) => self.before = error.into_inner().or(self.before.take()),
            Ok(_) => {}
        }
        None
    }

    /// Pays for the next attempt and begins to sleep for it.
    fn schedule<J>(&mut self, retry: &'a Retry<J>, server: Option<Duration>) -> Result<Duration, GaveUp> {
        if self.attempts >= self.max_attempts(retry) {
            return Err(GaveUp::Attempts);
        }
        context::check(|| retry.clock.now()).map_err(|ended| reason_of(&ended))?;
        let index = self.attempts.saturating_sub(1);
        let own = if retry.backoff.has_jitter() {
            let spread = self.spread.get_or_insert_with(|| retry.spread());
            retry.backoff.spread_delay(index, spread)
        } else {
            retry.backoff.delay(index)
        };
        let mut delay = own.max(server.unwrap_or_default());
        let mut now = None;
        let mut read = || *now.get_or_insert_with(|| retry.clock.now());
        let began = self.rest.as_ref().and_then(|rest| rest.began);
        if let (Some(most), Some(began)) = (retry.max_duration, began) {
            let left = most.saturating_sub(read().saturating_duration_since(began));
            if delay > left {
                // A callee that wants us later than there is time is not visited sooner.
                if !retry.trim || left.is_zero() || server.is_some_and(|server| server > left) {
                    return Err(GaveUp::Duration);
                }
                delay = left;
            }
        }
        let deadline = context::deadline();
        if deadline != Deadline::NEVER && Deadline::after(read(), delay) >= deadline {
            return Err(GaveUp::Deadline);
        }
        let paid = match &retry.budget {
            Some(budget) => Some(budget.withdraw().ok_or(GaveUp::Budget)?),
            None => None,
        };
        if delay.is_zero() {
            if let Some(paid) = paid {
                paid.spend();
            }
            if let Some(rest) = &mut self.rest {
                rest.mark(retry, self.attempts.saturating_add(1));
            }
            return Ok(delay);
        }
        let sleep = read().checked_add(delay).map_or_else(Sleep::never, |at| retry.clock.sleep_until(at));
        let rest = self.rest();
        rest.paid = paid;
        rest.sleep = Some(match TaskContext::current().token().cloned() {
            None => sleep,
            // Whoever is cancelled does not sleep on.
            Some(token) => Sleep::new(async move { drop(token.run(sleep).await) }),
        });
        Ok(delay)
    }

    fn max_attempts<J>(&self, retry: &Retry<J>) -> u32 {
        let yields = self.rest.as_ref().is_some_and(|rest| rest.yields);
        if yields { 1 } else { retry.max_attempts }
    }

    /// The surrounding work has ended in the sleep.
    #[cold]
    fn interrupted<J>(&mut self, retry: &Retry<J>, ended: &ContextError) -> Error<E> {
        self.exhausted(retry, Rejection::ended(retry.name, ended).into(), reason_of(ended))
    }

    #[cold]
    fn give_up<T, J>(
        &mut self,
        retry: &Retry<J>,
        outcome: Result<T, Error<E>>,
        reason: GaveUp,
    ) -> Result<T, Error<E>> {
        if self.max_attempts(retry) == 1 {
            return outcome;
        }
        match outcome {
            Err(last) => Err(self.exhausted(retry, last, reason)),
            Ok(value) => {
                self.say_so(retry, reason);
                Ok(value)
            }
        }
    }

    fn exhausted<J>(&mut self, retry: &Retry<J>, last: Error<E>, reason: GaveUp) -> Error<E> {
        self.say_so(retry, reason);
        let before = if last.inner().is_some() { None } else { self.before.take() };
        Error::Exhausted(Box::new(Exhausted::new(retry.name, self.attempts, reason, last, before)))
    }

    fn say_so<J>(&self, retry: &Retry<J>, reason: GaveUp) {
        let attempts = self.attempts;
        retry.observers.emit(|| RetryEvent::GaveUp { policy: retry.name, attempts, reason });
    }
}

impl Rest<'_> {
    /// The sleep is over: the next attempt begins, unless the surrounding work has ended.
    fn wake<J>(&mut self, retry: &Retry<J>, attempts: u32) -> Result<(), ContextError> {
        self.sleep = None;
        context::check(|| retry.clock.now())?;
        if let Some(paid) = self.paid.take() {
            paid.spend();
        }
        self.mark(retry, attempts.saturating_add(1));
        Ok(())
    }

    /// Attempt `number` begins.
    fn mark<J>(&mut self, retry: &Retry<J>, number: u32) {
        if retry.marks {
            let mark = AttemptMark { policy: retry.name, number };
            self.context = Some(TaskContext::current().with_value(mark));
        }
    }
}

fn reason_of(ended: &ContextError) -> GaveUp {
    if ended.is_cancelled() { GaveUp::Cancelled } else { GaveUp::Deadline }
}

/// The number of the attempt that is running, in the current [`Context`](crate::sync::Context) of a retry that
/// [marks](super::RetryBuilder::mark_attempts) its attempts.
///
/// ```
/// use cofferdam::resilience::{AttemptMark, Retry};
/// use cofferdam::sync::Context;
/// use cofferdam::time::Backoff;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let retry = Retry::builder().backoff(Backoff::ZERO).mark_attempts(true).build()?;
/// let outcome = retry.call(|| async {
///     let number = Context::current().value::<AttemptMark>().map_or(0, |mark| mark.number());
///     if number < 3 { Err(()) } else { Ok(number) }
/// });
/// assert_eq!(outcome.await, Ok(3));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptMark {
    policy: &'static str,
    number: u32,
}

impl AttemptMark {
    /// The name of the retry.
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Which attempt this is, counted from 1.
    pub const fn number(&self) -> u32 {
        self.number
    }
}

impl<J, A: fmt::Debug, E> fmt::Debug for RetryAttempt<'_, J, A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryAttempt")
            .field("attempts", &self.run.attempts)
            .field("sleeping", &self.run.rest.as_ref().is_some_and(|rest| rest.sleep.is_some()))
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
