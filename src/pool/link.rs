//! By which a future of the pool's own speaks to the worker that polls it.

#![forbid(unsafe_code)]

use super::retry::Revive;
use crate::shim::Mutex;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// What a future that is pending wants its worker to do with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// To be put back into the queue, and not polled before so much time has passed.
    Again(Duration),
    /// To be dropped: it will never be ready.
    Cancel,
}

/// Between a future and its worker. Both are on one thread, unless the pool's wrapper has taken the future elsewhere, or polls
/// it by a waker of its own: then each has to wake the other.
pub(super) struct Link {
    state: Mutex<State>,
    /// Makes the task anew after its end.
    revive: Option<Arc<dyn Revive>>,
}

#[derive(Default)]
struct State {
    request: Option<Request>,
    failure: Option<Failure>,
    /// The worker's, of a wrapped future.
    worker: Option<Waker>,
    /// By which the future is polled that has asked for another attempt, if that is not the worker's.
    asker: Option<Waker>,
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

    /// Asks to be put back. `waker` is that by which the future is polled.
    pub(super) fn again(&self, delay: Duration, waker: &Waker) {
        let worker = self.state.lock().worker.take();
        // Compared as a clone: one that is overheard is the worker's, and does not look like it.
        let mut asker = worker.is_some().then(|| waker.clone());
        let worker = worker.filter(|worker| !asker.as_ref().is_some_and(|asker| worker.will_wake(asker)));
        asker = asker.filter(|_| worker.is_some());
        {
            // Both at once: who sees the request wakes the asker later.
            let mut state = self.state.lock();
            state.request = Some(Request::Again(delay));
            std::mem::swap(&mut state.asker, &mut asker);
        }
        drop(asker);
        worker.map(Waker::wake).unwrap_or_default();
    }

    /// The worker is about to poll what is around the future, which must then be polled, too.
    pub(super) fn enter(&self, worker: &Waker) {
        if self.revive.is_none() {
            return;
        }
        let worker = worker.clone();
        let (old, asker) = {
            let mut state = self.state.lock();
            // Not before the worker has heeded the request.
            let asker = if state.request.is_none() { state.asker.take() } else { None };
            (state.worker.replace(worker), asker)
        };
        drop(old);
        asker.map(Waker::wake).unwrap_or_default();
    }

    /// What is around the future is gone.
    pub(super) fn part(&self) {
        let (worker, asker) = {
            let mut state = self.state.lock();
            (state.worker.take(), state.asker.take())
        };
        drop((worker, asker));
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
