//! One run of a retry.

use super::budget::Withdrawal;
use super::{Judge, Retry, RetryEvent, Verdict};
use crate::resilience::{Attempt, Error, Exhausted, GaveUp, Rejection};
use crate::sync::{Context as TaskContext, ContextError, context};
use crate::time::{Deadline, Delays, Sleep};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

pin_project! {
    /// What is inside a [`Retry`]. `E` is the error of `A`, spelt out: as `A::Err` in a field it would keep the compiler
    /// from seeing that a task with a retry in it is `Send`, wherever a lifetime is in the operation or its error.
    pub struct RetryAttempt<'a, J, A, E> {
        retry: &'a Retry<J>,
        #[pin]
        inner: A,
        run: Run<'a, E>,
    }
}

struct Run<'a, E> {
    phase: Phase,
    /// Attempts in all; 1 inside another retry that does the repeating. Read after the first attempt.
    max_attempts: u32,
    /// Attempts that have come out.
    attempts: u32,
    /// When the run began, where there is a longest duration.
    began: Option<Instant>,
    delays: Option<Delays>,
    /// What the attempt that is being slept for has paid.
    paid: Option<Withdrawal<'a>>,
    /// The operation's own last error.
    before: Option<E>,
    /// What each attempt runs in, where attempts are marked.
    context: Option<TaskContext>,
}

enum Phase {
    /// Before the first attempt.
    Fresh,
    /// An attempt is under way, or about to be.
    Trying,
    Sleeping(Sleep),
}

impl<E> Run<'_, E> {
    const fn new() -> Self {
        Self {
            phase: Phase::Fresh,
            max_attempts: u32::MAX,
            attempts: 0,
            began: None,
            delays: None,
            paid: None,
            before: None,
            context: None,
        }
    }
}

impl<'a, J, A, E> RetryAttempt<'a, J, A, E> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<J>, inner: A) -> Self {
        Self { retry, inner, run: Run::new() }
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
        loop {
            match &mut this.run.phase {
                Phase::Trying => {}
                Phase::Fresh => {
                    this.run.phase = Phase::Trying;
                    if retry.has_beginning {
                        this.run.begin(retry);
                    }
                }
                Phase::Sleeping(sleep) => {
                    ready!(Pin::new(sleep).poll(cx));
                    if let Some(error) = this.run.wake(retry) {
                        *this.run = Run::new();
                        return Poll::Ready(Err(error));
                    }
                }
            }
            let inner = this.inner.as_mut();
            let outcome = ready!(match &this.run.context {
                None => inner.poll_attempt(cx),
                Some(context) => context.scope_sync(|| inner.poll_attempt(cx)),
            });
            let verdict = retry.judge.judge(&outcome);
            if verdict == Verdict::Done && this.run.attempts == 0 && outcome.is_ok() {
                if let Some(budget) = &retry.budget {
                    budget.success(false);
                }
                this.run.phase = Phase::Fresh;
                return Poll::Ready(outcome);
            }
            if let Some(outcome) = this.run.next(retry, outcome, verdict) {
                *this.run = Run::new();
                return Poll::Ready(outcome);
            }
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        // A retry that was paid for and has not begun is given back.
        *this.run = Run::new();
        this.inner.cancel();
    }
}

impl<'a, E> Run<'a, E> {
    #[cold]
    fn begin<J>(&mut self, retry: &'a Retry<J>) {
        if let Some(budget) = &retry.budget {
            budget.call();
        }
        if retry.max_duration.is_some() {
            self.began = Some(retry.clock.now());
        }
        if retry.yields && TaskContext::current().value::<AttemptMark>().is_some() {
            self.max_attempts = 1;
        }
        self.mark(retry);
    }

    /// An attempt begins.
    fn mark<J>(&mut self, retry: &Retry<J>) {
        if retry.marks {
            let mark = AttemptMark { policy: retry.name, number: self.attempts.saturating_add(1) };
            self.context = Some(TaskContext::current().with_value(mark));
        }
    }

    /// The sleep is over: begins the next attempt, unless the surrounding work has ended.
    fn wake<J>(&mut self, retry: &Retry<J>) -> Option<Error<E>> {
        self.phase = Phase::Trying;
        if let Err(ended) = context::check(|| retry.clock.now()) {
            let last = Err::<(), _>(Rejection::ended(retry.name, &ended).into());
            return self.give_up(retry, last, reason_of(&ended)).err();
        }
        self.paid.take().map(Withdrawal::spend);
        self.mark(retry);
        None
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
            (Verdict::Done, _) => return Some(self.done(retry, outcome)),
        };
        match self.schedule(retry, server) {
            Ok(delay) => {
                let event = RetryEvent::Scheduled { policy: retry.name, attempt: self.attempts, delay };
                retry.observers.emit(|| event);
                if let Some(inner) = outcome.err().and_then(Error::into_inner) {
                    self.before = Some(inner);
                }
                None
            }
            Err(reason) => Some(self.give_up(retry, outcome, reason)),
        }
    }

    /// Pays for the next attempt and begins to sleep for it.
    fn schedule<J>(&mut self, retry: &'a Retry<J>, server: Option<Duration>) -> Result<Duration, GaveUp> {
        if self.attempts >= self.max_attempts.min(retry.max_attempts) {
            return Err(GaveUp::Attempts);
        }
        context::check(|| retry.clock.now()).map_err(|ended| reason_of(&ended))?;
        let own = self.delays.get_or_insert_with(|| retry.delays()).next_delay();
        let mut delay = own.max(server.unwrap_or_default());
        let mut now = None;
        let mut read = || *now.get_or_insert_with(|| retry.clock.now());
        if let (Some(most), Some(began)) = (retry.max_duration, self.began) {
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
            paid.map(Withdrawal::spend);
            self.mark(retry);
            return Ok(delay);
        }
        self.paid = paid;
        let sleep = read().checked_add(delay).map_or_else(Sleep::never, |at| retry.clock.sleep_until(at));
        self.phase = Phase::Sleeping(match TaskContext::current().token().cloned() {
            None => sleep,
            // Whoever is cancelled does not sleep on.
            Some(token) => Sleep::new(async move { drop(token.run(sleep).await) }),
        });
        Ok(delay)
    }

    /// The outcome stands.
    fn done<T, J>(&mut self, retry: &Retry<J>, outcome: Result<T, Error<E>>) -> Result<T, Error<E>> {
        let attempts = self.attempts;
        match outcome {
            Ok(value) => {
                if let Some(budget) = &retry.budget {
                    budget.success(attempts > 1);
                }
                if attempts > 1 {
                    retry.observers.emit(|| RetryEvent::Recovered { policy: retry.name, attempts });
                }
                Ok(value)
            }
            Err(Error::Rejected(_)) if attempts > 1 => self.give_up(retry, outcome, GaveUp::NotRetryable),
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn give_up<T, J>(
        &mut self,
        retry: &Retry<J>,
        outcome: Result<T, Error<E>>,
        reason: GaveUp,
    ) -> Result<T, Error<E>> {
        if self.max_attempts.min(retry.max_attempts) == 1 {
            return outcome;
        }
        let attempts = self.attempts;
        retry.observers.emit(|| RetryEvent::GaveUp { policy: retry.name, attempts, reason });
        outcome.map_err(|last| {
            let before = if last.inner().is_some() { None } else { self.before.take() };
            Error::Exhausted(Box::new(Exhausted::new(retry.name, attempts, reason, last, before)))
        })
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
            .field("sleeping", &matches!(self.run.phase, Phase::Sleeping(_)))
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
