//! By which a future of the pool's own speaks to the worker that polls it.

#![forbid(unsafe_code)]

use super::retry::Revive;
use crate::shim::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What a future that is pending wants its worker to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// To be put back into the queue, and not polled before so much time has passed.
    Again(Duration),
    /// To be dropped: it will never be ready.
    Cancel,
}

/// Between a future and its worker. The lock is never contended: both are on one thread.
pub(super) struct Link {
    state: Mutex<State>,
    /// Makes the task anew after its end.
    revive: Option<Arc<dyn Revive>>,
}

#[derive(Default)]
struct State {
    request: Option<Request>,
    failure: Option<Failure>,
}

/// The task's result is an error for good.
#[derive(Clone)]
pub(super) enum Failure {
    /// Of which nothing is to be kept.
    Discarded,
    /// With the text of the error.
    Dead(Arc<str>),
}

impl Link {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), revive: None }
    }

    /// Of a task that can be made anew.
    pub(super) fn to(revive: Arc<dyn Revive>) -> Self {
        Self { revive: Some(revive), ..Self::new() }
    }

    /// Asks the worker; the future must then be pending.
    pub(super) fn ask(&self, request: Request) {
        self.state.lock().request = Some(request);
    }

    /// What was asked since the last look.
    pub(super) fn asked(&self) -> Option<Request> {
        self.state.lock().request.take()
    }

    /// The future is about to be ready, with an error for good.
    pub(super) fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.state.lock().failure.clone()
    }

    pub(super) fn revive(&self) -> Option<&Arc<dyn Revive>> {
        self.revive.as_ref()
    }
}
