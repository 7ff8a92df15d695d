//! The limiter: an algorithm with a clock, a queue and one timer around it.

mod acquire;
mod builder;
mod course;
mod engine;
mod event;
mod followers;
mod inner;
mod jittered;
pub(in crate::limit) mod line;
mod plan;
mod reservation;
mod seen;
mod word;

pub use acquire::Acquire;
pub use builder::LimiterBuilder;
pub(in crate::limit) use engine::Engine;
pub use event::LimiterEvent;
pub(in crate::limit) use plan::Plan;
pub use reservation::Reservation;
pub(in crate::limit) use word::{Packed, Params, Step, WORD_BITS};

use super::{Algorithm, Denied, Gcra};
use crate::observe::Observe;
use crate::shim::Ordering;
use crate::time::{Deadline, Epoch};
use acquire::Limit;
pub(in crate::limit) use followers::Follow;
use inner::Inner;
use line::Line;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Admits by an [`Algorithm`], to those who ask now and to those who wait.
///
/// Every limiter of the crate is one of these: [`TokenBucket`](super::TokenBucket) is `Limiter<Gcra>`, and so on. A cheap handle:
/// clones share the limiter.
///
/// # Deciding
/// [`try_acquire`](Self::try_acquire) and its kin, and [`acquire`](Self::acquire) where the tokens are there, are lock-free for an
/// algorithm whose state fits a word (its docs say so): a load and a compare-exchange, and a denial writes nothing. Waiting, giving
/// up, reserving, refunding, looking and changing the settings take a short mutex, and so do all decisions of the other algorithms,
/// those of a limiter that is paused and, except for the token bucket, those while somebody waits.
///
/// Reading the clock costs several times the decision. If you have the time already, [`try_acquire_at`](Self::try_acquire_at)
/// spares it; [`Clock::quanta`](crate::time::Clock) reads it cheaply.
///
/// # Fairness
/// Whoever waits has been charged when he came, so later ones stand behind him: first come, first served, nobody barges in,
/// and a large request is not starved by small ones. One timer serves the whole queue, each waiter is woken once, and no
/// waiter needs another one's future to be polled. A timer that fires late does not push back those behind.
///
/// # Tokens are spent, not lent
/// What was admitted stays charged, whatever becomes of it, unless it is [refunded](Self::refund).
///
/// # Changes while it runs
/// | | what came in until then | those who wait |
/// |---|---|---|
/// | [`set`](Self::set) | came at the old rate and is kept, up to what the new settings can hold | are planned anew; who can no longer be served in the time he has is told at once |
/// | [`set_temporarily`](Self::set_temporarily) | the same, and again when it ends, by itself | the same |
/// | [`pause_until`](Self::pause_until) | goes on coming in | are planned from its end on |
///
/// The instants of reservations stand, whatever changes.
#[derive(Clone)]
pub struct Limiter<A: Algorithm = Gcra> {
    inner: Arc<Inner<A>>,
}

/// What a [`Limiter`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStats {
    /// Requests waiting now.
    pub waiting: usize,
    /// Requests that waited and got their tokens.
    pub granted: u64,
    /// Waits, grants and reservations that were given up before use.
    pub cancelled: u64,
    /// How often the clock was found to have gone back. It never mints tokens, but makes those who wait wait longer.
    ///
    /// Looked for where it costs nothing: when somebody who waits is served, when the settings are changed or it is paused, and
    /// here. A step back is counted if the clock then still says less than the last time it was looked for.
    pub clock_steps_back: u64,
    /// Requests admitted and denied on the spot, if the limiter was built to [count](LimiterBuilder::counted) them.
    pub decided: Option<Decided>,
}

/// Requests decided on the spot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// The tokens were there.
    pub allowed: u64,
    /// They were not.
    pub denied: u64,
}

impl<A: Algorithm> Limiter<A> {
    /// Of this algorithm, on the system's clock, with all the tokens there that it can hold.
    pub fn of(algorithm: impl Into<A>) -> Self {
        let algorithm = algorithm.into();
        let settings = inner::Settings {
            state: algorithm.fresh(0),
            algorithm,
            clock: Default::default(),
            name: None,
            counted: false,
            jitter: None,
            queue: usize::MAX,
        };
        Self { inner: Inner::start(settings) }
    }

    /// Of this algorithm, with other settings.
    pub fn builder(algorithm: impl Into<A>) -> LimiterBuilder<A> {
        LimiterBuilder::new(algorithm.into())
    }

    /// Takes a token if it is there now.
    ///
    /// # Errors
    /// It is not: [`Denied::retry_after`] says when it will be.
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<(), Denied> {
        self.inner.take(self.inner.epoch.nanos(), 1)
    }

    /// Takes `n` tokens if they are there now. None at all are always there.
    ///
    /// # Errors
    /// They are not, and [`Denied::retry_after`] says when they will be, or never: `n` is more than can be had at once.
    #[inline]
    pub fn try_acquire_many(&self, n: u64) -> Result<(), Denied> {
        if n == 0 { Ok(()) } else { self.inner.take(self.inner.epoch.nanos(), n) }
    }

    /// As [`try_acquire_many`](Self::try_acquire_many), at a time that the caller has read from the limiter's clock.
    ///
    /// Times may come out of order. One that is before the last decision finds fewer tokens than are there, never more;
    /// those are there again when the time has caught up.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    #[inline(always)]
    pub fn try_acquire_at(&self, n: u64, now: Instant) -> Result<(), Denied> {
        if n == 0 { Ok(()) } else { self.inner.take(self.inner.epoch.nanos_at(now), n) }
    }

    /// Waits for a token.
    ///
    /// # Fairness
    /// First come, first served; see the type.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready gives the token back, granted or not; those who wait behind move up.
    ///
    /// # Errors
    /// The token can never come (the rate is zero), or not before the deadline of the current
    /// [`Context`](crate::sync::Context), or that context has ended, or [as many wait](LimiterBuilder::queue) as may. Found out
    /// before waiting, with nothing taken.
    pub fn acquire(&self) -> Acquire<'_, A> {
        Acquire::new(self, 1, Limit::Never)
    }

    /// Waits for `n` tokens, to be taken all at once.
    ///
    /// # Fairness
    /// # Cancel safety
    /// # Errors
    /// As [`acquire`](Self::acquire); also, `n` is more than can be had at once, then or by a later change of the settings.
    pub fn acquire_many(&self, n: u64) -> Acquire<'_, A> {
        Acquire::new(self, n, Limit::Never)
    }

    /// Waits for a token for at most `limit`, counted from the first poll. If it will not come in that time, this is
    /// known at once, and nobody waits. Waiting exactly that long is allowed.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also, the token would come too late, and [`Denied::retry_after`] says when.
    pub fn acquire_timeout(&self, limit: Duration) -> Acquire<'_, A> {
        Acquire::new(self, 1, Limit::After(limit))
    }

    /// Waits for `n` tokens for at most `limit`; see [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many) and [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_many_timeout(&self, n: u64, limit: Duration) -> Acquire<'_, A> {
        Acquire::new(self, n, Limit::After(limit))
    }

    /// Takes `n` tokens now and says from when on they may be used.
    ///
    /// # Errors
    /// The limiter is paused; or they can never be: `n` is more than can be had at once, or the rate is zero and all is spent.
    pub fn reserve(&self, n: u64) -> Result<Reservation<A>, Denied> {
        self.reserve_at_nanos(n, self.inner.epoch.nanos())
    }

    /// As [`reserve`](Self::reserve), at a time that the caller has read from the limiter's clock.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn reserve_at(&self, n: u64, now: Instant) -> Result<Reservation<A>, Denied> {
        self.reserve_at_nanos(n, self.inner.epoch.nanos_at(now))
    }

    fn reserve_at_nanos(&self, n: u64, now: u64) -> Result<Reservation<A>, Denied> {
        let (promised, changed) = self.inner.change(now, |ledger| ledger.promise(now, n));
        let panicked = changed.done();
        let reserved = promised.and_then(|(seq, due)| Reservation::new(self.clone(), n, seq, due));
        panicked.resume();
        reserved
    }

    /// Whether `n` tokens are there now, without taking them.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn peek(&self, n: u64) -> Result<(), Denied> {
        self.peek_at_nanos(n, self.inner.epoch.nanos())
    }

    /// As [`peek`](Self::peek), at a time that the caller has read from the limiter's clock.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn peek_at(&self, n: u64, now: Instant) -> Result<(), Denied> {
        self.peek_at_nanos(n, self.inner.epoch.nanos_at(now))
    }

    fn peek_at_nanos(&self, n: u64, now: u64) -> Result<(), Denied> {
        if n == 0 { Ok(()) } else { self.inner.check(now, n) }
    }

    /// How many tokens can be taken now.
    pub fn available(&self) -> u64 {
        self.available_at_nanos(self.inner.epoch.nanos())
    }

    /// As [`available`](Self::available), at a time that the caller has read from the limiter's clock.
    pub fn available_at(&self, now: Instant) -> u64 {
        self.available_at_nanos(self.inner.epoch.nanos_at(now))
    }

    fn available_at_nanos(&self, now: u64) -> u64 {
        self.inner.look(now, |algorithm, state, held| match held {
            None => algorithm.available(state, now),
            Some(_) => 0,
        })
    }

    /// The most that can be had at once.
    pub fn capacity(&self) -> u64 {
        self.algorithm().capacity()
    }

    /// What is in force: the settings, or those that [hold for a while](Self::set_temporarily).
    pub fn algorithm(&self) -> A {
        self.inner.look(self.inner.epoch.nanos(), |algorithm, _, _| algorithm.clone())
    }

    crate::observe::watchable!(inner, [A], Self, |inner| Self { inner });

    /// The clock of its times.
    #[cfg(feature = "telemetry")]
    pub(crate) fn clock(&self) -> &crate::time::Clock {
        self.inner.epoch.clock()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// Changes the settings from now on; what is [temporary](Self::set_temporarily) stays in force until its end.
    ///
    /// What has come in until now came at the old rate and is kept, as far as the new settings can hold it. Those who wait are
    /// planned anew. Who wants more than can now be had at once, or can no longer be served in the time he has, is told at once.
    /// The instants of reservations stand.
    pub fn set(&self, algorithm: impl Into<A>) {
        let algorithm = self.started(algorithm);
        self.set_with(move |_| algorithm.clone());
    }

    /// As [`set`](Self::set), by a function of the settings that were: two that change different things at once lose neither.
    pub(super) fn set_with(&self, next: impl FnOnce(&A) -> A) {
        self.steer(|course, _| course.set_base(next(course.base())));
        self.inner.tell(|| LimiterEvent::Changed);
    }

    /// Puts other settings in force for a while, from now on; after that those that were in force before come back by
    /// themselves, changes of the settings in the meantime included. Within another temporary change it covers that one, which is
    /// in force again afterwards if its time is not over.
    pub fn set_temporarily(&self, algorithm: impl Into<A>, duration: Duration) {
        let algorithm = self.started(algorithm);
        self.steer(|course, now| course.push(algorithm, after(now, duration)));
        self.inner.tell(|| LimiterEvent::Changed);
    }

    /// Ends what is temporary now.
    pub fn clear_temporary(&self) {
        self.steer(|course, _| course.clear());
        self.inner.tell(|| LimiterEvent::Changed);
    }

    /// Until when temporary settings are in force; `None` if there are none.
    pub fn temporary_until(&self) -> Option<Deadline> {
        self.course_deadline(|course| course.temporary_until())
    }

    /// Admits nobody until somebody [resumes](Self::resume) it. Those who wait stay; who has a time limit is told at once, as
    /// nobody knows when it will go on.
    pub fn pause(&self) {
        self.pause_until_nanos(u64::MAX);
    }

    /// Admits nobody for a while; see [`pause_until`](Self::pause_until).
    pub fn pause_for(&self, duration: Duration) {
        self.pause_until_nanos(after(self.inner.epoch.nanos(), duration));
    }

    /// Admits nobody before `instant`. Tokens go on coming in, so that it goes on with as many as it can hold.
    ///
    /// Those who wait are planned from that instant on; who can no longer be served in the time he has is told at once. A pause
    /// is never shortened by another one: only [`resume`](Self::resume) ends it early.
    pub fn pause_until(&self, instant: Instant) {
        self.pause_until_nanos(self.inner.epoch.nanos_at(instant));
    }

    fn pause_until_nanos(&self, until: u64) {
        let mut pause = None;
        self.steer(|course, now| {
            if until > now {
                course.pause(until);
                pause = Some(Duration::from_nanos(until - now));
            }
        });
        if let Some(pause) = pause {
            self.inner.tell(|| LimiterEvent::Paused { pause: (until < u64::MAX).then_some(pause) });
        }
    }

    /// Ends a pause now. Nothing happens if there is none.
    pub fn resume(&self) {
        let mut paused = false;
        self.steer(|course, _| {
            paused = course.paused().is_some();
            course.resume();
        });
        if paused {
            self.inner.tell(|| LimiterEvent::Resumed);
        }
    }

    /// Until when it is paused, [never](Deadline::NEVER) being until somebody resumes it; `None` if it is not.
    pub fn paused_until(&self) -> Option<Deadline> {
        self.course_deadline(|course| course.paused())
    }

    /// Whether it is paused now.
    pub fn is_paused(&self) -> bool {
        self.paused_until().is_some()
    }

    fn course_deadline(&self, of: impl FnOnce(&course::Course<A>) -> Option<u64>) -> Option<Deadline> {
        let at = self.inner.at(self.inner.epoch.nanos(), |ledger| of(&ledger.course))?;
        Some(self.inner.epoch.instant(at).filter(|_| at != u64::MAX).map_or(Deadline::NEVER, Deadline::at))
    }

    /// Settings that are to be in force from now on.
    fn started(&self, algorithm: impl Into<A>) -> A {
        let algorithm = algorithm.into();
        let weak = Arc::downgrade(&self.inner);
        algorithm.started(weak);
        algorithm
    }

    /// Changes what is in force, after serving who was due before.
    fn steer(&self, steer: impl FnOnce(&mut course::Course<A>, u64)) {
        let ((), changed) = self.inner.serve_and_change(|ledger, now| {
            steer(&mut ledger.course, now);
            ledger.retime(now);
        });
        changed.serve_all();
    }

    /// Leaves at most `n` tokens, for instance because a server has said that so many remain.
    pub fn drain_to(&self, n: u64) {
        // Who is due has his tokens already, however late his timer is.
        let ((), changed) = self.inner.serve_and_change(|ledger, now| ledger.line.drain_to(n, now));
        changed.serve_all();
        self.inner.tell(|| LimiterEvent::Drained { to: n });
    }

    /// Puts `n` tokens back that were taken and not used, as far as the algorithm can. They never lift it above what it can
    /// hold; whoever waits is served by them first.
    pub fn refund(&self, n: u64) {
        let now = self.inner.epoch.nanos();
        let ((), changed) = self.inner.change(now, |ledger| ledger.line.refund(n, now));
        changed.serve_all();
    }

    /// Shows all events from now on to `observer`.
    pub fn observe(&self, observer: impl Observe<LimiterEvent>) {
        self.inner.watch.get_or_init(Box::default).observers.add(observer);
    }

    /// Counts decisions from now on, as if it had been built to, and shows all events but these to `observer` for a while.
    #[cfg(feature = "telemetry")]
    pub(crate) fn count_and_attach(&self, observer: impl Observe<LimiterEvent>) -> crate::observe::Attached {
        let watch = self.inner.watch.get_or_init(Box::default);
        watch.count();
        watch.others.attach(observer)
    }

    /// What it has done so far.
    pub fn stats(&self) -> LimiterStats {
        let (counts, clock_steps_back) = {
            let mut ledger = self.inner.lock();
            let _ = ledger.seen.read(&self.inner.epoch);
            (ledger.line.counts(), ledger.seen.backward())
        };
        LimiterStats {
            clock_steps_back,
            waiting: counts.waiting,
            granted: counts.granted,
            cancelled: counts.cancelled,
            // Relaxed: statistics.
            decided: self.inner.watch.get().filter(|watch| watch.is_counted()).map(|watch| Decided {
                allowed: watch.allowed.load(Ordering::Relaxed),
                denied: watch.denied.load(Ordering::Relaxed),
            }),
        }
    }

    /// See [`Inner::attempt`].
    pub(super) fn attempt(
        &self,
        n: u64,
        now: u64,
        agree: &mut dyn FnMut(Result<(), Denied>, Option<u64>) -> bool,
    ) -> bool {
        self.inner.attempt(now, n, agree)
    }

    /// See [`Inner::take_if`].
    pub(super) fn take_if(&self, n: u64, now: u64, others: &mut dyn FnMut() -> bool) -> bool {
        self.inner.take_if(now, n, others)
    }

    /// See [`Inner::take_last`].
    pub(super) fn take_last(&self, n: u64, now: u64) -> bool {
        self.inner.take_last(now, n)
    }

    /// Tells `follower` of changes that may let somebody through earlier than was thought.
    pub(super) fn follow(&self, follower: Weak<dyn Follow>) {
        self.inner.followers.add(follower);
    }

    /// [`available_at`](Self::available_at), for those who hold other limiters: nobody is woken.
    pub(super) fn glance(&self, now: u64) -> u64 {
        self.inner.glance(now, |algorithm, state, held| match held {
            None => algorithm.available(state, now),
            Some(_) => 0,
        })
    }

    /// [`capacity`](Self::capacity) by what was in force at the last look, for those who hold other limiters.
    pub(super) fn known_capacity(&self) -> u64 {
        self.inner.lock().line.algorithm().capacity()
    }

    /// Which limiter it is, for an order among them.
    pub(super) fn serial(&self) -> u64 {
        self.inner.serial
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.inner.epoch
    }

    /// Looks at the state now, for gauges that only one algorithm has.
    pub(super) fn look<R>(&self, look: impl FnOnce(&A, &A::State, u64) -> R) -> R {
        let now = self.inner.epoch.nanos();
        self.inner.look(now, |algorithm, state, _| look(algorithm, state, now))
    }
}

/// `duration` after `now`.
fn after(now: u64, duration: Duration) -> u64 {
    now.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

impl<A: Algorithm> fmt::Debug for Limiter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Limiter");
        if let Some(name) = &self.inner.name {
            debug.field("name", name);
        }
        // Whatever is written to may ask this limiter.
        let shown =
            self.inner.try_lock().map(|ledger| (ledger.line.algorithm().clone(), ledger.line.counts()));
        if let Some((algorithm, counts)) = shown {
            debug.field("algorithm", &algorithm).field("waiting", &counts.waiting);
        }
        debug.finish_non_exhaustive()
    }
}
