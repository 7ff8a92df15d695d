//! Events of components, and those who want to see them.
//!
//! A component owns a typed event and an [`Observers`] of it. Nobody looking costs one relaxed load and a branch: the
//! event is not built. Observers run on the thread that caused the event, outside every lock, so they may call back into
//! the component; one that panics is contained and counted.

#![forbid(unsafe_code)]

use crate::panics::contain;
use crate::shim::{AtomicU64, AtomicUsize, Mutex, Ordering};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;

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

/// Those who observe one component.
///
/// Nobody is ever removed: so the list only grows at its end, and whoever goes through it takes no lock.
pub struct Observers<E: 'static> {
    /// How many are in the list for good: 0 is the one branch of an unobserved component.
    count: AtomicUsize,
    first: Link<E>,
    ordered: Mutex<Ordered<E>>,
    panics: AtomicU64,
}

type Link<E> = OnceLock<Box<Node<E>>>;

struct Node<E: 'static> {
    observer: Box<dyn Observe<E>>,
    next: Link<E>,
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
            count: AtomicUsize::new(0),
            first: OnceLock::new(),
            ordered: Mutex::new(Ordered { next: 0, held: BTreeMap::new(), delivering: false }),
            panics: AtomicU64::new(0),
        }
    }

    /// Adds an observer for all events from now on.
    pub fn add(&self, observer: impl Observe<E>) {
        let mut node = Box::new(Node { observer: Box::new(observer), next: OnceLock::new() });
        let mut place = &self.first;
        loop {
            place = match place.get() {
                Some(there) => &there.next,
                None => match place.set(node) {
                    Ok(()) => break,
                    // Somebody else was quicker.
                    Err(back) => {
                        node = back;
                        continue;
                    }
                },
            };
        }
        // ORDERING: Release: so many are in the list. Pairs with the load in `deliver`.
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Whether anyone is looking.
    #[inline]
    pub fn is_watched(&self) -> bool {
        // Relaxed: an observer added concurrently may miss this event.
        self.count.load(Ordering::Relaxed) > 0
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
        let mut due = None;
        if ordered.delivering || ordered.next != order {
            ordered.held.insert(order, event);
            if std::mem::replace(&mut ordered.delivering, true) {
                return;
            }
        } else {
            // Its turn, as mostly.
            ordered.next += 1;
            ordered.delivering = true;
            due = Some(event);
        }
        drop(ordered);
        let mut turn = Turn(Some(&self.ordered));
        while let Some(event) = due.take().or_else(|| turn.next()) {
            if self.is_watched() {
                self.deliver(&event);
            }
        }
    }

    #[cold]
    fn deliver(&self, event: &E) {
        // ORDERING: Acquire: see `add`. Those who are added meanwhile, by an observer too, see the next event.
        let mut left = self.count.load(Ordering::Acquire);
        let mut at = self.first.get();
        while let (Some(node), 1..) = (at, left) {
            if contain(|| node.observer.observe(event)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
            left -= 1;
            at = node.next.get();
        }
    }
}

/// What panics in an observer is contained, and leaves nothing of ours half done.
impl<E: 'static> UnwindSafe for Observers<E> {}
impl<E: 'static> RefUnwindSafe for Observers<E> {}

/// In a loop: a long list must not cost stack.
impl<E: 'static> Drop for Observers<E> {
    fn drop(&mut self) {
        let mut at = self.first.take();
        while let Some(mut node) = at {
            at = node.next.take();
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
