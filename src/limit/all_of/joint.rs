//! The members of a set of limiters, and the decision over all of them.

use super::Member;
use super::knock::Knock;
use crate::ConfigError;
use crate::limit::limiter::{Engine, Follow};
use crate::limit::{Algorithm, Denied};
use crate::time::{Clock, Epoch};
use std::cmp::Reverse;
use std::fmt;
use std::sync::{Arc, Weak};

/// Several limiters that decide together: what an [`AllOf`](super::AllOf) is made of.
///
/// An [`Algorithm`] in form only: what it remembers, its members do, so it cannot be kept by [key](crate::limit::Keyed), nor charged
/// ahead of time. Clones are the same members.
#[derive(Clone)]
pub struct Joint {
    /// In the order in which they are held.
    members: Arc<[Named]>,
    epoch: Epoch,
}

#[derive(Clone)]
struct Named {
    name: Arc<str>,
    /// Its place in the order in which they were given.
    tier: usize,
    member: Arc<dyn Member>,
    shift: Shift,
}

/// What lies between the times of a set and those of a member, in nanoseconds: one of the two is zero.
#[derive(Clone, Copy, Default)]
struct Shift {
    /// By so much the member began to count earlier.
    ahead: u64,
    /// Or later.
    behind: u64,
}

impl Shift {
    fn between(set: &Epoch, member: &Epoch) -> Self {
        let by = |this: &Epoch, of: &Epoch| of.instant(0).map_or(0, |start| this.nanos_at(start));
        Self { ahead: by(member, set), behind: by(set, member) }
    }

    /// The member's time, of one of the set's.
    #[inline(always)]
    fn of_member(self, at: u64) -> u64 {
        at.saturating_add(self.ahead).saturating_sub(self.behind)
    }

    /// The set's time, of one of the member's.
    fn of_set(self, at: u64) -> u64 {
        at.saturating_add(self.behind).saturating_sub(self.ahead)
    }
}

impl Named {
    /// For a set that counts from this epoch.
    fn since(self, epoch: &Epoch) -> Self {
        Self { shift: Shift::between(epoch, self.member.epoch()), ..self }
    }
}

/// Builds a [`Joint`].
#[must_use = "a builder does nothing until it is built"]
pub struct JointBuilder(Vec<Named>);

impl JointBuilder {
    /// One more limiter that has to agree. The name is for people.
    pub fn with(mut self, name: impl Into<Arc<str>>, member: impl Member + 'static) -> Self {
        let tier = self.0.len();
        let (name, member) = (name.into(), Arc::new(member));
        self.0.push(Named { name, tier, member, shift: Shift::default() });
        self
    }

    /// The set.
    ///
    /// # Errors
    /// No member; the same limiter twice; a member that is a set itself; more than 256 members.
    pub fn build(self) -> Result<Joint, ConfigError> {
        let Self(mut members) = self;
        let refuse = |value: &dyn fmt::Display, rule| Err(ConfigError::new("limits", "members", value, rule));
        let Some(first) = members.first() else { return refuse(&0, "must be at least one") };
        let epoch = Epoch::new(first.member.epoch().clock().clone());
        if members.len() > 256 {
            return refuse(&members.len(), "must be at most 256");
        }
        if let Some(named) = members.iter().find(|named| named.member.is_composite()) {
            return refuse(&named.name, "must not be a set itself: give its members");
        }
        // Always held in this order, whoever decides.
        members.sort_by_key(|named| named.member.serial());
        let twice = members.windows(2).find_map(|pair| match pair {
            [a, b] if a.member.serial() == b.member.serial() => Some(b),
            _ => None,
        });
        if let Some(twice) = twice {
            return refuse(&twice.name, "must not be the same limiter twice");
        }
        let members = members.into_iter().map(|named| named.since(&epoch)).collect();
        Ok(Joint { members, epoch })
    }
}

/// Why not, and when it is worth trying again.
pub(super) struct NotYet {
    pub(super) denied: Denied,
    /// Nanoseconds since the epoch; `u64::MAX` if nobody knows.
    pub(super) retry: u64,
}

impl Joint {
    /// Starts a set.
    pub const fn builder() -> JointBuilder {
        JointBuilder(Vec::new())
    }

    /// The name of a member, counted as they were given.
    pub fn name(&self, tier: usize) -> Option<&str> {
        self.members.iter().find(|named| named.tier == tier).map(|named| &*named.name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The same, counting its time from when the other does: a limiter goes on counting from its own beginning.
    pub(super) fn since(self, other: &Self) -> Self {
        let epoch = other.epoch.clone();
        let members = self.members.iter().map(|named| named.clone().since(&epoch)).collect();
        Self { members, epoch }
    }

    /// Takes `n` tokens of each, or none of any.
    pub(super) fn attempt(&self, now: u64, n: u64) -> Result<(), NotYet> {
        if n == 0 {
            return Ok(());
        }
        // As a rule all agree; who does not, and until when, is found out in a round of its own.
        if take_all(&self.members, now, n) { Ok(()) } else { self.decide(now, n, true) }
    }

    /// Whether `n` tokens of each are there, without taking them.
    pub(super) fn look(&self, now: u64, n: u64) -> Result<(), NotYet> {
        self.decide(now, n, false)
    }

    fn decide(&self, now: u64, n: u64, take: bool) -> Result<(), NotYet> {
        let mut round = Round { now, n, take, no: None };
        match round.ask(&self.members) {
            true => Ok(()),
            false => match round.no {
                Some(no) => Err(no),
                // Nobody refused, and nothing was to be taken.
                None => Ok(()),
            },
        }
    }
}

/// Takes of each of them, while the ones before are held; or of none, without saying why.
fn take_all(members: &[Named], now: u64, n: u64) -> bool {
    let Some((Named { member, shift, .. }, rest)) = members.split_first() else { return true };
    let at = shift.of_member(now);
    if rest.is_empty() {
        member.take_last(n, at)
    } else {
        member.take_if(n, at, &mut || take_all(rest, now, n))
    }
}

/// One decision over all members.
struct Round {
    now: u64,
    n: u64,
    take: bool,
    no: Option<NotYet>,
}

impl Round {
    /// Asks the first of them, and while it is held, the rest. Whether all agreed, and so have taken.
    fn ask(&mut self, members: &[Named]) -> bool {
        let Some((named, rest)) = members.split_first() else { return self.take && self.no.is_none() };
        let Named { tier, member, shift, .. } = named;
        member.attempt(self.n, shift.of_member(self.now), &mut |checked, changes| {
            if let Err(denied) = checked {
                self.refused(*tier, denied, changes.map(|at| shift.of_set(at)));
            }
            self.ask(rest)
        })
    }

    /// Keeps the refusal with the longest wait, and the first instant at which all might agree.
    fn refused(&mut self, tier: usize, denied: Denied, changes: Option<u64>) {
        let by_itself = denied.retry_nanos().map_or(u64::MAX, |after| self.now.saturating_add(after));
        // When its settings change before that, it may be earlier.
        let retry = changes.map_or(by_itself, |at| at.min(by_itself)).max(self.now.saturating_add(1));
        let length =
            |denied: &Denied| (denied.is_never(), denied.retry_nanos().is_none(), denied.retry_nanos());
        // Of equal waits, the first member's.
        let rank = |denied: &Denied| (length(denied), Reverse(denied.tier()));
        let denied = denied.in_tier(tier);
        self.no = Some(match self.no.take() {
            None => NotYet { denied, retry },
            Some(no) => NotYet {
                denied: if rank(&denied) > rank(&no.denied) { denied } else { no.denied },
                retry: retry.max(no.retry),
            },
        });
    }
}

#[allow(private_interfaces, reason = "sealed, as the trait is")]
impl Engine for Joint {
    type Line = Knock;

    const COMPOSITE: bool = true;

    const PACKED: bool = false;

    fn epoch(&self, _: Clock) -> Epoch {
        self.epoch.clone()
    }

    fn started(&self, limiter: Weak<dyn Follow>) {
        for named in &*self.members {
            named.member.follow(Weak::clone(&limiter));
        }
    }
}

impl Algorithm for Joint {
    type State = ();

    const NAME: &'static str = "limits";

    fn fresh(&self, _: u64) {}

    /// The smallest of the members'.
    fn capacity(&self) -> u64 {
        self.members.iter().map(|named| named.member.capacity()).min().unwrap_or(0)
    }

    /// What is there now; the members cannot be charged together ahead of time.
    fn charge(&self, (): &mut (), now: u64, n: u64) -> Result<u64, Denied> {
        self.attempt(now, n).map(|()| now).map_err(|no| no.denied)
    }

    fn check(&self, (): &(), now: u64, n: u64) -> Result<(), Denied> {
        self.look(now, n).map_err(|no| no.denied)
    }

    /// The least that a member has.
    fn available(&self, (): &(), now: u64) -> u64 {
        let of = |named: &Named| named.member.available_at(named.shift.of_member(now));
        self.members.iter().map(of).min().unwrap_or(0)
    }

    /// To each.
    fn refund(&self, (): &mut (), _: u64, n: u64) {
        for named in &*self.members {
            named.member.refund(n);
        }
    }

    /// Each.
    fn drain_to(&self, (): &mut (), _: u64, n: u64) {
        for named in &*self.members {
            named.member.drain_to(n);
        }
    }

    fn carry(&self, _: &Self, (): &(), _: u64) {}

    /// Nothing is remembered here.
    fn fresh_at(&self, (): &()) -> u64 {
        0
    }
}

impl fmt::Debug for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|named| named.tier);
        f.debug_map().entries(members.into_iter().map(|named| (&named.name, &named.member))).finish()
    }
}

impl fmt::Debug for JointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|named| (&named.name, &named.member))).finish()
    }
}
