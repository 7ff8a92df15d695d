//! The limits towards an upstream as a policy of the stack: one attempt waits for its turn, or is refused.
//!
//! It is made for one call, as it has to know the request, and it is how a policy of one's own looks: [`Policy`] wraps what is
//! inside, [`Attempt`] drives it.

use crate::attempts::AT_ONCE;
use crate::limits::{Admission, Outbound};
use crate::tally::lock;
use cofferdam::limit::tiered::{Acquire, Refusal, Request};
use cofferdam::resilience::{Attempt, Error, Policy, Rejection};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// What refusals call it.
pub(crate) const NAME: &str = "tiers";

/// The limits, and one call.
pub(crate) struct Pace<'a> {
    outbound: &'a Outbound,
    request: Request<'a>,
    /// Of each attempt of this turn, by its number.
    attempts: [Slot; AT_ONCE],
    refusal: Mutex<Option<Refusal>>,
}

#[derive(Default)]
struct Slot {
    /// Admitted, and not begun yet.
    admission: Mutex<Option<Admission>>,
    /// Given to a connection.
    sent: AtomicBool,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(outbound: &'a Outbound, request: Request<'a>) -> Self {
        Self { outbound, request, attempts: Default::default(), refusal: Mutex::default() }
    }

    /// An attempt begins: what it has taken is spent.
    pub(crate) fn spend(&self, number: usize) {
        let slot = &self.attempts[number];
        slot.sent.store(false, Ordering::Relaxed);
        if let Some(admission) = lock(&slot.admission).take() {
            self.outbound.send(&admission);
        }
    }

    /// An attempt's request is given to a connection.
    pub(crate) fn sent(&self, number: usize) {
        self.attempts[number].sent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_sent(&self, number: usize) -> bool {
        self.attempts[number].sent.load(Ordering::Relaxed)
    }

    /// Takes what a hedge needs, if it is there.
    pub(crate) fn admit_hedge(&self, number: usize) -> bool {
        let admission = self.outbound.admit_now(self.request);
        let is_admitted = admission.is_some();
        *lock(&self.attempts[number].admission) = admission;
        if !is_admitted {
            self.outbound.hold_back();
        }
        is_admitted
    }

    /// The last refusal.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        lock(&self.refusal).clone()
    }

    /// What was taken for an attempt that has not begun is given back.
    pub(crate) fn give_back(&self, number: usize) {
        if lock(&self.attempts[number].admission).take().is_some() {
            self.outbound.give_back(self.request);
            if number > 0 {
                self.outbound.hold_back();
            }
        }
    }

    fn give_all_back(&self) {
        (0..AT_ONCE).for_each(|number| self.give_back(number));
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.give_all_back();
    }
}

impl<'a, A: Attempt> Policy<A> for &'a Pace<'_> {
    type Attempt = Paced<'a, A>;

    fn around(self, inner: A) -> Paced<'a, A> {
        Paced { pace: self, wait: None, admitted: false, inner }
    }
}

pin_project! {
    /// An attempt under the limits.
    pub(crate) struct Paced<'a, A> {
        pace: &'a Pace<'a>,
        #[pin]
        wait: Option<Acquire<'a>>,
        admitted: bool,
        #[pin]
        inner: A,
    }
}

impl<A: Attempt> Attempt for Paced<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let mut this = self.project();
        let Pace { outbound, request, attempts, refusal } = &**this.pace;
        while !*this.admitted {
            if this.wait.is_none() {
                this.wait.set(Some(outbound.acquire(*request)));
            }
            let Some(wait) = this.wait.as_mut().as_pin_mut() else { return Poll::Pending };
            let since = outbound.now();
            let turn = ready!(std::future::Future::poll(wait, cx));
            this.wait.set(None);
            match turn {
                Ok(()) => {
                    let admit = outbound.admit(*request, since);
                    *this.admitted = admit.is_some();
                    *lock(&attempts[0].admission) = admit;
                }
                Err(error) => {
                    let after = error.retry_after();
                    if let Some(refused) = error.refusal() {
                        outbound.refuse(refused);
                        *lock(refusal) = Some(refused.clone());
                    }
                    return Poll::Ready(Err(Rejection::rate_limited(NAME, after).into()));
                }
            }
        }
        let outcome = ready!(this.inner.poll_attempt(cx));
        *this.admitted = false;
        this.pace.give_all_back();
        Poll::Ready(outcome)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.wait.set(None);
        this.inner.cancel();
        *this.admitted = false;
        this.pace.give_all_back();
    }
}
