//! Checks by name.

use super::check::Kind;
use super::crowd::Crowd;
use super::state::Shared;
use super::{Check, Driver, HealthEvent, Report, flight};
use crate::ConfigError;
use crate::observe::Observe;
use crate::time::Clock;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// The checks of a service, and what they have found.
///
/// Reports show what the last runs have found, and ask nobody: a probe that comes every second costs what it takes to write
/// them. Checks are run by the [`Driver`] that [`run`](Self::run) gives, each at its interval, and by
/// [`check_now`](Self::check_now). A check is run once at a time, whoever asks for it.
///
/// | report | checks | status |
/// |---|---|---|
/// | [`report`](Self::report) | all | as of [the parts](super::Status::of_parts) of it that have a status |
/// | [`liveness`](Self::liveness) | of that kind | the worst; a check without a status is healthy |
/// | [`readiness`](Self::readiness) | of that kind | the worst; a check without a status is unhealthy |
/// | [`startup`](Self::startup) | of that kind | the worst; as readiness, and a check that has worked once is healthy |
///
/// In all of them a check that is not critical is degraded at the worst.
///
/// A cheap handle: clones are the same. The driver ends with the last of them; so a check or an
/// observer that holds one keeps all of it alive.
///
/// ```
/// use cofferdam::health::{Check, Health, Kind, Status};
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let health = Health::new();
/// health.add(Check::new("disk", || async { Ok::<_, std::io::Error>(Status::Healthy) }).kind(Kind::Startup))?;
/// assert_eq!(health.startup().http_status(), 503);
/// health.check_now().await;
/// assert_eq!(health.startup().http_status(), 200);
/// # Ok::<(), cofferdam::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Health {
    hub: Arc<Hub>,
}

/// Ends the drivers with the last handle.
struct Hub(Arc<Shared>);

impl Drop for Hub {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

/// Settings of a [`Health`].
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until it is built"]
pub struct HealthBuilder {
    clock: Clock,
    jitter: f64,
}

impl HealthBuilder {
    /// The clock of all times and timers.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The share by which each interval is longer or shorter, from 0 to 1, so that checks do not fall together: 0.1 unless said
    /// otherwise. Unless it is zero, the first interval of each check is shorter besides, by up to a half.
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: share, ..self }
    }

    /// Makes it.
    ///
    /// # Errors
    /// The jitter is no number from 0 to 1.
    pub fn build(self) -> Result<Health, ConfigError> {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ConfigError::new("health", "jitter", self.jitter, "must be a number from 0 to 1"));
        }
        Ok(Health { hub: Arc::new(Hub(Shared::new(self.clock, self.jitter))) })
    }
}

impl Health {
    /// Without checks yet, on the system's clock.
    pub fn new() -> Self {
        let HealthBuilder { clock, jitter } = Self::builder();
        Self { hub: Arc::new(Hub(Shared::new(clock, jitter))) }
    }

    /// With other than default settings.
    pub fn builder() -> HealthBuilder {
        HealthBuilder { clock: Clock::system(), jitter: 0.1 }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.hub.0
    }

    /// One more check. The driver runs it at once, then at its interval.
    ///
    /// # Errors
    /// There is one of this name, or a setting makes no sense.
    pub fn add(&self, check: Check) -> Result<(), ConfigError> {
        let check = check.validate()?;
        let name = Arc::clone(&check.name);
        if self.shared().add(check) {
            Ok(())
        } else {
            Err(ConfigError::new("health", "check", name, "must have a name that no other check has"))
        }
    }

    /// Removes a check. False if there is none of this name. A run that is under way comes to nothing.
    pub fn remove(&self, name: &str) -> bool {
        self.shared().remove(|item| &*item.check.name == name)
    }

    /// What runs the checks that are due: give it to your executor. It ends with the last handle. Of several, one runs, and the
    /// others stand by until that one is dropped.
    pub fn run(&self) -> Driver {
        Driver::new(Arc::clone(self.shared()))
    }

    /// Runs all checks that there are now, at once, and gives the report. A run that is under way is waited for, and not begun
    /// again; unless it is so late, by twice the timeout of its check, that whoever began it must have ceased to poll it. No
    /// recovery comes of it: that is the driver's.
    ///
    /// # Cancel safety
    /// Dropping it drops the runs that it has begun. They have found nothing; whoever else waits for one of them begins it anew.
    pub async fn check_now(&self) -> Report {
        let mut runs: Crowd<(), ()> = Crowd::new();
        for item in self.shared().items() {
            let shared = Arc::clone(self.shared());
            runs.add((), Box::pin(async move { flight::run(&shared, &item).await }));
        }
        poll_fn(|cx| {
            while runs.poll(cx).is_some() {}
            if runs.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.report()
    }

    /// Of everything.
    pub fn report(&self) -> Report {
        self.shared().report(None)
    }

    /// Whether the process is to live on.
    pub fn liveness(&self) -> Report {
        self.shared().report(Some(Kind::Liveness))
    }

    /// Whether it is to be given requests.
    pub fn readiness(&self) -> Report {
        self.shared().report(Some(Kind::Readiness))
    }

    /// Whether it has begun to work.
    pub fn startup(&self) -> Report {
        self.shared().report(Some(Kind::Startup))
    }

    /// From now on it is not [ready](Self::readiness), whatever its checks find, for this reason: the first step of a shutdown.
    pub fn take_out_of_service(&self, reason: impl Into<String>) {
        self.shared().set_out_of_service(Some(reason.into()));
    }

    /// Takes that back.
    pub fn put_into_service(&self) {
        self.shared().set_out_of_service(None);
    }

    /// Shows all further events to `observer`: where alerts come from.
    pub fn observe(&self, observer: impl Observe<HealthEvent>) {
        self.shared().observers.add(observer);
    }

    /// How many times an observer has panicked.
    pub fn observer_panics(&self) -> u64 {
        self.shared().observers.panics()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Health");
        if let Some(checks) = self.shared().try_len() {
            out.field("checks", &checks);
        }
        out.finish_non_exhaustive()
    }
}
