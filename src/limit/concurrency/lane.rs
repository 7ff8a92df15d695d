//! The queues of the partitions, and whose turn it is. Guarded by the line's lock; the time is an argument, in nanoseconds.

use crate::wait::{List, Outcome, Slot, Wakes};
use std::cmp::Ordering;
use std::pin::Pin;
use std::task::Waker;

/// What a waiter wants.
pub(super) struct Want {
    pub(super) permits: u32,
    pub(super) lane: usize,
    /// The last instant at which it may still be served.
    shed_at: u64,
    /// Why it cannot be served any more.
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    /// It has waited for too long.
    Shed,
    /// The limit is now below what it wants.
    Above(u32),
}

/// When the newest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewestFirst {
    Never,
    Always,
    WhileOverloaded,
}

/// How a lane is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) newest: NewestFirst,
    /// A lane that has not been empty for so long is overloaded.
    pub(super) interval: u64,
    /// How long anybody may wait in an overloaded lane.
    pub(super) target: Option<u64>,
}

impl Rule {
    /// Whether it takes the time to decide.
    pub(super) fn is_timed(self) -> bool {
        self.newest == NewestFirst::WhileOverloaded || self.target.is_some()
    }

    /// The last instant at which one that comes at `now` may be served, in a lane that is not empty since `since`.
    ///
    /// It is known when the waiter comes, and stays: while it waits the lane is not empty, so the lane becomes overloaded
    /// at `since + interval` and stays so. From then on the wait may be `target`; before, no wait can be longer than what
    /// is allowed then, which is the interval.
    fn shed_at(self, since: u64, now: u64) -> u64 {
        let Some(target) = self.target else { return u64::MAX };
        since.saturating_add(self.interval).max(now.saturating_add(target))
    }
}

pub(super) struct Lane {
    queue: List<Want>,
    /// When it was last empty. Means nothing while it is.
    since: u64,
    /// Its share of the limit, in percent.
    share: u32,
}

/// One lane, or one for each partition and one for the rest.
pub(super) struct Lanes {
    rule: Rule,
    lanes: Box<[Lane]>,
    len: usize,
}

/// Whose turn it is.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) lane: usize,
    pub(super) permits: u32,
    newest: bool,
}

impl Lanes {
    pub(super) fn new(rule: Rule, shares: impl Iterator<Item = u32>) -> Self {
        let lanes = shares.map(|share| Lane { queue: List::new(), since: 0, share }).collect();
        Self { rule, lanes, len: 0 }
    }

    /// How many wait, in all lanes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many wait in one.
    pub(super) fn len_of(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lane| lane.queue.len())
    }

    pub(super) fn share_of(&self, lane: usize) -> u32 {
        self.lanes.get(lane).map_or(0, |lane| lane.share)
    }

    /// Puts a waiter in line; gives the last instant at which it may be served.
    pub(super) fn link(
        &mut self,
        slot: Pin<&Slot<Want>>,
        at: usize,
        permits: u32,
        now: u64,
        waker: Waker,
    ) -> u64 {
        let Some(lane) = self.lanes.get_mut(at) else { return u64::MAX };
        if lane.queue.is_empty() {
            lane.since = now;
        }
        let shed_at = self.rule.shed_at(lane.since, now);
        let want = Want { permits, lane: at, shed_at, verdict: Verdict::None };
        lane.queue.push_back(slot, want, waker);
        self.len += 1;
        shed_at
    }

    /// Sheds those whose time is over. In a lane the oldest has the earliest end. `None` if the batch is full and there
    /// may be more; else how many.
    pub(super) fn shed(&mut self, now: u64, wakes: &mut Wakes) -> (usize, bool) {
        let mut shed = 0;
        let mut done = true;
        if self.rule.target.is_some() {
            for lane in &mut self.lanes {
                while lane.queue.front().is_some_and(|oldest| oldest.shed_at < now) {
                    if !wakes.has_room() {
                        done = false;
                        break;
                    }
                    lane.queue
                        .pop_front_with(Outcome::Impossible, wakes, |want| want.verdict = Verdict::Shed);
                    shed += 1;
                }
            }
        }
        self.len -= shed;
        (shed, done)
    }

    /// Who is to be served next, where `used` says how many permits a lane holds: of the lane that holds least of its
    /// share, the oldest or the newest.
    pub(super) fn next(&self, now: u64, used: impl Fn(usize) -> u32) -> Option<Next> {
        let waiting = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.queue.is_empty());
        let (at, lane) = waiting.min_by(|(a, one), (b, other)| {
            compare((used(*a), one.share), (used(*b), other.share)).then(one.since.cmp(&other.since))
        })?;
        let newest = match self.rule.newest {
            NewestFirst::Never => false,
            NewestFirst::Always => true,
            NewestFirst::WhileOverloaded => now.saturating_sub(lane.since) >= self.rule.interval,
        };
        let want = if newest { lane.queue.back() } else { lane.queue.front() }?;
        Some(Next { lane: at, permits: want.permits, newest })
    }

    /// Serves it.
    pub(super) fn grant(&mut self, next: Next, wakes: &mut Wakes) {
        let Some(lane) = self.lanes.get_mut(next.lane) else { return };
        let granted = if next.newest {
            lane.queue.pop_back(Outcome::Granted, wakes)
        } else {
            lane.queue.pop_front(Outcome::Granted, wakes)
        };
        self.len -= usize::from(granted);
    }

    pub(super) fn set_waker(
        &mut self,
        slot: Pin<&Slot<Want>>,
        lane: usize,
        fresh: &mut Option<Waker>,
    ) -> Option<Waker> {
        self.lanes.get_mut(lane)?.queue.set_waker(slot, fresh)
    }

    /// Takes a waiter out of line. `None` if it was not in it.
    pub(super) fn unlink(&mut self, slot: Pin<&Slot<Want>>, lane: usize) -> Option<Option<Waker>> {
        let (_, waker) = self.lanes.get_mut(lane)?.queue.unlink(slot)?;
        self.len -= 1;
        Some(waker)
    }

    /// Ends the waits of which `ends` says how: how many, and whether that was all.
    pub(super) fn settle(
        &mut self,
        wakes: &mut Wakes,
        mut ends: impl FnMut(&mut Want) -> Option<Outcome>,
    ) -> (usize, bool) {
        let mut ended = 0;
        let mut end = |want: &mut Want| {
            let outcome = ends(want);
            ended += usize::from(outcome.is_some());
            outcome
        };
        let done = self.lanes.iter_mut().all(|lane| lane.queue.settle(wakes, &mut end));
        self.len -= ended;
        (ended, done)
    }
}

/// Which of two lanes, of (permits in flight, share), holds less of its share: as fractions, without rounding. One without
/// a share comes after all that have one.
fn compare((used, share): (u32, u32), (other_used, other_share): (u32, u32)) -> Ordering {
    match (share, other_share) {
        (0, 0) => used.cmp(&other_used),
        (0, _) => Ordering::Greater,
        (_, 0) => Ordering::Less,
        _ => (u64::from(used) * u64::from(other_share)).cmp(&(u64::from(other_used) * u64::from(share))),
    }
}
