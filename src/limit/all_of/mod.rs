//! Several limiters at once, all or none.

mod joint;
mod knock;

pub use joint::{Joint, JointBuilder};

use super::limiter::{Follow, Limiter};
use super::{Algorithm, Denied};
use crate::time::Epoch;
use std::fmt;
use std::sync::Weak;

/// Several limiters of any kinds as one: a request is charged in all of them, or in none.
///
/// The members may be shared: with other such sets, and with those who use them alone. For several quotas of one owner
/// ("10/s and 200/min"), [`MultiQuota`](super::MultiQuota) is faster and plans ahead.
///
/// ```
/// use cofferdam::limit::{AllOf, Joint, Quota, TokenBucket};
///
/// let everybody = TokenBucket::new(Quota::per_second(100));
/// let upload = AllOf::of(
///     Joint::builder()
///         .with("second", TokenBucket::new(Quota::per_second(10)))
///         .with("minute", TokenBucket::new(Quota::per_minute(200).burst(15)))
///         .with("everybody", everybody.clone())
///         .build()?,
/// );
/// assert!(upload.try_acquire_many(10).is_ok());
/// let denied = upload.try_acquire_many(10).unwrap_err();
/// assert_eq!(upload.algorithm().name(denied.tier().unwrap()), Some("minute"), "the longest wait");
/// assert_eq!(everybody.available(), 90, "nothing was charged");
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
///
/// # All or nothing
/// The members are held together while it decides, each by its own short mutex and always in the same order; the last to agree
/// decides as it does alone, without a mutex where it can. So nobody ever sees a charge that is then taken back. A refusal is that of the member with the longest wait: [`Denied::tier`] says which.
///
/// # Waiting
/// First come, first served among those who wait here, with one timer; the first in line takes its tokens when all members have
/// them, and holds none before. So a member that is used up by others in the meantime makes it wait longer: whoever waits at a
/// member itself has been promised his tokens, and whoever just takes there is not kept from it. A refused time limit is
/// therefore refused by what is known at that moment, and one that turns out too short ends the wait when it is over. Changes of
/// a member ([`resume`](Limiter::resume), [`refund`](Limiter::refund), ...) are noticed at once.
///
/// # Reservations
/// Only of what is there now: tokens of the members cannot be promised together.
///
/// # Clock
/// The members must be on one clock: times are compared.
pub type AllOf = Limiter<Joint>;

/// A member of a [`Joint`]: any limiter.
pub trait Member: sealed::Member + fmt::Debug + Send + Sync {}

impl<A: Algorithm> Member for Limiter<A> {}

#[allow(private_interfaces, reason = "sealed: nobody outside can name what it gives, or call it")]
pub(super) mod sealed {
    use super::{Denied, Epoch, Follow, Weak};

    /// What a set asks of its members. Times are nanoseconds since the member's epoch.
    pub trait Member {
        fn serial(&self) -> u64;
        fn is_composite(&self) -> bool;
        fn epoch(&self) -> &Epoch;
        fn capacity(&self) -> u64;
        fn available_at(&self, now: u64) -> u64;
        fn attempt(
            &self,
            n: u64,
            now: u64,
            agree: &mut dyn FnMut(Result<(), Denied>, Option<u64>) -> bool,
        ) -> bool;
        fn take_if(&self, n: u64, now: u64, others: &mut dyn FnMut() -> bool) -> bool;
        fn take_last(&self, n: u64, now: u64) -> bool;
        fn refund(&self, n: u64);
        fn drain_to(&self, n: u64);
        fn follow(&self, follower: Weak<dyn Follow>);
    }
}

#[allow(private_interfaces, reason = "as the trait's")]
impl<A: Algorithm> sealed::Member for Limiter<A> {
    fn serial(&self) -> u64 {
        Self::serial(self)
    }

    fn is_composite(&self) -> bool {
        A::COMPOSITE
    }

    fn epoch(&self) -> &Epoch {
        Self::epoch(self)
    }

    fn capacity(&self) -> u64 {
        self.known_capacity()
    }

    fn available_at(&self, now: u64) -> u64 {
        self.glance(now)
    }

    fn attempt(
        &self,
        n: u64,
        now: u64,
        agree: &mut dyn FnMut(Result<(), Denied>, Option<u64>) -> bool,
    ) -> bool {
        Self::attempt(self, n, now, agree)
    }

    fn take_if(&self, n: u64, now: u64, others: &mut dyn FnMut() -> bool) -> bool {
        Self::take_if(self, n, now, others)
    }

    fn take_last(&self, n: u64, now: u64) -> bool {
        Self::take_last(self, n, now)
    }

    fn refund(&self, n: u64) {
        Self::refund(self, n);
    }

    fn drain_to(&self, n: u64) {
        Self::drain_to(self, n);
    }

    fn follow(&self, follower: Weak<dyn Follow>) {
        Self::follow(self, follower);
    }
}
