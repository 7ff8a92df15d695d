//! By which a future speaks to the worker that polls it.

#![forbid(unsafe_code)]

use crate::shim::Mutex;
use std::time::Duration;

/// What a future that is pending wants its worker to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// To be put back into the queue, and not polled before so much time has passed.
    Again(Duration),
    /// To be dropped: it will never be ready.
    Cancel,
}

/// Between a future of the pool's own and its worker. The lock is never contended: both are on one thread.
pub(super) struct Link {
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    request: Option<Request>,
    failed: bool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { request: None, failed: false }) }
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
    pub(super) fn fail(&self) {
        self.state.lock().failed = true;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().failed
    }
}
