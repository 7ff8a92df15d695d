//! The clock handle and the trait behind it.

use super::system;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

/// A source of time and timers, for [`Clock::new`].
///
/// Implement it to run the crate on a runtime whose timers you want to use, or on time of your own making.
///
/// # Contract
/// * `now` never goes back by itself. (The components survive it: a clock that jumps back mints no tokens and re-opens
///   nothing; it only makes them wait.)
/// * A sleep whose deadline has passed is ready at its first poll.
/// * Wakers are called with no lock of the timer held: a waker may arm or drop another timer of the same clock.
/// * `sleep_until` may be called from any thread on which a component is used, and from inside a waker.
pub trait Timer: Send + Sync + 'static {
    /// The monotonic time.
    fn now(&self) -> Instant;

    /// The wall clock, used only to read dates that others wrote (`Retry-After`), never to measure.
    fn wall(&self) -> SystemTime {
        system::wall()
    }

    /// A future that completes at `deadline` or as soon after it as the timer can.
    fn sleep_until(&self, deadline: Instant) -> Sleep;
}

/// A cheap handle on a source of time: the system's (the default), or any [`Timer`].
///
/// ```
/// use cofferdam::time::Clock;
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let clock = Clock::system();
/// let before = clock.now();
/// clock.sleep(Duration::from_millis(1)).await;
/// assert!(clock.now() - before >= Duration::from_millis(1));
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Clock(pub(super) Source);

#[derive(Clone, Default)]
pub(super) enum Source {
    #[default]
    System,
    #[cfg(feature = "quanta")]
    Quanta(Arc<super::epoch::Quanta>),
    Custom(Arc<dyn Timer>),
}

impl Clock {
    /// The system's monotonic clock, with the `async-io` reactor's timers (or, without that feature, those of a timer
    /// thread started at the first sleep).
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock over a timer of your own.
    pub fn new(timer: impl Timer) -> Self {
        Self(Source::Custom(Arc::new(timer)))
    }

    /// A clock over a shared timer of your own.
    pub fn from_arc(timer: Arc<dyn Timer>) -> Self {
        Self(Source::Custom(timer))
    }

    /// The processor's time-stamp counter as the source of [`now`](Self::now), by way of the `quanta` crate; timers are
    /// the system's. About a third of the cost of [`system`](Self::system), which is most of a limiter's decision.
    ///
    /// The counter is calibrated at the first call (some ten milliseconds) and drifts from the system's clock by up to
    /// about 0.1 ms a second; on machines whose cores' counters disagree it can step back, which components tolerate.
    #[cfg(feature = "quanta")]
    pub fn quanta() -> Self {
        Self(Source::Quanta(Arc::new(super::epoch::Quanta::new())))
    }

    /// Time and timers of the tokio runtime in whose context this is called, paused clocks included.
    ///
    /// # Errors
    /// Outside a tokio runtime there is no such clock.
    ///
    /// # Panics
    /// Not here, but at the first timer, as tokio's own do: a runtime that was built without
    /// `enable_time` cannot be told from one that has it before a timer is asked for. A timer that is polled after the
    /// runtime has shut down panics, too. Reading the time works with either.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Result<Self, ::tokio::runtime::TryCurrentError> {
        Ok(Self::new(super::tokio::TokioTimer::current()?))
    }

    /// The monotonic time.
    #[inline]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => system::now(),
            #[cfg(feature = "quanta")]
            Source::Quanta(quanta) => quanta.now(),
            Source::Custom(timer) => timer.now(),
        }
    }

    /// The wall clock, for reading dates that others wrote.
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::Custom(timer) => timer.wall(),
            _ => system::wall(),
        }
    }

    /// Completes at `deadline`.
    ///
    /// # Cancel safety
    /// Dropping the future disarms the timer.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        match &self.0 {
            Source::System => system::sleep_until(deadline),
            #[cfg(feature = "quanta")]
            Source::Quanta(quanta) => {
                // Counted from the system's own now: the two clocks drift apart over days.
                let left = deadline.saturating_duration_since(quanta.now());
                system::now().checked_add(left).map_or_else(Sleep::never, system::sleep_until)
            }
            Source::Custom(timer) => timer.sleep_until(deadline),
        }
    }

    /// As [`sleep_until`](Self::sleep_until), for a deadline that lies ahead of a reading of this clock that was made just
    /// now: where nobody can move the time on, the first poll need not read it again.
    #[inline]
    pub(super) fn sleep_ahead(&self, deadline: Instant) -> Sleep {
        #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
        if let Source::System = &self.0 {
            return super::reactor::sleep_ahead(deadline);
        }
        self.sleep_until(deadline)
    }

    /// Completes after `duration`; a duration past the end of time never does.
    ///
    /// # Cancel safety
    /// Dropping the future disarms the timer.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        match self.now().checked_add(duration) {
            Some(deadline) => self.sleep_until(deadline),
            None => Sleep::never(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            #[cfg(feature = "quanta")]
            Source::Quanta(_) => "Clock(quanta)",
            Source::Custom(_) => "Clock(custom)",
        })
    }
}

/// The future of a timer: completes at its deadline.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep(Inner);

enum Inner {
    Never,
    #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
    Reactor(super::reactor::ReactorSleep),
    Boxed(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Sleep {
    /// Wraps the sleep future of a [`Timer`].
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Inner::Boxed(Box::pin(future)))
    }

    /// A sleep that never ends.
    pub const fn never() -> Self {
        Self(Inner::Never)
    }

    #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
    pub(super) fn reactor(sleep: super::reactor::ReactorSleep) -> Self {
        Self(Inner::Reactor(sleep))
    }
}

impl Future for Sleep {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Inner::Never => Poll::Pending,
            #[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
            Inner::Reactor(sleep) => Pin::new(sleep).poll(cx),
            Inner::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}
