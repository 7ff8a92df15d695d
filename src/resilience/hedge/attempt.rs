//! What is inside a hedge.

use super::Settings;
use super::race::Race;
use crate::resilience::retry::{Judge, Verdict};
use crate::resilience::{Attempt, Error, Fork};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// What is inside a [`Hedge`](super::Hedge). `T` and `E` are what `A` comes out as, spelt out as in a
    /// [`RetryAttempt`](crate::resilience::RetryAttempt).
    pub struct HedgeAttempt<'a, J, A, T, E> {
        settings: &'a Settings,
        judge: J,
        // Before the race, in which the hedges are: the first attempt is dropped first.
        #[pin]
        primary: A,
        race: Race<'a, A, T, E>,
    }
}

impl<'a, J, A, T, E> HedgeAttempt<'a, J, A, T, E> {
    #[inline]
    pub(super) fn new(settings: &'a Settings, judge: J, primary: A) -> Self {
        Self { settings, judge, primary, race: Race::FRESH }
    }
}

impl<J, A, T, E> Attempt for HedgeAttempt<'_, J, A, T, E>
where
    A: Fork<Ok = T, Err = E>,
    J: Judge<T, E>,
{
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let mut this = self.project();
        let (settings, judge): (&Settings, &J) = (this.settings, this.judge);
        let mut first = None;
        if this.race.is_fresh() {
            if !settings.has_beginning {
                first = Some(match this.primary.as_mut().poll_attempt(cx) {
                    Poll::Ready(Ok(value)) => {
                        let outcome = Ok(value);
                        match (judge.judge(&outcome), outcome) {
                            (Verdict::Done, Ok(value)) => return Poll::Ready(Ok(value)),
                            (_, outcome) => Poll::Ready(outcome),
                        }
                    }
                    polled => polled,
                });
            }
            this.race.begin(settings);
        }
        this.race.poll(settings, judge, this.primary, cx, first)
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.primary.cancel();
        *this.race = Race::FRESH;
    }
}

impl<J, A, T, E> Fork for HedgeAttempt<'_, J, A, T, E>
where
    A: Fork<Ok = T, Err = E>,
    J: Judge<T, E> + Clone,
{
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.settings, self.judge.clone(), self.primary.fork()?))
    }
}

impl<J, A: fmt::Debug, T, E> fmt::Debug for HedgeAttempt<'_, J, A, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeAttempt")
            .field("primary", &self.primary)
            .field("race", &self.race)
            .finish_non_exhaustive()
    }
}
