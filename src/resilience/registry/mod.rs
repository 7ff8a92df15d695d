//! Components by name.

mod error;
mod event;
mod names;

pub use error::{InsertError, RegistryError};
pub use event::RegistryEvent;
pub(super) use names::{MOST_NAMES, static_name};

use crate::ConfigError;
use crate::limit::{CreateError, Idle, KeyedMap};
use crate::observe::{Observe, Observers};
use crate::shim::Mutex;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// One component for each name, made when it is first asked for: a breaker for each dependency, a stack for each upstream.
///
/// Names are unique, and so is what they stand for: if many ask at once for one that is not there, the factory runs once
/// and all get the same. What a name stands for is replaced and removed without being ended: who holds it goes on with it.
///
/// ```
/// use cofferdam::resilience::registry::Registry;
/// use cofferdam::resilience::CircuitBreaker;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let breakers = Registry::new(|name| {
///     let recovery = if name == "payment" { 60 } else { 15 };
///     CircuitBreaker::builder().name(name).recovery_time(Duration::from_secs(recovery)).build()
/// });
/// let inventory = breakers.get_or_create("inventory")?;
/// assert_eq!(inventory.name(), "inventory");
/// assert!(Arc::ptr_eq(&inventory, &breakers.get("inventory").unwrap()));
/// # Ok::<(), cofferdam::resilience::registry::RegistryError>(())
/// ```
///
/// # Memory
/// Nothing is forgotten unless it is [removed](Self::remove). There is room for as many names as the
/// [builder](RegistryBuilder::capacity) says, and further ones are refused. The factory gets a name that lives as long as the process,
/// which is what components want: it stays in memory, once, when it is removed. So this is for names that stand in a
/// program or its configuration: after 65,536 different ones, of all registries and settings of the process together, further ones are refused.
///
/// # Cost
/// A look-up takes two short locks and reads the clock. Keep the handle where that is too much.
///
/// # When to use something else
/// For keys that come with the traffic (tenants, addresses), a [`KeyedMap`], which this is made of, forgets what is idle.
///
/// Clones are the same registry.
pub struct Registry<C: 'static> {
    inner: Arc<Inner<C>>,
}

type Factory<C> = Box<dyn Fn(&'static str) -> Result<C, Box<dyn Error + Send + Sync>> + Send + Sync>;

struct Inner<C: 'static> {
    map: KeyedMap<String, Entry<C>>,
    factory: Factory<C>,
    /// The number of the next change. Whoever changes what a name stands for takes effect and its number in one hold of
    /// this; what is new takes its number before anybody else can see it.
    changes: Mutex<u64>,
    observers: Observers<RegistryEvent<C>>,
}

/// What a name stands for.
struct Entry<C> {
    name: &'static str,
    place: Mutex<Place<C>>,
}

struct Place<C> {
    component: Arc<C>,
    /// The entry is no longer that of its name. Set with `changes` in hand.
    removed: bool,
}

impl<C> Entry<C> {
    fn new(name: &'static str, component: Arc<C>) -> Self {
        Self { name, place: Mutex::new(Place { component, removed: false }) }
    }

    fn component(&self) -> Arc<C> {
        Arc::clone(&self.place.lock().component)
    }
}

/// Kept until it is removed.
impl<C> Idle for Entry<C> {
    fn is_idle(&self) -> bool {
        false
    }
}

/// Why there is no entry of a name.
enum EnterError<E> {
    /// There are so many, which is all.
    Full(usize),
    /// The process has no room for another name.
    Names,
    Failed(E),
}

impl<E> EnterError<E> {
    /// How many names there may be, where that is what is wrong.
    fn full(&self) -> Option<usize> {
        match self {
            Self::Full(most) => Some(*most),
            Self::Names => Some(MOST_NAMES),
            Self::Failed(_) => None,
        }
    }
}

impl<C: 'static> Registry<C> {
    /// With room for 65,536 names. `factory` makes the component of a name; it must not ask the registry for that name.
    pub fn new<E>(factory: impl Fn(&'static str) -> Result<C, E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let factory = boxed(factory);
        Self::assemble(KeyedMap::new(), factory, Observers::new())
    }

    /// With other settings.
    pub fn builder<E>(
        factory: impl Fn(&'static str) -> Result<C, E> + Send + Sync + 'static,
    ) -> RegistryBuilder<C>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        RegistryBuilder { factory: boxed(factory), capacity: None, observers: Observers::new() }
    }

    fn assemble(
        map: KeyedMap<String, Entry<C>>,
        factory: Factory<C>,
        observers: Observers<RegistryEvent<C>>,
    ) -> Self {
        Self { inner: Arc::new(Inner { map, factory, changes: Mutex::new(0), observers }) }
    }

    /// What this name stands for, if anything; if it is being made, when it is.
    pub fn get(&self, name: &str) -> Option<Arc<C>> {
        self.inner.map.get(name).map(|entry| entry.component())
    }

    /// What this name stands for; if nothing, what the factory makes of it. Of several who ask at once one makes it, and
    /// the others wait, thread and all.
    ///
    /// # Errors
    /// The factory's; or it is a new name, and there is no room for one. Then nothing is added.
    pub fn get_or_create(&self, name: &str) -> Result<Arc<C>, RegistryError> {
        self.get_or_create_with(name, &self.inner.factory)
    }

    /// As [`get_or_create`](Self::get_or_create), made by `make` in place of the factory.
    ///
    /// # Errors
    /// As [`get_or_create`](Self::get_or_create).
    pub fn get_or_create_with<E>(
        &self,
        name: &str,
        make: impl FnOnce(&'static str) -> Result<C, E>,
    ) -> Result<Arc<C>, RegistryError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let found = self.enter(name, |name| make(name).map(Arc::new));
        found.map(|(entry, _)| entry.component()).map_err(|error| match error {
            EnterError::Full(most) => RegistryError::full(name, most),
            EnterError::Names => RegistryError::names(name),
            EnterError::Failed(error) => RegistryError::failed(name, error.into()),
        })
    }

    /// Gives a name to `component`.
    ///
    /// # Errors
    /// The name is taken, or there is no room for another one; the component comes back.
    pub fn insert(&self, name: &str, component: impl Into<Arc<C>>) -> Result<Arc<C>, InsertError<C>> {
        let new = component.into();
        let full = match self.enter(name, |_| Ok::<_, ()>(Arc::clone(&new))) {
            Ok((_, true)) => return Ok(new),
            Err(error) => error.full(),
            Ok(_) => None,
        };
        Err(InsertError { name: name.to_owned(), component: new, full })
    }

    /// Gives a name to `component`, whether or not it stood for another one before, which is handed back. Handles of that
    /// one go on as they are.
    ///
    /// # Errors
    /// There is no room for another name; the component comes back.
    pub fn replace(
        &self,
        name: &str,
        component: impl Into<Arc<C>>,
    ) -> Result<Option<Arc<C>>, InsertError<C>> {
        let new = component.into();
        loop {
            let entry = match self.enter(name, |_| Ok::<_, ()>(Arc::clone(&new))) {
                Ok((_, true)) => return Ok(None),
                Ok((entry, false)) => entry,
                Err(error) => {
                    let full = error.full();
                    return Err(InsertError { name: name.to_owned(), component: new, full });
                }
            };
            let mut changes = self.inner.changes.lock();
            let mut place = entry.place.lock();
            if place.removed {
                continue;
            }
            let old = std::mem::replace(&mut place.component, Arc::clone(&new));
            let order = number(&mut changes);
            drop(place);
            drop(changes);
            let event = RegistryEvent::Replaced { name: entry.name, old: Arc::clone(&old), new };
            self.inner.observers.emit_in_order(order, event);
            return Ok(Some(old));
        }
    }

    /// Lets a name stand for nothing, and hands back what it stood for. Handles of it go on as they are; who asks for the
    /// name next gets a new one. Nothing happens if it is not there, or is being made.
    pub fn remove(&self, name: &str) -> Option<Arc<C>> {
        let mut changes = self.inner.changes.lock();
        let entry = self.inner.map.remove(name)?;
        let order = number(&mut changes);
        let component = {
            let mut place = entry.place.lock();
            place.removed = true;
            Arc::clone(&place.component)
        };
        drop(changes);
        let event = RegistryEvent::Removed { name: entry.name, component: Arc::clone(&component) };
        self.inner.observers.emit_in_order(order, event);
        Some(component)
    }

    /// The entry of a name, and whether it is new.
    fn enter<E>(
        &self,
        name: &str,
        make: impl FnOnce(&'static str) -> Result<Arc<C>, E>,
    ) -> Result<(Arc<Entry<C>>, bool), EnterError<E>> {
        let mut added = None;
        let entry = self.inner.map.get_or_try_create(name, || {
            let name = static_name(name).ok_or(EnterError::Names)?;
            let component = make(name).map_err(EnterError::Failed)?;
            added = Some((number(&mut self.inner.changes.lock()), Arc::clone(&component)));
            Ok(Entry::new(name, component))
        });
        let entry = entry.map_err(|error| match error {
            CreateError::TooManyKeys(full) => EnterError::Full(full.capacity()),
            CreateError::Failed(error) => error,
        })?;
        let is_new = added.is_some();
        if let Some((order, component)) = added {
            let event = RegistryEvent::Added { name: entry.name, component };
            self.inner.observers.emit_in_order(order, event);
        }
        Ok((entry, is_new))
    }

    /// Tells `f` of every name and what it stands for. Those that come or go meanwhile may be told of or not. `f` runs
    /// outside of the locks and may use the registry.
    pub fn for_each(&self, mut f: impl FnMut(&'static str, Arc<C>)) {
        self.inner.map.for_each(|_, entry| f(entry.name, entry.component()));
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::with_capacity(self.len());
        self.inner.map.for_each(|_, entry| names.push(entry.name));
        names.sort_unstable();
        names
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.inner.map.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many names there may be.
    pub fn capacity(&self) -> usize {
        self.inner.map.capacity()
    }

    /// Adds one that wants to know of events from now on. It is called on the thread that made the change, after it.
    pub fn observe(&self, observer: impl Observe<RegistryEvent<C>>) {
        self.inner.observers.add(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &Observers<RegistryEvent<C>> {
        &self.inner.observers
    }

    crate::observe::watchable!(inner, [C], Self, |inner| Self { inner });
}

fn boxed<C, E>(factory: impl Fn(&'static str) -> Result<C, E> + Send + Sync + 'static) -> Factory<C>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    Box::new(move |name| factory(name).map_err(Into::into))
}

/// The number of a change that takes effect now.
fn number(changes: &mut u64) -> u64 {
    let number = *changes;
    *changes += 1;
    number
}

impl<C: 'static> Clone for Registry<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: 'static> fmt::Debug for Registry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("names", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Registry`].
#[must_use = "a builder does nothing until it is built"]
pub struct RegistryBuilder<C: 'static> {
    factory: Factory<C>,
    capacity: Option<usize>,
    observers: Observers<RegistryEvent<C>>,
}

impl<C: 'static> RegistryBuilder<C> {
    /// How many names there may be. Default: 65,536, which is also how many different ones the whole process may have in its life.
    pub fn capacity(self, names: usize) -> Self {
        Self { capacity: Some(names), ..self }
    }

    /// Adds an observer of its [events](RegistryEvent).
    pub fn observer(self, observer: impl Observe<RegistryEvent<C>>) -> Self {
        self.observers.add(observer);
        self
    }

    /// The registry.
    ///
    /// # Errors
    /// Room for no name at all.
    pub fn build(self) -> Result<Registry<C>, ConfigError> {
        if self.capacity == Some(0) {
            return Err(ConfigError::new("registry", "capacity", 0, "must be at least 1"));
        }
        let mut builder = KeyedMap::<String, Entry<C>>::builder();
        if cfg!(any(cofferdam_loom, cofferdam_shuttle)) {
            // In which of several a name is, its random hash would say: another one in each execution of a model.
            builder = builder.shards(1);
        }
        let map = match self.capacity {
            Some(names) => builder.capacity(names).build()?,
            None => builder.build()?,
        };
        Ok(Registry::assemble(map, self.factory, self.observers))
    }
}

impl<C: 'static> fmt::Debug for RegistryBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
