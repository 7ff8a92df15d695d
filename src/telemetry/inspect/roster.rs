//! Who is inside.

use super::{Inspect, Inspection, View};
use crate::shim::Mutex;
use crate::time::Clock;
use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of those who are inside, so many are listed.
const LISTED: usize = 64;

/// Those who are inside of something: who he is, what he does, and since when.
///
/// Semaphores and bulkheads know how many hold their permits, and not who; that would cost each of them something. Where it is
/// worth it, those who come in [enter](Self::enter) a roster, or [hold](Self::hold) what they hold by it.
///
/// ```
/// use cofferdam::sync::Semaphore;
/// use cofferdam::telemetry::inspect::{Inspect, Roster};
///
/// # futures_executor::block_on(async {
/// let (permits, holders) = (Semaphore::new(2), Roster::new());
/// let _permit = holders.hold("import of 17 May", permits.acquire().await.unwrap());
///
/// let view = holders.inspect().look().unwrap();
/// assert_eq!(view.inside[0].who, "import of 17 May");
/// # });
/// ```
///
/// Coming, leaving and saying something takes a lock of a few instructions and a look at the clock. A cheap handle: clones are the
/// same.
#[derive(Clone)]
pub struct Roster {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    places: Vec<Option<Noted>>,
    /// Places that are free.
    free: Vec<usize>,
    entered: u64,
}

struct Noted {
    number: u64,
    who: Cow<'static, str>,
    doing: &'static str,
    since: Instant,
    turned: Instant,
}

impl Roster {
    /// Empty, on the system's clock.
    pub fn new() -> Self {
        Self::on(Clock::system())
    }

    /// Empty, on this clock.
    pub fn on(clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { clock, list: Mutex::default() }) }
    }

    /// Somebody is inside, until what this returns is dropped.
    pub fn enter(&self, who: impl Into<Cow<'static, str>>) -> Entry {
        let (who, now) = (who.into(), self.inner.clock.now());
        let mut list = self.inner.list.lock();
        let number = list.entered;
        list.entered += 1;
        let noted = Some(Noted { number, who, doing: "", since: now, turned: now });
        let at = match list.free.pop() {
            Some(at) => at,
            None => {
                list.places.push(None);
                list.places.len() - 1
            }
        };
        if let Some(place) = list.places.get_mut(at) {
            *place = noted;
        }
        drop(list);
        Entry { roster: self.clone(), at }
    }

    /// Somebody holds this.
    pub fn hold<T>(&self, who: impl Into<Cow<'static, str>>, held: T) -> Held<T> {
        Held { entry: self.enter(who), held }
    }

    fn view(&self) -> RosterView {
        let now = self.inner.clock.now();
        let ago = |at| now.saturating_duration_since(at);
        let list = self.inner.list.lock();
        let mut all: Vec<_> = list.places.iter().flatten().collect();
        let present = all.len();
        all.sort_unstable_by_key(|noted| noted.number);
        let inside = all.into_iter().take(LISTED).map(|noted| Presence {
            who: noted.who.to_string(),
            doing: noted.doing,
            inside_for: ago(noted.since),
            doing_for: ago(noted.turned),
        });
        RosterView { inside: inside.collect(), present, entered: list.entered }
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}

/// Somebody who is inside of what a [`Roster`] is of. Dropped, he leaves.
#[must_use = "who is not kept has left"]
pub struct Entry {
    roster: Roster,
    at: usize,
}

impl Entry {
    /// Says what he does now.
    pub fn does(&self, what: &'static str) {
        let now = self.roster.inner.clock.now();
        let mut list = self.roster.inner.list.lock();
        if let Some(Some(noted)) = list.places.get_mut(self.at) {
            (noted.doing, noted.turned) = (what, now);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut list = self.roster.inner.list.lock();
        let left = list.places.get_mut(self.at).and_then(Option::take);
        list.free.push(self.at);
        drop(list);
        drop(left);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

/// Something that somebody holds, and is on a [`Roster`] for as long. A permit, a guard, a connection.
#[derive(Debug)]
#[must_use = "what is not kept is given back"]
pub struct Held<T> {
    // Given back first, as nobody is to hold it who is not on the roster.
    held: T,
    entry: Entry,
}

impl<T> Held<T> {
    /// Says what he does with it now.
    pub fn does(&self, what: &'static str) {
        self.entry.does(what);
    }

    /// Only what is held; he is on the roster no more.
    pub fn into_inner(self) -> T {
        self.held
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

/// A [`Roster`] at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RosterView {
    /// How many are inside.
    pub present: usize,
    /// The 64 of them who came first, in that order.
    pub inside: Vec<Presence>,
    /// How many have come.
    pub entered: u64,
}

/// Somebody who is inside.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Presence {
    /// Who.
    pub who: String,
    /// What he does; empty if he has not said.
    pub doing: &'static str,
    /// Since he came.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::seconds"))]
    pub inside_for: Duration,
    /// Since he said what he does, or came.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::written::seconds"))]
    pub doing_for: Duration,
}

/// It is kept alive by those who are inside, and by nobody who looks.
impl Inspect for Roster {
    const COMPONENT: &'static str = "roster";
    type View = RosterView;

    fn inspect(&self) -> Inspection<RosterView> {
        let weak = Arc::downgrade(&self.inner);
        Inspection::new(move || Some(Roster { inner: weak.upgrade()? }.view()))
    }
}

impl From<RosterView> for View {
    fn from(view: RosterView) -> Self {
        Self::Roster(view)
    }
}
