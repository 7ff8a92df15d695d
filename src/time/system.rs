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
    Sleep::async_io(deadline)
}

#[cfg(not(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle)))))]
pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    thread::sleep_until(deadline)
}

/// Timers without a reactor: one thread, started at the first sleep, that waits for the earliest deadline.
#[cfg(not(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle)))))]
mod thread {
    use super::Sleep;
    use crate::time::timers::{HostedSleep, TimerHost, Timers};
    use std::sync::{Arc, OnceLock};
    use std::thread::{self, Thread};
    use std::time::Instant;

    #[derive(Default)]
    struct Host {
        timers: Timers,
        thread: OnceLock<Thread>,
    }

    impl TimerHost for Host {
        fn now(&self) -> Instant {
            super::now()
        }

        fn timers(&self) -> &Timers {
            &self.timers
        }

        fn rescheduled(&self) {
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    impl Host {
        fn run(&self) {
            loop {
                while let Some(waker) = self.timers.pop_due(super::now()) {
                    // A waker that panics must not take every other timer of the process with it.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
                }
                // An arming between this look and the park leaves an unpark token: the park returns at once.
                match self.timers.next() {
                    Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(super::now())),
                    None => thread::park(),
                }
            }
        }
    }

    pub(super) fn sleep_until(deadline: Instant) -> Sleep {
        static HOST: OnceLock<Arc<Host>> = OnceLock::new();
        let host = HOST.get_or_init(|| {
            let host = Arc::new(Host::default());
            let runner = Arc::clone(&host);
            let spawned = thread::Builder::new().name("cofferdam-timer".into()).spawn(move || runner.run());
            if let Ok(handle) = spawned {
                let _ = host.thread.set(handle.thread().clone());
            }
            host
        });
        Sleep::new(HostedSleep::new(Arc::clone(host), deadline))
    }
}
