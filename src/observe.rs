//! Events of components, and those who want to see them.
//!
//! A component owns a typed event and an [`Observers`] of it. Nobody looking costs one relaxed load and a branch: the
//! event is not built. Observers run on the thread that caused the event, outside every lock, so they may call back into
//! the component; one that panics is contained and counted.

#![forbid(unsafe_code)]

use crate::panics::contain;
use crate::shim::{AtomicBool, AtomicU64, Mutex, Ordering};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Sees the events of a component.
///
/// ```
/// use cofferdam::observe::{Observe, Observers};
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::sync::Arc;
///
/// let sum = Arc::new(AtomicU32::new(0));
/// let seen = Arc::clone(&sum);
/// let observers = Observers::new();
/// observers.add(move |event: &u32| drop(seen.fetch_add(*event, Ordering::Relaxed)));
/// observers.emit(|| 40);
/// observers.emit(|| 2);
/// assert_eq!(sum.load(Ordering::Relaxed), 42);
/// ```
pub trait Observe<E: ?Sized>: Send + Sync + 'static {
    /// Called once for each event. Should be quick: it runs on the path that caused the event.
    fn observe(&self, event: &E);
}

impl<E: ?Sized, F: Fn(&E) + Send + Sync + 'static> Observe<E> for F {
    fn observe(&self, event: &E) {
        self(event);
    }
}

type List<E> = Arc<[Arc<dyn Observe<E>>]>;

/// Those who observe one component.
pub struct Observers<E: 'static> {
    /// Whether the list has anyone in it: the one branch of an unobserved component.
    any: AtomicBool,
    list: Mutex<Option<List<E>>>,
    ordered: Mutex<Ordered<E>>,
    panics: AtomicU64,
}

/// Events that must be seen in the order in which they were decided, whichever thread is first to report.
struct Ordered<E> {
    next: u64,
    held: BTreeMap<u64, E>,
    delivering: bool,
}

/// The right of one thread to deliver what is held, given back in a panic too (of an event's drop: observers are
/// contained). What is held then waits for the next event.
struct Turn<'a, E>(Option<&'a Mutex<Ordered<E>>>);

impl<E> Turn<'_, E> {
    /// The next event, if it has come. If not, the turn is over: under the same lock, so that whoever brings the event
    /// later sees nobody delivering.
    fn next(&mut self) -> Option<E> {
        let mut ordered = self.0?.lock();
        let next = ordered.next;
        let event = ordered.held.remove(&next);
        match event {
            Some(_) => ordered.next += 1,
            None => {
                ordered.delivering = false;
                self.0 = None;
            }
        }
        event
    }
}

impl<E> Drop for Turn<'_, E> {
    fn drop(&mut self) {
        if let Some(ordered) = self.0 {
            ordered.lock().delivering = false;
        }
    }
}

impl<E: 'static> Observers<E> {
    /// Nobody yet.
    pub fn new() -> Self {
        Self {
            any: AtomicBool::new(false),
            list: Mutex::new(None),
            ordered: Mutex::new(Ordered { next: 0, held: BTreeMap::new(), delivering: false }),
            panics: AtomicU64::new(0),
        }
    }

    /// Adds an observer for all events from now on.
    pub fn add(&self, observer: impl Observe<E>) {
        let mut list = self.list.lock();
        let mut all: Vec<Arc<dyn Observe<E>>> = list.as_deref().unwrap_or_default().to_vec();
        all.push(Arc::new(observer));
        let old = list.replace(all.into());
        self.any.store(true, Ordering::Release);
        drop(list);
        drop(old);
    }

    /// Whether anyone is looking.
    #[inline]
    pub fn is_watched(&self) -> bool {
        // Relaxed: an observer added concurrently may miss this event; the list itself is read under its lock.
        self.any.load(Ordering::Relaxed)
    }

    /// How many times an observer has panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Builds the event and shows it to everyone, if there is anyone.
    #[inline]
    pub fn emit(&self, event: impl FnOnce() -> E) {
        if self.is_watched() {
            self.deliver(&event());
        }
    }

    /// Shows event number `order` (0, 1, 2, ... without gaps, over all callers) after all lower numbers: an event that
    /// comes early is held until its predecessors have come, and delivered by the thread that brings the missing one.
    /// An observer that causes further events sees them after the present one, never inside it.
    pub fn emit_in_order(&self, order: u64, event: E) {
        let mut ordered = self.ordered.lock();
        ordered.held.insert(order, event);
        if std::mem::replace(&mut ordered.delivering, true) {
            return;
        }
        drop(ordered);
        let mut turn = Turn(Some(&self.ordered));
        while let Some(event) = turn.next() {
            if self.is_watched() {
                self.deliver(&event);
            }
        }
    }

    #[cold]
    fn deliver(&self, event: &E) {
        let list = self.list.lock().clone();
        for observer in list.as_deref().unwrap_or_default() {
            if contain(|| observer.observe(event)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<E: 'static> Default for Observers<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: 'static> fmt::Debug for Observers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("watched", &self.is_watched())
            .field("panics", &self.panics())
            .finish_non_exhaustive()
    }
}
