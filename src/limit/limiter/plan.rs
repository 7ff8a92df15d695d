//! The line of any algorithm: everybody is charged in order, ahead of time, on a state that runs ahead of the clock.
//!
//! | state | what it has been charged with |
//! |---|---|
//! | `base` | all that was granted, and what was promised ahead of the first waiter |
//! | `tail` | that, everybody in line, and what was promised among them; what newcomers find |
//!
//! Somebody may find tokens behind all of them, if they are due and the timer is late. What he takes is kept as promised at
//! that instant, so that it stands when one of them gives up; hence all decisions go through the line while somebody waits.
//!
//! Each waiter has its instant. A grant charges the base at that instant, however late the timer was, so lateness pushes back
//! nobody. Who leaves makes the tail stale; it is planned anew, once, when somebody next needs it: a newcomer, or the timer
//! for the first in line. So a thousand that give up cost a thousand unlinkings and one walk.

use super::line::{Ask, Counts, Entry, Line, Want};
use crate::limit::{Algorithm, Denied};
use crate::wait::{List, Outcome, Slot, Wakes};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Waker;

/// A reservation made behind the first waiter, or what was taken there.
struct Promise {
    seq: u64,
    n: u64,
    due: u64,
}

#[allow(missing_debug_implementations, reason = "sealed: nobody outside has one")]
pub struct Plan<A: Algorithm> {
    algorithm: A,
    /// Means nothing while nobody waits.
    base: A::State,
    tail: A::State,
    /// The tail, and the instants of those in line, are no longer what they should be.
    stale: bool,
    queue: List<Want>,
    /// Behind the first waiter, by number.
    promises: VecDeque<Promise>,
    /// Ahead of him, or with nobody in line: charged to the state already, and perhaps still to come. By number too.
    ahead: VecDeque<Promise>,
    seq: u64,
    /// Nobody in line is due before this: the end of a pause, or a change of settings.
    floor: u64,
    /// The floor is the end of a pause.
    held: bool,
    /// The time of the last change, from which on verdicts are reckoned.
    changed: u64,
    /// When somebody last made room. Those behind move up to that instant, and no further: they were not admitted before.
    moved: u64,
    /// Waiters with a verdict, still to be told.
    dead: usize,
    granted: u64,
    cancelled: u64,
}

impl Want {
    /// In a plan: the instant at which it is due, and the one at which it came.
    fn place(due: u64, came: u64) -> u128 {
        u128::from(came) << 64 | u128::from(due)
    }

    pub(in crate::limit) fn due(&self) -> u64 {
        self.step as u64
    }

    fn came(&self) -> u64 {
        (self.step >> 64) as u64
    }
}

impl<A: Algorithm> Plan<A> {
    /// Plans everybody in line anew, if that is due.
    #[inline]
    fn replan(&mut self) {
        if self.stale {
            self.plan_anew();
        }
    }

    #[cold]
    fn plan_anew(&mut self) {
        self.stale = false;
        let Self { algorithm, base, queue, promises, floor, held, changed, moved, dead, .. } = self;
        let mut state = base.clone();
        let mut last = *floor;
        let mut promises = promises.iter().peekable();
        queue.for_each(|want| {
            while let Some(promise) = promises.next_if(|promise| promise.seq < want.seq) {
                keep(algorithm, &mut state, promise);
            }
            if want.verdict.is_some() {
                return;
            }
            let from = last.max(want.came()).max(want.due().min(*moved));
            if from == u64::MAX {
                // A pause without end: who has all the time stays.
                want.step = Want::place(from, want.came());
                if want.n > algorithm.capacity() {
                    want.verdict = Some(Denied::never(A::NAME, want.n, algorithm.capacity()));
                } else if want.limit != u64::MAX {
                    want.verdict = Some(late::<A>(algorithm, want.n, from, 0).paused());
                }
                *dead += usize::from(want.verdict.is_some());
                return;
            }
            // Asked first, as a charge that comes too late must leave no trace.
            match algorithm.due(&state, from, want.n) {
                Ok(due) if due <= want.limit => {
                    let _ = algorithm.charge(&mut state, from, want.n);
                    last = due;
                    want.step = Want::place(due, want.came());
                }
                Ok(due) => {
                    let denied = late::<A>(algorithm, want.n, due, *changed);
                    want.verdict = Some(if *held { denied.paused() } else { denied });
                }
                Err(denied) => want.verdict = Some(denied),
            }
            *dead += usize::from(want.verdict.is_some());
        });
        for promise in promises {
            keep(algorithm, &mut state, promise);
        }
        self.tail = state;
    }

    /// Promises that have nobody in line before them are part of the base.
    fn absorb(&mut self, now: u64) {
        let first = self.queue.front().map_or(u64::MAX, |want| want.seq);
        while self.promises.front().is_some_and(|promise| promise.seq < first) {
            let Some(promise) = self.promises.pop_front() else { break };
            keep(&self.algorithm, &mut self.base, &promise);
            self.remember(promise, now);
        }
    }

    /// Keeps in mind what is charged already and still to come.
    fn remember(&mut self, promise: Promise, now: u64) {
        while self.ahead.front().is_some_and(|first| first.due <= now) {
            self.ahead.pop_front();
        }
        if promise.due > now {
            self.ahead.push_back(promise);
        }
    }

    /// Lets `change` at the state behind all that was granted, and plans the rest anew.
    fn amend(&mut self, now: u64, change: impl FnOnce(&A, &mut A::State)) {
        if self.queue.is_empty() {
            change(&self.algorithm, &mut self.tail);
        } else {
            change(&self.algorithm, &mut self.base);
            self.move_up(now);
        }
    }

    fn move_up(&mut self, now: u64) {
        self.moved = self.moved.max(now);
        self.changed = self.changed.max(now);
        self.stale = true;
    }

    /// What of `n` tokens charged as number `seq` may be given back: nothing that was promised behind and is still to come,
    /// as those instants stand. Who is in line is planned anew, and so are the promises behind him.
    fn returned(&self, n: u64, seq: u64, now: u64) -> u64 {
        let behind = self.ahead.iter().filter(|promise| promise.seq > seq && promise.due > now);
        n.saturating_sub(behind.fold(0, |behind, promise| behind.saturating_add(promise.n)))
    }

    /// Charges the tail, unless it is with a pause without end.
    fn charge(&mut self, ask: Ask) {
        let from = ask.from();
        if from != u64::MAX {
            // It has been asked when they will be there.
            let _ = self.algorithm.charge(&mut self.tail, from, ask.n);
        }
    }
}

impl Ask {
    /// From when on it counts.
    fn from(&self) -> u64 {
        self.held.unwrap_or(self.now).max(self.now)
    }
}

/// Charges what was promised, at its instant.
fn keep<A: Algorithm>(algorithm: &A, state: &mut A::State, promise: &Promise) {
    // Refused only under settings that came after the promise; it stands all the same.
    let _ = algorithm.charge(state, promise.due, promise.n);
}

fn late<A: Algorithm>(algorithm: &A, n: u64, due: u64, from: u64) -> Denied {
    Denied::after_nanos(A::NAME, n, algorithm.capacity(), due.saturating_sub(from))
}

#[allow(private_interfaces, reason = "sealed: nobody outside can name the line or call it")]
impl<A: Algorithm> Line<A> for Plan<A> {
    fn new(algorithm: A, state: A::State) -> Self {
        Self {
            algorithm,
            base: state.clone(),
            tail: state,
            stale: false,
            queue: List::new(),
            promises: VecDeque::new(),
            ahead: VecDeque::new(),
            seq: 0,
            floor: 0,
            held: false,
            changed: 0,
            moved: 0,
            dead: 0,
            granted: 0,
            cancelled: 0,
        }
    }

    fn algorithm(&self) -> &A {
        &self.algorithm
    }

    fn state(&self) -> Option<&A::State> {
        (!self.stale).then_some(&self.tail)
    }

    fn shared(&self) -> Option<&A::State> {
        self.state().filter(|_| self.queue.is_empty())
    }

    fn planned(&mut self) -> (&A, &A::State) {
        self.replan();
        (&self.algorithm, &self.tail)
    }

    fn set_state(&mut self, state: A::State) {
        self.tail = state;
    }

    fn take(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        self.replan();
        self.algorithm.take(&mut self.tail, now, n)?;
        if !self.queue.is_empty() {
            self.seq += 1;
            self.promises.push_back(Promise { seq: self.seq, n, due: now });
        }
        Ok(())
    }

    fn foresee(&mut self, ask: Ask) -> Result<u64, Denied> {
        self.replan();
        let from = ask.from();
        if from == u64::MAX {
            // When a pause without end will be over is not known: at the end of time, as far as anybody can say.
            let capacity = self.algorithm.capacity();
            return if ask.n > capacity {
                Err(Denied::never(A::NAME, ask.n, capacity))
            } else {
                Ok(u64::MAX)
            };
        }
        self.algorithm.due(&self.tail, from, ask.n)
    }

    fn wait(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>, ask: Ask) -> Result<Entry, Denied> {
        let Ask { n, now, limit, held } = ask;
        if held.is_none() {
            match self.take(now, n) {
                Ok(()) => return Ok(Entry::Admitted),
                Err(denied) if denied.is_never() => return Err(denied),
                Err(_) => {}
            }
        }
        let due = self.foresee(ask)?;
        if due > limit {
            return Err(late::<A>(&self.algorithm, n, due, now));
        }
        let Some(waker) = waker.take() else { return Err(late::<A>(&self.algorithm, n, due, now)) };
        if self.queue.is_empty() {
            // All that was promised so far is ahead.
            self.base = self.tail.clone();
        }
        self.charge(ask);
        self.seq += 1;
        let step = Want::place(due, now);
        self.queue.push_back(slot, Want { n, seq: self.seq, step, limit, verdict: None }, waker);
        Ok(Entry::Queued)
    }

    fn promise(&mut self, n: u64, now: u64) -> Result<(u64, u64), Denied> {
        let ask = Ask { n, now, limit: u64::MAX, held: None };
        let due = self.foresee(ask)?;
        self.charge(ask);
        self.seq += 1;
        let promise = Promise { seq: self.seq, n, due };
        if self.queue.is_empty() {
            self.remember(promise, now);
        } else {
            self.promises.push_back(promise);
        }
        Ok((self.seq, due))
    }

    fn due(&self) -> Option<u64> {
        self.queue.front().map(|first| if first.verdict.is_some() { 0 } else { first.due() })
    }

    fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        self.queue.set_waker(slot, fresh)
    }

    fn settle(&mut self, now: u64, held: bool, wakes: &mut Wakes) -> bool {
        self.replan();
        while let Some(first) = self.queue.front() {
            let (n, due) = (first.n, first.due());
            let outcome = match first.verdict {
                Some(_) => Outcome::Impossible,
                None if !held && due <= now => Outcome::Granted,
                None => break,
            };
            if !wakes.has_room() {
                return false;
            }
            if outcome == Outcome::Granted {
                // As it was planned, so it is charged; a refusal is not possible, and would let it through uncharged.
                let _ = self.algorithm.charge(&mut self.base, due, n);
                self.granted += 1;
            } else {
                self.dead -= 1;
            }
            self.queue.pop_front(outcome, wakes);
            self.absorb(now);
        }
        let dead = &mut self.dead;
        *dead == 0
            || self.queue.settle(wakes, |want| {
                want.verdict.map(|_| {
                    *dead -= 1;
                    Outcome::Impossible
                })
            })
    }

    fn leave(&mut self, slot: Pin<&Slot<Want>>, now: u64) -> Option<Option<Waker>> {
        let (want, waker) = self.queue.unlink(slot)?;
        self.cancelled += 1;
        if want.verdict.is_some() {
            self.dead -= 1;
        }
        self.absorb(now);
        if self.queue.is_empty() {
            // Nothing is planned any more.
            self.tail = self.base.clone();
            self.stale = false;
        } else {
            self.move_up(now);
        }
        Some(waker)
    }

    fn give_back(&mut self, want: &Want, now: u64) {
        self.cancelled += 1;
        let n = self.returned(want.n, want.seq, now);
        self.amend(now, |algorithm, state| algorithm.give_back(state, want.due(), now, n));
    }

    fn withdraw(&mut self, n: u64, seq: u64, now: u64) {
        self.cancelled += 1;
        let own = |promise: &Promise| promise.seq == seq;
        if let Some(at) = self.promises.iter().position(own) {
            self.promises.remove(at);
            self.move_up(now);
        } else {
            let promise = self.ahead.iter().position(own).and_then(|at| self.ahead.remove(at));
            // Given back if nothing was charged behind it: those instants have been promised, and stand.
            if self.queue.is_empty() && seq == self.seq {
                let due = promise.map_or(now, |promise| promise.due);
                self.algorithm.give_back(&mut self.tail, due, now, n);
            }
        }
    }

    fn refund(&mut self, n: u64, now: u64) {
        let n = self.returned(n, 0, now);
        self.amend(now, |algorithm, state| algorithm.refund(state, now, n));
    }

    fn drain_to(&mut self, n: u64, now: u64) {
        if self.queue.is_empty() {
            self.algorithm.drain_to(&mut self.tail, now, n);
        } else if self.held {
            // In a pause there may be tokens although somebody waits. Without one there is nothing left to be drained.
            self.algorithm.drain_to(&mut self.base, now, n);
            self.move_up(now);
        }
    }

    fn retime(&mut self, next: A, now: u64, held: Option<u64>) {
        self.floor = held.unwrap_or(now);
        self.held = held.is_some();
        self.changed = now;
        let state = if self.queue.is_empty() { &mut self.tail } else { &mut self.base };
        *state = self.algorithm.carry(&next, state, now);
        self.stale = !self.queue.is_empty();
        self.algorithm = next;
        self.replan();
    }

    fn counts(&self) -> Counts {
        Counts { waiting: self.queue.len(), granted: self.granted, cancelled: self.cancelled }
    }
}
