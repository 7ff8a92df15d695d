//! How long tasks wait and run, for those who want nothing else of them: see [`Meters`](crate::pool::ledger::Meters).

#![forbid(unsafe_code)]

use super::Task;
use crate::panics::contain;
use crate::pool::event::Outcome;
use crate::pool::ledger::{Known, Ledger};
use crate::pool::shared::Shared;
use crate::pool::slot::Job;
use crate::sync::Context as WorkContext;
use std::pin::Pin;
use std::time::Duration;

/// Of one worker.
#[derive(Default)]
pub(super) struct Stopwatch {
    /// When the present task was taken up; 0 if it is not timed.
    began: u64,
    /// When the last one ended, if the worker has gone on at once: then the next begins at that time. What comes between them are
    /// wake-ups, and a look at the queue.
    just_now: u64,
    meters: Known,
}

impl Stopwatch {
    /// Whether the present task is timed.
    #[inline(always)]
    pub(super) fn is_running(&self) -> bool {
        self.began != 0
    }

    /// The worker does not go on at once.
    #[inline(always)]
    pub(super) fn pause(&mut self) {
        self.just_now = 0;
    }

    /// Nor does it keep anything of those whom it tells while it has nothing to do.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.just_now = 0;
        if self.meters.is_anyone() {
            self.forget();
        }
    }

    #[inline(never)]
    fn forget(&mut self) {
        // What is told may be the user's, and this the last hold on it.
        contain(|| self.meters = Known::default());
    }

    /// A task that was submitted then is taken up, unless there is an end to it already.
    #[inline(never)]
    pub(super) fn begin(&mut self, shared: &Shared, job: Pin<&mut Job>, task: &Task, submitted: u64) {
        let just_now = std::mem::take(&mut self.just_now);
        let Some(ledger) = &shared.settings.ledger else { return };
        let is_over = |context: &WorkContext| shared.heeds && context.check().is_err();
        contain(|| {
            if !task.context().is_some_and(is_over) && job.begin() {
                let now = if just_now == 0 { ledger.time() } else { just_now };
                self.began = now;
                let waited = Duration::from_nanos(now.saturating_sub(submitted));
                self.meters.tell(&ledger.meters, |meter| meter.waited(waited));
            }
        });
    }

    /// It has ended.
    #[inline(never)]
    pub(super) fn end(&mut self, shared: &Shared, outcome: Outcome) {
        let began = std::mem::take(&mut self.began);
        let Some(ledger) = shared.settings.ledger.as_deref() else { return };
        contain(|| {
            let now = Ledger::time(ledger);
            self.just_now = now;
            let ran = Duration::from_nanos(now.saturating_sub(began));
            self.meters.tell(&ledger.meters, |meter| meter.ran(outcome, ran));
        });
    }
}
