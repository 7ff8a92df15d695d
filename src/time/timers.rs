//! Armed timers in deadline order: what the virtual clocks and the system's have in common.

use crate::shim::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Deadline first, then the order of arming, so that timers of one instant fire as they were armed.
type Key = (Instant, u64);

#[derive(Default)]
pub(crate) struct Timers {
    armed: Mutex<Armed>,
}

#[derive(Default)]
struct Armed {
    next_id: u64,
    /// The host looks at the timers by itself at this time, or before.
    covered: Option<Instant>,
    wakers: BTreeMap<Key, Waker>,
}

impl Timers {
    /// The earliest armed deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed.lock().wakers.first_key_value().map(|(key, _)| key.0)
    }

    /// How many timers are armed.
    #[cfg(feature = "testkit")]
    pub(crate) fn len(&self) -> usize {
        self.armed.lock().wakers.len()
    }

    /// Takes out the first timer due at `now`. The caller wakes it with no lock held.
    pub(crate) fn pop_due(&self, now: Instant) -> Option<Waker> {
        let mut armed = self.armed.lock();
        let first = armed.wakers.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// From now on the host looks at the timers by itself when `until` has come; `None`: it does not, as far as is known.
    #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
    pub(super) fn cover(&self, until: Option<Instant>) {
        self.armed.lock().covered = until;
    }

    /// Arms a timer, or gives an armed one its present waker. Says whether it is now the earliest, and the host does not look
    /// by then.
    fn arm(&self, key: &mut Option<Key>, deadline: Instant, waker: &Waker) -> bool {
        // Cloned before the lock and dropped after it: a waker is foreign code.
        let waker = waker.clone();
        let mut armed = self.armed.lock();
        let current = *key.get_or_insert_with(|| {
            armed.next_id += 1;
            (deadline, armed.next_id)
        });
        let replaced = armed.wakers.insert(current, waker);
        let is_covered = armed.covered.is_some_and(|covered| covered <= deadline);
        let news = !is_covered && armed.wakers.first_key_value().map(|(first, _)| *first) == Some(current);
        drop(armed);
        drop(replaced);
        news
    }

    fn disarm(&self, key: Key) {
        let removed = self.armed.lock().wakers.remove(&key);
        drop(removed);
    }
}

/// A clock that keeps its timers in a [`Timers`].
pub(crate) trait TimerHost: Send + Sync + 'static {
    /// Whether somebody may move the time on while a timer is being armed.
    const JUMPS: bool = true;

    fn now(&self) -> Instant;
    fn timers(&self) -> &Timers;
    /// A timer was armed that is due before all others.
    fn rescheduled(&self) {}
}

/// Sleep on a [`TimerHost`], to which it has some kind of pointer.
pub(crate) struct HostedSleep<P: Deref<Target: TimerHost>> {
    host: P,
    deadline: Instant,
    key: Option<Key>,
    /// The deadline was compared with the time just now, and lies ahead.
    ahead: bool,
}

impl<P: Deref<Target: TimerHost>> HostedSleep<P> {
    pub(crate) fn new(host: P, deadline: Instant) -> Self {
        Self { host, deadline, key: None, ahead: false }
    }

    /// For a deadline that lies ahead of a reading of the host's clock made just now.
    #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
    pub(crate) fn ahead(host: P, deadline: Instant) -> Self {
        Self { host, deadline, key: None, ahead: true }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            self.host.timers().disarm(key);
        }
    }
}

impl<P: Deref<Target: TimerHost> + Unpin> Future for HostedSleep<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let looks = <P::Target as TimerHost>::JUMPS || !std::mem::replace(&mut this.ahead, false);
        if looks && this.host.now() >= this.deadline {
            this.disarm();
            return Poll::Ready(());
        }
        if this.host.timers().arm(&mut this.key, this.deadline, cx.waker()) {
            this.host.rescheduled();
        }
        // The time may have been moved past the deadline between the look and the arming.
        if !<P::Target as TimerHost>::JUMPS || this.host.now() < this.deadline {
            return Poll::Pending;
        }
        this.disarm();
        Poll::Ready(())
    }
}

impl<P: Deref<Target: TimerHost>> Drop for HostedSleep<P> {
    fn drop(&mut self) {
        self.disarm();
    }
}
