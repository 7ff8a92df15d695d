//! The system's timers: all of them behind one timer of the `async-io` reactor.
//!
//! Arming a timer of the reactor wakes its thread, and so does disarming it in effect. Most timers are limits that are never
//! reached: they come and go while an earlier instant is still ahead. They are kept here, where that costs two short locks, and
//! the reactor has one timer, for the earliest instant that was ever waited for and has not passed.

use super::timers::{HostedSleep, TimerHost, Timers};
use super::{Sleep, system};
use crate::panics::contain;
use crate::shim::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

/// What is planned is also said to the timers, which tell whoever arms one that comes later that he need not look: their
/// `covered` is `planned.at` whenever nobody holds the lock of `planned`.
///
/// | step | `timers` | `planned` |
/// |---|---|---|
/// | a timer is armed, later than others | one more | as it is: one of those others has seen to it |
/// | a timer is armed, before all others | one more | no later than that |
/// | a timer is disarmed | one less | as it is: it goes off, and finds less to do |
/// | the planned one goes off | without those that are due | the earliest that is left, or none |
///
/// No timer is overlooked: whoever arms the earliest one has seen, under the lock of the timers, that an earlier one is planned;
/// and whoever takes that one out says so under the same lock before he looks which timers are due, and for the earliest of the
/// others. Or else he looks himself, under the lock of `planned`, whether what is planned is soon enough.
#[derive(Default)]
pub(super) struct Host {
    timers: Timers,
    planned: Mutex<Option<Planned>>,
}

struct Planned {
    at: Instant,
    /// Disarmed when it is dropped.
    _timer: async_io::Timer,
}

/// The waker of the planned timer. (Of no size it would be pointed to past its end, and so be a leak to those who look for any.)
struct GoOff(&'static Host);

impl Wake for GoOff {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let host = self.0;
        // One that was planned after this one has gone off is planned again.
        let mut planned = host.planned.lock();
        let gone_off = planned.take();
        host.timers.cover(None);
        drop(planned);
        drop(gone_off);
        host.wake_due();
        host.plan();
    }
}

impl Host {
    fn wake_due(&self) {
        while let Some(waker) = self.timers.pop_due(system::now()) {
            // A waker that panics must not take every other timer of the process with it.
            contain(|| waker.wake());
        }
    }

    /// Sees to it that the reactor wakes us for the earliest timer.
    fn plan(&self) {
        static WAKER: OnceLock<Waker> = OnceLock::new();
        let waker = WAKER.get_or_init(|| Waker::from(Arc::new(GoOff(host()))));
        loop {
            let mut planned = self.planned.lock();
            let Some(next) = self.timers.next() else { return };
            if planned.as_ref().is_some_and(|planned| planned.at <= next) {
                return;
            }
            let mut timer = async_io::Timer::at(next);
            if Pin::new(&mut timer).poll(&mut Context::from_waker(waker)).is_pending() {
                *planned = Some(Planned { at: next, _timer: timer });
                self.timers.cover(Some(next));
                return;
            }
            // It is due by now.
            drop(planned);
            self.wake_due();
        }
    }
}

impl TimerHost for Host {
    const JUMPS: bool = false;

    fn now(&self) -> Instant {
        system::now()
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn rescheduled(&self) {
        self.plan();
    }
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(Host::default)
}

pub(super) type ReactorSleep = HostedSleep<&'static Host>;

pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::reactor(HostedSleep::new(host(), deadline))
}

/// For a deadline that lies ahead of a reading of the clock made just now.
pub(super) fn sleep_ahead(deadline: Instant) -> Sleep {
    Sleep::reactor(HostedSleep::ahead(host(), deadline))
}
