//! The system's clock: the only reader of `Instant::now` and `SystemTime::now`.

use super::Sleep;
use std::time::{Instant, SystemTime};

#[inline]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub(super) fn now() -> Instant {
    Instant::now()
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
