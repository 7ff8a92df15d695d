//! Waiting for tokens of a key.

use super::bell::Bell;
use super::hash::Short;
use super::inner::Inner;
use super::shard::Op;
use super::{KeyDenied, KeyWaitError, Keyed, KeyedEvent};
use crate::limit::limiter::line::{Ask, Entry, Want};
use crate::limit::{Algorithm, Denied};
use crate::panics::contain;
use crate::sync::context;
use crate::wait::{Outcome, Slot};
use pin_project_lite::pin_project;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
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
    /// The future of [`Keyed::acquire`] and its kin.
    ///
    /// # Cancel safety
    /// Dropping it before it is ready gives the tokens back, granted or not; those who wait behind for the same key move up.
    #[must_use = "futures do nothing unless polled"]
    pub struct AcquireKey<'a, K, Q, A, S>
    where
        K: Eq,
        K: Borrow<Q>,
        Q: ?Sized,
        Q: Eq,
        A: Algorithm,
    {
        limiter: &'a Keyed<K, A, S>,
        key: &'a Q,
        // The shard of the key, and its hash.
        place: (usize, Short),
        n: u64,
        limit: Option<Duration>,
        state: State,
        // When the wait began, in nanoseconds of the limiter.
        since: u64,
        // For an event, also when it is dropped: what is dropped has no more bounds than its type.
        own: fn(&Q) -> K,
        #[pin]
        slot: Slot<Want>,
    }

    impl<K, Q, A, S> PinnedDrop for AcquireKey<'_, K, Q, A, S>
    where
        K: Eq,
        K: Borrow<Q>,
        Q: ?Sized,
        Q: Eq,
        A: Algorithm,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if *this.state == State::Queued {
                let (inner, key, own) = (&this.limiter.inner, *this.key, *this.own);
                abandon(inner, *this.place, key, this.slot.as_ref());
                if inner.is_watched() {
                    let (tokens, since) = (*this.n, *this.since);
                    let cancelled = || {
                        let waited = inner.waited(since);
                        inner.tell(|| KeyedEvent::Cancelled { key: own(key), tokens, waited });
                    };
                    // The clone of a key is foreign, and this may be a panic already.
                    contain(cancelled);
                }
            }
        }
    }
}

impl<'a, K, Q, A, S> AcquireKey<'a, K, Q, A, S>
where
    K: Hash + Eq + Borrow<Q>,
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    A: Algorithm,
    S: BuildHasher,
{
    pub(super) fn new(limiter: &'a Keyed<K, A, S>, key: &'a Q, n: u64, limit: Option<Duration>) -> Self {
        let place = limiter.inner.find(key);
        limiter.inner.fetch(place);
        Self {
            limiter,
            key,
            place,
            n,
            limit,
            state: State::Fresh,
            since: 0,
            own: Q::to_owned,
            slot: Slot::new(),
        }
    }
}

impl<K, Q, A, S> Future for AcquireKey<'_, K, Q, A, S>
where
    K: Hash + Eq + Borrow<Q> + Send + 'static,
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    type Output = Result<(), KeyWaitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (inner, key, place) = (&this.limiter.inner, *this.key, *this.place);
        match *this.state {
            State::Done => return Poll::Pending,
            State::Queued => {
                let polled = poll_on(inner, place, key, this.slot.as_ref(), this.state, cx);
                if let Poll::Ready(result) = &polled {
                    count_if_denied(inner, place.0, result);
                }
                if let (true, Poll::Ready(result)) = (inner.is_watched(), &polled) {
                    tell_waited(inner, key, *this.n, *this.since, result);
                }
                return polled;
            }
            State::Fresh => {}
        }
        let result = loop {
            let (ask, bell) = match start(inner, place, key, *this.n, *this.limit) {
                Ok(()) => break Ok(()),
                Err(Start::Refused(error)) => break Err(error),
                Err(Start::Short(ask)) => (ask, inner.bell(place.0)),
            };
            let (Some(bell), Some(cell)) = (bell, inner.cell(place.0)) else { break Ok(()) };
            let mut waker = Some(cx.waker().clone());
            let slot = this.slot.as_ref();
            match cell.change(|shard| shard.enqueue(place.1, key, slot, &mut waker, ask)) {
                Some(Ok(Entry::Queued)) => {
                    *this.state = State::Queued;
                    *this.since = ask.now;
                    inner.tell(|| KeyedEvent::Queued { key: key.to_owned(), tokens: ask.n });
                    bell.serve(ask.now);
                    return Poll::Pending;
                }
                Some(Ok(Entry::Admitted)) => break Ok(()),
                Some(Err(denied)) => break Err(denied.into()),
                // The key was forgotten in between.
                None => {}
            }
        };
        *this.state = State::Done;
        count_if_denied(inner, place.0, &result);
        if inner.is_watched() {
            tell_at_once(inner, key, *this.n, &result);
        }
        Poll::Ready(result)
    }
}

/// Only now is it known that it was, and does not wait.
#[inline]
fn count_if_denied<K: Eq, A: Algorithm, S>(
    inner: &Inner<K, A, S>,
    index: usize,
    result: &Result<(), KeyWaitError>,
) {
    if let (Err(KeyWaitError::Denied(_)), Some(cell)) = (result, inner.cell(index)) {
        cell.long(|shard| shard.tally.denied += 1);
    }
}

/// A request that did not wait.
#[cold]
fn tell_at_once<K, Q, A, S>(inner: &Inner<K, A, S>, key: &Q, n: u64, result: &Result<(), KeyWaitError>)
where
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    A: Algorithm,
{
    let decided = match result {
        Ok(()) => Ok(()),
        Err(KeyWaitError::Denied(denied)) => Err(KeyDenied::Denied(*denied)),
        // Told of already; or nothing was asked for.
        Err(KeyWaitError::TooManyKeys(_) | KeyWaitError::Ended(_)) => return,
    };
    inner.tell_decided(key, Op::Take(n), decided);
}

/// A request whose wait has ended.
#[cold]
fn tell_waited<K, Q, A, S>(
    inner: &Inner<K, A, S>,
    key: &Q,
    tokens: u64,
    since: u64,
    result: &Result<(), KeyWaitError>,
) where
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    A: Algorithm,
{
    match result {
        Ok(()) => {
            let waited = inner.waited(since);
            inner.tell(|| KeyedEvent::Granted { key: key.to_owned(), tokens, waited });
        }
        Err(_) => tell_at_once(inner, key, tokens, result),
    }
}

/// Why it did not end at once.
enum Start {
    Refused(KeyWaitError),
    Short(Ask),
}

/// All that a ready acquisition does.
fn start<K, Q, A, S>(
    inner: &Inner<K, A, S>,
    place: (usize, Short),
    key: &Q,
    n: u64,
    limit: Option<Duration>,
) -> Result<(), Start>
where
    K: Hash + Eq + Borrow<Q>,
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    A: Algorithm,
    S: BuildHasher,
{
    if context::can_end() {
        context::check(|| inner.epoch.clock().now()).map_err(|ended| Start::Refused(ended.into()))?;
    }
    if n == 0 {
        return Ok(());
    }
    let now = inner.epoch.nanos();
    match inner.apply_at(key, place, now, Op::Ask(n)) {
        Ok(()) => Ok(()),
        Err(KeyDenied::TooManyKeys(full)) => Err(Start::Refused(full.into())),
        Err(KeyDenied::Denied(denied)) => Err(short(inner, now, denied, limit)),
    }
}

fn short<K, A: Algorithm, S>(
    inner: &Inner<K, A, S>,
    now: u64,
    denied: Denied,
    limit: Option<Duration>,
) -> Start {
    let limit = limit
        .map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).saturating_add(now));
    let deadline = context::deadline().instant().map_or(u64::MAX, |deadline| inner.epoch.nanos_at(deadline));
    let limit = limit.min(deadline);
    match denied.retry_nanos() {
        Some(after) if now.saturating_add(after) <= limit => {
            Start::Short(Ask { n: denied.wanted(), now, limit, held: None })
        }
        _ => Start::Refused(denied.into()),
    }
}

fn poll_on<K, Q, A, S>(
    inner: &Inner<K, A, S>,
    (index, hash): (usize, Short),
    key: &Q,
    slot: Pin<&Slot<Want>>,
    state: &mut State,
    cx: &mut Context<'_>,
) -> Poll<Result<(), KeyWaitError>>
where
    K: Eq + Borrow<Q>,
    Q: ?Sized + Eq,
    A: Algorithm,
{
    if slot.outcome().is_none() {
        let mut fresh = Some(cx.waker().clone());
        let old =
            inner.cell(index).map(|cell| cell.long(|shard| shard.set_waker(hash, key, slot, &mut fresh)));
        drop((old, fresh));
    }
    let Some((outcome, want)) = slot.take() else { return Poll::Pending };
    *state = State::Done;
    Poll::Ready(match outcome {
        Outcome::Granted => Ok(()),
        _ => Err(want.verdict.unwrap_or(Denied::never(A::NAME, want.n, 0)).into()),
    })
}

/// Dropped in line, or with a grant that nobody has seen.
fn abandon<K, Q, A, S>(
    inner: &Arc<Inner<K, A, S>>,
    (index, hash): (usize, Short),
    key: &Q,
    slot: Pin<&Slot<Want>>,
) where
    K: Eq + Borrow<Q>,
    Q: ?Sized + Eq,
    A: Algorithm,
{
    let now = inner.epoch.nanos();
    let waker: Option<Waker> =
        inner.cell(index).and_then(|cell| cell.serve_after(now, |shard| shard.abandon(hash, key, slot, now)));
    drop(waker);
}

impl<K, Q, A, S> fmt::Debug for AcquireKey<'_, K, Q, A, S>
where
    K: Eq + Borrow<Q>,
    Q: ?Sized + Eq + ToOwned<Owned = K>,
    A: Algorithm,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireKey")
            .field("n", &self.n)
            .field("limit", &self.limit)
            .field("waiting", &(self.state == State::Queued))
            .finish_non_exhaustive()
    }
}

impl<K, A, S> Inner<K, A, S>
where
    K: Eq + Send + 'static,
    A: Algorithm,
    S: Send + Sync + 'static,
{
    /// The bell of a shard, which is made for the first wait.
    fn bell(self: &Arc<Self>, index: usize) -> Option<Arc<dyn super::bell::Ring>> {
        let cell = self.cell(index)?;
        if let Some(bell) = cell.long(|shard| shard.bell.clone()) {
            return Some(bell);
        }
        let bell: Arc<dyn super::bell::Ring> = Arc::new(Bell::new(self, index));
        Some(cell.long(|shard| Arc::clone(shard.bell.get_or_insert(bell))))
    }
}
