//! What a task carries for others than the pool, and how the pool tells it of the task.

#![forbid(unsafe_code)]

use super::event::Outcome;
use super::handle::TaskId;
use crate::panics::contain;
use crate::task::{Carried, Carrier, Errand, pick_up, surround};
use std::sync::Arc;

/// From the pick-up until its end, which comes before the handle is told.
pub(super) struct Load {
    carried: Box<dyn Carried>,
    /// The name of the pool, which a task that is handed back outlives.
    pool: Arc<str>,
    begun: bool,
}

impl Load {
    /// What there is to carry to this pool.
    pub(super) fn pick_up(carrier: &dyn Carrier, pool: &Arc<str>) -> Option<Self> {
        Some(Self { carried: pick_up(carrier)?, pool: Arc::clone(pool), begun: false })
    }

    /// The task is taken up, for the first time if it has not been told before.
    pub(super) fn begin(&mut self, task: TaskId) {
        if !std::mem::replace(&mut self.begun, true) {
            let errand = errand(&self.pool, task, 1);
            contain(|| self.carried.begin(&errand));
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Does `body` amid what is carried.
    #[cold]
    pub(super) fn around<R>(&self, body: impl FnMut() -> R) -> R {
        surround(&*self.carried, body)
    }

    /// The task, which was begun so often, has ended.
    pub(super) fn end(self, task: TaskId, attempts: u32, outcome: Outcome) {
        let errand = errand(&self.pool, task, attempts);
        contain(|| self.carried.end(&errand, outcome.as_str()));
    }
}

fn errand(pool: &str, TaskId(number): TaskId, attempts: u32) -> Errand<'_> {
    Errand { kind: "pool.task", name: pool, number: Some(number), attempts }
}

/// As [`Load::around`], if there is one.
#[inline]
pub(super) fn amid<R>(load: Option<&Load>, mut body: impl FnMut() -> R) -> R {
    match load {
        None => body(),
        Some(load) => load.around(body),
    }
}

/// Two carriers: the first one's is the outer one.
pub(super) struct Both(pub(super) Arc<dyn Carrier>, pub(super) Arc<dyn Carrier>);

struct Two(Box<dyn Carried>, Box<dyn Carried>);

impl Carrier for Both {
    fn pick_up(&self) -> Option<Box<dyn Carried>> {
        // Each contained: a panic of one does not keep the other's.
        match (pick_up(&*self.0), pick_up(&*self.1)) {
            (Some(outer), Some(inner)) => Some(Box::new(Two(outer, inner))),
            (outer, inner) => outer.or(inner),
        }
    }
}

impl Carried for Two {
    fn begin(&mut self, errand: &Errand<'_>) {
        let Self(outer, inner) = self;
        contain(|| outer.begin(errand));
        surround(&**outer, || inner.begin(errand));
    }

    fn around(&self, poll: &mut dyn FnMut()) {
        // Each held to what it is to do: what one does wrong does not keep the other from it.
        surround(&*self.0, || surround(&*self.1, &mut *poll));
    }

    fn end(self: Box<Self>, errand: &Errand<'_>, outcome: &'static str) {
        let Self(outer, inner) = *self;
        contain(|| inner.end(errand, outcome));
        outer.end(errand, outcome);
    }
}
