//! Those who wait for the keys of a shard: into line, out of it, and served.

use super::bell::Ring;
use super::hash::Short;
use super::shard::{Found, IN_LINE, Shard, of_entry, settled};
use super::shelf::Id;
use crate::limit::limiter::line::{Ask, Entry as Entered, Line, Want};
use crate::limit::{Algorithm, Denied};
use crate::wait::{Outcome, Slot, Wakes};
use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

impl<K: Eq, A: Algorithm> Shard<K, A> {
    /// Takes tokens, or a place in the line of a key. `None` if the key is not there.
    pub(super) fn enqueue<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        slot: Pin<&Slot<Want>>,
        waker: &mut Option<Waker>,
        ask: Ask,
    ) -> Option<Result<Entered, Denied>>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let Self { shelf, lines, algorithm, parity, past, overrides, .. } = self;
        let entry = shelf.get_mut(hash, key)?;
        let id = entry.id();
        if entry.marks & IN_LINE == 0 {
            let found = if entry.marks == *parity {
                Found::State(algorithm, &mut entry.value)
            } else {
                settled(entry, lines, algorithm, *parity, past.as_deref(), overrides)
            };
            if let Found::State(algorithm, state) = found {
                let (algorithm, state) = (algorithm.clone(), state.clone());
                lines.begin(id, algorithm, state);
                entry.marks |= IN_LINE;
            }
        }
        let entered = lines.get(id)?.wait(slot, waker, ask);
        self.follow(id, ask.now);
        if let Ok(Entered::Admitted) = entered {
            self.tally.allowed += 1;
        }
        Some(entered)
    }

    /// Gives a waiter its present waker. What is left over is dropped after the lock.
    pub(super) fn set_waker<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        slot: Pin<&Slot<Want>>,
        fresh: &mut Option<Waker>,
    ) -> Option<Waker>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let id = self.shelf.get_mut(hash, key)?.id();
        self.lines.get(id)?.set_waker(slot, fresh)
    }

    /// A waiter gives up: in line, or with a grant that nobody has seen. Its waker is dropped after the lock.
    pub(super) fn abandon<Q>(
        &mut self,
        hash: Short,
        key: &Q,
        slot: Pin<&Slot<Want>>,
        now: u64,
    ) -> Option<Waker>
    where
        K: Borrow<Q>,
        Q: ?Sized + Eq,
    {
        let id = self.shelf.get_mut(hash, key).map(|entry| entry.id());
        let line = id.and_then(|id| self.lines.get(id));
        if let Some((id, waker)) =
            line.and_then(|line| line.leave(slot, now)).and_then(|waker| Some((id?, waker)))
        {
            self.lines.hurry(id);
            return waker;
        }
        let (outcome, want) = slot.take()?;
        if outcome != Outcome::Granted {
            // Nobody has seen the refusal, either.
            self.tally.cancelled += 1;
            return None;
        }
        match id.and_then(|id| self.lines.get(id).map(|line| (id, line))) {
            Some((id, line)) => {
                // Everybody in line was charged after it, in this line or in the one before: hence the number 0.
                line.give_back(&Want { seq: 0, ..want }, now);
                self.lines.hurry(id);
            }
            None => {
                // The line has ended, and with it who was charged behind.
                self.give_back(hash, key, &want, now);
                self.tally.cancelled += 1;
            }
        }
        None
    }

    /// Ends every wait that is due at `now`. False if `wakes` ran out of room: wake, and call again.
    pub(super) fn settle(&mut self, now: u64, wakes: &mut Wakes) -> bool {
        while let Some(id) = self.lines.due(now) {
            if self.lines.get(id).is_some_and(|line| !line.settle(now, false, wakes)) {
                return false;
            }
            self.follow(id, now);
        }
        true
    }

    /// After a change of a line: notes when it is due, or ends it if nobody waits.
    fn follow(&mut self, id: Id, now: u64) {
        if self.lines.get(id).is_some_and(|line| line.counts().waiting > 0) {
            return self.lines.note(id);
        }
        let Self { shelf, lines, algorithm, overrides, tally, .. } = self;
        let Some(entry) = shelf.of(id) else { return };
        entry.marks &= !IN_LINE;
        let algorithm = of_entry(entry, algorithm, overrides);
        let Some((state, counts)) = lines.end(id, algorithm, now) else { return };
        tally.granted += counts.granted;
        tally.cancelled += counts.cancelled;
        entry.value = state;
        let at = algorithm.fresh_at(&entry.value);
        shelf.renew(id, at);
    }

    /// Whom to call after a change of lines.
    pub(super) fn ringer(&self) -> Option<Arc<dyn Ring>> {
        self.bell.clone().filter(|_| !self.lines.is_empty())
    }
}
