//! Events of components, and those who want to see them.
//!
//! A component owns a typed event and an [`Observers`] of it. Nobody looking costs one relaxed load and a branch: the
//! event is not built. Observers run on the thread that caused the event, outside every lock, so they may call back into
//! the component; one that panics is contained and counted.

#![forbid(unsafe_code)]

use crate::panics::contain;
use crate::shim::{AtomicBool, AtomicU64, Mutex, Ordering, serial};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

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

type List<E> = Arc<[Seat<E>]>;

/// A function and not an [`Observe`], which would want events that live for ever.
type Observer<E> = Arc<dyn Fn(&E) + Send + Sync>;

/// An observer, and the number by which it is found when it goes.
struct Seat<E> {
    id: u64,
    /// There until the drop.
    observer: Option<Observer<E>>,
}

impl<E> Clone for Seat<E> {
    fn clone(&self) -> Self {
        Self { id: self.id, observer: self.observer.clone() }
    }
}

impl<E> Drop for Seat<E> {
    fn drop(&mut self) {
        // It may be the last hold on the observer, whose drop is foreign: each for itself, as a second panic amid the first ends
        // the process.
        let observer = self.observer.take();
        contain(|| drop(observer));
    }
}

/// Those who observe one component.
pub struct Observers<E> {
    /// Whether there may be anyone: the one branch of an unobserved component. Set with the list locked by who adds an observer,
    /// cleared with it locked by who finds nobody in it.
    any: AtomicBool,
    /// Not there before somebody has looked.
    audience: OnceLock<Arc<Audience<E>>>,
    ordered: Mutex<Ordered<E>>,
}

/// Who looks. Shared with those who may [stop](Attached), so that they keep nothing of the component.
struct Audience<E> {
    list: Mutex<List<E>>,
    panics: AtomicU64,
}

impl<E> Audience<E> {
    fn new() -> Self {
        Self { list: Mutex::new(Arc::new([])), panics: AtomicU64::new(0) }
    }

    fn show(&self, list: List<E>, event: &E) {
        for observer in list.iter().filter_map(|seat| seat.observer.as_ref()) {
            if contain(|| observer(event)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes an observer out, who comes back to be dropped without the lock.
    fn remove(&self, id: u64) -> List<E> {
        let mut list = self.list.lock();
        let left = list.iter().filter(|seat| seat.id != id).cloned().collect();
        std::mem::replace(&mut *list, left)
    }
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

impl<E> Observers<E> {
    /// Nobody yet.
    pub fn new() -> Self {
        let ordered = Ordered { next: 0, held: BTreeMap::new(), delivering: false };
        Self { any: AtomicBool::new(false), audience: OnceLock::new(), ordered: Mutex::new(ordered) }
    }

    /// Adds an observer for all events from now on.
    pub fn add(&self, observer: impl Observe<E>) {
        self.seat(observer);
    }

    fn seat(&self, observer: impl Observe<E>) -> (u64, &Arc<Audience<E>>) {
        let audience = self.audience.get_or_init(|| Arc::new(Audience::new()));
        let observer: Observer<E> = Arc::new(move |event: &E| observer.observe(event));
        let seat = Seat { id: serial(), observer: Some(observer) };
        let id = seat.id;
        let mut list = audience.list.lock();
        let more = list.iter().cloned().chain([seat]).collect();
        let old = std::mem::replace(&mut *list, more);
        // Relaxed: it says that there is a list to look at, which is seen under its lock.
        self.any.store(true, Ordering::Relaxed);
        drop(list);
        drop(old);
        (id, audience)
    }

    /// Adds an observer for all events from now on, until what comes back is dropped. That drops the observer, too, or if an event
    /// is just being told, the end of that does: it may still see this one. And if nobody else looks, the component is unobserved
    /// again. It keeps nothing alive.
    ///
    /// ```
    /// use cofferdam::observe::Observers;
    ///
    /// let observers = Observers::<u32>::new();
    /// let attached = observers.attach(|event: &u32| println!("{event}"));
    /// assert!(observers.is_watched());
    /// drop(attached);
    /// assert!(!observers.is_watched());
    /// ```
    pub fn attach(&self, observer: impl Observe<E>) -> Attached
    where
        E: 'static,
    {
        let (id, audience) = self.seat(observer);
        let audience = Arc::downgrade(audience);
        Attached::new(move || drop(audience.upgrade().map(|audience| audience.remove(id))))
    }

    /// Whether anyone is looking.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.may_be_watched() && self.listed().is_some()
    }

    /// False if nobody is looking. True also if nobody is any more, until that is found out.
    #[inline(always)]
    pub(crate) fn may_be_watched(&self) -> bool {
        // Relaxed: an observer added concurrently may miss this event; the list itself is read under its lock.
        self.any.load(Ordering::Relaxed)
    }

    /// Who looks, if anyone does.
    #[cold]
    fn listed(&self) -> Option<(&Audience<E>, List<E>)> {
        let audience = self.audience.get()?;
        let list = audience.list.lock();
        if list.is_empty() {
            // Relaxed: as above. Who adds the next one sets it again, under the same lock.
            self.any.store(false, Ordering::Relaxed);
            return None;
        }
        Some((audience, Arc::clone(&list)))
    }

    /// How many times an observer has panicked.
    pub fn panics(&self) -> u64 {
        self.audience.get().map_or(0, |audience| audience.panics.load(Ordering::Relaxed))
    }

    /// Builds the event and shows it to everyone, if there is anyone.
    #[inline]
    pub fn emit(&self, event: impl FnOnce() -> E) {
        if self.may_be_watched() {
            self.deliver(&event());
        }
    }

    /// As [`emit`](Self::emit), of an event that is there already.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn show(&self, event: &E) {
        if self.may_be_watched() {
            self.deliver(event);
        }
    }

    #[cold]
    fn deliver(&self, event: &E) {
        if let Some((audience, list)) = self.listed() {
            audience.show(list, event);
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
            self.show(&event);
        }
    }
}

impl<E> Default for Observers<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Observers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("watched", &self.is_watched())
            .field("panics", &self.panics())
            .finish_non_exhaustive()
    }
}

/// An observer that is [there for a while](Observers::attach): as long as this is.
#[must_use = "dropped, its observer goes with it"]
pub struct Attached(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Attached {
    /// Whose end is `detach`.
    pub(crate) fn new(detach: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(detach)))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(detach) = self.0.take() {
            // Drops the observer, which is foreign.
            contain(detach);
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

/// How a component is looked at by those who must not keep it: inside of an `impl` of its handle, which has the shared state in
/// an `Arc`. `watchable!(inner.shared, [A], Self, |shared| ...)`: where that is, the parameters of the `impl`, and what is made of
/// the state for a look. Without these it says only which component it is.
#[cfg_attr(
    not(any(feature = "telemetry", feature = "health")),
    allow(unused_macros, reason = "nobody looks")
)]
macro_rules! watchable {
    ($($shared:tt).+, [$($parameter:ident),*], $view:ty, $look:expr) => {
        /// What gives a look at it for as long as it is there, and does not keep it.
        #[cfg(any(feature = "telemetry", feature = "health"))]
        #[allow(dead_code, reason = "used by one of the two or both")]
        pub(crate) fn weak(&self) -> impl Fn() -> Option<$view> + use<$($parameter),*> {
            let weak = std::sync::Arc::downgrade(&self.$($shared).+);
            move || weak.upgrade().map($look)
        }

        $crate::observe::watchable!($($shared).+);
    };
    ($($shared:tt).+) => {
        /// Where its state is: the same for all its handles.
        #[cfg(feature = "telemetry")]
        #[allow(dead_code, reason = "of those that nobody watches")]
        pub(crate) fn address(&self) -> usize {
            std::sync::Arc::as_ptr(&self.$($shared).+).addr()
        }
    };
}
#[allow(unused_imports, reason = "used by the rooms behind features")]
pub(crate) use watchable;
