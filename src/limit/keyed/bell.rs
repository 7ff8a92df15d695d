//! What serves the lines of a shard: when its timer fires, and when something else has changed one of them.

use super::inner::Inner;
use crate::limit::Algorithm;
use crate::limit::alarm::Orders;
use crate::time::Sleep;
use crate::wait::{Panicked, Wakes};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

/// A [`Bell`], for those who need not know of what.
pub(super) trait Ring: Send + Sync {
    /// Ends every wait that is due at `now`, and arms the timer for the next. Call it without the shard's lock.
    fn serve(self: Arc<Self>, now: u64);
}

/// One for each shard, from the first wait on.
pub(super) struct Bell<K, A: Algorithm, S> {
    /// Those who wait have a handle of the limiter, so where there is something to do there is the limiter.
    inner: Weak<Inner<K, A, S>>,
    index: usize,
}

impl<K, A, S> Bell<K, A, S>
where
    K: Eq + Send + 'static,
    A: Algorithm,
    S: Send + Sync + 'static,
{
    pub(super) fn new(inner: &Arc<Inner<K, A, S>>, index: usize) -> Self {
        Self { inner: Arc::downgrade(inner), index }
    }

    /// Arms what was decided. True if the time has come already: then the lines are to be served again.
    fn arm(self: &Arc<Self>, inner: &Inner<K, A, S>, orders: Orders) -> bool {
        let Orders { old, arm } = orders;
        drop(old);
        let (Some((due, decision)), Some(cell)) = (arm, inner.cell(self.index)) else { return false };
        let mut sleep = match inner.epoch.instant(due) {
            Some(instant) => inner.epoch.clock().sleep_until(instant),
            None => Sleep::never(),
        };
        let waker = Waker::from(Arc::clone(self));
        match Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let superseded = cell.long(|shard| shard.lines.alarm.rest(sleep, decision));
                drop(superseded);
                false
            }
            Poll::Ready(()) => {
                let old = cell.long(|shard| shard.lines.alarm.reset());
                drop(old);
                true
            }
        }
    }
}

impl<K, A, S> Ring for Bell<K, A, S>
where
    K: Eq + Send + 'static,
    A: Algorithm,
    S: Send + Sync + 'static,
{
    fn serve(self: Arc<Self>, mut now: u64) {
        let Some(inner) = self.inner.upgrade() else { return };
        let Some(cell) = inner.cell(self.index) else { return };
        // A waker that panics keeps nobody else from being woken, and the timer from being armed for nobody.
        let mut panicked = Panicked::default();
        loop {
            let mut wakes = Wakes::new();
            let orders = cell.change(|shard| shard.settle(now, &mut wakes).then(|| shard.lines.orders()));
            panicked.wake(&mut wakes);
            if let Some(orders) = orders {
                if !self.arm(&inner, orders) {
                    break;
                }
                // The time had come already.
                now = inner.epoch.nanos();
            }
        }
        panicked.resume();
    }
}

/// The waker of the timer.
impl<K, A, S> Wake for Bell<K, A, S>
where
    K: Eq + Send + 'static,
    A: Algorithm,
    S: Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        let Some(inner) = self.inner.upgrade() else { return };
        let Some(cell) = inner.cell(self.index) else { return };
        let old = cell.long(|shard| shard.lines.alarm.reset());
        drop(old);
        self.serve(inner.epoch.nanos());
    }
}
