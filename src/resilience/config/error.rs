//! What is wrong with settings, and where.

use crate::ConfigError;
use std::fmt;

/// One thing that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: String,
    error: ConfigError,
}

impl Problem {
    /// Where it stands: `retry.backoff.factor`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    pub fn error(&self) -> &ConfigError {
        &self.error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path, self.error.value(), self.error.rule())
    }
}

/// Settings of which nothing can be made: all that is wrong with them.
///
/// ```
/// use cofferdam::resilience::config::{BreakerSettings, RetrySettings, StackSettings};
///
/// let mut settings = StackSettings::default();
/// let mut breaker = BreakerSettings::default();
/// breaker.failure_threshold = Some(0);
/// let mut retry = RetrySettings::default();
/// retry.backoff.factor = 0.5;
/// settings.breaker = Some(breaker);
/// settings.retry = Some(retry);
/// let error = settings.build().unwrap_err();
/// assert_eq!(error.problems()[1].path(), "breaker.failure_threshold");
/// assert_eq!(
///     error.to_string(),
///     "retry.backoff.factor: 0.5: must be a finite number of at least 1; \
///      breaker.failure_threshold: 0: must be at least 1"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    problems: Vec<Problem>,
}

impl SettingsError {
    /// What is wrong, in the order of the settings; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Gathers what is wrong.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// What was made, if it was; if not, what was wrong is that of the knob below `path`.
    pub(super) fn of<T>(&mut self, path: &str, made: Result<T, ConfigError>) -> Option<T> {
        made.map_err(|error| self.add(path, error)).ok()
    }

    pub(super) fn add(&mut self, path: &str, error: ConfigError) {
        let path = if path.is_empty() { error.knob().to_owned() } else { format!("{path}.{}", error.knob()) };
        self.0.push(Problem { path, error });
    }

    pub(super) fn finish(self) -> Result<(), SettingsError> {
        if self.0.is_empty() { Ok(()) } else { Err(SettingsError { problems: self.0 }) }
    }
}
