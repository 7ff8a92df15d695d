//! What is inside a retry.

use super::run::{Run, Step};
use super::{DelaySource, Judge, Next, Settings, Verdict};
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
        if this.run.is_fresh() {
            if settings.has_beginning {
                this.run.begin(settings);
            } else {
                // Most runs end here.
                return match this.inner.as_mut().poll_attempt(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(value)) => {
                        let outcome = Ok(value);
                        match (judge.judge(&outcome), outcome) {
                            (Verdict::Done, Ok(value)) => Poll::Ready(Ok(value)),
                            (verdict, outcome) => {
                                drive(this.run, settings, judge, this.inner, cx, Some((outcome, verdict)))
                            }
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        let outcome = Err(error);
                        let verdict = judge.judge(&outcome);
                        drive(this.run, settings, judge, this.inner, cx, Some((outcome, verdict)))
                    }
                };
            }
        }
        drive(this.run, settings, judge, this.inner, cx, None)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        // Before what it has paid: it is over before its place is given to another.
        this.inner.as_mut().cancel();
        // A retry that was paid for and has not begun is given back.
        *this.run = Run::FRESH;
    }
}

/// Drives a run in which there is more to do than to pass on what the first attempt has come out as; which is that, if it has.
#[inline(never)]
fn drive<'a, T, E, J, A>(
    run: &mut Run<'a, E>,
    settings: &'a Settings,
    judge: &J,
    mut inner: Pin<&mut A>,
    cx: &mut Context<'_>,
    mut come_out: Option<(Result<T, Error<E>>, Verdict)>,
) -> Poll<Result<T, Error<E>>>
where
    A: Attempt<Ok = T, Err = E>,
    J: Judge<T, E>,
{
    loop {
        let (outcome, verdict) = match come_out.take() {
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
                (outcome, verdict)
            }
        };
        // A retry with nothing to wait for, pay or tell: what `next` comes to then.
        let mut delay = None;
        if settings.is_plain && matches!(verdict, Verdict::Retry) && run.may_go_on(settings) {
            let index = run.count();
            delay = judge.delay(&outcome, index);
            if delay.is_none() {
                let next = Next { attempt: index + 1, delay: Duration::ZERO, source: DelaySource::Backoff };
                judge.retrying(&outcome, next);
                run.keep(settings, outcome);
                continue;
            }
            run.uncount();
        }
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
