//! What should be at rest at the end of a test, and is not.

use super::{ManualClock, Sim};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Something that can be asked what it is still busy with: semaphores, limiters, pools, clocks; and what you make.
pub trait AtRest {
    /// Names what it is busy with.
    fn busy(&self, busy: &mut Busy);
}

/// What one thing is busy with.
#[derive(Debug, Default)]
pub struct Busy(Vec<(Cow<'static, str>, u64)>);

impl Busy {
    /// So many of these; none are not mentioned.
    pub fn count(&mut self, what: impl Into<Cow<'static, str>>, many: u64) {
        if many > 0 {
            self.0.push((what.into(), many));
        }
    }
}

impl<T: AtRest + ?Sized> AtRest for Arc<T> {
    fn busy(&self, busy: &mut Busy) {
        (**self).busy(busy);
    }
}

impl AtRest for ManualClock {
    fn busy(&self, busy: &mut Busy) {
        busy.count("armed timers", self.armed() as u64);
    }
}

impl AtRest for Sim {
    fn busy(&self, busy: &mut Busy) {
        busy.count("tasks", self.tasks() as u64);
        self.time().busy(busy);
    }
}

/// Finds what a test has left behind: permits that are out, waiters, tasks, timers.
///
/// ```
/// use cofferdam::sync::Semaphore;
/// use cofferdam::testkit::LeakCheck;
///
/// let permits = Semaphore::new(3);
/// let permit = permits.try_acquire().unwrap();
/// let check = LeakCheck::new().of("permits", &permits);
/// assert_eq!(check.leaks(), ["permits: permits out: 1"]);
/// drop(permit);
/// check.assert();
/// ```
#[derive(Default)]
#[must_use = "nothing is looked at before it is asked"]
pub struct LeakCheck<'a>(Vec<(Cow<'static, str>, &'a dyn AtRest)>);

impl<'a> LeakCheck<'a> {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this, too; the name is for messages.
    pub fn of(mut self, name: impl Into<Cow<'static, str>>, what: &'a dyn AtRest) -> Self {
        self.0.push((name.into(), what));
        self
    }

    /// What is not at rest, a line each.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (name, what) in &self.0 {
            let mut busy = Busy::default();
            what.busy(&mut busy);
            leaks.extend(busy.0.iter().map(|(what, many)| format!("{name}: {what}: {many}")));
        }
        leaks
    }

    /// Asserts that all of it is at rest.
    ///
    /// # Panics
    /// If not, naming each leak.
    #[track_caller]
    pub fn assert(&self) {
        let leaks = self.leaks();
        if !leaks.is_empty() {
            panic!("not at rest:\n  {}", leaks.join("\n  "));
        }
    }
}

impl fmt::Debug for LeakCheck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
