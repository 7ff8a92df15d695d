//! Who adds workers.

use super::{Alarm, Growth, Managed};
use crate::panics::contain;
use crate::pool::shared::Shared;
use crate::pool::worker::Worker;
use crate::shim::Arc;
use crate::task::Spawn;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as Owned;
use std::task::{Context, Poll};

/// A future that starts workers as they are needed, until nothing is begun any more.
pub(in crate::pool) struct Scaler {
    shared: Arc<Shared>,
    spawner: Owned<dyn Spawn>,
    alarm: Alarm,
}

impl Scaler {
    pub(in crate::pool) fn new(shared: Arc<Shared>, spawner: Owned<dyn Spawn>) -> Self {
        Self { shared, spawner, alarm: Alarm::default() }
    }

    fn start(&self, managed: &Managed, number: usize) {
        self.shared.worker_came();
        let worker = Box::pin(Worker::new(Arc::clone(&self.shared), number));
        // One that is not started is dropped, and has left.
        contain(|| self.spawner.spawn(worker));
        managed.started(number);
    }
}

impl Future for Scaler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let Some(managed) = shared.backlog.managed() else { return Poll::Ready(()) };
        loop {
            match managed.grow(cx.waker()) {
                Growth::Start(worker) => self.start(managed, worker),
                Growth::Over => return Poll::Ready(()),
                Growth::Wait => {
                    self.alarm.set(None, managed);
                    return Poll::Pending;
                }
                Growth::At(at) => {
                    self.alarm.set(Some(at), managed);
                    if !self.alarm.has_gone_off(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}
