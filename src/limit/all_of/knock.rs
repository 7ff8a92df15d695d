//! The line of those who wait for several limiters: the first of them knocks when all might agree, and again when they did not.

use super::Joint;
use super::joint::NotYet;
use crate::limit::limiter::line::{Ask, Counts, Entry, Line, Want};
use crate::limit::{Algorithm, Denied};
use crate::wait::{List, Outcome, Slot, Wakes};
use std::pin::Pin;
use std::task::Waker;

#[allow(missing_debug_implementations, reason = "sealed: nobody outside has one")]
pub struct Knock {
    joint: Joint,
    queue: List<Want>,
    /// When the first in line knocks next. Means nothing while nobody waits.
    next: u64,
    /// Nobody's time is over before this.
    patience: u64,
    seq: u64,
    granted: u64,
    cancelled: u64,
    /// What the members are still to get back, or to be drained to.
    owed: u64,
    drain: Option<u64>,
}

impl Knock {
    /// A refusal to one who would stand behind those in line: not before the first of them may be served, or one of them gives up.
    fn behind(&self, now: u64, n: u64) -> Denied {
        let next = self.next.min(self.patience);
        let after = if next == u64::MAX { next } else { next.saturating_sub(now).max(1) };
        let denied = Denied::after_nanos(Joint::NAME, n, self.joint.capacity(), after);
        if after == u64::MAX { denied.paused() } else { denied }
    }

    fn attempt(&mut self, now: u64, n: u64) -> Result<(), NotYet> {
        if self.queue.is_empty() {
            return self.joint.attempt(now, n);
        }
        // When the first of them may be served, or one of them gives up.
        self.check(now, n).map_err(|denied| NotYet { denied, retry: self.next.min(self.patience) })
    }

    /// Ends the waits whose time is over, or known to be too short. A pause that is over when the time is leaves it enough.
    fn expire(&mut self, now: u64, held: bool, wakes: &mut Wakes) -> bool {
        if now < self.patience {
            return true;
        }
        let mut patience = u64::MAX;
        let (capacity, after) = (self.joint.capacity(), self.next.saturating_sub(now).max(1));
        let has_time = |want: &Want| want.limit > now || held && want.limit == now;
        let denied = |want: &Want| Denied::after_nanos(Joint::NAME, want.n, capacity, after);
        if let Some(first) =
            self.queue.front_mut().filter(|first| first.verdict.is_none() && !has_time(first))
        {
            // Alone: the one behind, whose time may be over too, is first then, and is tried before that.
            if !wakes.has_room() {
                return false;
            }
            first.verdict = Some(denied(first));
            self.queue.pop_front(Outcome::Impossible, wakes);
            return true;
        }
        let done = self.queue.settle(wakes, |want| {
            if want.verdict.is_none() {
                if has_time(want) {
                    patience = patience.min(want.limit);
                    return None;
                }
                want.verdict = Some(denied(want));
            }
            Some(Outcome::Impossible)
        });
        if done {
            self.patience = patience;
        }
        done
    }
}

#[allow(private_interfaces, reason = "sealed: nobody outside can name the line or call it")]
impl Line<Joint> for Knock {
    fn new(joint: Joint, (): ()) -> Self {
        let queue = List::new();
        Self {
            joint,
            queue,
            next: 0,
            patience: u64::MAX,
            seq: 0,
            granted: 0,
            cancelled: 0,
            owed: 0,
            drain: None,
        }
    }

    fn algorithm(&self) -> &Joint {
        &self.joint
    }

    fn state(&self) -> Option<&()> {
        Some(&())
    }

    fn planned(&mut self) -> (&Joint, &()) {
        (&self.joint, &())
    }

    fn check(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        let checked = self.joint.check(&(), now, n);
        match checked {
            Err(denied) if denied.is_never() => Err(denied),
            _ if self.queue.is_empty() => checked,
            _ => Err(self.behind(now, n)),
        }
    }

    fn set_state(&mut self, (): ()) {}

    fn take(&mut self, now: u64, n: u64) -> Result<(), Denied> {
        self.attempt(now, n).map_err(|no| no.denied)
    }

    fn foresee(&mut self, ask: Ask) -> Result<u64, Denied> {
        let from = ask.held.unwrap_or(ask.now).max(ask.now);
        match self.joint.look(ask.now, ask.n) {
            Ok(()) => Ok(from),
            Err(no) if no.denied.is_never() => Err(no.denied),
            // A member's settings may change before it would be there by those of now.
            Err(no) => Ok(no.retry.max(from)),
        }
    }

    fn wait(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>, ask: Ask) -> Result<Entry, Denied> {
        let Ask { n, now, limit, held } = ask;
        let no = match held {
            None => match self.attempt(now, n) {
                Ok(()) => return Ok(Entry::Admitted),
                Err(no) => no,
            },
            Some(_) => {
                let retry = self.foresee(ask)?;
                let after = if retry == u64::MAX { retry } else { retry - now };
                NotYet { denied: Denied::after_nanos(Joint::NAME, n, self.joint.capacity(), after), retry }
            }
        };
        if no.denied.is_never() || no.retry > limit {
            return Err(no.denied);
        }
        let Some(waker) = waker.take() else { return Err(no.denied) };
        if self.queue.is_empty() {
            self.next = no.retry;
            self.patience = u64::MAX;
        }
        self.patience = self.patience.min(limit);
        self.seq += 1;
        let want = Want { n, seq: self.seq, step: 0, limit, verdict: None };
        self.queue.push_back(slot, want, waker);
        Ok(Entry::Queued)
    }

    fn promise(&mut self, n: u64, now: u64) -> Result<(u64, u64), Denied> {
        self.take(now, n)?;
        self.seq += 1;
        Ok((self.seq, now))
    }

    fn due(&self) -> Option<u64> {
        let due = self.next.min(self.patience);
        (!self.queue.is_empty() && due != u64::MAX).then_some(due)
    }

    fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        self.queue.set_waker(slot, fresh)
    }

    fn settle(&mut self, now: u64, held: bool, wakes: &mut Wakes) -> bool {
        loop {
            while let Some(first) = self.queue.front_mut().filter(|first| !held && first.verdict.is_none()) {
                if !wakes.has_room() {
                    return false;
                }
                match self.joint.attempt(now, first.n) {
                    Ok(()) => {
                        self.granted += 1;
                        self.queue.pop_front(Outcome::Granted, wakes);
                    }
                    Err(no) if no.denied.is_never() => {
                        first.verdict = Some(no.denied);
                        self.queue.pop_front(Outcome::Impossible, wakes);
                    }
                    Err(no) => {
                        self.next = no.retry;
                        break;
                    }
                }
            }
            let first = self.queue.front().map(|first| first.seq);
            if !self.expire(now, held, wakes) {
                return false;
            }
            // Whoever is first now may want less.
            if self.queue.front().map(|first| first.seq) == first {
                return true;
            }
        }
    }

    fn leave(&mut self, slot: Pin<&Slot<Want>>, _: u64) -> Option<Option<Waker>> {
        let (_, waker) = self.queue.unlink(slot)?;
        self.cancelled += 1;
        // Whoever is first now is tried at once: the line is settled after this.
        Some(waker)
    }

    fn give_back(&mut self, want: &Want, now: u64) {
        self.cancelled += 1;
        self.refund(want.n, now);
    }

    fn withdraw(&mut self, n: u64, _: u64, now: u64) {
        self.cancelled += 1;
        self.refund(n, now);
    }

    fn refund(&mut self, n: u64, _: u64) {
        self.owed = self.owed.saturating_add(n);
    }

    fn drain_to(&mut self, n: u64, _: u64) {
        self.drain = Some(self.drain.map_or(n, |drain| drain.min(n)));
    }

    fn afterwards(&mut self) -> Option<Box<dyn FnOnce()>> {
        let (owed, drain) = (std::mem::take(&mut self.owed), self.drain.take());
        if owed == 0 && drain.is_none() {
            return None;
        }
        let joint = self.joint.clone();
        Some(Box::new(move || {
            if let Some(n) = drain {
                joint.drain_to(&mut (), 0, n);
            }
            if owed > 0 {
                joint.refund(&mut (), 0, owed);
            }
        }))
    }

    fn retime(&mut self, next: Joint, now: u64, held: Option<u64>) {
        self.joint = next.since(&self.joint);
        let Some(until) = held else { return };
        self.next = until;
        let capacity = self.joint.capacity();
        let after = if until == u64::MAX { until } else { until.saturating_sub(now) };
        let late = |want: &Want| Denied::after_nanos(Joint::NAME, want.n, capacity, after).paused();
        let mut any = false;
        self.queue.for_each(|want| {
            if want.limit < until && want.verdict.is_none() {
                want.verdict = Some(late(want));
                any = true;
            }
        });
        if any {
            // They are told when the line is settled, which is next.
            self.patience = 0;
        }
    }

    fn counts(&self) -> Counts {
        Counts { waiting: self.queue.len(), granted: self.granted, cancelled: self.cancelled }
    }
}
