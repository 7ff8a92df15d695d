//! Waiting for tokens.

use super::Limiter;
use super::event::LimiterEvent;
use super::inner::Inner;
use super::line::{Ask, Entry, Line, Want};
use crate::limit::{Algorithm, Denied, Gcra, WaitError};
use crate::shim::Mutex;
use crate::sync::context;
use crate::time::Sleep;
use crate::wait::{Outcome, Slot};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Never,
    After(Duration),
}

enum State {
    Fresh,
    /// In line since then.
    Queued(u64),
    /// Granted, and not told yet.
    Lingering(Box<Linger>),
    Done,
}

struct Linger {
    /// Never locked: a sleep alone cannot be shared between threads, and the future can.
    sleep: Mutex<Sleep>,
    want: Want,
    since: u64,
}

pin_project! {
    /// The future of [`Limiter::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it before it is ready gives the tokens back, granted or not; those who wait behind move up.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<'a, A = Gcra>
    where
        A: Algorithm,
    {
        limiter: &'a Limiter<A>,
        n: u64,
        limit: Limit,
        state: State,
        #[pin]
        slot: Slot<Want>,
    }

    impl<A: Algorithm> PinnedDrop for Acquire<'_, A> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            match this.state {
                State::Queued(since) => abandon(&this.limiter.inner, this.slot.as_ref(), *this.n, *since),
                State::Lingering(linger) => give_back(&this.limiter.inner, &linger.want, linger.since),
                State::Fresh | State::Done => {}
            }
        }
    }
}

impl<'a, A: Algorithm> Acquire<'a, A> {
    pub(super) fn new(limiter: &'a Limiter<A>, n: u64, limit: Limit) -> Self {
        Self { limiter, n, limit, state: State::Fresh, slot: Slot::new() }
    }
}

impl<A: Algorithm> Future for Acquire<'_, A> {
    type Output = Result<(), WaitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = &this.limiter.inner;
        if let State::Fresh = this.state {
            let poll = match start(inner, *this.n, *this.limit) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(Start::Refused(error)) => Poll::Ready(Err(error)),
                Err(Start::Short(ask)) => {
                    *this.state = State::Queued(ask.now);
                    enqueue(inner, this.slot.as_ref(), cx.waker(), ask)
                }
            };
            if poll.is_ready() {
                *this.state = State::Done;
            }
            return poll;
        }
        poll_on(inner, this.slot.as_ref(), this.state, *this.limit, cx)
    }
}

/// Why it did not end at once.
enum Start {
    Refused(WaitError),
    Short(Ask),
}

/// All that a ready acquisition does.
#[inline]
fn start<A: Algorithm>(inner: &Arc<Inner<A>>, n: u64, limit: Limit) -> Result<(), Start> {
    if context::can_end() {
        context::check(|| inner.epoch.clock().now()).map_err(|ended| Start::Refused(ended.into()))?;
    }
    if n == 0 {
        return Ok(());
    }
    let now = inner.epoch.nanos();
    match inner.decide(now, n) {
        Ok(()) => {
            inner.tell_decided(n, &Ok(()));
            Ok(())
        }
        Err(denied) => Err(short(inner, now, denied, limit)),
    }
}

fn short<A: Algorithm>(inner: &Inner<A>, now: u64, denied: Denied, limit: Limit) -> Start {
    let n = denied.wanted();
    let limit = last_nanosecond(inner, now, limit);
    let in_time = match denied.retry_nanos() {
        Some(after) => now.saturating_add(after) <= limit,
        // Until somebody resumes it: worth waiting for, by who has all the time.
        None => denied.is_paused() && !denied.is_never() && limit == u64::MAX,
    };
    if in_time {
        return Start::Short(Ask { n, now, limit, held: None });
    }
    inner.tell_decided(n, &Err(denied));
    Start::Refused(denied.into())
}

fn last_nanosecond<A: Algorithm>(inner: &Inner<A>, now: u64, limit: Limit) -> u64 {
    let limit = match limit {
        Limit::Never => u64::MAX,
        Limit::After(limit) => u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).saturating_add(now),
    };
    let deadline = context::deadline().instant().map_or(u64::MAX, |deadline| inner.epoch.nanos_at(deadline));
    limit.min(deadline)
}

fn enqueue<A: Algorithm>(
    inner: &Arc<Inner<A>>,
    slot: Pin<&Slot<Want>>,
    waker: &Waker,
    ask: Ask,
) -> Poll<Result<(), WaitError>> {
    let mut waker = Some(waker.clone());
    let entry = inner.enqueue(slot, &mut waker, ask);
    match &entry {
        Some(Ok(Entry::Queued)) => inner.tell(|| LimiterEvent::Queued { tokens: ask.n }),
        Some(Ok(Entry::Admitted)) => inner.tell_decided(ask.n, &Ok(())),
        Some(Err(denied)) => inner.tell_decided(ask.n, &Err(*denied)),
        None => inner.tell_full(ask.n),
    }
    match entry {
        Some(Ok(Entry::Queued)) => Poll::Pending,
        Some(Ok(Entry::Admitted)) => Poll::Ready(Ok(())),
        Some(Err(denied)) => Poll::Ready(Err(denied.into())),
        None => Poll::Ready(Err(WaitError::QueueFull { limit: inner.queue })),
    }
}

fn poll_on<A: Algorithm>(
    inner: &Arc<Inner<A>>,
    slot: Pin<&Slot<Want>>,
    state: &mut State,
    limit: Limit,
    cx: &mut Context<'_>,
) -> Poll<Result<(), WaitError>> {
    if let State::Queued(since) = *state {
        let want_n;
        if slot.outcome().is_none() {
            let mut fresh = Some(cx.waker().clone());
            let mut ledger = inner.lock();
            let old = ledger.line.set_waker(slot, &mut fresh);
            drop(ledger);
            drop((old, fresh));
        }
        match slot.take() {
            None => return Poll::Pending,
            Some((Outcome::Granted, want)) => {
                want_n = want.n;
                *state = linger(inner, since, want, limit);
            }
            Some((_, want)) => {
                *state = State::Done;
                let denied = want.verdict.unwrap_or(Denied::never(A::NAME, want.n, 0));
                inner.tell(|| LimiterEvent::Denied { denied });
                return Poll::Ready(Err(denied.into()));
            }
        }
        if let State::Done = state {
            inner.tell(|| LimiterEvent::Granted { tokens: want_n, waited: inner.waited(since) });
            return Poll::Ready(Ok(()));
        }
    }
    let State::Lingering(linger) = state else { return Poll::Pending };
    if Pin::new(linger.sleep.get_mut()).poll(cx).is_pending() {
        return Poll::Pending;
    }
    let (tokens, since) = (linger.want.n, linger.since);
    *state = State::Done;
    inner.tell(|| LimiterEvent::Granted { tokens, waited: inner.waited(since) });
    Poll::Ready(Ok(()))
}

/// What becomes of a grant: all there is to it, unless waits are lengthened.
fn linger<A: Algorithm>(inner: &Inner<A>, since: u64, want: Want, limit: Limit) -> State {
    let Some(jitter) = &inner.jitter else { return State::Done };
    let now = inner.epoch.nanos();
    // No longer than there is time.
    let last = last_nanosecond(inner, since, limit).min(want.limit);
    let until = now.saturating_add(jitter.draw(now.saturating_sub(since))).min(last);
    match inner.epoch.instant(until) {
        Some(instant) if until > now => {
            let sleep = Mutex::new(inner.epoch.clock().sleep_until(instant));
            State::Lingering(Box::new(Linger { sleep, want, since }))
        }
        _ => State::Done,
    }
}

/// Dropped in line, or with a grant that nobody has seen.
fn abandon<A: Algorithm>(inner: &Arc<Inner<A>>, slot: Pin<&Slot<Want>>, tokens: u64, since: u64) {
    let now = inner.epoch.nanos();
    let (waker, changed) = inner.change(now, |ledger| match ledger.line.leave(slot, now) {
        Some(waker) => waker,
        None => {
            if let Some((Outcome::Granted, want)) = slot.take() {
                ledger.line.give_back(&want, now);
            }
            None
        }
    });
    changed.serve_all();
    drop(waker);
    inner.tell(|| LimiterEvent::Cancelled { tokens, waited: inner.waited(since) });
}

/// Dropped with a grant that it had not told of.
fn give_back<A: Algorithm>(inner: &Arc<Inner<A>>, want: &Want, since: u64) {
    let now = inner.epoch.nanos();
    let ((), changed) = inner.change(now, |ledger| ledger.line.give_back(want, now));
    changed.serve_all();
    inner.tell(|| LimiterEvent::Cancelled { tokens: want.n, waited: inner.waited(since) });
}

impl<A: Algorithm> fmt::Debug for Acquire<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("n", &self.n)
            .field("limit", &self.limit)
            .field("waiting", &matches!(self.state, State::Queued(_) | State::Lingering(_)))
            .finish_non_exhaustive()
    }
}
