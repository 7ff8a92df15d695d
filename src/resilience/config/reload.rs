//! Something that is made from settings, and made anew from others while it is in use.

use crate::observe::{Observe, Observers};
use crate::shim::{AtomicU64, Mutex, Ordering};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// What can be made anew from other settings, keeping what it can of what it was.
pub trait Reload: Sized + Send + Sync + 'static {
    /// What it is made from.
    type Settings: Send;
    /// What may be wrong with that.
    type Error: Clone + fmt::Debug + Send + Sync + 'static;

    /// Whether a new one can be made from `settings`. Changes nothing.
    ///
    /// # Errors
    /// It cannot.
    fn check(&self, settings: &Self::Settings) -> Result<(), Self::Error>;

    /// A new one from `settings`, which shares with this one what goes on.
    ///
    /// # Errors
    /// None can be made from these settings. Then nothing has changed.
    fn reload(&self, settings: Self::Settings) -> Result<Self, Self::Error>;
}

/// Something that is in use and made anew when its settings change; what is bad changes nothing.
///
/// A call takes the present one by [`load`](Self::load), and goes on with it to its end, whatever happens meanwhile.
///
/// ```
/// use cofferdam::resilience::config::{BulkheadSettings, Reloadable, StackSettings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// let mut settings = StackSettings::default();
/// settings.bulkhead = Some(BulkheadSettings::new(8));
/// let live = Reloadable::new(settings.build()?);
///
/// let stack = live.load();
/// assert_eq!(stack.call(|| async { Ok::<_, ()>(7) }).await, Ok(7));
///
/// settings.bulkhead = Some(BulkheadSettings::new(0));
/// let error = live.reload(settings.clone()).unwrap_err();
/// assert_eq!(error.to_string(), "bulkhead.running: 0: must be at least 1");
/// assert_eq!(live.load().bulkhead().unwrap().stats().limit, 8);
///
/// settings.bulkhead = Some(BulkheadSettings::new(16));
/// live.reload(settings)?;
/// assert_eq!(live.load().bulkhead().unwrap().stats().limit, 16);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Cost
/// [`load`](Self::load) takes a short lock and clones an [`Arc`]. A [`Reader`] of one's own pays one atomic load as long as
/// nothing has changed.
///
/// Clones are the same.
pub struct Reloadable<R: Reload> {
    inner: Arc<Inner<R>>,
}

struct Inner<R: Reload> {
    current: Mutex<Arc<R>>,
    /// How often it has changed. Changed with `current` in hand.
    generation: AtomicU64,
    turns: Mutex<Turns<R::Settings>>,
    observers: Observers<ReloadEvent<R::Error>>,
    events: AtomicU64,
}

/// One reloads at a time, without holding a lock: making and changing things wakes those who wait for them.
struct Turns<S> {
    waiting: VecDeque<S>,
    taken: bool,
}

/// Settings were taken or refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadEvent<E> {
    /// New settings are in force.
    #[non_exhaustive]
    Reloaded {
        /// How often that has happened.
        generation: u64,
    },
    /// Settings were refused; the last good ones are in force.
    #[non_exhaustive]
    ReloadFailed {
        /// What is wrong with them.
        error: E,
    },
}

impl<R: Reload> Reloadable<R> {
    /// In use from now on.
    pub fn new(first: R) -> Self {
        let inner = Inner {
            current: Mutex::new(Arc::new(first)),
            generation: AtomicU64::new(0),
            turns: Mutex::new(Turns { waiting: VecDeque::new(), taken: false }),
            observers: Observers::new(),
            events: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The present one.
    #[inline]
    pub fn load(&self) -> Arc<R> {
        Arc::clone(&self.inner.current.lock())
    }

    /// How often new settings have come into force.
    pub fn generation(&self) -> u64 {
        // Relaxed: a look, out of date when it returns.
        self.inner.generation.load(Ordering::Relaxed)
    }

    /// A reader for one thread or task, which keeps what it has read last.
    pub fn reader(&self) -> Reader<R> {
        let mut reader = Reader { inner: Arc::clone(&self.inner), generation: 0, current: self.load() };
        reader.refresh();
        reader
    }

    /// Makes it anew from other settings. They are in force when this returns; if another reload is under way, on another
    /// thread or further up on this one, they have been checked, and come into force in their turn.
    ///
    /// # Errors
    /// The settings are bad: the last good ones stay in force.
    pub fn reload(&self, settings: R::Settings) -> Result<(), R::Error> {
        if let Err(error) = self.load().check(&settings) {
            self.tell(ReloadEvent::ReloadFailed { error: error.clone() });
            return Err(error);
        }
        let before = {
            let mut turns = self.inner.turns.lock();
            turns.waiting.push_back(settings);
            if std::mem::replace(&mut turns.taken, true) {
                return Ok(());
            }
            turns.waiting.len() - 1
        };
        let mut turn = Turn(Some(&self.inner));
        let (mut done, mut ours) = (0, Ok(()));
        while let Some(settings) = turn.next() {
            let made = self.load().reload(settings);
            let result = match made {
                Ok(new) => {
                    let generation = self.swap(new);
                    self.tell(ReloadEvent::Reloaded { generation });
                    Ok(())
                }
                Err(error) => {
                    self.tell(ReloadEvent::ReloadFailed { error: error.clone() });
                    Err(error)
                }
            };
            if done == before {
                ours = result;
            }
            done += 1;
        }
        ours
    }

    fn swap(&self, new: R) -> u64 {
        let new = Arc::new(new);
        let mut current = self.inner.current.lock();
        let old = std::mem::replace(&mut *current, new);
        // ORDERING: Release pairs with the Acquire in `Reader::current`: who sees the number finds what came with it.
        let generation = self.inner.generation.fetch_add(1, Ordering::Release) + 1;
        drop(current);
        drop(old);
        generation
    }

    fn tell(&self, event: ReloadEvent<R::Error>) {
        let order = self.inner.events.fetch_add(1, Ordering::Relaxed);
        self.inner.observers.emit_in_order(order, event);
    }

    /// Adds one that wants to know of events from now on. It is called on the thread that reloads, and may reload itself.
    pub fn observe(&self, observer: impl Observe<ReloadEvent<R::Error>>) {
        self.inner.observers.add(observer);
    }
}

/// The right to reload; given back in a panic, too. What waits then waits for the next reload.
struct Turn<'a, R: Reload>(Option<&'a Inner<R>>);

impl<R: Reload> Turn<'_, R> {
    /// The next settings. If there are none the turn is over, under the same lock.
    fn next(&mut self) -> Option<R::Settings> {
        let mut turns = self.0?.turns.lock();
        let next = turns.waiting.pop_front();
        if next.is_none() {
            turns.taken = false;
            self.0 = None;
        }
        next
    }
}

impl<R: Reload> Drop for Turn<'_, R> {
    fn drop(&mut self) {
        if let Some(inner) = self.0 {
            inner.turns.lock().taken = false;
        }
    }
}

impl<R: Reload> Clone for Reloadable<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Reload + fmt::Debug> fmt::Debug for Reloadable<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shown without the lock in hand, and without waiting for it.
        let current = self.inner.current.try_lock().map(|current| Arc::clone(&current));
        f.debug_struct("Reloadable")
            .field("generation", &self.generation())
            .field("current", &current)
            .finish_non_exhaustive()
    }
}

/// Reads a [`Reloadable`] again and again at the cost of one atomic load. What it has read last stays alive until it reads
/// again.
pub struct Reader<R: Reload> {
    inner: Arc<Inner<R>>,
    generation: u64,
    current: Arc<R>,
}

impl<R: Reload> Reader<R> {
    /// The present one.
    #[inline]
    pub fn current(&mut self) -> &Arc<R> {
        // ORDERING: Acquire pairs with the Release in `Reloadable::swap`.
        if self.inner.generation.load(Ordering::Acquire) != self.generation {
            self.refresh();
        }
        &self.current
    }

    #[cold]
    fn refresh(&mut self) {
        let current = self.inner.current.lock();
        self.generation = self.inner.generation.load(Ordering::Relaxed);
        let old = std::mem::replace(&mut self.current, Arc::clone(&current));
        drop(current);
        drop(old);
    }
}

impl<R: Reload> Clone for Reader<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            generation: self.generation,
            current: Arc::clone(&self.current),
        }
    }
}

impl<R: Reload> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("generation", &self.generation).finish_non_exhaustive()
    }
}
