//! One check, and how it is to be run.

use super::component::Reading;
use super::crowd::Work;
use super::{Finding, Healthy};
use crate::ConfigError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What a check is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Whether the process is to live on. Must depend on nothing outside of it.
    Liveness,
    /// Whether it is to be given requests.
    Readiness,
    /// Whether it has begun to work. Once that is so it stays so, and a check of no other kind is not run again.
    Startup,
}

/// A check of a [`Health`](super::Health): what is asked, how often, and what the answers amount to.
///
/// | setting | unless said otherwise |
/// |---|---|
/// | kind | readiness |
/// | [`interval`](Self::interval) | 10 s from the end of a run to the next, more or less |
/// | [`timeout`](Self::timeout) | 1 s |
/// | [`failures`](Self::failures) in a row until it fails | 3; 1 for a component |
/// | [`successes`](Self::successes) in a row until it works | 1 |
/// | critical | yes; else [`optional`](Self::optional) |
///
/// (The numbers are those of Kubernetes' probes.) A finding that is healthy or degraded is a success. A check has no status
/// before it has had so many of either in a row.
///
/// ```
/// use cofferdam::health::Check;
/// use std::time::Duration;
///
/// # async fn ping() -> std::io::Result<()> { Ok(()) }
/// let check = Check::new("cache", || async { ping().await })
///     .interval(Duration::from_secs(5))
///     .failures(2)
///     .optional();
/// ```
#[must_use = "a check is run by the registry that it is added to"]
pub struct Check {
    pub(super) name: Arc<str>,
    pub(super) kinds: Vec<Kind>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) failures: u32,
    pub(super) successes: u32,
    pub(super) critical: bool,
    pub(super) probe: Probe,
    pub(super) recovery: Option<Recovery>,
}

pub(super) enum Probe {
    Ask(Box<dyn Fn() -> Work<Finding> + Send + Sync>),
    Read(Reading),
}

/// What to do about a check that fails.
pub(super) struct Recovery {
    pub(super) action: Box<dyn Fn() -> Work<Finding> + Send + Sync>,
    pub(super) attempts: u32,
    pub(super) timeout: Duration,
}

/// In a box, and with what it comes to as a finding.
fn boxed<F, Fut>(ask: F) -> Box<dyn Fn() -> Work<Finding> + Send + Sync>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: Into<Finding>> + Send + 'static,
{
    // The conversion is part of the future: it runs foreign code, too.
    Box::new(move || {
        let asked = ask();
        Box::pin(async move { asked.await.into() })
    })
}

impl Check {
    /// A check that asks by a closure. Its answer is anything that is a [`Finding`]: a `Result`, a
    /// [`Status`](super::Status), or nothing for "it is well".
    pub fn new<F, Fut>(name: impl Into<Arc<str>>, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        Self::with(name.into(), Probe::Ask(boxed(ask)), 3)
    }

    /// A check that reads a component. It keeps no component alive: when that is gone, so is the check.
    pub fn of(name: impl Into<Arc<str>>, component: &(impl Healthy + ?Sized)) -> Self {
        Self::with(name.into(), Probe::Read(component.reading()), 1)
    }

    fn with(name: Arc<str>, probe: Probe, failures: u32) -> Self {
        Self {
            name,
            kinds: Vec::new(),
            interval: Some(Duration::from_secs(10)),
            timeout: Duration::from_secs(1),
            failures,
            successes: 1,
            critical: true,
            probe,
            recovery: None,
        }
    }

    /// It is of this kind; of several, if said several times.
    pub fn kind(mut self, kind: Kind) -> Self {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self
    }

    /// How long from the end of one run to the beginning of the next, more or less by
    /// [some jitter](super::HealthBuilder::jitter).
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval: Some(interval), ..self }
    }

    /// It is run only by [`check_now`](super::Health::check_now).
    pub fn on_demand(self) -> Self {
        Self { interval: None, ..self }
    }

    /// How long one run may take. It is dropped at that time, and that is a failure.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// So many failures in a row make it fail.
    pub fn failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// So many successes in a row make it work.
    pub fn successes(self, successes: u32) -> Self {
        Self { successes, ..self }
    }

    /// It is not critical: what it finds degrades the whole, and nothing worse.
    pub fn optional(self) -> Self {
        Self { critical: false, ..self }
    }

    /// What to do about it when it fails: reconnect, restart, clear. Run by the [`Driver`](super::Driver) after a run that
    /// failed, once the check fails; then the check is run again at once. What it returns is as what a check returns.
    ///
    /// At most three times until the check works again, and for at most 10 s each, unless told
    /// [otherwise](Self::recovery_limits). A panic of it is told to the observers, and otherwise ignored.
    pub fn recovery<F, Fut>(self, action: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        let recovery = Recovery { action: boxed(action), attempts: 3, timeout: Duration::from_secs(10) };
        Self { recovery: Some(recovery), ..self }
    }

    /// Other limits of the [`recovery`](Self::recovery); without effect before that.
    pub fn recovery_limits(mut self, attempts: u32, timeout: Duration) -> Self {
        if let Some(recovery) = &mut self.recovery {
            (recovery.attempts, recovery.timeout) = (attempts, timeout);
        }
        self
    }

    /// Whether it makes sense.
    pub(super) fn validate(mut self) -> Result<Self, ConfigError> {
        let wrong = |knob| Err(ConfigError::new("check", knob, 0, "must not be zero"));
        match () {
            () if self.name.is_empty() => Err(ConfigError::new("check", "name", "\"\"", "must not be empty")),
            () if self.interval == Some(Duration::ZERO) => wrong("interval"),
            () if self.timeout.is_zero() => wrong("timeout"),
            () if self.failures == 0 => wrong("failures"),
            () if self.successes == 0 => wrong("successes"),
            () => {
                if self.kinds.is_empty() {
                    self.kinds.push(Kind::Readiness);
                }
                Ok(self)
            }
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("kinds", &self.kinds)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("failures", &self.failures)
            .field("successes", &self.successes)
            .field("critical", &self.critical)
            .finish_non_exhaustive()
    }
}
