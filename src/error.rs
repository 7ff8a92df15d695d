//! What is wrong with a setting.

#![forbid(unsafe_code)]

use std::fmt;

/// A setting that a builder or setter refuses: which component, which knob, what value, and the rule it breaks.
///
/// ```
/// use cofferdam::ConfigError;
///
/// let error = ConfigError::new("token bucket", "burst", 0, "must be at least 1");
/// assert_eq!(error.to_string(), "token bucket: burst = 0: must be at least 1");
/// assert_eq!(error.knob(), "burst");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    component: &'static str,
    knob: &'static str,
    value: String,
    rule: &'static str,
}

impl ConfigError {
    /// A refusal of `value` for `knob`.
    pub fn new(
        component: &'static str,
        knob: &'static str,
        value: impl fmt::Display,
        rule: &'static str,
    ) -> Self {
        Self { component, knob, value: value.to_string(), rule }
    }

    /// The component, in words: "token bucket".
    pub fn component(&self) -> &'static str {
        self.component
    }

    /// The builder method or argument.
    pub fn knob(&self) -> &'static str {
        self.knob
    }

    /// The value that was refused.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What a value must satisfy.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {}: {}", self.component, self.knob, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}
