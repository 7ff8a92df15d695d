//! What a keyed limiter tells those who observe it.

use super::inner::Inner;
use super::shard::{Gone, Op};
use super::{KeyDenied, Keyed, TooManyKeys};
use crate::limit::{Algorithm, Denied};
use crate::observe::{Observe, Observers};
use std::hash::Hash;
use std::time::Duration;

/// Something an observer of a [`Keyed`] limiter may want to know. Told of by the thread that caused it, outside the limiter's
/// locks; events of several threads come in no particular order, those of one request as they happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedEvent<K> {
    /// A request had its tokens on the spot.
    #[non_exhaustive]
    Allowed {
        /// Of this key.
        key: K,
        /// How many.
        tokens: u64,
    },
    /// A request was refused by the limit of its key: on the spot, or while it waited, since the limits were changed.
    #[non_exhaustive]
    Denied {
        /// The key.
        key: K,
        /// How, and when it can be tried again.
        denied: Denied,
    },
    /// A request waits.
    #[non_exhaustive]
    Queued {
        /// The key.
        key: K,
        /// For how many tokens.
        tokens: u64,
    },
    /// A request that waited has its tokens.
    #[non_exhaustive]
    Granted {
        /// The key.
        key: K,
        /// How many.
        tokens: u64,
        /// How long it waited.
        waited: Duration,
    },
    /// A request was dropped while it waited, or before it had seen that it was granted.
    #[non_exhaustive]
    Cancelled {
        /// The key.
        key: K,
        /// How many tokens it wanted.
        tokens: u64,
        /// How long it waited.
        waited: Duration,
    },
    /// A request was refused since its key is new, and there is no room for it.
    #[non_exhaustive]
    TooManyKeys {
        /// The key.
        key: K,
        /// How many there are, and when there may be room.
        full: TooManyKeys,
    },
    /// A key was forgotten.
    #[non_exhaustive]
    Forgotten {
        /// The key.
        key: K,
        /// Why.
        why: Forgotten,
    },
}

/// Why a key was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forgotten {
    /// It was idle: that makes no difference.
    Expired,
    /// It was not, and made room for another.
    Evicted,
    /// By hand.
    Removed,
}

/// Those who want to know.
pub(super) struct Watch<K> {
    /// All of it.
    all: Observers<KeyedEvent<K>>,
    /// What becomes of keys.
    keys: Observers<KeyedEvent<K>>,
}

impl<K, A: Algorithm, S> Keyed<K, A, S> {
    /// Shows all events from now on to `observer`. For each request its key is then cloned.
    pub fn observe(&self, observer: impl Observe<KeyedEvent<K>>) {
        self.inner.watch.all.add(observer);
    }

    /// Shows to `observer` from now on what becomes of keys, [`Forgotten`](KeyedEvent::Forgotten) and
    /// [`TooManyKeys`](KeyedEvent::TooManyKeys), and none of what is decided for known ones.
    pub fn observe_keys(&self, observer: impl Observe<KeyedEvent<K>>) {
        self.inner.watch.keys.add(observer);
    }

    /// How many times an observer has panicked.
    pub fn observer_panics(&self) -> u64 {
        self.inner.watch.all.panics() + self.inner.watch.keys.panics()
    }
}

impl<K, A: Algorithm, S> Inner<K, A, S> {
    /// Whether requests may have to be told of: the one branch of those that nobody observes.
    #[inline(always)]
    pub(super) fn is_watched(&self) -> bool {
        self.watch.all.may_be_watched()
    }

    /// A request of an observed limiter was decided on.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_decided<Q>(&self, key: &Q, op: Op, result: Result<(), KeyDenied>)
    where
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
    {
        let Op::Take(tokens) = op else { return };
        match result {
            Ok(()) => self.tell(|| KeyedEvent::Allowed { key: key.to_owned(), tokens }),
            Err(KeyDenied::Denied(denied)) => {
                self.tell(|| KeyedEvent::Denied { key: key.to_owned(), denied });
            }
            // Told of where that was found out.
            Err(KeyDenied::TooManyKeys(_)) => {}
        }
    }

    /// What has become of a request.
    pub(super) fn tell(&self, event: impl FnOnce() -> KeyedEvent<K>) {
        self.watch.all.emit(event);
    }

    pub(super) fn tell_full(&self, key: Option<K>, full: TooManyKeys) {
        if let Some(key) = key.filter(|_| self.watch.is_of_keys()) {
            self.watch.tell_key(&KeyedEvent::TooManyKeys { key, full });
        }
    }

    /// Of entries that were removed; drops them. Not under a lock, as they are the user's.
    #[inline]
    pub(super) fn tell_all_gone<const N: usize>(&self, gone: [Option<Gone<K, A::State>>; N]) {
        if self.watch.is_of_keys() {
            gone.into_iter().flatten().for_each(|gone| self.tell_gone(gone));
        } else {
            drop(gone);
        }
    }

    /// Of an entry that was removed; drops it. Both not under a lock, as it is the user's.
    #[inline]
    pub(super) fn tell_gone(&self, gone: Gone<K, A::State>) {
        if self.watch.is_of_keys() {
            let Gone { entry, why } = gone;
            self.watch.tell_key(&KeyedEvent::Forgotten { key: entry.key, why });
        }
    }

    /// How long somebody has waited who came at `since`.
    pub(super) fn waited(&self, since: u64) -> Duration {
        Duration::from_nanos(self.epoch.nanos().saturating_sub(since))
    }
}

impl<K> Watch<K> {
    pub(super) fn new() -> Self {
        Self { all: Observers::new(), keys: Observers::new() }
    }

    #[inline]
    fn is_of_keys(&self) -> bool {
        self.all.may_be_watched() | self.keys.may_be_watched()
    }

    #[cold]
    #[inline(never)]
    fn tell_key(&self, event: &KeyedEvent<K>) {
        let Self { all, keys } = self;
        all.show(event);
        keys.show(event);
    }
}
