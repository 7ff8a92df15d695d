//! The right to do something, which one has at a time.

use crate::shim::Mutex;
use crate::sync::Gate;

/// Unlike a permit of a semaphore it is waited for also in a context that has ended: what it is for goes on then.
pub(super) struct Baton {
    taken: Mutex<bool>,
    free: Gate,
}

pub(super) struct Holder<'a>(&'a Baton);

impl Baton {
    pub(super) fn new() -> Self {
        Self { taken: Mutex::new(false), free: Gate::new(false) }
    }

    pub(super) async fn take(&self) -> Holder<'_> {
        loop {
            // Made before the look, so that it is not given back unseen.
            let wait = self.free.wait();
            if !std::mem::replace(&mut *self.taken.lock(), true) {
                return Holder(self);
            }
            wait.await;
        }
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.free.pulse();
    }
}
