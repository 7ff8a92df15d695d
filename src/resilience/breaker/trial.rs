//! The trials of a half-open breaker: under the lock, there are few of them.

use super::machine::{ADMITTED, End, Machine, Ticket};
use super::settle::Ended;
use super::transition::{Control, Decided, Opening};
use super::verdict::Verdict;
use super::word::{Trials, Word};
use super::{BreakerEvent, Outcome, State, Trigger};
use crate::sync::striped::lane;

/// One of the calls that a half-open phase lets through.
///
/// | from | to | when |
/// |---|---|---|
/// | free | out | a call is let through on trial |
/// | out | out, of another trial | the lease is over and another call takes the place |
/// | out | judged | any trial that ever had the place succeeds, or fails |
/// | out | free | the trial that has the place is ignored or dropped |
/// | free | judged | a trial that had lost the place succeeds, or fails, after its successor came to nothing |
///
/// A verdict ends the phase, or the step of it, and the places with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Free,
    Out { trial: TrialId, began: u64, lease_end: u64 },
    Judged,
}

/// Which trial of the breaker, and the index of the place that it was given.
///
/// | bits | what |
/// |---|---|
/// | 0..9 | place |
/// | 9..64 | number of the trial, over all phases |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrialId(u64);

impl TrialId {
    const fn new(number: u64, place: usize) -> Self {
        Self(number << 9 | place as u64)
    }

    const fn of(ticket: Ticket) -> Self {
        Self(ticket.detail)
    }

    const fn place(self) -> usize {
        (self.0 & 0x1ff) as usize
    }
}

impl Control {
    /// A place for a trial, if there is one: free, or held by a trial whose lease is over.
    fn take_place(&mut self, trials: &mut Trials, now: u64) -> Option<TrialId> {
        let index = if trials.out + trials.judged < self.config.knobs.half_open_requests {
            if trials.out == 0 {
                self.verdict_by = now.saturating_add(self.config.verdict_within);
            }
            trials.out += 1;
            match self.places.iter().position(|place| matches!(place, Place::Free)) {
                Some(free) => free,
                None => {
                    self.places.push(Place::Free);
                    self.places.len() - 1
                }
            }
        } else {
            let over = |place: &Place| matches!(place, Place::Out { lease_end, .. } if *lease_end <= now);
            self.places.iter().position(over)?
        };
        let trial = TrialId::new(self.next_trial, index);
        self.next_trial += 1;
        let lease_end = now.saturating_add(self.config.trial_lease);
        *self.places.get_mut(index)? = Place::Out { trial, began: now, lease_end };
        Some(trial)
    }

    /// When this trial began, if it still has its place.
    fn began(&self, id: TrialId) -> Option<u64> {
        match self.places.get(id.place()) {
            Some(Place::Out { trial, began, .. }) if *trial == id => Some(*began),
            _ => None,
        }
    }

    /// From when on a refusal has to be thought over: the verdict is overdue, or a lease is over.
    fn attention(&self) -> u64 {
        let leases = self.places.iter().filter_map(|place| match place {
            Place::Out { lease_end, .. } => Some(*lease_end),
            _ => None,
        });
        leases.min().map_or(u64::MAX, |lease| lease.min(self.verdict_by))
    }
}

impl Machine {
    /// The slow way in, for a breaker that was open with its break over, or half-open, in the generation of `seen`.
    /// `None`: something has changed, decide anew.
    pub(super) fn admit_on_trial(&self, seen: Word, now: u64) -> Option<Result<Ticket, u64>> {
        let mut decided = Decided::default();
        let mut control = self.lock_before_trial(seen);
        let same = self.is_still_due(seen, now);
        let answer = if same && !self.end_if_overdue(&mut control, now, &mut decided) {
            if seen.is(State::Open) {
                self.half_open(&mut control, now, &mut decided);
            }
            Some(self.take_place(&mut control, now))
        } else {
            None
        };
        drop(control);
        self.emit(decided);
        answer
    }

    /// In a half-open breaker. Refused: the due time.
    fn take_place(&self, control: &mut Control, now: u64) -> Result<Ticket, u64> {
        let Control { ramp, config, .. } = control;
        if !ramp.draw(&config.ramp) {
            // Nobody knows when the next one is let through: that depends on how many come.
            return Err(u64::MAX);
        }
        let word = self.load_locked();
        let mut trials = word.trials();
        let place = control.take_place(&mut trials, now);
        let due = control.attention();
        // In this order: who sees the place taken knows for how long.
        self.set_due(word, due);
        self.set_trials(word, trials);
        let trial = place.ok_or(due)?;
        self.tally.add_then_look::<ADMITTED>(lane());
        Ok(Ticket { word: word.plain(), detail: trial.0 })
    }

    /// What the end of a trial does. Its result counts if its generation lasts and its place is not judged yet.
    pub(super) fn settle_trial(&self, ticket: Ticket, end: End, now: u64) {
        // (Acquires the phase of the generation it sees.)
        if !self.load().same_generation(ticket.word) {
            return self.count_late(end);
        }
        let id = TrialId::of(ticket);
        let began = self.control.lock().began(id);
        let mut ended = Ended { end, slow: None };
        // (Of a trial that has lost its place nobody knows any more when it began.)
        let timed = began.map_or(ended, |began| self.ended(end, began, &mut self.at_nanos(now)));
        // Known before the break is, which may depend on it. (A success that was not slow opens nothing.)
        let tripped = matches!(end, End::Judged(Outcome::Trip(_)));
        let trigger = match timed.slow {
            _ if tripped => Trigger::Outcome,
            Some(_) if !timed.is_failure() => Trigger::TrialSlow,
            _ => Trigger::TrialFailed,
        };
        let trip = self.trip_by(ticket.word, ended, trigger, None);
        let mut decided = Decided::default();
        let (mut control, length) = self.lock_knowing_break(&trip);
        // A result that comes after the verdict was due is late, whether or not anybody has noticed.
        self.end_if_overdue(&mut control, now, &mut decided);
        let word = self.load_locked();
        let place = control.places.get(id.place()).copied();
        let late = !word.same_generation(ticket.word) || matches!(place, None | Some(Place::Judged));
        if !late {
            let mut trials = word.trials();
            let out = matches!(place, Some(Place::Out { .. }));
            let mine = control.began(id).is_some();
            if mine {
                ended = timed;
            }
            // (A dropped one that was slow is none where it could not open the breaker: it is no success.)
            let slow = ended.slow.is_some() && control.config.knobs.slow_rate.is_some();
            let evidence = ended.is_success() || ended.is_failure() || slow;
            if evidence {
                trials.out -= u32::from(out);
                trials.judged += 1;
                trials.successes += u32::from(!ended.is_failure());
                control.slow_trials += u32::from(slow);
            } else {
                trials.out -= u32::from(mine);
            }
            let verdict = if tripped {
                Verdict::Open
            } else {
                control.config.trials.verdict(trials, control.slow_trials)
            };
            match verdict {
                Verdict::Open => {
                    let opening = Opening { at: now, length, trip: Some(trip) };
                    self.open(&mut control, opening, trigger, &mut decided, |_| true);
                }
                Verdict::Close => self.step_or_close(&mut control, now, &mut decided),
                Verdict::Wait => {
                    if let Some(place) = control.places.get_mut(id.place()) {
                        if evidence {
                            *place = Place::Judged;
                        } else if mine {
                            *place = Place::Free;
                        }
                    }
                    // In this order, the reverse of `take_place`: with a due time that is too late, there is a place.
                    self.set_trials(word, trials);
                    self.set_due(word, control.attention());
                }
            }
        }
        drop(control);
        if late {
            self.count_late(end)
        } else {
            self.note(ended, &mut self.at_nanos(now));
            self.count(ended)
        }
        self.emit(decided);
    }

    /// The trials are for the callee: on to the next step of the ramp, or closed.
    fn step_or_close(&self, control: &mut Control, now: u64, decided: &mut Decided) {
        match control.ramp.next(&control.config.ramp) {
            Some(next) => {
                control.ramp = next;
                self.try_anew(control, now, decided);
                let (name, step, at) = (self.name, next.step(), self.instant(now));
                control.decide(decided, BreakerEvent::NextStep { name, step, at });
            }
            None => self.close(control, now, Trigger::TrialsSucceeded, decided),
        }
    }
}
