//! Who has been charged for what and in what order: waiters, promised reservations, and the arrival time behind them all.
//! Kept under the mutex, in units from the epoch, exact and without a base.
//!
//! Everybody is charged when he comes: the arrival time moves by his price, and he is due when it was `depth` ahead of the
//! time, that is, at his own arrival time less the depth. So whoever comes later is behind by arithmetic alone, the
//! lock-free decisions included.
//!
//! A waiter moves up when someone ahead gives up; a reservation has been promised its instant and stays. Giving back
//! therefore lowers the arrival time by `n` less what was promised behind (the rule of Go's `x/time/rate`), and never so far
//! that a promise would find the bucket above its burst: that rule alone does not see to it.

use super::{Gcra, NAME, Terms, scale};
use crate::limit::Denied;
use crate::limit::limiter::line::{Ask, Counts, Entry, Line, Want};
use crate::wait::{List, Outcome, Slot, Wakes};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Waker;

/// A reservation whose instant has not come.
struct Promise {
    seq: u64,
    n: u64,
    /// Its arrival time.
    tat: u128,
}

/// The line of a [`Gcra`]. A waiter's `step` is how far its arrival time is behind that of the waiter ahead; it means nothing in
/// the first one.
#[allow(missing_debug_implementations, reason = "sealed: nobody outside has one")]
pub struct Chain {
    gcra: Gcra,
    /// Those of the quota; of a rate of zero, with the unit of the rate before.
    terms: Terms,
    tat: u128,
    seq: u64,
    queue: List<Want>,
    /// Arrival times of the first and the last waiter.
    head: u128,
    tail: u128,
    /// Waiters with a verdict, still to be told.
    dead: usize,
    /// The end of a pause: until then nobody is served, and there may be tokens before the first waiter.
    held: Option<u64>,
    /// By arrival time.
    promises: VecDeque<Promise>,
    granted: u64,
    cancelled: u64,
}

impl Chain {
    /// The arrival time and the instant of a charge that was `denied` just now.
    fn charge(&self, n: u64, now: u64, denied: Denied) -> Result<(u128, u64), Denied> {
        if denied.is_never() {
            return Err(denied);
        }
        let tat = self.terms.charge(self.tat, now, n).ok_or(denied)?;
        Ok((tat, self.due_of(tat)))
    }

    fn due_of(&self, tat: u128) -> u64 {
        self.terms.nanos(tat.saturating_sub(self.terms.depth()))
    }

    fn denied(&self, ask: Ask, due: u64) -> Denied {
        Denied::after_nanos(NAME, ask.n, self.terms.burst, due.saturating_sub(ask.now))
    }

    /// Reservations whose instant has come are spent.
    fn forget_kept(&mut self, now: u64) {
        let top = self.top(now);
        while self.promises.front().is_some_and(|first| first.tat <= top) {
            self.promises.pop_front();
        }
    }

    /// What `n` tokens charged as number `seq` are worth when given back: nothing that was promised behind.
    fn returned(&self, n: u64, seq: u64) -> u128 {
        let behind = self.promises.iter().filter(|promise| promise.seq > seq).map(|promise| promise.n);
        self.terms.price(n.saturating_sub(behind.fold(0, u64::saturating_add)))
    }

    /// Lowers the arrival time and everyone charged behind `seq` by `back`, or as far as may be.
    fn lift(&mut self, back: u128, seq: u64, now: u64) {
        let mut back = back.min(self.room(seq, now));
        if self.queue.front().is_some_and(|first| first.seq > seq) {
            // All by as much, so nobody to before the epoch.
            back = back.min(self.head);
        }
        self.tat = self.tat.saturating_sub(back);
        match self.queue.front() {
            None => return,
            Some(first) if first.seq > seq => self.head = self.head.saturating_sub(back),
            Some(_) => {
                let mut found = false;
                self.queue.for_each(|want| {
                    if !found && want.seq > seq {
                        found = true;
                        want.step = want.step.saturating_sub(back);
                    }
                });
                if !found {
                    return;
                }
            }
        }
        self.tail = self.tail.saturating_sub(back);
    }

    /// How far those charged behind `seq` may be lowered so that the bucket is above its burst neither now nor when a
    /// promise comes due.
    fn room(&mut self, seq: u64, now: u64) -> u128 {
        let mut room = self.room_at(self.top(now), seq);
        for at in 0..self.promises.len() {
            let Some(promise) = self.promises.get(at) else { break };
            room = room.min(self.room_at(promise.tat, seq));
        }
        room
    }

    /// As each of those sees it who are behind `seq` and not served by the instant of arrival time `tat`: what will be in
    /// the bucket then besides his own charge, and what he knows to be promised from then on, must not exceed the depth.
    /// The first of them sees most; if there is none, it is whoever comes next. Number `seq` itself no longer counts.
    fn room_at(&mut self, tat: u128, seq: u64) -> u128 {
        let Self { terms, promises, queue, head, .. } = self;
        let concerns = |at: u128, want: &Want| (at > tat && want.seq > seq).then_some((at, want.n, want.seq));
        let mut first = queue.front().and_then(|want| concerns(*head, want));
        if first.is_none() {
            // Only beside promises, or where the timer is late.
            let mut place = None;
            queue.for_each(|want| {
                let at = place.map_or(*head, |ahead: u128| ahead.saturating_add(want.step));
                place = Some(at);
                first = first.or_else(|| concerns(at, want));
            });
        }
        let (start, known) = match first {
            Some((at, n, seq)) => (at.saturating_sub(terms.price(n)), seq),
            None => (self.tat, u64::MAX),
        };
        let later = promises.iter().filter(|promise| promise.tat >= tat && promise.seq < known);
        let owed = later.fold(0u128, |owed, promise| owed.saturating_add(terms.price(promise.n)));
        start.saturating_add(terms.depth()).saturating_sub(tat.saturating_add(owed))
    }

    /// The latest arrival time of what is due at `now`.
    fn top(&self, now: u64) -> u128 {
        self.terms.at(now).saturating_add(self.terms.depth())
    }
}

#[allow(private_interfaces, reason = "sealed: nobody outside can name the line or call it")]
impl Line<Gcra> for Chain {
    fn new(gcra: Gcra, tat: u128) -> Self {
        Self {
            gcra,
            terms: gcra.terms,
            tat,
            seq: 0,
            queue: List::new(),
            head: 0,
            tail: 0,
            dead: 0,
            held: None,
            promises: VecDeque::new(),
            granted: 0,
            cancelled: 0,
        }
    }

    fn algorithm(&self) -> &Gcra {
        &self.gcra
    }

    fn state(&self) -> Option<&u128> {
        Some(&self.tat)
    }

    fn planned(&mut self) -> (&Gcra, &u128) {
        (&self.gcra, &self.tat)
    }

    fn set_state(&mut self, tat: u128) {
        self.tat = tat;
    }

    fn take(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        self.tat = self.terms.take(self.tat, now, n)?;
        Ok(())
    }

    fn foresee(&mut self, ask: Ask) -> Result<u64, Denied> {
        let Ask { n, now, held, .. } = ask;
        if n > self.terms.burst {
            return Err(Denied::never(NAME, n, self.terms.burst));
        }
        let from = held.unwrap_or(now).max(now);
        if from == u64::MAX && self.terms.limit > 0 {
            return Ok(from);
        }
        // How far the end of the pause will push back those in line: see `retime`.
        let full = |first: &Want| self.terms.at(from).saturating_add(self.terms.price(first.n));
        let shift = self.queue.front().map_or(0, |first| full(first).saturating_sub(self.head));
        let Some(tat) = self.terms.charge(self.tat.saturating_add(shift), from, n) else {
            return Err(self.denied(ask, u64::MAX));
        };
        if self.terms.limit == 0 {
            // Nothing comes in, however long the pause; without limit nothing has to.
            let there = tat <= self.top(from);
            return if there { Ok(from) } else { Err(Denied::never(NAME, n, self.terms.burst)) };
        }
        Ok(self.due_of(tat).max(from))
    }

    fn wait(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>, ask: Ask) -> Result<Entry, Denied> {
        let Ask { n, now, limit, held } = ask;
        let (tat, due) = if held.is_none() {
            let Err(denied) = self.take(now, n) else { return Ok(Entry::Admitted) };
            self.charge(n, now, denied)?
        } else {
            let due = self.foresee(ask)?;
            // Close behind those in line, also where they are past their instants: they leave the pause together.
            let tat = match self.queue.is_empty() {
                true => self.terms.charge(self.tat, now, n),
                false => self.tat.checked_add(self.terms.price(n)),
            };
            (tat.ok_or_else(|| self.denied(ask, due))?, due)
        };
        if due > limit {
            return Err(self.denied(ask, due));
        }
        let Some(waker) = waker.take() else { return Err(self.denied(ask, due)) };
        self.tat = tat;
        self.seq += 1;
        let step = tat.saturating_sub(self.tail);
        if self.queue.is_empty() {
            self.head = tat;
        }
        self.tail = tat;
        self.queue.push_back(slot, Want { n, seq: self.seq, step, limit, verdict: None }, waker);
        Ok(Entry::Queued)
    }

    fn promise(&mut self, n: u64, now: u64) -> Result<(u64, u64), Denied> {
        let due = match self.take(now, n) {
            Ok(()) => now,
            Err(denied) => {
                let (tat, due) = self.charge(n, now, denied)?;
                self.forget_kept(now);
                self.tat = tat;
                let at = self.promises.partition_point(|promise| promise.tat <= tat);
                self.promises.insert(at, Promise { seq: self.seq + 1, n, tat });
                due
            }
        };
        self.seq += 1;
        Ok((self.seq, due))
    }

    fn due(&self) -> Option<u64> {
        (!self.queue.is_empty()).then(|| self.due_of(self.head))
    }

    fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        self.queue.set_waker(slot, fresh)
    }

    fn settle(&mut self, now: u64, held: bool, wakes: &mut Wakes) -> bool {
        let top = self.top(now);
        while let Some(first) = self.queue.front() {
            let outcome = match first.verdict {
                Some(_) => Outcome::Impossible,
                None if !held && self.head <= top => Outcome::Granted,
                None => break,
            };
            if !wakes.has_room() {
                return false;
            }
            match outcome {
                Outcome::Granted => self.granted += 1,
                _ => self.dead -= 1,
            }
            self.queue.pop_front(outcome, wakes);
            self.head = self.head.saturating_add(self.queue.front().map_or(0, |next| next.step));
        }
        let dead = &mut self.dead;
        // Those in the middle have a step of 0, so nobody else is moved.
        *dead == 0
            || self.queue.settle(wakes, |want| {
                want.verdict.map(|_| {
                    *dead -= 1;
                    Outcome::Impossible
                })
            })
    }

    fn leave(&mut self, slot: Pin<&Slot<Want>>, now: u64) -> Option<Option<Waker>> {
        let want = self.queue.value_mut(slot)?;
        let (n, seq, step, dead) = (want.n, want.seq, want.step, want.verdict.is_some());
        self.forget_kept(now);
        // The bucket before those behind is not above its burst, as it was not before this one.
        let room = if self.promises.is_empty() { u128::MAX } else { self.room(seq, now) };
        // One with a verdict holds nothing any more.
        let back = if dead { 0 } else { self.returned(n, seq).min(room) };
        let first = self.queue.front().is_some_and(|front| front.seq == seq);
        match self.queue.next_mut(slot) {
            Some(next) if first => {
                self.head = self.head.saturating_add(next.step).saturating_sub(back);
                self.tail = self.tail.saturating_sub(back);
            }
            Some(next) => {
                next.step = next.step.saturating_add(step).saturating_sub(back);
                self.tail = self.tail.saturating_sub(back);
            }
            None => self.tail = self.tail.saturating_sub(step),
        }
        self.tat = self.tat.saturating_sub(back);
        self.cancelled += 1;
        self.dead -= usize::from(dead);
        self.queue.unlink(slot).map(|(_, waker)| waker)
    }

    fn give_back(&mut self, want: &Want, now: u64) {
        let Want { n, seq, .. } = *want;
        self.forget_kept(now);
        let back = self.returned(n, seq);
        self.lift(back, seq, now);
        self.cancelled += 1;
    }

    fn withdraw(&mut self, n: u64, seq: u64, now: u64) {
        self.forget_kept(now);
        if let Some(at) = self.promises.iter().position(|promise| promise.seq == seq) {
            self.promises.remove(at);
        }
        let back = self.returned(n, seq);
        self.lift(back, seq, now);
        self.cancelled += 1;
    }

    fn refund(&mut self, n: u64, now: u64) {
        self.forget_kept(now);
        self.lift(self.terms.price(n), 0, now);
    }

    fn drain_to(&mut self, n: u64, now: u64) {
        let Some(first) = self.queue.front().filter(|_| self.held.is_some()) else {
            self.tat = self.terms.drained(self.tat, now, n);
            return;
        };
        // What a pause has gathered is before the first in line: what is drained there, he and all behind him wait for. Without
        // a pause he is waiting for whatever is there.
        let before = self.head.saturating_sub(self.terms.price(first.n));
        let drained = self.terms.drained(before, now, n).saturating_sub(before);
        for place in [&mut self.head, &mut self.tail, &mut self.tat] {
            *place = place.saturating_add(drained);
        }
        // Some may now have to wait for too long.
        self.retime(self.gcra, now, self.held);
    }

    /// Tokens, debts and waits are carried over as tokens, rounded by less than a unit, never in favour of the taker.
    fn retime(&mut self, next: Gcra, now: u64, held: Option<u64>) {
        self.forget_kept(now);
        self.held = held;
        let (old, mut new) = (self.terms, next.terms);
        if new.limit == 0 && new.cost != 0 && old.cost != 0 {
            // Of a rate of zero any unit will do: this one keeps fractions of a token for the rate that comes next.
            new.cost = old.cost;
        }
        let old_top = old.at(now).saturating_add(old.depth());
        let new_top = new.at(now).saturating_add(new.depth());
        // As many tokens away from now as before, on either side; `zero` above the true place, which may be before the
        // epoch until it is corrected for the new burst.
        let zero = scale(old.depth(), new.cost, old.cost, true);
        let place = |tat: u128| match tat.checked_sub(old_top) {
            Some(ahead) => {
                zero.saturating_add(new_top).saturating_add(scale(ahead, new.cost, old.cost, true))
            }
            None => {
                zero.saturating_add(new_top).saturating_sub(scale(old_top - tat, new.cost, old.cost, false))
            }
        };
        // With promises among them, tokens of those who get a verdict are not given back: no walk per waiter.
        let gives_back = self.promises.is_empty();
        let (mut cut, mut lost, mut pushed) = (0u128, None, None);
        let (mut was, mut last) = (None, None);
        // In a pause what is before the first in line may have grown beyond the old burst, which it never held.
        let mut risen = None;
        let head = self.head;
        let dead = &mut self.dead;
        self.queue.for_each(|want| {
            let tat = was.map_or(head, |was: u128| was.saturating_add(want.step));
            was = Some(tat);
            if want.verdict.is_none() {
                let full = old.at(now).saturating_add(old.price(want.n));
                risen = risen.or_else(|| Some(full.saturating_sub(tat)));
            }
            let placed = place(tat.saturating_sub(cut).saturating_add(risen.unwrap_or(0)));
            // What is before the first in line must fit the new burst.
            let full = new.at(now).saturating_add(new.price(want.n)).saturating_add(zero);
            let surplus = lost.unwrap_or(full.saturating_sub(placed));
            let placed = placed.saturating_add(surplus).saturating_sub(zero);
            if want.verdict.is_none() {
                // The end of a pause finds the bucket before the first in line full at most, as here the present does.
                let base = placed.saturating_sub(new.price(want.n));
                let shift = held.map_or(0, |end| new.at(end).saturating_sub(base));
                let shift = pushed.unwrap_or(shift);
                want.verdict = verdict(new, want, now, held, placed.saturating_add(shift));
                if want.verdict.is_none() {
                    lost = Some(surplus);
                    pushed = Some(shift);
                } else {
                    *dead += 1;
                    if gives_back {
                        cut = cut.saturating_add(old.price(want.n));
                    }
                }
            }
            let before: u128 = last.unwrap_or(0);
            let placed = if want.verdict.is_some() { before } else { placed.max(before) };
            want.step = placed.saturating_sub(before);
            last = Some(placed);
        });
        if let Some(first) = self.queue.front() {
            self.head = first.step;
            self.tail = last.unwrap_or(self.head);
        }
        self.tat = if old.cost == 0 {
            // Without limit there was no debt.
            new.at(now)
        } else {
            let tat = self.tat.saturating_sub(cut).saturating_add(risen.unwrap_or(0));
            // A bucket that has been full for a while is full now, and no more. With somebody in line, that is his surplus.
            let tat = if lost.is_some() { tat } else { tat.max(old.at(now)) };
            let placed = place(tat).saturating_add(lost.unwrap_or(0)).saturating_sub(zero);
            placed.max(new.at(now))
        };
        for promise in &mut self.promises {
            promise.tat = place(promise.tat).saturating_sub(zero);
        }
        self.terms = new;
        self.gcra = Gcra::with(next.quota, new);
    }

    fn counts(&self) -> Counts {
        Counts { waiting: self.queue.len(), granted: self.granted, cancelled: self.cancelled }
    }
}

/// Why new terms cannot serve a waiter whose arrival time they put at `placed`, in a pause until `held`.
fn verdict(terms: Terms, want: &Want, now: u64, held: Option<u64>, placed: u128) -> Option<Denied> {
    let Want { n, limit, .. } = *want;
    if n > terms.burst {
        return Some(Denied::never(NAME, n, terms.burst));
    }
    let due = placed.saturating_sub(terms.depth());
    let due = if due <= terms.at(now) {
        now
    } else if terms.limit == 0 {
        return Some(Denied::never(NAME, n, terms.burst));
    } else {
        terms.nanos(due)
    };
    let due = due.max(held.unwrap_or(now));
    let late = due > now && due > limit;
    late.then(|| match held {
        None => Denied::after_nanos(NAME, n, terms.burst, due.saturating_sub(now)),
        // When a pause without end is over, nobody knows.
        Some(u64::MAX) => Denied::after_nanos(NAME, n, terms.burst, u64::MAX).paused(),
        Some(_) => Denied::after_nanos(NAME, n, terms.burst, due.saturating_sub(now)).paused(),
    })
}
