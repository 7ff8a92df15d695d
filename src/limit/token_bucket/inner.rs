//! The word, the mutex and the alarm, put together.

use super::alarm::{Alarm, Orders};
use super::chain::Chain;
use super::word::{Fast, Published, Verdict};
use crate::limit::{Denied, Quota};
use crate::shim::{AtomicU64, Mutex, MutexGuard, Ordering};
use crate::time::{Clock, Epoch, Sleep};
use crate::wait::Wakes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

pub(super) struct Inner {
    pub(super) fast: Fast,
    pub(super) epoch: Epoch,
    pub(super) name: Option<Arc<str>>,
    /// Decisions, if they are counted.
    pub(super) tally: Option<Tally>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) allowed: AtomicU64,
    pub(super) denied: AtomicU64,
}

/// What the mutex guards.
pub(super) struct Ledger {
    pub(super) chain: Chain,
    published: Published,
    pub(super) alarm: Alarm,
}

impl Inner {
    pub(super) fn new(
        quota: Quota,
        initial: u64,
        clock: Clock,
        name: Option<Arc<str>>,
        counted: bool,
    ) -> Self {
        let epoch = Epoch::new(clock);
        let chain = Chain::new(quota, initial, 0);
        let fast = Fast::new();
        let mut published = Published::new(chain.terms);
        published.publish(&fast, chain.terms, chain.tat, 0);
        let ledger = Mutex::new(Ledger { chain, published, alarm: Alarm::default() });
        Self { fast, epoch, name, tally: counted.then(Tally::default), ledger }
    }

    /// Decides at once, and counts the decision.
    #[inline(always)]
    pub(super) fn take(&self, nanos: u64, n: u64) -> Result<(), Denied> {
        let decision = self.decide(nanos, n);
        self.count(decision.is_ok());
        decision
    }

    #[inline(always)]
    pub(super) fn decide(&self, nanos: u64, n: u64) -> Result<(), Denied> {
        match self.fast.take(nanos, n) {
            Verdict::Taken => Ok(()),
            Verdict::Denied(denied) => Err(denied),
            Verdict::Slow => self.take_slowly(nanos, n),
        }
    }

    #[inline(always)]
    pub(super) fn count(&self, allowed: bool) {
        if let Some(tally) = &self.tally {
            tally.count(allowed);
        }
    }

    #[cold]
    fn take_slowly(&self, nanos: u64, n: u64) -> Result<(), Denied> {
        self.change(nanos, |chain| chain.take(nanos, n)).0
    }

    /// Takes the mutex for those who leave the arrival time alone.
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Ledger>> {
        self.ledger.try_lock()
    }

    /// Changes the chain under the mutex, with no lock-free decision going through meanwhile, and puts the arrival time
    /// back into the word. The guard comes back for [`serve`](Self::serve).
    pub(super) fn change<R>(
        &self,
        nanos: u64,
        change: impl FnOnce(&mut Chain) -> R,
    ) -> (R, MutexGuard<'_, Ledger>) {
        let mut guard = self.ledger.lock();
        let Ledger { chain, published, .. } = &mut *guard;
        if let Some(tat) = published.freeze(&self.fast) {
            chain.tat = tat;
        }
        let result = change(chain);
        published.publish(&self.fast, chain.terms, chain.tat, nanos);
        (result, guard)
    }

    /// Ends every wait that is due at `nanos`, and arms the alarm for the next.
    pub(super) fn serve<'a>(self: &'a Arc<Self>, mut ledger: MutexGuard<'a, Ledger>, mut nanos: u64) {
        loop {
            let mut wakes = Wakes::new();
            let done = ledger.chain.settle(nanos, &mut wakes);
            let due = ledger.chain.due();
            let orders = if done { Some(ledger.alarm.set(due)) } else { None };
            drop(ledger);
            wakes.wake();
            if let Some(orders) = orders {
                if !self.arm(orders) {
                    return;
                }
                // The time had come already.
                nanos = self.epoch.nanos();
            }
            ledger = self.lock();
        }
    }

    /// Arms what was decided. True if the time has come already: then the alarm is to be set again.
    fn arm(self: &Arc<Self>, orders: Orders) -> bool {
        let Orders { old, arm } = orders;
        drop(old);
        let Some((due, decision)) = arm else { return false };
        let mut sleep = match self.epoch.instant(due) {
            Some(instant) => self.epoch.clock().sleep_until(instant),
            None => Sleep::never(),
        };
        let waker = Waker::from(Arc::clone(self));
        match Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let superseded = self.lock().alarm.rest(sleep, decision);
                drop(superseded);
                false
            }
            Poll::Ready(()) => {
                let old = self.lock().alarm.reset();
                drop(old);
                true
            }
        }
    }
}

/// The waker of the alarm.
impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let old = self.lock().alarm.reset();
        drop(old);
        self.serve(self.lock(), self.epoch.nanos());
    }
}

impl Tally {
    fn count(&self, allowed: bool) {
        let counter = if allowed { &self.allowed } else { &self.denied };
        // Relaxed: a statistic.
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
