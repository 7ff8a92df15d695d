//! Waiting for tokens in all tiers.

use super::Request;
use super::inner::Inner;
use super::queue::Want;
use super::routes::{ByRequest, Names};
use super::shards::{Naming, Purpose, bit};
use super::{Refusal, Tiered, TieredEvent, WaitError};
use crate::sync::context;
use crate::wait::{Outcome, Slot};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Queued,
    Done,
}

pin_project! {
    /// The future of [`Tiered::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it before it is ready gives the tokens back in every tier, granted or not; those who wait behind move up.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<'a> {
        limiter: &'a Tiered,
        request: Request<'a>,
        limit: Option<Duration>,
        state: State,
        // When the wait began, in nanoseconds of the limiter.
        since: u64,
        #[pin]
        slot: Slot<Want>,
    }

    impl PinnedDrop for Acquire<'_> {
        fn drop(this: Pin<&mut Self>) {
            if this.state == State::Queued {
                let this = this.project();
                abandon(&this.limiter.inner, this.slot.as_ref());
                this.limiter.inner.tell_cancelled(this.request.tokens, *this.since);
            }
        }
    }
}

impl<'a> Acquire<'a> {
    pub(super) fn new(limiter: &'a Tiered, request: Request<'a>, limit: Option<Duration>) -> Self {
        Self { limiter, request, limit, state: State::Fresh, since: 0, slot: Slot::new() }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), WaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = &this.limiter.inner;
        let poll = match *this.state {
            State::Fresh => {
                let wait = (&mut *this.state, &mut *this.since);
                start(inner, this.slot.as_ref(), wait, cx.waker(), this.request, *this.limit)
            }
            State::Queued => poll_queued(inner, this.slot.as_ref(), cx.waker()),
            State::Done => return Poll::Pending,
        };
        match &poll {
            Poll::Pending => *this.state = State::Queued,
            Poll::Ready(result) => {
                let queued = std::mem::replace(this.state, State::Done) == State::Queued;
                inner.tell_ended(this.request.tokens, queued.then_some(*this.since), result);
            }
        }
        poll
    }
}

fn start(
    inner: &Arc<Inner>,
    slot: Pin<&Slot<Want>>,
    wait: (&mut State, &mut u64),
    waker: &Waker,
    request: &Request<'_>,
    limit: Option<Duration>,
) -> Poll<Result<(), WaitError>> {
    if context::can_end() {
        if let Err(ended) = context::check(|| inner.epoch.clock().now()) {
            return Poll::Ready(Err(ended.into()));
        }
    }
    if request.tokens == 0 {
        return Poll::Ready(Ok(()));
    }
    let now = inner.epoch.nanos();
    let known = if inner.somebody_waits() {
        None
    } else {
        match inner.take(request, now, Purpose::Take) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(refusal) => Some(refusal),
        }
    };
    let limit = limit.map_or(u64::MAX, |limit| super::bucket::nanos(limit).saturating_add(now));
    let deadline = context::deadline().instant().map_or(u64::MAX, |deadline| inner.epoch.nanos_at(deadline));
    let limit = limit.min(deadline);
    match known {
        // Most of all refusals end here, without the queue's mutex.
        Some(refusal) if is_too_late(&refusal, now, limit) => Poll::Ready(Err(WaitError::Refused(refusal))),
        known => enqueue(inner, slot, wait, waker, request, Ask { now, limit, counted: known.is_some() }),
    }
}

/// A request that may have to wait.
struct Ask {
    now: u64,
    /// Until when it would wait.
    limit: u64,
    /// It has been decided on, and counted.
    counted: bool,
}

fn is_too_late(refusal: &Refusal, now: u64, limit: u64) -> bool {
    refusal.retry.is_none_or(|retry| now.saturating_add(retry) > limit)
}

fn enqueue(
    inner: &Arc<Inner>,
    slot: Pin<&Slot<Want>>,
    (state, since): (&mut State, &mut u64),
    waker: &Waker,
    request: &Request<'_>,
    ask: Ask,
) -> Poll<Result<(), WaitError>> {
    let Ask { now, limit, counted } = ask;
    let engine = &inner.engine;
    let ticket = engine.routes.ticket(request);
    let mut names = Names::new(&engine.routes, request);
    let waker = waker.clone();
    let mut queued = inner.announce();
    let queue = &mut *queued.queue;
    let (places, shared) = engine.places(&ticket, now);
    names.shared = shared;
    let order = queue.order(now, request.priority);
    let kept = queue.blocks(&places);
    let estimate = if kept == 0 {
        None
    } else {
        let estimate = queue.estimate(engine, &places, ticket.tokens, order, now, &names);
        // There is enough for all whom it stands behind.
        if estimate.retry == Some(0) && !queue.is_last(order) { None } else { Some(estimate.after(0)) }
    };
    let (refusal, waits_for) = match estimate {
        Some(refusal) => {
            if !counted {
                engine.shards.count_refusal(&places, refusal.tier);
            }
            (refusal, kept)
        }
        None => {
            let purpose = if counted { Purpose::Again } else { Purpose::Take };
            match engine.shards.decide(&places, ticket.tokens, now, &names, purpose) {
                Ok(_) => {
                    drop(queued);
                    return Poll::Ready(Ok(()));
                }
                Err(refusal) => {
                    let tier = bit(refusal.tier);
                    (refusal, tier)
                }
            }
        }
    };
    if is_too_late(&refusal, now, limit) {
        drop(queued);
        return Poll::Ready(Err(WaitError::Refused(refusal)));
    }
    if queue.len() >= queue.most {
        queue.waits.dropped += 1;
        drop(queued);
        return Poll::Ready(Err(WaitError::Full(refusal)));
    }
    let queued_for = inner.observers.may_be_watched().then(|| refusal.clone());
    let want = Want {
        ticket,
        names,
        places,
        order,
        since: now,
        limit,
        waits_for,
        holds_all: false,
        refusal,
        refused_at: now,
        charged: None,
    };
    let needs_pass = queue.join(slot, want, waker);
    // Before foreign code runs: should it panic, the future is dropped in the queue.
    (*state, *since) = (State::Queued, now);
    let due = queue.due();
    let orders = queue.alarm.set(due);
    drop(queued);
    if let Some(refusal) = queued_for {
        inner.observers.emit(|| TieredEvent::Queued { refusal });
    }
    if inner.arm(orders) || needs_pass {
        inner.serve(inner.epoch.nanos());
        return outcome(slot);
    }
    Poll::Pending
}

fn poll_queued(inner: &Inner, slot: Pin<&Slot<Want>>, waker: &Waker) -> Poll<Result<(), WaitError>> {
    if slot.outcome().is_none() {
        let mut fresh = Some(waker.clone());
        let mut queue = inner.lock();
        let old = queue.set_waker(slot, &mut fresh);
        drop(queue);
        drop((old, fresh));
    }
    outcome(slot)
}

fn outcome(slot: Pin<&Slot<Want>>) -> Poll<Result<(), WaitError>> {
    match slot.take() {
        None => Poll::Pending,
        Some((Outcome::Granted, _)) => Poll::Ready(Ok(())),
        Some((_, want)) => Poll::Ready(Err(WaitError::Refused(want.refusal))),
    }
}

/// Dropped in the queue, or with a grant that nobody has seen.
fn abandon(inner: &Arc<Inner>, slot: Pin<&Slot<Want>>) {
    let now = inner.epoch.nanos();
    let mut queue = inner.lock();
    let left = queue.leave(slot);
    if left.is_none() {
        queue.waits.cancelled += 1;
    }
    drop(queue);
    if left.is_none() {
        if let Some((Outcome::Granted, want)) = slot.take() {
            if let Some(charged) = &want.charged {
                // The server may have named another bucket since then.
                let (places, _) = inner.engine.places(&want.ticket, now);
                inner.engine.shards.refund(&charged.moved_to(&places), now);
            }
        }
    }
    // First, so that the others are served even if a foreign waker does not like to be dropped.
    inner.serve(now);
    drop(left);
}

impl Inner {
    /// Decides on a request at once.
    pub(super) fn take(&self, request: &Request<'_>, now: u64, purpose: Purpose) -> Result<(), Refusal> {
        let ticket = self.engine.routes.ticket(request);
        let (places, shared) = self.engine.places(&ticket, now);
        let names = ByRequest { routes: &self.engine.routes, request, shared };
        let decision = self.engine.shards.decide(&places, ticket.tokens, now, &names, purpose);
        decision.map(drop)
    }

    /// As [`take`](Self::take), where others wait: behind those who wait for the same buckets.
    #[cold]
    pub(super) fn take_behind(
        &self,
        request: &Request<'_>,
        now: u64,
        purpose: Purpose,
    ) -> Result<(), Refusal> {
        let engine = &self.engine;
        let ticket = engine.routes.ticket(request);
        let mut queue = self.lock();
        let (places, shared) = engine.places(&ticket, now);
        let names = ByRequest { routes: &engine.routes, request, shared };
        let kept = queue.blocks(&places);
        let names: &dyn Naming = &names;
        if kept != 0 {
            let refusal = queue.estimate(engine, &places, ticket.tokens, u64::MAX, now, names);
            if purpose == Purpose::Take {
                engine.shards.count_refusal(&places, refusal.tier);
            }
            return Err(refusal.after(0));
        }
        let decision = engine.shards.decide(&places, ticket.tokens, now, names, purpose);
        drop(queue);
        decision.map(drop)
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("request", &self.request)
            .field("limit", &self.limit)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
