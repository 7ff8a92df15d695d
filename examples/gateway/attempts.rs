//! Each attempt, counted from its beginning to its end: it stands between the attempt's timeout and what is injected, so that
//! it sees what the guard takes for the upstream's doing.
//!
//! ```text
//! begun = sent + injected errors + ended before they were sent
//! sent  = answered + not connected + broken + ended before the answer
//! ```

use crate::connections::SendError;
use crate::http::Body;
use crate::pace::Pace;
use crate::proxy::Failure;
use cofferdam::resilience::{Attempt, AttemptMark, Error, Fork, HedgeMark, Policy};
use cofferdam::sync::Context as TaskContext;
use hyper::Response;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// Attempts of one turn: the first, and one hedge.
pub(crate) const AT_ONCE: usize = 2;

/// Which of the attempts of this turn is running: 0 is the first.
pub(crate) fn number() -> usize {
    let mark = TaskContext::current().value::<HedgeMark>().map_or(0, |mark| mark.number());
    (mark as usize).min(AT_ONCE - 1)
}

/// Whether the turn that is running is a retry's.
fn is_retry() -> bool {
    TaskContext::current().value::<AttemptMark>().is_some_and(|mark| mark.number() > 1)
}

/// What became of the attempts at one upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttemptStats {
    /// First attempts of their turns.
    pub(crate) attempts: u64,
    /// Those of them that were not the first of their call.
    pub(crate) retries: u64,
    /// Attempts beside a first one.
    pub(crate) hedges: u64,
    /// Requests that were given to a connection.
    pub(crate) sent: u64,
    /// The head of a response came.
    pub(crate) answered: u64,
    /// No connection: the upstream has seen nothing.
    pub(crate) unconnected: u64,
    /// The connection broke. The upstream may have seen the request.
    pub(crate) broken: u64,
    /// Ended before the answer was here, by a timeout or for another that was quicker. As before.
    pub(crate) cut: u64,
    /// Ended before they were sent.
    pub(crate) unsent: u64,
    /// Errors that were injected.
    pub(crate) injected: u64,
}

impl AttemptStats {
    pub(crate) fn begun(&self) -> u64 {
        self.attempts + self.hedges
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    attempts: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    unconnected: AtomicU64,
    broken: AtomicU64,
    cut: AtomicU64,
    unsent: AtomicU64,
    injected: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(crate) fn stats(&self) -> AttemptStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AttemptStats {
            attempts: load(&self.attempts),
            retries: load(&self.retries),
            hedges: load(&self.hedges),
            sent: load(&self.sent),
            answered: load(&self.answered),
            unconnected: load(&self.unconnected),
            broken: load(&self.broken),
            cut: load(&self.cut),
            unsent: load(&self.unsent),
            injected: load(&self.injected),
        }
    }

    /// The request of the attempt that is running is given to a connection.
    pub(crate) fn send(&self, pace: &Pace<'_>) {
        pace.sent(number());
        add(&self.sent);
    }
}

/// The counts as a policy, for one call.
pub(crate) struct Counted<'a> {
    counts: &'a Counts,
    pace: &'a Pace<'a>,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(counts: &'a Counts, pace: &'a Pace<'a>) -> Self {
        Self { counts, pace }
    }
}

impl<'a, A> Policy<A> for &'a Counted<'_>
where
    A: Attempt<Ok = Response<Body>, Err = Failure>,
{
    type Attempt = CountedAttempt<'a, A>;

    fn around(self, inner: A) -> CountedAttempt<'a, A> {
        CountedAttempt { inner, policy: self, running: None }
    }
}

/// An attempt under way. Dropped, it has ended without an outcome.
struct Running<'a> {
    policy: &'a Counted<'a>,
    number: usize,
    end: Option<&'a AtomicU64>,
}

impl<'a> Running<'a> {
    fn begin(policy: &'a Counted<'a>) -> Self {
        let (counts, number) = (policy.counts, number());
        policy.pace.spend(number);
        if number > 0 {
            add(&counts.hedges);
        } else {
            add(&counts.attempts);
            counts.retries.fetch_add(u64::from(is_retry()), Ordering::Relaxed);
        }
        Self { policy, number, end: None }
    }

    fn end(mut self, outcome: &Result<Response<Body>, Error<Failure>>) {
        let counts = self.policy.counts;
        self.end = match outcome {
            Ok(_) | Err(Error::Inner(Failure::Status(_) | Failure::Body(_))) => Some(&counts.answered),
            Err(Error::Inner(Failure::Send(SendError::Connect(_)))) => Some(&counts.unconnected),
            Err(Error::Inner(Failure::Send(SendError::Broken(_)))) => Some(&counts.broken),
            Err(Error::Inner(Failure::Injected)) => Some(&counts.injected),
            // Nothing inside refuses.
            Err(_) => None,
        };
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Counted { counts, pace } = self.policy;
        let was_sent = pace.was_sent(self.number);
        add(self.end.unwrap_or(if was_sent { &counts.cut } else { &counts.unsent }));
    }
}

pin_project! {
    /// An attempt that is counted.
    pub(crate) struct CountedAttempt<'a, A> {
        #[pin]
        inner: A,
        policy: &'a Counted<'a>,
        running: Option<Running<'a>>,
    }
}

impl<A> Attempt for CountedAttempt<'_, A>
where
    A: Attempt<Ok = Response<Body>, Err = Failure>,
{
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        this.running.get_or_insert_with(|| Running::begin(this.policy));
        let outcome = ready!(this.inner.poll_attempt(cx));
        if let Some(running) = this.running.take() {
            running.end(&outcome);
        }
        Poll::Ready(outcome)
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        *this.running = None;
    }
}

impl<A> Fork for CountedAttempt<'_, A>
where
    A: Fork<Ok = Response<Body>, Err = Failure>,
{
    fn fork(&self) -> Option<Self> {
        Some(Self { inner: self.inner.fork()?, policy: self.policy, running: None })
    }
}
