//! The word, the mutex and the alarm, put together.

use super::course::{Boundary, Course};
use super::event::Watch;
use super::followers::{Follow, Followers};
use super::jittered::Jittered;
use super::line::{Ask, Entry, Line, Want};
use super::seen::Seen;
use super::word::{Publication, Published, Verdict, Word};
use crate::limit::alarm::{Alarm, Orders};
use crate::limit::{Algorithm, Denied};
use crate::shim::{Mutex, MutexGuard, serial};
use crate::time::{Clock, Epoch, Sleep};
use crate::wait::{Panicked, Slot, Wakes};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

/// In this order: what a decision reads comes first, side by side.
#[repr(C)]
pub(super) struct Inner<A: Algorithm> {
    word: Word,
    pub(super) epoch: Epoch,
    /// Once somebody wants decisions to be counted, or told of. No checker need see how it gets here: nothing else depends on it.
    pub(super) watch: OnceLock<Box<Watch>>,
    pub(super) name: Option<Arc<str>>,
    /// How waits are lengthened, if they are.
    pub(super) jitter: Option<Jittered>,
    /// How many may wait.
    pub(super) queue: usize,
    pub(super) followers: Followers,
    /// Its place in the order in which several are held.
    pub(super) serial: u64,
    ledger: Mutex<Ledger<A>>,
}

/// What the mutex guards.
pub(super) struct Ledger<A: Algorithm> {
    pub(super) line: A::Line,
    pub(super) course: Course<A>,
    published: Published,
    alarm: Alarm,
    /// Of those who were served when nobody could be woken.
    unwoken: Vec<Wakes>,
    pub(super) seen: Seen,
}

/// The mutex after a change, for who may have to be told of it.
#[must_use]
pub(super) struct Changed<'a, A: Algorithm> {
    inner: &'a Arc<Inner<A>>,
    ledger: MutexGuard<'a, Ledger<A>>,
    nanos: u64,
    panicked: Panicked,
}

/// What a limiter is made of; see the builder.
pub(super) struct Settings<A: Algorithm> {
    pub(super) algorithm: A,
    /// Its state at the epoch.
    pub(super) state: A::State,
    pub(super) clock: Clock,
    pub(super) name: Option<Arc<str>>,
    pub(super) counted: bool,
    pub(super) jitter: Option<Jittered>,
    pub(super) queue: usize,
}

impl<A: Algorithm> Ledger<A> {
    /// Takes the state out of the word. No lock-free decision goes through until [`publish`](Self::publish).
    fn freeze(&mut self, word: &Word) {
        if !A::PACKED {
            return;
        }
        if let Some(state) = self.published.freeze(word, self.line.algorithm()) {
            self.line.set_state(state);
        }
    }

    fn publish(&mut self, word: &Word, now: u64) {
        if !A::PACKED {
            return;
        }
        let Self { line, course, published, .. } = self;
        let what = Publication {
            algorithm: line.algorithm(),
            state: if course.paused().is_some() { None } else { line.shared() },
            now,
            until: course.temporary_until().unwrap_or(u64::MAX),
        };
        published.publish(word, &what);
    }

    /// Goes past a change that is due, as of its own instant.
    fn cross(&mut self, boundary: Boundary) {
        self.course.cross(boundary);
        self.retime(boundary.at);
    }

    /// Lets the line go on under what is in force.
    pub(super) fn retime(&mut self, now: u64) {
        let Self { line, course, .. } = self;
        line.retime(course.in_force().clone(), now, course.paused());
    }

    /// Lets the line know the state without holding up anybody's decision.
    fn refresh(&mut self, word: &Word) {
        if let Some(state) = self.published.read(word, self.line.algorithm()) {
            self.line.set_state(state);
        }
    }

    fn look<R>(&mut self, word: &Word, look: impl FnOnce(&A, &A::State, Option<u64>) -> R) -> R {
        self.refresh(word);
        let held = self.course.paused();
        let (algorithm, state) = self.line.planned();
        look(algorithm, state, held)
    }

    /// Whether `n` tokens are there, without taking them.
    fn check(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        match self.course.paused() {
            None => self.line.check(now, n),
            held => Err(self.held(Ask { n, now, limit: u64::MAX, held })),
        }
    }

    /// Decides on `n` tokens.
    pub(super) fn take(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        match self.course.paused() {
            None => self.line.take(now, n),
            held => Err(self.held(Ask { n, now, limit: u64::MAX, held })),
        }
    }

    fn wait(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>, ask: Ask) -> Result<Entry, Denied> {
        let ask = Ask { held: self.course.paused(), ..ask };
        self.line.wait(slot, waker, ask).map_err(|denied| self.of_pause(denied))
    }

    /// As many tokens as can be had behind everybody, from then on.
    pub(super) fn promise(&mut self, now: u64, n: u64) -> Result<(u64, u64), Denied> {
        match self.course.paused() {
            None => self.line.promise(n, now),
            held => Err(self.held(Ask { n, now, limit: u64::MAX, held })),
        }
    }

    /// The refusal while it is paused.
    fn held(&mut self, ask: Ask) -> Denied {
        match self.line.foresee(ask) {
            Ok(due) => {
                let capacity = self.line.algorithm().capacity();
                let after = if due == u64::MAX { due } else { due.saturating_sub(ask.now) };
                Denied::after_nanos(A::NAME, ask.n, capacity, after).paused()
            }
            Err(denied) => denied,
        }
    }

    fn of_pause(&self, denied: Denied) -> Denied {
        if self.course.paused().is_some() && !denied.is_never() { denied.paused() } else { denied }
    }
}

impl<A: Algorithm> Inner<A> {
    pub(super) fn start(settings: Settings<A>) -> Arc<Self> {
        let algorithm = settings.algorithm.clone();
        let inner = Arc::new(Self::new(settings));
        let weak = Arc::downgrade(&inner);
        algorithm.started(weak);
        inner
    }

    fn new(settings: Settings<A>) -> Self {
        let Settings { algorithm, state, clock, name, counted, jitter, queue } = settings;
        let (word, epoch) = (Word::new(), algorithm.epoch(clock));
        let watch = OnceLock::new();
        if counted {
            watch.get_or_init(Box::<Watch>::default).count();
        }
        let mut ledger = Ledger {
            course: Course::new(algorithm.clone()),
            line: A::Line::new(algorithm, state),
            published: Published::new(),
            alarm: Alarm::default(),
            unwoken: Vec::new(),
            seen: Seen::default(),
        };
        ledger.publish(&word, 0);
        Self {
            word,
            epoch,
            name,
            watch,
            jitter,
            queue,
            followers: Followers::default(),
            serial: serial(),
            ledger: Mutex::new(ledger),
        }
    }

    /// Decides at once, and counts the decision.
    #[inline(always)]
    pub(super) fn take(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        match self.watch.get() {
            None => self.decide(nanos, n),
            Some(_) => self.take_and_tell(nanos, n),
        }
    }

    /// Out of line, so that those whom nobody observes do not keep their refusal in memory for it.
    #[inline(never)]
    fn take_and_tell(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        let decision = self.decide(nanos, n);
        self.tell_decided(n, &decision);
        decision
    }

    #[inline(always)]
    pub(super) fn decide(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        if !A::PACKED {
            return self.take_locked(nanos, n);
        }
        match self.word.take::<A>(nanos, n) {
            Verdict::Taken => Ok(()),
            Verdict::Denied(denied) => Err(denied),
            Verdict::Slow => self.take_slowly(nanos, n),
        }
    }

    /// Where there is no word: under the mutex, which has the state. Like [`take_slowly`](Self::take_slowly), for what is done
    /// each time.
    fn take_locked(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        let mut ledger = self.lock();
        if ledger.course.due(nanos).is_none() {
            return ledger.take(nanos, n);
        }
        drop(ledger);
        self.take_slowly(nanos, n)
    }

    #[cold]
    fn take_slowly(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        let (taken, changed) = self.change(nanos, |ledger| ledger.take(nanos, n));
        changed.done().resume();
        taken
    }

    /// Takes the mutex for those who leave the state alone.
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger<A>> {
        self.ledger.lock()
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Ledger<A>>> {
        self.ledger.try_lock()
    }

    /// The mutex, with every change of settings past that is due at `nanos`. A panic of a waker is left to the caller, who
    /// may have to get somebody out of the line first.
    fn lock_at(self: &Arc<Self>, nanos: u64, panicked: &mut Panicked) -> MutexGuard<'_, Ledger<A>> {
        loop {
            let mut ledger = self.lock();
            let Some(boundary) = ledger.course.due(nanos) else { return ledger };
            if ledger.line.counts().waiting > 0 {
                // Who was due before the change is served first.
                self.serve_keeping(ledger, nanos, panicked);
                continue;
            }
            ledger.freeze(&self.word);
            ledger.cross(boundary);
            ledger.publish(&self.word, nanos);
        }
    }

    /// As [`lock_at`](Self::lock_at), waking nobody: who was due before the change is served first all the same, and woken
    /// by the alarm, which is set for that time.
    fn lock_quietly(&self, nanos: u64) -> MutexGuard<'_, Ledger<A>> {
        let mut ledger = self.lock();
        while let Some(boundary) = ledger.course.due(nanos) {
            let held = ledger.course.paused().is_some();
            while ledger.line.counts().waiting > 0 {
                let mut wakes = Wakes::new();
                let done = ledger.line.settle(boundary.at, held, &mut wakes);
                ledger.unwoken.push(wakes);
                if done {
                    break;
                }
            }
            ledger.freeze(&self.word);
            ledger.cross(boundary);
            ledger.publish(&self.word, nanos);
        }
        ledger
    }

    /// As [`look`](Self::look), waking nobody.
    pub(super) fn glance<R>(&self, nanos: u64, look: impl FnOnce(&A, &A::State, Option<u64>) -> R) -> R {
        self.lock_quietly(nanos).look(&self.word, look)
    }

    /// Whether `n` tokens are there.
    pub(super) fn check(self: &Arc<Self>, nanos: u64, n: u64) -> Result<(), Denied> {
        self.at(nanos, |ledger| {
            ledger.refresh(&self.word);
            ledger.check(nanos, n)
        })
    }

    /// Looks at the settings and the state at `nanos`, without holding up anybody's decision.
    pub(super) fn look<R>(
        self: &Arc<Self>,
        nanos: u64,
        look: impl FnOnce(&A, &A::State, Option<u64>) -> R,
    ) -> R {
        self.at(nanos, |ledger| ledger.look(&self.word, look))
    }

    /// Looks at the ledger as it is at `nanos`.
    pub(super) fn at<R>(self: &Arc<Self>, nanos: u64, look: impl FnOnce(&mut Ledger<A>) -> R) -> R {
        let mut panicked = Panicked::default();
        let result = look(&mut self.lock_at(nanos, &mut panicked));
        panicked.resume();
        result
    }

    /// Changes the ledger under the mutex, with no lock-free decision going through meanwhile, and puts the state back into
    /// the word.
    pub(super) fn change<R>(
        self: &Arc<Self>,
        nanos: u64,
        change: impl FnOnce(&mut Ledger<A>) -> R,
    ) -> (R, Changed<'_, A>) {
        self.change_then(Panicked::default(), nanos, change)
    }

    /// As [`change`](Self::change), now, after serving who is due.
    pub(super) fn serve_and_change<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Ledger<A>, u64) -> R,
    ) -> (R, Changed<'_, A>) {
        let mut panicked = Panicked::default();
        let mut ledger = self.lock();
        let nanos = ledger.seen.read(&self.epoch);
        self.serve_keeping(ledger, nanos, &mut panicked);
        self.change_then(panicked, nanos, |ledger| change(ledger, nanos))
    }

    fn change_then<R>(
        self: &Arc<Self>,
        mut panicked: Panicked,
        nanos: u64,
        change: impl FnOnce(&mut Ledger<A>) -> R,
    ) -> (R, Changed<'_, A>) {
        let mut ledger = self.lock_at(nanos, &mut panicked);
        ledger.freeze(&self.word);
        let result = change(&mut ledger);
        ledger.publish(&self.word, nanos);
        (result, Changed { inner: self, ledger, nanos, panicked })
    }

    /// Takes `n` tokens if they are there, nothing has to be done first, and `others` say so, for whom it is held: what most
    /// decisions of several limiters are. If not, nothing is taken, and nobody knows why.
    pub(super) fn take_if(&self, nanos: u64, n: u64, others: &mut dyn FnMut() -> bool) -> bool {
        let mut ledger = self.lock();
        if ledger.course.paused().is_some() || ledger.course.due(nanos).is_some() {
            return false;
        }
        if A::PACKED {
            if let Some(taken) = ledger.published.take_if::<A>(&self.word, nanos, n, others) {
                return taken;
            }
        }
        ledger.freeze(&self.word);
        let line = &mut ledger.line;
        // With somebody in line more is kept of what is taken than the state.
        let taken = if std::mem::needs_drop::<A::State>() || line.counts().waiting > 0 {
            line.check(nanos, n).is_ok() && others() && line.take(nanos, n).is_ok()
        } else {
            // A copy costs less than a second decision.
            let before = line.planned().1.clone();
            let mut taken = line.take(nanos, n).is_ok();
            if taken && !others() {
                line.set_state(before);
                taken = false;
            }
            taken
        };
        ledger.publish(&self.word, nanos);
        taken
    }

    /// As [`take_if`](Self::take_if), for the last of them, whom nobody has to hold.
    pub(super) fn take_last(&self, nanos: u64, n: u64) -> bool {
        let by_word = if A::PACKED { self.word.take::<A>(nanos, n) } else { Verdict::Slow };
        match by_word {
            Verdict::Taken => true,
            Verdict::Denied(_) => false,
            Verdict::Slow => self.take_if(nanos, n, &mut || true),
        }
    }

    /// Takes `n` tokens if they are there and `agree` says so, which hears what this limiter says. Neither wakes nor serves
    /// anybody, so that it may be called with other limiters held: those for whom a change of settings has come have the alarm
    /// set for it.
    pub(super) fn attempt(
        &self,
        nanos: u64,
        n: u64,
        agree: &mut dyn FnMut(Result<(), Denied>, Option<u64>) -> bool,
    ) -> bool {
        let mut ledger = self.lock_quietly(nanos);
        ledger.freeze(&self.word);
        let checked = ledger.check(nanos, n);
        let changes = ledger.course.next().map(|boundary| boundary.at);
        let taken = agree(checked, changes) && ledger.take(nanos, n).is_ok();
        ledger.publish(&self.word, nanos);
        taken
    }

    /// Takes `n` tokens or a place in line. `None` if the line is full.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        slot: Pin<&Slot<Want>>,
        waker: &mut Option<Waker>,
        ask: Ask,
    ) -> Option<Result<Entry, Denied>> {
        let (entry, changed) = self.change(ask.now, |ledger| {
            let full = ledger.line.counts().waiting >= self.queue;
            if full && ledger.take(ask.now, ask.n).is_err() {
                return None;
            }
            Some(if full { Ok(Entry::Admitted) } else { ledger.wait(slot, waker, ask) })
        });
        if matches!(entry, Some(Ok(Entry::Queued))) {
            changed.serve();
        } else {
            changed.done().resume();
        }
        entry
    }

    /// Ends every wait that is due at `nanos`, and arms the alarm for the next.
    fn serve<'a>(self: &'a Arc<Self>, ledger: MutexGuard<'a, Ledger<A>>, nanos: u64) {
        let mut panicked = Panicked::default();
        self.serve_keeping(ledger, nanos, &mut panicked);
        panicked.resume();
    }

    /// As [`serve`](Self::serve); the first panic of a waker is kept for later, as there are others to be woken.
    fn serve_keeping<'a>(
        self: &'a Arc<Self>,
        mut ledger: MutexGuard<'a, Ledger<A>>,
        mut nanos: u64,
        panicked: &mut Panicked,
    ) {
        loop {
            let unwoken = std::mem::take(&mut ledger.unwoken);
            let mut wakes = Wakes::new();
            let done = self.settle(&mut ledger, nanos, &mut wakes);
            let orders = if done {
                let due = ledger.next_due();
                Some(ledger.alarm.set(due))
            } else {
                None
            };
            drop(ledger);
            for mut wakes in unwoken {
                panicked.wake(&mut wakes);
            }
            panicked.wake(&mut wakes);
            if let Some(orders) = orders {
                if !self.arm(orders) {
                    return;
                }
                // The time had come already.
                nanos = self.epoch.nanos();
            }
            ledger = self.lock();
        }
    }

    /// Ends the waits that are due, those before a change of settings by the old ones. False if `wakes` ran out of room.
    fn settle(&self, ledger: &mut Ledger<A>, nanos: u64, wakes: &mut Wakes) -> bool {
        loop {
            let held = ledger.course.paused().is_some();
            let Some(boundary) = ledger.course.due(nanos) else {
                return ledger.line.settle(nanos, held, wakes);
            };
            if !ledger.line.settle(boundary.at, held, wakes) {
                return false;
            }
            ledger.freeze(&self.word);
            ledger.cross(boundary);
            ledger.publish(&self.word, nanos);
        }
    }

    /// Arms what was decided. True if the time has come already: then the alarm is to be set again.
    fn arm(self: &Arc<Self>, orders: Orders) -> bool {
        let Orders { old, arm } = orders;
        drop(old);
        let Some((due, decision)) = arm else { return false };
        let mut sleep = match self.epoch.instant(due) {
            Some(instant) => self.epoch.clock().sleep_until(instant),
            None => Sleep::never(),
        };
        let waker = Waker::from(Arc::clone(self));
        match Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let superseded = self.lock().alarm.rest(sleep, decision);
                drop(superseded);
                false
            }
            Poll::Ready(()) => {
                let old = self.lock().alarm.reset();
                drop(old);
                true
            }
        }
    }
}

impl<A: Algorithm> Changed<'_, A> {
    /// Nobody has to be told.
    pub(super) fn done(self) -> Panicked {
        self.panicked
    }

    /// Serves who waits.
    pub(super) fn serve(self) {
        let Self { inner, ledger, nanos, mut panicked } = self;
        inner.serve_keeping(ledger, nanos, &mut panicked);
        panicked.resume();
    }

    /// After a change that may let somebody through earlier than was thought: serves who waits here, and tells those who wait
    /// for this limiter among others.
    pub(super) fn serve_all(self) {
        let Self { inner, mut ledger, nanos, mut panicked } = self;
        let afterwards = ledger.line.afterwards();
        inner.serve_keeping(ledger, nanos, &mut panicked);
        if let Some(afterwards) = afterwards {
            panicked.catch(afterwards);
        }
        inner.followers.tell(&mut panicked);
        panicked.resume();
    }
}

impl<A: Algorithm> Ledger<A> {
    /// When somebody in line may have to be told something.
    fn next_due(&self) -> Option<u64> {
        if self.line.counts().waiting == 0 {
            return None;
        }
        // Nobody is admitted in a pause before its end, or before the next change.
        let due = self.line.due().filter(|_| self.course.paused().is_none());
        let boundary = self.course.next().map(|boundary| boundary.at);
        due.into_iter().chain(boundary).min()
    }
}

/// One of the limiters that this one is made of may let somebody through earlier.
impl<A: Algorithm> Follow for Inner<A> {
    fn look_again(self: Arc<Self>) {
        self.wake_by_ref();
    }
}

/// The waker of the alarm.
impl<A: Algorithm> Wake for Inner<A> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let old = self.lock().alarm.reset();
        drop(old);
        let mut ledger = self.lock();
        let now = ledger.seen.read(&self.epoch);
        self.serve(ledger, now);
    }
}
