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

use crate::limit::gcra::{NAME, Terms, scale};
use crate::limit::{Denied, Quota};
use crate::wait::{List, Outcome, Slot, Wakes};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Waker;

/// What a waiter wants.
pub(super) struct Want {
    pub(super) n: u64,
    /// Place in the order of charging.
    pub(super) seq: u64,
    /// How far his arrival time is behind that of the waiter ahead. Means nothing in the first one.
    step: u128,
    /// The last nanosecond at which he is still interested.
    limit: u64,
    /// Why he cannot be served any more. Then he holds no charge.
    pub(super) verdict: Option<Denied>,
}

/// A reservation whose instant has not come.
struct Promise {
    seq: u64,
    n: u64,
    /// Its arrival time.
    tat: u128,
}

pub(super) enum Entry {
    /// The tokens were there and are his.
    Admitted,
    Queued,
}

pub(super) struct Chain {
    pub(super) terms: Terms,
    pub(super) quota: Quota,
    pub(super) tat: u128,
    seq: u64,
    queue: List<Want>,
    /// Arrival times of the first and the last waiter.
    head: u128,
    tail: u128,
    /// Waiters with a verdict, still to be told.
    dead: usize,
    /// By arrival time.
    promises: VecDeque<Promise>,
    pub(super) granted: u64,
    pub(super) cancelled: u64,
}

impl Chain {
    /// With `initial` tokens at `now`.
    pub(super) fn new(quota: Quota, initial: u64, now: u64) -> Self {
        let terms = Terms::new(quota);
        let missing = terms.burst.saturating_sub(initial);
        Self {
            terms,
            quota,
            tat: terms.at(now).saturating_add(terms.price(missing)),
            seq: 0,
            queue: List::new(),
            head: 0,
            tail: 0,
            dead: 0,
            promises: VecDeque::new(),
            granted: 0,
            cancelled: 0,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn take(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        self.tat = self.terms.take(self.tat, now, n)?;
        Ok(())
    }

    /// Takes `n` tokens, or queues for them if they come by `limit`.
    pub(super) fn wait(
        &mut self,
        slot: Pin<&Slot<Want>>,
        waker: &mut Option<Waker>,
        n: u64,
        now: u64,
        limit: u64,
    ) -> Result<Entry, Denied> {
        let Err(denied) = self.take(now, n) else { return Ok(Entry::Admitted) };
        let (tat, due) = self.charge(n, now, denied)?;
        if due > limit {
            return Err(denied);
        }
        // Cloned before the mutex; what is left over is dropped after it.
        let Some(waker) = waker.take() else { return Err(denied) };
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

    /// Takes `n` tokens, now or promised. Gives its number and its instant.
    pub(super) fn promise(&mut self, n: u64, now: u64) -> Result<(u64, u64), Denied> {
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

    /// When the first waiter is due.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.queue.is_empty()).then(|| self.due_of(self.head))
    }

    /// Gives a waiter its present waker; leftovers are dropped after the mutex.
    pub(super) fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        self.queue.set_waker(slot, fresh)
    }

    /// Ends the waits that are due, and those that can never be served. False if `wakes` ran out of room: wake, and call
    /// again.
    pub(super) fn settle(&mut self, now: u64, wakes: &mut Wakes) -> bool {
        let top = self.top(now);
        while let Some(first) = self.queue.front() {
            let outcome = match first.verdict {
                Some(_) => Outcome::Impossible,
                None if self.head <= top => Outcome::Granted,
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

    /// A waiter gives up. `None` if it is not in the queue (any more).
    pub(super) fn leave(&mut self, slot: Pin<&Slot<Want>>, now: u64) -> Option<Option<Waker>> {
        let want = self.queue.value_mut(slot)?;
        let (n, seq, step, dead) = (want.n, want.seq, want.step, want.verdict.is_some());
        self.forget_kept(now);
        // The bucket before those behind is not above its burst, as it was not before this one.
        let room = if self.promises.is_empty() { u128::MAX } else { self.room(seq, now) };
        let back = self.returned(n, seq).min(room);
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

    /// A grant that nobody took.
    pub(super) fn give_back(&mut self, n: u64, seq: u64, now: u64) {
        self.forget_kept(now);
        let back = self.returned(n, seq);
        self.lift(back, seq, now);
        self.cancelled += 1;
    }

    /// A reservation is given up before its instant.
    pub(super) fn withdraw(&mut self, n: u64, seq: u64, now: u64) {
        self.forget_kept(now);
        if let Some(at) = self.promises.iter().position(|promise| promise.seq == seq) {
            self.promises.remove(at);
        }
        let back = self.returned(n, seq);
        self.lift(back, seq, now);
        self.cancelled += 1;
    }

    /// Puts up to `n` tokens in.
    pub(super) fn refund(&mut self, n: u64, now: u64) {
        self.forget_kept(now);
        self.lift(self.terms.price(n), 0, now);
    }

    /// Leaves at most `n` tokens.
    pub(super) fn drain_to(&mut self, n: u64, now: u64) {
        self.tat = self.terms.drained(self.tat, now, n);
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
        let back = back.min(self.room(seq, now));
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

    /// Changes the terms: what has come in so far came at the old rate; tokens, debts and waits are carried over as
    /// tokens, rounded by less than a unit, never in favour of the taker. Waiters who cannot be served by the new terms,
    /// or not in the time they had, get their verdict; promised instants stand.
    pub(super) fn retime(&mut self, quota: Quota, now: u64) {
        self.forget_kept(now);
        let (old, mut new) = (self.terms, Terms::new(quota));
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
        let (mut cut, mut lost) = (0u128, None);
        let (mut was, mut last) = (None, None);
        let head = self.head;
        let dead = &mut self.dead;
        self.queue.for_each(|want| {
            let tat = was.map_or(head, |was: u128| was.saturating_add(want.step));
            was = Some(tat);
            let placed = place(tat.saturating_sub(cut));
            // What is before the first in line must fit the new burst.
            let full = new.at(now).saturating_add(new.price(want.n)).saturating_add(zero);
            let surplus = lost.unwrap_or(full.saturating_sub(placed));
            let placed = placed.saturating_add(surplus).saturating_sub(zero);
            if want.verdict.is_none() {
                want.verdict = verdict(new, want.n, now, placed, want.limit);
                if want.verdict.is_none() {
                    lost = Some(surplus);
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
            // A bucket that has been full for a while is full now, and no more.
            let tat = self.tat.saturating_sub(cut).max(old.at(now));
            let placed = place(tat).saturating_add(lost.unwrap_or(0)).saturating_sub(zero);
            placed.max(new.at(now))
        };
        for promise in &mut self.promises {
            promise.tat = place(promise.tat).saturating_sub(zero);
        }
        self.terms = new;
        self.quota = quota;
    }
}

/// Why new terms cannot serve a waiter whose arrival time they put at `placed`.
fn verdict(terms: Terms, n: u64, now: u64, placed: u128, limit: u64) -> Option<Denied> {
    if n > terms.burst {
        return Some(Denied::never(NAME, n, terms.burst));
    }
    let due = placed.saturating_sub(terms.depth());
    if due <= terms.at(now) {
        return None;
    }
    if terms.limit == 0 {
        return Some(Denied::never(NAME, n, terms.burst));
    }
    let due = terms.nanos(due);
    (due > limit).then(|| Denied::after_nanos(NAME, n, terms.burst, due.saturating_sub(now)))
}
