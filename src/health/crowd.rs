//! Pieces of work that run in one task.

use crate::panics::forget;
use crate::task::{Caught, Panic};
use crate::wait::Places;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Each is polled only when it was woken, and a panic is its outcome.
pub(super) struct Crowd<K, T> {
    places: Places<Caught<Work<T>>>,
    /// By place.
    keys: BTreeMap<usize, K>,
    /// Those that were not polled yet, in the order in which they came.
    fresh: VecDeque<usize>,
}

impl<K, T> Crowd<K, T> {
    pub(super) fn new() -> Self {
        Self { places: Places::new(), keys: BTreeMap::new(), fresh: VecDeque::new() }
    }

    /// One more, to be polled the next time.
    pub(super) fn add(&mut self, key: K, work: Work<T>) {
        let at = self.places.insert(Caught::new(work));
        self.keys.insert(at, key);
        self.fresh.push_back(at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The next one that is done. `None` if all that were woken wait, or there are none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<(K, Result<T, Panic>)> {
        self.places.look(cx.waker());
        while let Some(at) = self.fresh.pop_front().or_else(|| self.places.next_woken()) {
            if let Some(Poll::Ready(outcome)) = self.places.poll(at, Future::poll) {
                self.places.remove(at);
                if let Some(key) = self.keys.remove(&at) {
                    return Some((key, outcome));
                }
            }
        }
        None
    }

    /// Drops one that is not done, and says what its drop panicked with.
    pub(super) fn drop_next(&mut self) -> Option<(K, Result<(), Panic>)> {
        let (at, key) = self.keys.pop_first()?;
        let dropped = self.places.poll(at, |work, _| work.end()).unwrap_or(Ok(()));
        self.places.remove(at);
        Some((key, dropped))
    }
}

/// What a panic says; what it was thrown with goes no further.
pub(super) fn told(panic: &Panic) -> String {
    if let Some(payload) = panic.take_payload() {
        forget(payload);
    }
    panic.to_string()
}
