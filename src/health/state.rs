//! What all handles of one registry share.
//!
//! Foreign code (checks, recoveries, observers, the drop of either) runs without the lock: an observer may ask for a report.

use super::baton::Baton;
use super::check::{Check, Kind};
use super::course::{Course, Flying};
use super::{CheckReport, Finding, HealthEvent, Report, Status};
use crate::observe::Observers;
use crate::shim::{Mutex, serial};
use crate::sync::{CancelToken, Gate, GateWait};
use crate::time::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Shared {
    pub(super) clock: Clock,
    /// The share of an interval by which it may be longer or shorter.
    jitter: f64,
    pub(super) observers: Observers<HealthEvent>,
    /// Tells the driver that what is due has changed.
    pub(super) changed: Arc<Gate>,
    /// The right to be the driver.
    pub(super) driver: Baton,
    /// Ends the drivers: there is no handle any more.
    pub(super) over: CancelToken,
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    overall: Status,
    /// Numbers of events, without gaps.
    events: u64,
    out_of_service: Option<String>,
}

pub(super) struct Entry {
    pub(super) item: Arc<Item>,
    pub(super) course: Course,
}

/// A check as it was added.
pub(super) struct Item {
    pub(super) serial: u64,
    pub(super) check: Check,
    /// Lets those go on who wait for the end of a run.
    pub(super) done: Arc<Gate>,
}

/// Events that were numbered under the lock, to be told after it.
struct Told(Vec<(u64, HealthEvent)>);

impl State {
    fn tell(&mut self, told: &mut Told, event: HealthEvent) {
        told.0.push((self.events, event));
        self.events += 1;
    }

    /// To be called after whatever may have changed the whole.
    fn sum_up(&mut self, told: &mut Told, at: Instant) {
        let overall = self.overall();
        let from = std::mem::replace(&mut self.overall, overall);
        if from != overall {
            self.tell(told, HealthEvent::OverallChanged { from, to: overall, at });
        }
    }

    fn overall(&self) -> Status {
        Status::of_parts(self.entries.iter().filter_map(|entry| entry.course.part(&entry.item.check)))
    }

    fn entry(&mut self, serial: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.item.serial == serial)
    }

    fn take(&mut self, keep: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (kept, taken) = std::mem::take(&mut self.entries).into_iter().partition(keep);
        self.entries = kept;
        taken
    }
}

/// Who runs a check, or waits for the one who does.
pub(super) enum Turn {
    /// We do: the number of the run.
    Ours(u64),
    /// Somebody else does: until this gate opens, or that is lost.
    Theirs(GateWait<Arc<Gate>>, Flying),
    /// It was removed.
    Gone,
}

impl Shared {
    pub(super) fn new(clock: Clock, jitter: f64) -> Arc<Self> {
        let state = State { entries: Vec::new(), overall: Status::Healthy, events: 0, out_of_service: None };
        Arc::new(Self {
            clock,
            jitter,
            observers: Observers::new(),
            changed: Arc::new(Gate::new(false)),
            driver: Baton::new(),
            over: CancelToken::new(),
            state: Mutex::new(state),
        })
    }

    fn tell(&self, told: Told) {
        for (order, event) in told.0 {
            self.observers.emit_in_order(order, event);
        }
    }

    /// An interval, longer or shorter by as much as may be.
    fn spread(&self, interval: Duration, first: bool) -> Duration {
        if self.jitter == 0.0 {
            return interval;
        }
        // After the first run, which all may have had at once, shorter by up to a half: else they would fall together for a long
        // time.
        let phase = if first { 1.0 - 0.5 * fastrand::f64() } else { 1.0 };
        let factor = phase * (1.0 + self.jitter * (2.0 * fastrand::f64() - 1.0));
        Duration::try_from_secs_f64(interval.as_secs_f64() * factor).unwrap_or(Duration::MAX)
    }

    /// False if the name is taken.
    pub(super) fn add(&self, check: Check) -> bool {
        let due = check.interval.map(|_| self.clock.now());
        let item = Arc::new(Item { serial: serial(), check, done: Arc::new(Gate::new(false)) });
        {
            let mut state = self.state.lock();
            let name = &item.check.name;
            if state.entries.iter().any(|entry| entry.item.check.name == *name) {
                return false;
            }
            state.entries.push(Entry { item, course: Course { due, ..Course::default() } });
        }
        self.changed.pulse();
        true
    }

    /// Whether there was one.
    pub(super) fn remove(&self, which: impl Fn(&Item) -> bool) -> bool {
        let (now, mut told) = (self.clock.now(), Told(Vec::new()));
        let removed = {
            let mut state = self.state.lock();
            let removed = state.take(|entry| !which(&entry.item));
            state.sum_up(&mut told, now);
            removed
        };
        self.tell(told);
        self.changed.pulse();
        // Those who wait for a run find that it is gone.
        removed.iter().for_each(|entry| entry.item.done.pulse());
        !removed.is_empty()
    }

    /// All of them, as they are now.
    pub(super) fn items(&self) -> Vec<Arc<Item>> {
        self.state.lock().entries.iter().map(|entry| Arc::clone(&entry.item)).collect()
    }

    /// What is due, other than what is `busy`.
    pub(super) fn due(&self, now: Instant, busy: &BTreeSet<u64>) -> Vec<Arc<Item>> {
        let state = self.state.lock();
        let idle = state.entries.iter().filter(|entry| !busy.contains(&entry.item.serial));
        let due = idle.filter(|entry| entry.course.next().is_some_and(|due| due <= now));
        due.map(|entry| Arc::clone(&entry.item)).collect()
    }

    /// When the next one is.
    pub(super) fn next_due(&self, busy: &BTreeSet<u64>) -> Option<Instant> {
        let state = self.state.lock();
        let idle = state.entries.iter().filter(|entry| !busy.contains(&entry.item.serial));
        idle.filter_map(|entry| entry.course.next()).min()
    }

    /// Begins a run, if nobody else is at it.
    pub(super) fn begin(&self, item: &Item) -> Turn {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let Some(entry) = state.entry(item.serial) else { return Turn::Gone };
        match entry.course.begin(&item.check, now) {
            Ok(flight) => Turn::Ours(flight),
            // Made under the lock, so that the end of the run cannot come in between.
            Err(flying) => Turn::Theirs(item.done.wait_owned(), flying),
        }
    }

    /// Whether a run has come to its end, or never will since the check is gone.
    pub(super) fn has_landed(&self, item: &Item, flight: u64) -> bool {
        self.state.lock().entry(item.serial).is_none_or(|entry| entry.course.landed >= flight)
    }

    /// A run has come to its end.
    pub(super) fn land(&self, item: &Item, flight: u64, finding: Finding, took: Duration) {
        let (now, mut told) = (self.clock.now(), Told(Vec::new()));
        {
            let mut state = self.state.lock();
            let Some(Entry { item, course }) = state.entry(item.serial) else { return };
            let check = &item.check;
            if !course.end(flight) {
                return;
            }
            let first = course.landed == 0;
            course.landed = flight;
            let before = course.take(check, finding, took, now);
            let interval = check.interval.filter(|_| course.goes_on(check));
            course.due = interval.and_then(|every| now.checked_add(self.spread(every, first)));
            let event = before.zip(course.shown.as_ref()).map(|(from, shown)| HealthEvent::Changed {
                check: Arc::clone(&check.name),
                critical: check.critical,
                from,
                to: shown.finding.status(),
                reason: shown.finding.reason().map(str::to_owned),
                at: now,
            });
            if let Some(event) = event {
                state.tell(&mut told, event);
                state.sum_up(&mut told, now);
            }
        }
        self.tell(told);
        self.wake(item);
    }

    /// A run was given up.
    pub(super) fn give_up(&self, item: &Item, flight: u64) {
        if let Some(entry) = self.state.lock().entry(item.serial) {
            entry.course.end(flight);
        }
        self.wake(item);
    }

    fn wake(&self, item: &Item) {
        item.done.pulse();
        self.changed.pulse();
    }

    /// The attempt that is next, if a recovery is called for.
    pub(super) fn next_recovery(&self, item: &Item) -> Option<u32> {
        self.state.lock().entry(item.serial)?.course.next_recovery(&item.check)
    }

    pub(super) fn recovered(&self, item: &Item, attempt: u32, finding: Finding, took: Duration) {
        let status = finding.status();
        let error = (!status.is_working())
            .then(|| finding.into_reason().map_or_else(|| status.to_string(), String::from));
        let event = HealthEvent::RecoveryEnded { check: Arc::clone(&item.check.name), attempt, error, took };
        let mut told = Told(Vec::new());
        self.state.lock().tell(&mut told, event);
        self.tell(told);
    }

    pub(super) fn set_out_of_service(&self, reason: Option<String>) {
        self.state.lock().out_of_service = reason;
    }

    /// Of all, or of those of a kind.
    pub(super) fn report(&self, kind: Option<Kind>) -> Report {
        let now = self.clock.now();
        let state = self.state.lock();
        let all = state.entries.iter();
        let wanted = all.filter(|entry| kind.is_none_or(|kind| entry.item.check.kinds.contains(&kind)));
        let wanted: Vec<&Entry> = wanted.collect();
        let checks = wanted.iter().map(|entry| CheckReport::of(entry, kind, now)).collect();
        let (mut status, mut reason) = (state.overall, None);
        if let Some(kind) = kind {
            status = Status::worst(wanted.iter().map(|entry| entry.course.part_of(kind, &entry.item.check)));
        }
        if kind == Some(Kind::Readiness) && state.out_of_service.is_some() {
            (status, reason) = (Status::Unhealthy, state.out_of_service.clone());
        }
        Report { status, reason, checks }
    }

    /// How many checks there are; for `Debug`, which must never block.
    pub(super) fn try_len(&self) -> Option<usize> {
        Some(self.state.try_lock()?.entries.len())
    }
}
