//! Waiting for tokens.

use super::chain::{Entry, Want};
use super::{Inner, TokenBucket};
use crate::limit::gcra::NAME;
use crate::limit::{Denied, WaitError};
use crate::sync::context;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Queued,
    Done,
}

pin_project! {
    /// The future of [`TokenBucket::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it before it is ready gives the tokens back, granted or not; those who wait behind move up.
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire<'a> {
        bucket: &'a TokenBucket,
        n: u64,
        limit: Limit,
        state: State,
        #[pin]
        slot: Slot<Want>,
    }

    impl PinnedDrop for Acquire<'_> {
        fn drop(this: Pin<&mut Self>) {
            if this.state == State::Queued {
                let this = this.project();
                abandon(&this.bucket.inner, this.slot.as_ref());
            }
        }
    }
}

impl<'a> Acquire<'a> {
    pub(super) fn new(bucket: &'a TokenBucket, n: u64, limit: Limit) -> Self {
        Self { bucket, n, limit, state: State::Fresh, slot: Slot::new() }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), WaitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = &this.bucket.inner;
        let poll = match this.state {
            State::Fresh => match start(inner, *this.n, *this.limit) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(Start::Refused(error)) => Poll::Ready(Err(error)),
                Err(Start::Short { now, limit }) => {
                    enqueue(inner, this.slot.as_ref(), cx.waker(), *this.n, now, limit)
                }
            },
            State::Queued => poll_queued(inner, this.slot.as_ref(), cx.waker()),
            State::Done => return Poll::Pending,
        };
        *this.state = if poll.is_ready() { State::Done } else { State::Queued };
        poll
    }
}

/// Why it did not end at once.
enum Start {
    Refused(WaitError),
    Short { now: u64, limit: u64 },
}

/// All that a ready acquisition does.
#[inline]
fn start(inner: &Inner, n: u64, limit: Limit) -> Result<(), Start> {
    if context::can_end() {
        context::check(|| inner.epoch.clock().now()).map_err(|ended| Start::Refused(ended.into()))?;
    }
    if n == 0 {
        return Ok(());
    }
    let now = inner.epoch.nanos();
    match inner.decide(now, n) {
        Ok(()) => {
            inner.count(true);
            Ok(())
        }
        Err(denied) => Err(short(inner, now, denied, limit)),
    }
}

fn short(inner: &Inner, now: u64, denied: Denied, limit: Limit) -> Start {
    let limit = match limit {
        Limit::Never => u64::MAX,
        Limit::After(limit) => u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).saturating_add(now),
    };
    let deadline = context::deadline().instant().map_or(u64::MAX, |deadline| inner.epoch.nanos_at(deadline));
    let limit = limit.min(deadline);
    match denied.retry_nanos() {
        Some(after) if now.saturating_add(after) <= limit => Start::Short { now, limit },
        _ => {
            inner.count(false);
            Start::Refused(denied.into())
        }
    }
}

fn enqueue(
    inner: &Arc<Inner>,
    slot: Pin<&Slot<Want>>,
    waker: &Waker,
    n: u64,
    now: u64,
    limit: u64,
) -> Poll<Result<(), WaitError>> {
    let mut waker = Some(waker.clone());
    let (entry, ledger) = inner.change(now, |chain| chain.wait(slot, &mut waker, n, now, limit));
    match entry {
        Ok(Entry::Queued) => {
            inner.serve(ledger, now);
            Poll::Pending
        }
        Ok(Entry::Admitted) => {
            drop(ledger);
            Poll::Ready(Ok(()))
        }
        Err(denied) => {
            drop(ledger);
            Poll::Ready(Err(denied.into()))
        }
    }
}

fn poll_queued(inner: &Inner, slot: Pin<&Slot<Want>>, waker: &Waker) -> Poll<Result<(), WaitError>> {
    if slot.outcome().is_none() {
        let mut fresh = Some(waker.clone());
        let mut ledger = inner.lock();
        let old = ledger.chain.set_waker(slot, &mut fresh);
        drop(ledger);
        drop((old, fresh));
    }
    match slot.take() {
        None => Poll::Pending,
        Some((Outcome::Granted, _)) => Poll::Ready(Ok(())),
        Some((_, want)) => {
            let denied = want.verdict.unwrap_or(Denied::never(NAME, want.n, 0));
            Poll::Ready(Err(denied.into()))
        }
    }
}

/// Dropped in the queue, or with a grant that nobody has seen.
fn abandon(inner: &Arc<Inner>, slot: Pin<&Slot<Want>>) {
    let now = inner.epoch.nanos();
    let (waker, ledger) = inner.change(now, |chain| match chain.leave(slot, now) {
        Some(waker) => waker,
        None => {
            if let Some((Outcome::Granted, want)) = slot.take() {
                chain.give_back(want.n, want.seq, now);
            }
            None
        }
    });
    inner.serve(ledger, now);
    drop(waker);
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("n", &self.n)
            .field("limit", &self.limit)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
