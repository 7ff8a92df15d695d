//! What a pool with observers, reports or a history notes of each task. A pool without them has no ledger at all.
//!
//! # Order
//!
//! Each step of a task is taken under the ledger's lock: the push together with the note of it, so that a worker that has
//! the task finds it noted. There an event gets its number, and outside the lock it is shown, in the order of the numbers.
//!
//! Nothing of the user's runs under that lock: observers and clocks are called, and contexts dropped, outside it.

#![forbid(unsafe_code)]

mod history;
mod meters;

pub use history::{ContextStats, LiveTask, TaskRecord, TaskStatus};
pub(crate) use meters::Meter;
pub(super) use meters::{Known, Meters};

use super::error::Ending;
use super::event::{Outcome, PoolEvent, TaskReport};
use super::extras::Extras;
use super::handle::TaskId;
use crate::observe::{Attached, Observers};
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::sync::{Context, Receiver, Sender};
use crate::time::{Clock, Epoch};
use history::{ContextEnd, History};
use std::time::{Duration, Instant};

pub(super) struct Ledger {
    observers: Observers<PoolEvent>,
    reports: Option<Reporter>,
    has_history: bool,
    notes: Mutex<Notes>,
    pub(super) meters: Meters,
    /// Of the times that the meters' durations are made of.
    epoch: Epoch,
}

struct Notes {
    /// Events that were numbered.
    numbered: u64,
    history: Option<History>,
}

struct Reporter {
    sender: Sender<TaskReport>,
    /// Keeps the channel open, and is cloned for those who read.
    receiver: Receiver<TaskReport>,
    displaced: AtomicU64,
}

impl Notes {
    /// The number of the next event, which must then be shown.
    fn number(&mut self, observers: &Observers<PoolEvent>) -> Option<u64> {
        observers.may_be_watched().then(|| {
            self.numbered += 1;
            self.numbered - 1
        })
    }
}

impl Ledger {
    pub(super) fn new(
        observers: Observers<PoolEvent>,
        reports: Option<(Sender<TaskReport>, Receiver<TaskReport>)>,
        history: Option<usize>,
        clock: Clock,
    ) -> Self {
        let reports =
            reports.map(|(sender, receiver)| Reporter { sender, receiver, displaced: AtomicU64::new(0) });
        let has_history = history.is_some();
        let notes = Mutex::new(Notes { numbered: 0, history: history.map(History::new) });
        Self { observers, reports, has_history, notes, meters: Meters::new(), epoch: Epoch::new(clock) }
    }

    pub(super) fn observers(&self) -> &Observers<PoolEvent> {
        &self.observers
    }

    /// Whether a task that is accepted now is to be noted: if not, nothing is told of it later, either.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.has_history || self.reports.is_some() || self.observers.is_watched()
    }

    /// The time now, not 0 and below 2^63, if somebody wants the durations of tasks; otherwise 0. The clock may be the user's.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        if self.meters.is_anyone() { self.time() } else { 0 }
    }

    /// As [`stamp`](Self::stamp), whoever wants it.
    pub(super) fn time(&self) -> u64 {
        self.epoch.nanos().min(u64::MAX >> 2) + 1
    }

    /// Tells this one of the durations of all tasks from now on, until what comes back is dropped.
    #[cfg_attr(not(feature = "telemetry"), allow(dead_code, reason = "nobody looks"))]
    pub(super) fn attach(&self, meter: impl Meter) -> Attached {
        self.meters.attach(meter)
    }

    /// Whether each task must have a context of its own, by which it can be cancelled.
    pub(super) fn has_history(&self) -> bool {
        self.has_history
    }

    /// The reports, if there are any to be read.
    pub(super) fn receiver(&self) -> Option<Receiver<TaskReport>> {
        self.reports.as_ref().map(|reports| reports.receiver.clone())
    }

    /// Reports that gave way to newer ones.
    pub(super) fn displaced(&self) -> u64 {
        self.reports.as_ref().map_or(0, |reports| reports.displaced.load(Ordering::Relaxed))
    }

    /// There will be no more reports.
    pub(super) fn over(&self) {
        if let Some(reports) = &self.reports {
            reports.sender.close();
        }
    }

    fn show(&self, number: Option<u64>, event: impl FnOnce() -> PoolEvent) {
        if let Some(number) = number {
            self.observers.emit_in_order(number, event());
        }
    }

    /// An event that no record changes with.
    pub(super) fn tell(&self, event: impl FnOnce() -> PoolEvent) {
        let number = self.notes.lock().number(&self.observers);
        self.show(number, event);
    }

    /// Pushes a task and notes that. `noted`: its context, and when it came.
    pub(super) fn submit<T, E>(
        &self,
        noted: Option<(Context, Instant)>,
        push: impl FnOnce() -> Result<(T, TaskId), E>,
        queued: impl FnOnce() -> usize,
    ) -> Result<T, E> {
        let mut notes = self.notes.lock();
        let (accepted, task) = push()?;
        if let (Some(history), Some((context, came))) = (&mut notes.history, noted) {
            history.submitted(task, context, came);
        }
        let number = notes.number(&self.observers);
        let queued = if number.is_some() { queued() } else { 0 };
        drop(notes);
        self.show(number, || PoolEvent::Submitted { task, queued });
        Ok(accepted)
    }

    /// A worker has taken a task up and will poll it.
    pub(super) fn started(&self, task: TaskId, extras: &mut Extras, worker: usize, now: Instant) {
        extras.is_running = true;
        extras.worker = Some(worker);
        let attempt = extras.attempts;
        let Some(times) = &mut extras.times else { return };
        let waited = now.saturating_duration_since(times.turned);
        times.turned = now;
        times.begun.get_or_insert(now);
        let number = self.moved(task, TaskStatus::Running, attempt, now);
        if attempt == 1 {
            self.meters.tell(|meter| meter.waited(waited));
        }
        self.show(number, || PoolEvent::Started { task, attempt, waited, worker });
    }

    /// A task goes back into the queue.
    pub(super) fn retrying(&self, task: TaskId, extras: &mut Extras, delay: Duration, now: Instant) {
        let attempt = extras.attempts;
        extras.is_running = false;
        if let Some(times) = &mut extras.times {
            times.ran = times.ran.saturating_add(now.saturating_duration_since(times.turned));
            times.turned = now;
        }
        let number = self.moved(task, TaskStatus::Retrying, attempt, now);
        self.show(number, || PoolEvent::Retrying { task, attempt, delay });
    }

    fn moved(&self, task: TaskId, status: TaskStatus, attempts: u32, now: Instant) -> Option<u64> {
        let mut notes = self.notes.lock();
        if let Some(history) = &mut notes.history {
            history.moved(task, status, attempts, now);
        }
        notes.number(&self.observers)
    }

    /// A task has ended.
    pub(super) fn ended(&self, report: TaskReport, extras: &Extras, now: Instant) {
        let age = extras
            .times
            .as_ref()
            .map_or(Duration::ZERO, |times| now.saturating_duration_since(times.submitted));
        let end = match &extras.context {
            Some(context) if context.is_cancelled() => ContextEnd::Cancelled,
            Some(context) if context.is_expired() => ContextEnd::TimedOut,
            _ if report.outcome == Outcome::TimedOut => ContextEnd::TimedOut,
            _ => ContextEnd::None,
        };
        let mut notes = self.notes.lock();
        let context = notes.history.as_mut().and_then(|history| history.ended(report, age, end));
        let number = notes.number(&self.observers);
        drop(notes);
        drop(context);
        if report.attempts > 0 {
            self.meters.tell(|meter| meter.ran(report.outcome, report.ran));
        }
        self.show(number, || PoolEvent::Ended(report));
        if let Some(reports) = &self.reports {
            if let Ok(Some(_)) = reports.sender.force_send(report) {
                reports.displaced.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn record(&self, task: TaskId) -> Option<TaskRecord> {
        self.notes.lock().history.as_ref()?.record(task)
    }

    pub(super) fn records(&self) -> Vec<TaskRecord> {
        self.notes.lock().history.as_ref().map(History::records).unwrap_or_default()
    }

    /// Those that have not ended, the oldest first.
    pub(super) fn live(&self, now: Instant) -> Vec<LiveTask> {
        let mut live =
            self.notes.lock().history.as_ref().map(|history| history.live(now)).unwrap_or_default();
        live.sort_unstable_by_key(|task| (std::cmp::Reverse(task.age), task.task));
        live
    }

    pub(super) fn context(&self, task: TaskId) -> Option<Context> {
        self.notes.lock().history.as_ref()?.context(task)
    }

    pub(super) fn contexts(&self) -> ContextStats {
        self.notes.lock().history.as_ref().map(History::contexts).unwrap_or_default()
    }
}

impl TaskReport {
    /// The report of a task that a worker or a sweeper gives up now.
    pub(super) fn of(task: TaskId, extras: &mut Extras, ending: Option<Ending>, now: Instant) -> Self {
        let outcome = extras.outcome(ending);
        let (mut waited, mut ran) = (Duration::ZERO, Duration::ZERO);
        if let Some(times) = &mut extras.times {
            if extras.is_running {
                times.ran = times.ran.saturating_add(now.saturating_duration_since(times.turned));
            }
            ran = times.ran;
            waited = times.begun.unwrap_or(now).saturating_duration_since(times.submitted);
        }
        Self { task, outcome, attempts: extras.attempts, waited, ran, worker: extras.worker }
    }
}
