//! What a job carries besides its future, if it carries anything.

#![forbid(unsafe_code)]

use super::error::Ending;
use super::event::Outcome;
use super::link::Link;
use super::load::Load;
use crate::sync::Context as WorkContext;
use crate::sync::RunInContext;
use std::future::Pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Is over when a context is.
pub(super) type Watch = Pin<Box<RunInContext<Pending<()>>>>;

/// Boxed in the job, since most have none of it. Whoever has the job has this for itself.
#[derive(Default)]
pub(super) struct Extras {
    /// The context in which the task runs.
    pub(super) context: Option<WorkContext>,
    /// Whether values of the submitter's context are in it.
    pub(super) propagated: bool,
    /// By which the future speaks to the worker that polls it.
    pub(super) link: Option<Arc<Link>>,
    /// What its submitter's carrier has picked up.
    pub(super) load: Option<Load>,
    /// Wakes the task's [`Parked`](super::retry::Parked) when its context ends, while it waits for its next attempt.
    pub(super) watch: Option<Watch>,
    /// When it was submitted, if nothing but its durations is wanted; see [`Ledger::stamp`](super::ledger::Ledger::stamp).
    pub(super) submitted: u64,
    /// In a pool with a ledger.
    pub(super) times: Option<Times>,
    /// How often it was begun.
    pub(super) attempts: u32,
    /// Whether a worker has it and has begun it.
    pub(super) is_running: bool,
    pub(super) worker: Option<usize>,
}

impl Extras {
    /// How a task ends that its worker or a sweeper gives up so.
    pub(super) fn outcome(&self, ending: Option<Ending>) -> Outcome {
        let failed = ending.is_none() && self.link.as_ref().is_some_and(|link| link.failure().is_some());
        if failed { Outcome::Failed } else { Outcome::of(ending) }
    }
}

/// When things happened to a task.
pub(super) struct Times {
    pub(super) submitted: Instant,
    /// When a worker first took it up.
    pub(super) begun: Option<Instant>,
    /// When it last came to a worker or left one.
    pub(super) turned: Instant,
    /// With workers, before `turned`.
    pub(super) ran: Duration,
}

impl Times {
    pub(super) fn new(now: Instant) -> Self {
        Self { submitted: now, begun: None, turned: now, ran: Duration::ZERO }
    }
}
