//! What is inside a retry.

use super::run::{Run, Step};
use super::{DelaySource, Judge, Next, Settings, Verdict};
use crate::resilience::policy::relay;
use crate::resilience::{Attempt, Error, Fork};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

pin_project! {
    /// What is inside a [`Retry`](super::Retry). `E` is the error of `A`, spelt out: as `A::Err` in a field it would keep the
    /// compiler from seeing that a task with a retry in it is `Send`, wherever a lifetime is in the operation or its error.
    ///
    /// It is moved about before it is polled, so it is kept small: what only a run needs that sleeps, or that has more to
    /// do than to count, is boxed when it comes to that.
    pub struct RetryAttempt<'a, J, A, E> {
        settings: &'a Settings,
        judge: J,
        #[pin]
        inner: A,
        run: Run<'a, E>,
    }
}

impl<'a, J, A, E> RetryAttempt<'a, J, A, E> {
    #[inline]
    pub(super) fn new(settings: &'a Settings, judge: J, inner: A) -> Self {
        Self { settings, judge, inner, run: Run::FRESH }
    }
}

impl<J, A, E> Attempt for RetryAttempt<'_, J, A, E>
where
    A: Attempt<Err = E>,
    J: Judge<A::Ok, E>,
{
    type Ok = A::Ok;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<E>>> {
        let mut this = self.project();
        let (settings, judge): (&Settings, &J) = (this.settings, this.judge);
        if !this.run.is_simple(settings) {
            return relay(drive(this.run, settings, judge, this.inner, cx, None), |_| {});
        }
        // Most runs do not leave this loop, and as long as they are in it they stay simple. What comes out leaves by ways of its
        // own, as in `relay`.
        loop {
            let come_out = match this.inner.as_mut().poll_attempt(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(value)) => {
                    let outcome = Ok(value);
                    match (judge.judge(&outcome), outcome) {
                        (Verdict::Done, Ok(value)) => {
                            if this.run.has_retried() {
                                this.run.succeeded(settings);
                            }
                            return Poll::Ready(Ok(value));
                        }
                        (verdict, outcome) => (outcome, verdict, None),
                    }
                }
                Poll::Ready(Err(Error::Inner(error))) => {
                    let outcome = Err(Error::Inner(error));
                    let verdict = judge.judge(&outcome);
                    let mut delay = None;
                    if settings.is_plain && matches!(verdict, Verdict::Retry) && this.run.may_go_on(settings)
                    {
                        let index = this.run.retries();
                        delay = judge.delay(&outcome, index);
                        // A retry with nothing to wait for, pay or tell: what `next` comes to then.
                        if let (None, Err(Error::Inner(_))) = (delay, &outcome) {
                            let source = DelaySource::Backoff;
                            judge.retrying(
                                &outcome,
                                Next { attempt: index + 1, delay: Duration::ZERO, source },
                            );
                            if let Err(Error::Inner(error)) = outcome {
                                this.run.failed(error);
                            }
                            continue;
                        }
                    }
                    (outcome, verdict, delay)
                }
                Poll::Ready(Err(error)) => {
                    let outcome = Err(error);
                    let verdict = judge.judge(&outcome);
                    (outcome, verdict, None)
                }
            };
            return relay(drive(this.run, settings, judge, this.inner, cx, Some(come_out)), |_| {});
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        // Before what it has paid: it is over before its place is given to another.
        this.inner.as_mut().cancel();
        // A retry that was paid for and has not begun is given back.
        *this.run = Run::FRESH;
    }
}

/// What an attempt has come out as, what the judge says of that, and the delay before the next one if it has set one.
type ComeOut<T, E> = (Result<T, Error<E>>, Verdict, Option<Duration>);

/// Drives a run in which there is more to do than to count attempts; first an attempt that has come out, if one has.
#[inline(never)]
fn drive<'a, T, E, J, A>(
    run: &mut Run<'a, E>,
    settings: &'a Settings,
    judge: &J,
    mut inner: Pin<&mut A>,
    cx: &mut Context<'_>,
    mut come_out: Option<ComeOut<T, E>>,
) -> Poll<Result<T, Error<E>>>
where
    A: Attempt<Ok = T, Err = E>,
    J: Judge<T, E>,
{
    run.begin(settings);
    loop {
        let (outcome, verdict, delay) = match come_out.take() {
            Some(come_out) => come_out,
            None => {
                let attempt = inner.as_mut();
                let outcome = match run.rest() {
                    None => ready!(attempt.poll_attempt(cx)),
                    Some(rest) => match ready!(rest.poll(settings, attempt, cx)) {
                        Ok(outcome) => outcome,
                        Err(ended) => {
                            return Poll::Ready(Err(run.interrupted(settings, judge, &ended)));
                        }
                    },
                };
                let verdict = judge.judge(&outcome);
                if matches!(verdict, Verdict::Done) && outcome.is_ok() {
                    run.succeeded(settings);
                    return Poll::Ready(outcome);
                }
                (outcome, verdict, None)
            }
        };
        match run.next(settings, judge, &outcome, verdict, delay) {
            Step::Again => run.keep(settings, outcome),
            Step::Out => return Poll::Ready(outcome),
            Step::GiveUp(reason) => {
                return Poll::Ready(run.give_up(settings, judge, outcome, reason));
            }
        }
    }
}

impl<J, A, E> Fork for RetryAttempt<'_, J, A, E>
where
    A: Fork<Err = E>,
    J: Judge<A::Ok, E> + Clone,
{
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.settings, self.judge.clone(), self.inner.fork()?))
    }
}

impl<J, A: fmt::Debug, E> fmt::Debug for RetryAttempt<'_, J, A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryAttempt")
            .field("run", &self.run)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
