//! The way of a call through a cache: found, waited for, or loaded.

use super::entry::{Cached, Entry, Failure, Origin, Stored};
use super::flight::{End, Flight, Part};
use super::{Cache, CacheEvent, Found, Inner, Outcome, event};
use crate::resilience::{Attempt, Error, Rejection};
use crate::sync::context;
use crate::sync::striped::lane;
use crate::time::Alarm;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A share of a flight.
pub(super) struct Share<K, V, E> {
    inner: Arc<Inner<K, V, E>>,
    flight: Arc<Flight<Outcome<V, E>>>,
    hash: u64,
}

impl<K, V, E> Share<K, V, E> {
    /// The leader is gone.
    fn abandon(&self) {
        self.inner.flights.abandon(self.hash, &self.flight);
    }
}

/// The duty to load: to be [completed](Self::complete), or passed on when it is dropped.
pub(super) struct Turn<K, V, E> {
    /// Taken when it is completed.
    lead: Option<Share<K, V, E>>,
    /// Taken when it is put into the store.
    key: Option<K>,
}

impl<K, V, E> Drop for Turn<K, V, E> {
    fn drop(&mut self) {
        if let Some(share) = &self.lead {
            share.abandon();
        }
    }
}

impl<K, V, E> Turn<K, V, E> {
    fn new(share: Share<K, V, E>, key: K) -> Self {
        Self { lead: Some(share), key: Some(key) }
    }

    /// What is to be loaded.
    pub(super) fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }
}

impl<K: Hash + Eq, V, E: Clone> Turn<K, V, E> {
    /// Keeps the result, tells all who wait, and says what the one who has loaded gets: where that fails, `old`, if it may
    /// stand in.
    pub(super) fn complete(
        mut self,
        result: Result<V, Error<E>>,
        old: Option<Arc<Entry<V>>>,
    ) -> Result<Cached<V>, Error<E>> {
        let (Some(share), Some(key)) = (&self.lead, &self.key) else { return Err(ended(result)) };
        let Share { inner, flight, hash } = share;
        let (inner, flight, hash) = (Arc::clone(inner), Arc::clone(flight), *hash);
        let now = if result.is_ok() { 0 } else { inner.epoch.nanos() };
        let old = old.filter(|old| inner.may_stand_in(old, now));
        let (outcome, mut stored) = match result {
            Ok(value) => {
                let entry = Arc::new(inner.entry(key, value, None));
                (Ok(Arc::clone(&entry)), Some(Stored::Value(entry)))
            }
            // This caller's own affair: it says nothing of the value.
            Err(error) if error.is_cancelled() || error.is_deadline_exceeded() => return Err(error),
            Err(error) => {
                let keep = inner
                    .settings
                    .times
                    .keep_errors()
                    .filter(|_| old.is_none() && matches!(error, Error::Inner(_)));
                let stored = keep.map(|ttl| {
                    let until = now.saturating_add(ttl);
                    Stored::Failure(Arc::new(Failure { error: error.clone(), until, old: None }))
                });
                (Err(error), stored)
            }
        };
        let own = match &outcome {
            Ok(entry) => Ok(Cached { entry: Arc::clone(entry), origin: Origin::Loaded }),
            Err(error) => old
                .map(|entry| Cached { entry, origin: Origin::StaleAfterError })
                .ok_or_else(|| error.clone()),
        };
        let outcome = Arc::new(outcome);
        let (mut seat, mut replaced, mut evicted) = (None, None, None);
        if let Some(part) = inner.flights.part(hash) {
            let mut part = part.lock();
            seat = part.take(hash, &flight);
            if let (Some(_), Some(new)) = (&seat, &mut stored) {
                // If the key's `Eq` panics in there, the turn is passed on to the next who waits.
                replaced = inner.store.peek(hash, key);
                if new.displaces(replaced.as_ref(), |there| inner.may_stand_in(there, now)) {
                    let pair = self.key.take().zip(stored.take());
                    evicted = pair.map(|(key, stored)| inner.store.insert(hash, key, stored));
                }
            }
        }
        self.lead = None;
        flight.finish(Arc::clone(&outcome));
        let name = inner.settings.name;
        if outcome.is_err() {
            inner.tally.add::<{ event::FAILED }>(lane());
            inner.observers.emit(|| CacheEvent::LoadFailed { name, key: hash });
        } else {
            inner.tally.add::<{ event::LOADED }>(lane());
            if evicted.is_some() {
                inner.stored(hash);
            }
        }
        if let Some(evicted) = &evicted {
            inner.evicted(evicted, replaced.as_ref());
        }
        drop((seat, replaced, evicted, stored));
        own
    }
}

/// A turn is completed once.
fn ended<V, E>(result: Result<V, Error<E>>) -> Error<E> {
    let closed = Rejection::new("cache", crate::resilience::Reason::Closed);
    result.err().unwrap_or_else(|| closed.into())
}

/// How a value is asked for.
pub(super) struct How<'a, K, V, E> {
    /// Whatever is there.
    pub(super) refresh: bool,
    /// Who loads what is stale, if not the caller.
    pub(super) background: Option<&'a (dyn Fn(Turn<K, V, E>) + Send + Sync)>,
}

impl<K, V, E> Default for How<'_, K, V, E> {
    fn default() -> Self {
        Self { refresh: false, background: None }
    }
}

impl<K, V, E> Clone for How<'_, K, V, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, E> Copy for How<'_, K, V, E> {}

/// What to do next.
enum Step<V, E> {
    Done(Result<Cached<V>, Error<E>>),
    Load,
}

pin_project! {
    /// The state of one call.
    pub(super) struct Lookup<K, V, E> {
        #[pin]
        slot: Slot<()>,
        // While it waits.
        waits: Option<Share<K, V, E>>,
        // While it loads.
        turn: Option<Turn<K, V, E>>,
        // What was there, for when the load fails.
        old: Option<Arc<Entry<V>>>,
        alarm: Alarm,
    }

    impl<K, V, E> PinnedDrop for Lookup<K, V, E> {
        fn drop(this: Pin<&mut Self>) {
            this.leave();
        }
    }
}

/// Passes the turn on if the poll of the load panics.
struct IfPanics<'a, K, V, E> {
    turn: &'a mut Option<Turn<K, V, E>>,
    armed: bool,
}

impl<K, V, E> Drop for IfPanics<'_, K, V, E> {
    fn drop(&mut self) {
        if self.armed {
            *self.turn = None;
        }
    }
}

impl<K, V, E> Lookup<K, V, E> {
    pub(super) fn new() -> Self {
        Self { slot: Slot::new(), waits: None, turn: None, old: None, alarm: Alarm::default() }
    }

    /// Leaves the line; passes on the turn, one that it knows nothing of yet included.
    fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(share) = this.waits.take() {
            if !share.flight.leave(this.slot.as_ref()) {
                if let Some(End::Lead) = share.flight.end(this.slot.as_ref()) {
                    share.abandon();
                }
            }
        }
        *this.turn = None;
    }

    /// As if nothing had been asked.
    pub(super) fn reset(mut self: Pin<&mut Self>) {
        self.as_mut().leave();
        let this = self.project();
        *this.old = None;
        this.alarm.disarm();
    }
}

impl<K: Hash + Eq, V, E: Clone> Lookup<K, V, E> {
    /// Drives `load` if it has to.
    #[inline]
    pub(super) fn poll<Q, A>(
        mut self: Pin<&mut Self>,
        cache: &Cache<K, V, E>,
        key: &Q,
        how: How<'_, K, V, E>,
        mut load: Pin<&mut A>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Cached<V>, Error<E>>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        A: Attempt<Ok = V, Err = E>,
    {
        if self.turn.is_none() {
            if self.waits.is_none() && !how.refresh {
                if let Found::Fresh(entry) = cache.inner.find(cache.inner.hash(key), key, None) {
                    return Poll::Ready(Ok(cache.inner.hit(entry, key)));
                }
            }
            match ready!(self.as_mut().step(&cache.inner, key, how, cx)) {
                Step::Done(result) => {
                    self.reset();
                    return Poll::Ready(result);
                }
                Step::Load => {}
            }
        }
        let mut watch = IfPanics { turn: self.as_mut().project().turn, armed: true };
        let polled = load.as_mut().poll_attempt(cx);
        watch.armed = false;
        drop(watch);
        let result = ready!(polled);
        let this = self.as_mut().project();
        let (turn, old) = (this.turn.take(), this.old.take());
        let result = match turn {
            Some(turn) => turn.complete(result, old),
            None => Err(ended(result)),
        };
        self.reset();
        Poll::Ready(result)
    }

    #[inline(never)]
    fn step<Q>(
        mut self: Pin<&mut Self>,
        inner: &Arc<Inner<K, V, E>>,
        key: &Q,
        how: How<'_, K, V, E>,
        cx: &mut Context<'_>,
    ) -> Poll<Step<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        if self.waits.is_none() {
            if let Err(ended) = context::check(|| inner.clock().now()) {
                return Poll::Ready(Step::Done(Err(Rejection::ended(inner.settings.name, &ended).into())));
            }
            if let Some(step) = self.as_mut().enter(inner, key, how, cx) {
                return Poll::Ready(step);
            }
        }
        let this = self.project();
        let Some(share) = this.waits else { return Poll::Pending };
        let slot = this.slot.as_ref();
        if slot.outcome().is_none() {
            share.flight.follow(slot, cx.waker());
        }
        if slot.outcome().is_none() {
            ready!(this.alarm.poll(inner.clock(), cx, |_| context::deadline()));
            if share.flight.leave(slot) {
                *this.waits = None;
                let reason = crate::resilience::Reason::DeadlineExceeded;
                return Poll::Ready(Step::Done(Err(Rejection::new(inner.settings.name, reason).into())));
            }
        }
        match share.flight.end(slot) {
            None => Poll::Pending,
            Some(End::Lead) => {
                // Passed on if the key's clone panics: by the drop of a turn without one.
                let pass_on = PassOn(this.waits);
                let key = key.to_owned();
                let share = pass_on.0.take();
                std::mem::forget(pass_on);
                *this.turn = share.map(|share| Turn::new(share, key));
                this.alarm.disarm();
                Poll::Ready(Step::Load)
            }
            Some(End::Done(outcome)) => {
                *this.waits = None;
                let old = this.old.take().filter(|old| inner.may_stand_in(old, inner.epoch.nanos()));
                Poll::Ready(Step::Done(match (&*outcome, old) {
                    (Ok(entry), _) => Ok(Cached { entry: Arc::clone(entry), origin: Origin::Joined }),
                    (Err(_), Some(entry)) => Ok(Cached { entry, origin: Origin::StaleAfterError }),
                    (Err(error), None) => Err(error.clone()),
                }))
            }
        }
    }

    /// Looks again, under the lock by which alone loads begin and end; then waits for one, or begins one.
    fn enter<Q>(
        self: Pin<&mut Self>,
        inner: &Arc<Inner<K, V, E>>,
        key: &Q,
        how: How<'_, K, V, E>,
        cx: &mut Context<'_>,
    ) -> Option<Step<V, E>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        enum Way<T> {
            Serve,
            Join(T),
            Lead(T),
        }
        let this = self.project();
        // All that runs code of the user's, before the lock; all that is dropped, after it.
        let hash = inner.hash(key);
        let owned = key.to_owned();
        let waker = cx.waker().clone();
        let now = Some(inner.epoch.nanos());
        let found;
        let way;
        {
            let mut part = inner.flights.part(hash)?.lock();
            found = if how.refresh { Found::Missing } else { inner.find(hash, key, now) };
            let flight = part.find(hash, key).map(Arc::clone);
            way = match (&found, flight) {
                (Found::Fresh(_) | Found::Failed(_), _) | (Found::Stale(_), Some(_)) => Way::Serve,
                (_, Some(flight)) => {
                    Part::<K, _>::join(&flight, this.slot.as_ref(), waker);
                    Way::Join(flight)
                }
                (_, None) => Way::Lead(part.begin(hash, owned)),
            };
        }
        let name = inner.settings.name;
        let share = |flight| Share { inner: Arc::clone(inner), flight, hash };
        let share = match way {
            Way::Serve => {
                return Some(Step::Done(match found {
                    Found::Fresh(entry) => Ok(inner.hit(entry, key)),
                    Found::Failed(failure) => {
                        inner.tally.add::<{ event::FAILURE_HITS }>(lane());
                        Err(failure.error.clone())
                    }
                    Found::Stale(entry) | Found::Old(entry) => Ok(inner.stale_hit(entry, hash)),
                    Found::Missing => return None,
                }));
            }
            Way::Join(flight) => {
                *this.waits = Some(share(flight));
                if let Found::Old(entry) = found {
                    *this.old = Some(entry);
                }
                inner.tally.add::<{ event::JOINED }>(lane());
                inner.observers.emit(|| CacheEvent::Coalesced { name, key: hash });
                return None;
            }
            Way::Lead(flight) => share(flight),
        };
        let pass_on = PassOn(&mut Some(share));
        let owned = key.to_owned();
        let turn = pass_on.0.take().map(|share| Turn::new(share, owned));
        std::mem::forget(pass_on);
        if let (Found::Stale(entry), Some(background)) = (&found, how.background) {
            let stale = inner.stale_hit(Arc::clone(entry), hash);
            turn.map(background);
            return Some(Step::Done(Ok(stale)));
        }
        *this.turn = turn;
        if let Found::Stale(entry) | Found::Old(entry) = found {
            *this.old = Some(entry);
        }
        inner.tally.add::<{ event::MISSES }>(lane());
        inner.observers.emit(|| CacheEvent::Miss { name, key: hash });
        Some(Step::Load)
    }
}

/// Passes on the lead of a flight if the making of a turn panics.
struct PassOn<'a, K, V, E>(&'a mut Option<Share<K, V, E>>);

impl<K, V, E> Drop for PassOn<'_, K, V, E> {
    fn drop(&mut self) {
        if let Some(share) = self.0.take() {
            share.abandon();
        }
    }
}

impl<K: Hash + Eq, V, E> Inner<K, V, E> {
    fn stale_hit(&self, entry: Arc<Entry<V>>, key: u64) -> Cached<V> {
        self.tally.add::<{ event::STALE }>(lane());
        let name = self.settings.name;
        self.observers.emit(|| CacheEvent::StaleHit { name, key });
        Cached { entry, origin: Origin::Stale }
    }
}

pin_project! {
    /// The future of [`Cache::get_or_load`] and [`Cache::refresh`].
    ///
    /// # Cancel safety
    /// Dropping it drops the load if it is this one that runs; another caller who waits for it takes over.
    #[must_use = "futures do nothing unless polled"]
    pub struct GetOrLoad<'a, K, V, E, Q, A>
    where
        Q: ?Sized,
    {
        cache: &'a Cache<K, V, E>,
        key: &'a Q,
        how: How<'a, K, V, E>,
        // Before the turn: what loads is dropped before the next caller does.
        #[pin]
        load: A,
        #[pin]
        lookup: Lookup<K, V, E>,
    }
}

impl<'a, K, V, E, Q: ?Sized, A> GetOrLoad<'a, K, V, E, Q, A> {
    pub(super) fn new(cache: &'a Cache<K, V, E>, key: &'a Q, how: How<'a, K, V, E>, load: A) -> Self {
        Self { cache, key, how, load, lookup: Lookup::new() }
    }
}

impl<K, V, E, Q, A> Future for GetOrLoad<'_, K, V, E, Q, A>
where
    K: Hash + Eq + Borrow<Q>,
    Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    E: Clone,
    A: Attempt<Ok = V, Err = E>,
{
    type Output = Result<Cached<V>, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.lookup.poll(this.cache, *this.key, *this.how, this.load, cx)
    }
}

impl<K, V, E, Q: ?Sized, A> fmt::Debug for GetOrLoad<'_, K, V, E, Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOrLoad").field("lookup", &self.lookup).finish_non_exhaustive()
    }
}

impl<K, V, E> fmt::Debug for Lookup<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("waits", &self.waits.is_some())
            .field("loads", &self.turn.is_some())
            .finish_non_exhaustive()
    }
}
