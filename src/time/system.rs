//! The system's clock: the only reader of `Instant::now`, `SystemTime::now` and, where it can be had, of what `Instant`
//! is made of.

use super::Sleep;
use std::time::{Instant, SystemTime};

#[inline]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A reading of the monotonic clock in nanoseconds, since a start of the clock's own. `None` where there is only
/// [`now`].
///
/// A difference of two of these is a subtraction. That of two instants is a call with its operands and result in memory,
/// which costs up to a third of reading the clock, and more or less of it by where the stack happens to be.
#[inline(always)]
pub(super) fn raw() -> Option<u64> {
    #[cfg(all(feature = "async-io", target_os = "linux"))]
    {
        // What `Instant::now` reads. Both parts are never negative, and 64 bits last for 584 years of uptime.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Some((time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64))
    }
    #[cfg(not(all(feature = "async-io", target_os = "linux")))]
    None
}

/// An instant and the same moment by [`raw`], which is 0 where there is none.
///
/// The two are read one after the other, the number first: so counting by numbers is ahead of counting by instants, by less
/// than a microsecond, and who wakes at an instant does not come too early by the other count.
pub(super) fn both() -> (u64, Instant) {
    /// If the thread was interrupted between the two.
    const TRIES: usize = 8;
    const CLOSE: u64 = 1_000;
    let mut best = (u64::MAX, 0, now());
    for _ in 0..TRIES {
        let (Some(before), instant, Some(after)) = (raw(), now(), raw()) else { break };
        let apart = after.saturating_sub(before);
        if apart < best.0 {
            best = (apart, before, instant);
        }
        if apart < CLOSE {
            break;
        }
    }
    (best.1, best.2)
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    super::reactor::sleep_until(deadline)
}

#[cfg(not(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle)))))]
pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    super::thread::sleep_until(deadline)
}
