//! What a component is doing at this moment, for people who look into a running program.
//!
//! Metrics say how much and how often; these views say who and since when: the last changes of a breaker with their reasons, those
//! who wait for a semaphore in the order in which they will be served, the tasks of a pool with their ages, who is inside of what.
//! They are typed, and with the feature `serde` they are written as JSON or anything else.
//!
//! A view is made when it is asked for. What can only be seen as it happens is noted from the moment at which somebody
//! [inspects](Inspect::inspect) the component, for as long as he keeps what that gives him:
//!
//! | component | seen at any time | noted from then on |
//! |---|---|---|
//! | `CircuitBreaker` | state and since when, failures in a row, window, calls by how they ended | the last 32 changes of its state |
//! | `Semaphore` | permits, who waits for how many, in order | |
//! | `Bulkhead`, `ConcurrencyLimiter` | places, how many wait, who was refused | |
//! | `Limiter` | tokens, how many wait, pauses | |
//! | `WorkerPool` | its books, the age of its queue; each task with its age, if the pool keeps a history | |
//! | [`Roster`] | who is inside, what he does, since when | |
//!
//! (How long somebody has waited for a semaphore is known if the semaphore was watched when he came: see
//! [`Semaphore::observe`](crate::sync::Semaphore::observe).)

#[cfg(feature = "resilience")]
mod breaker;
#[cfg(feature = "limit")]
mod limit;
#[cfg(feature = "pool")]
mod pool;
mod roster;
mod semaphore;

#[cfg(feature = "resilience")]
pub use breaker::{BreakerChange, BreakerView};
#[cfg(feature = "limit")]
pub use limit::{ConcurrencyView, LimiterView};
#[cfg(feature = "pool")]
pub use pool::{PoolView, TaskView};
pub use roster::{Entry, Held, Presence, Roster, RosterView};
pub use semaphore::{SemaphoreView, WaiterView};

use super::WatchError;
use super::hub::FEW;
use crate::panics::contain;
use crate::shim::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A component that can be looked into.
pub trait Inspect {
    /// What kind of component it is, in one word.
    const COMPONENT: &'static str;

    /// What is seen of it.
    type View: Into<View> + Clone + fmt::Debug + Send + 'static;

    /// Begins to note what can only be seen as it happens, and gives what looks. That keeps no component alive.
    fn inspect(&self) -> Inspection<Self::View>;
}

/// Looks into one component, for as long as it is there. A cheap handle: clones are the same.
pub struct Inspection<V>(Arc<dyn Fn() -> Option<V> + Send + Sync>);

impl<V> Inspection<V> {
    /// For a view of your own making: `None` once there is nothing to look at any more.
    pub fn new(look: impl Fn() -> Option<V> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// How it is now. `None` if the component is gone.
    pub fn look(&self) -> Option<V> {
        (self.0)()
    }
}

impl<V> Clone for Inspection<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Inspection<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").finish_non_exhaustive()
    }
}

/// What is seen of a component, whichever it is.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[non_exhaustive]
pub enum View {
    /// Of a circuit breaker.
    #[cfg(feature = "resilience")]
    Breaker(BreakerView),
    /// Of a semaphore.
    Semaphore(SemaphoreView),
    /// Of a limiter of what runs at once, or of a bulkhead.
    #[cfg(feature = "limit")]
    Concurrency(ConcurrencyView),
    /// Of a rate limiter.
    #[cfg(feature = "limit")]
    Limiter(LimiterView),
    /// Of a worker pool.
    #[cfg(feature = "pool")]
    Pool(PoolView),
    /// Of a roster.
    Roster(RosterView),
}

/// What is seen of a component under a name.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Inspected {
    /// The kind of component.
    pub component: &'static str,
    /// What it is called here.
    #[cfg_attr(feature = "serde", serde(serialize_with = "written::name"))]
    pub name: Arc<str>,
    /// What is seen of it.
    pub view: View,
}

/// Looks into many components by name: what a page for people who look into a running program is made of.
///
/// ```
/// use cofferdam::sync::Semaphore;
/// use cofferdam::telemetry::inspect::{Inspector, View};
/// use std::sync::Arc;
///
/// let inspector = Inspector::new();
/// let permits = Arc::new(Semaphore::new(2));
/// inspector.add("uploads", &permits)?;
/// let _held = permits.try_acquire();
/// let all = inspector.look();
/// let View::Semaphore(view) = &all[0].view else { panic!("it is one") };
/// assert_eq!((&*all[0].name, view.in_use, view.waiting), ("uploads", 1, 0));
/// # Ok::<(), cofferdam::telemetry::WatchError>(())
/// ```
///
/// A cheap handle: clones are the same. It keeps no component alive, and forgets those that are gone.
#[derive(Clone, Default)]
pub struct Inspector {
    list: Arc<Mutex<List>>,
}

#[derive(Default)]
struct List {
    named: Vec<Arc<Named>>,
    /// With so many, those that are gone are looked for: who never looks would keep them for ever.
    enough: usize,
}

struct Named {
    component: &'static str,
    name: Arc<str>,
    inspection: Inspection<View>,
}

impl Inspector {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks into a component from now on, as `name`.
    ///
    /// # Errors
    /// Another component of this kind is looked into under this name. (One that is gone is not in the way.)
    pub fn add<C: Inspect + ?Sized>(
        &self,
        name: impl Into<Arc<str>>,
        component: &C,
    ) -> Result<(), WatchError> {
        let (component, name, inspection) = (C::COMPONENT, name.into(), component.inspect());
        let inspection = Inspection::new(move || inspection.look().map(Into::into));
        let mut named = Arc::new(Named { component, name, inspection });
        loop {
            let there = {
                let mut list = self.list.lock();
                let all = &mut list.named;
                let taken = all.iter().find(|one| one.component == component && one.name == named.name);
                match taken.map(Arc::clone) {
                    Some(there) => there,
                    None => {
                        all.push(named);
                        let is_full = all.len() >= list.enough.max(FEW);
                        drop(list);
                        if is_full {
                            self.sweep();
                        }
                        return Ok(());
                    }
                }
            };
            if there.inspection.look().is_some() {
                // Not dropped under the lock.
                let name = Arc::clone(&named.name);
                return Err(WatchError { component, name });
            }
            self.forget(&there);
            named = Arc::clone(&named);
        }
    }

    /// How all of them are now, in the order in which they came.
    pub fn look(&self) -> Vec<Inspected> {
        let list = self.list.lock().named.clone();
        let mut all = Vec::with_capacity(list.len());
        for named in list {
            match named.inspection.look() {
                Some(view) => {
                    all.push(Inspected { component: named.component, name: Arc::clone(&named.name), view });
                }
                None => self.forget(&named),
            }
        }
        all
    }

    fn sweep(&self) {
        let all = self.list.lock().named.clone();
        // One that panics is there.
        let is_gone = |one: &&Arc<Named>| contain(|| one.inspection.look().is_none()) == Some(true);
        let gone: BTreeSet<_> = all.iter().filter(is_gone).map(Arc::as_ptr).collect();
        let mut list = self.list.lock();
        // Not the last ones of them: `all` is dropped without the lock.
        list.named.retain(|one| !gone.contains(&Arc::as_ptr(one)));
        list.enough = 2 * list.named.len();
    }

    fn forget(&self, gone: &Arc<Named>) {
        // Not the last one of it: `gone` is dropped by the caller, without the lock.
        self.list.lock().named.retain(|one| !Arc::ptr_eq(one, gone));
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

/// How views are written: durations as seconds, what has a name in words by that.
#[cfg(feature = "serde")]
mod written {
    use serde::{Serialize, Serializer};
    use std::sync::Arc;
    use std::time::Duration;

    pub(super) fn name<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name)
    }

    #[cfg(feature = "resilience")]
    pub(super) fn text<T: std::fmt::Display, S: Serializer>(
        what: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(what)
    }

    pub(super) fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn perhaps<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
    }
}
