//! What is known of one check. Pure: no clock, no lock.

use super::check::{Check, Kind};
use super::{Finding, Status};
use std::time::{Duration, Instant};

/// The course of one check.
#[derive(Default)]
pub(super) struct Course {
    /// What it has been found to be, often enough.
    pub(super) shown: Option<Shown>,
    /// Whether it has ever worked.
    pub(super) started: bool,
    /// In a row; one of the two is zero.
    pub(super) failures: u32,
    pub(super) successes: u32,
    pub(super) last: Option<Last>,
    /// When it is to be run next.
    pub(super) due: Option<Instant>,
    /// Somebody runs it.
    pub(super) flying: Option<Flying>,
    /// Runs that were begun.
    pub(super) flights: u64,
    /// The last of them to come to its end.
    pub(super) landed: u64,
    /// Recoveries tried since it worked last.
    pub(super) recoveries: u32,
}

/// A run that is under way.
#[derive(Clone, Copy)]
pub(super) struct Flying {
    /// Its number.
    pub(super) flight: u64,
    /// When it is so late that nobody polls it any more; never, if that is past the end of time.
    pub(super) lost: Option<Instant>,
}

impl Flying {
    fn is_lost(self, now: Instant) -> bool {
        self.lost.is_some_and(|lost| lost <= now)
    }
}

pub(super) struct Shown {
    pub(super) finding: Finding,
    pub(super) since: Instant,
}

/// The last run.
pub(super) struct Last {
    pub(super) finding: Finding,
    pub(super) at: Instant,
    pub(super) took: Duration,
}

impl Course {
    /// Begins a run: its number. If somebody else is at it, until when he may be.
    pub(super) fn begin(&mut self, check: &Check, now: Instant) -> Result<u64, Flying> {
        if let Some(flying) = self.flying.filter(|flying| !flying.is_lost(now)) {
            return Err(flying);
        }
        self.flights += 1;
        // His own timer goes off at half of that.
        let lost = now.checked_add(check.timeout.saturating_mul(2));
        self.flying = Some(Flying { flight: self.flights, lost });
        Ok(self.flights)
    }

    /// Ends a run, of whatever outcome. False if it was lost, and another one has begun.
    pub(super) fn end(&mut self, flight: u64) -> bool {
        let ours = self.flying.is_some_and(|flying| flying.flight == flight);
        if ours {
            self.flying = None;
        }
        ours
    }

    /// When the driver is to run it, unless somebody is at it until that is lost.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.due?;
        match self.flying {
            None => Some(due),
            Some(flying) => Some(due.max(flying.lost?)),
        }
    }

    /// Takes in what a run that ended `now` has found. What the status was before, if it is another one now.
    pub(super) fn take(
        &mut self,
        check: &Check,
        finding: Finding,
        took: Duration,
        now: Instant,
    ) -> Option<Option<Status>> {
        let works = finding.status().is_working();
        if works {
            (self.successes, self.failures) = (self.successes.saturating_add(1), 0);
        } else {
            (self.failures, self.successes) = (self.failures.saturating_add(1), 0);
        }
        self.last = Some(Last { finding: finding.clone(), at: now, took });
        let before = self.status();
        // What goes on as it was needs no patience, nor does the degree of it.
        let settled = before.is_some_and(|before| before.is_working() == works)
            || (works && self.successes >= check.successes)
            || (!works && self.failures >= check.failures);
        if !settled {
            return None;
        }
        if works {
            self.started = true;
            self.recoveries = 0;
        }
        let changed = before != Some(finding.status());
        match &mut self.shown {
            Some(shown) if !changed => shown.finding = finding,
            shown => *shown = Some(Shown { finding, since: now }),
        }
        changed.then_some(before)
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.shown.as_ref().map(|shown| shown.finding.status())
    }

    /// Whether it is to be run again by itself.
    pub(super) fn goes_on(&self, check: &Check) -> bool {
        !(self.started && check.kinds == [Kind::Startup])
    }

    /// The attempt that is next, if a recovery is called for.
    pub(super) fn next_recovery(&mut self, check: &Check) -> Option<u32> {
        let recovery = check.recovery.as_ref()?;
        let fails = self.status().is_some_and(|status| !status.is_working()) && self.failures > 0;
        (fails && self.recoveries < recovery.attempts).then(|| {
            self.recoveries += 1;
            self.recoveries
        })
    }

    /// What it contributes to the whole. Nothing, before it has a status.
    pub(super) fn part(&self, check: &Check) -> Option<Status> {
        Some(capped(self.status()?, check))
    }

    /// What it contributes to a probe of this kind.
    pub(super) fn part_of(&self, kind: Kind, check: &Check) -> Status {
        match (kind, self.status()) {
            // Alive until it is shown not to be.
            (Kind::Liveness, None) => Status::Healthy,
            (Kind::Startup, _) if self.started => Status::Healthy,
            (_, status) => capped(status.unwrap_or(Status::Unhealthy), check),
        }
    }
}

fn capped(status: Status, check: &Check) -> Status {
    if check.critical { status } else { status.min(Status::Degraded) }
}
