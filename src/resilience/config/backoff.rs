//! Settings of a backoff.

use crate::ConfigError;
use crate::time::{Backoff, Jitter};
use std::time::Duration;

/// How delays grow; see [`Backoff`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum BackoffShape {
    /// Not at all.
    Fixed,
    /// By one base each time.
    Linear,
    /// With the square of the number of the retry.
    Quadratic,
    /// By a factor each time.
    #[default]
    Exponential,
    /// As the sequence 1, 1, 2, 3, 5.
    Fibonacci,
}

/// Settings of a [`Backoff`], whose defaults they have.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct BackoffSettings {
    /// How delays grow.
    pub shape: BackoffShape,
    /// The first delay.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))]
    pub base: Duration,
    /// By how much an exponential delay grows each time.
    pub factor: f64,
    /// The longest delay.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional"))]
    pub cap: Option<Duration>,
    /// How delays are spread. In configuration `none`, `full`, `equal`, `decorrelated`, or the share of a
    /// [proportional](Jitter::proportional) one as a number.
    #[cfg_attr(feature = "serde", serde(with = "jitter"))]
    pub jitter: Jitter,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            shape: BackoffShape::Exponential,
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Some(Duration::from_secs(30)),
            jitter: Jitter::Full,
        }
    }
}

impl BackoffSettings {
    /// The backoff.
    ///
    /// # Errors
    /// A factor that is not a finite number of at least 1.
    pub fn build(&self) -> Result<Backoff, ConfigError> {
        let backoff = match self.shape {
            BackoffShape::Fixed => Backoff::fixed(self.base),
            BackoffShape::Linear => Backoff::linear(self.base),
            BackoffShape::Quadratic => Backoff::quadratic(self.base),
            BackoffShape::Exponential => Backoff::exponential(self.base).factor(self.factor)?,
            BackoffShape::Fibonacci => Backoff::fibonacci(self.base),
        };
        Ok(backoff.cap(self.cap.unwrap_or(Duration::MAX)).jitter(self.jitter))
    }
}

#[cfg(feature = "serde")]
mod jitter {
    use super::Jitter;
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;
    use std::fmt;

    const WORDS: [(&str, Jitter); 4] = [
        ("none", Jitter::None),
        ("full", Jitter::Full),
        ("equal", Jitter::Equal),
        ("decorrelated", Jitter::Decorrelated),
    ];

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub(super) fn serialize<S: Serializer>(jitter: &Jitter, serializer: S) -> Result<S::Ok, S::Error> {
        match (WORDS.iter().find(|(_, known)| known == jitter), jitter) {
            (Some((word, _)), _) => serializer.serialize_str(word),
            (None, Jitter::Proportional { share }) => serializer.collect_str(share),
            (None, other) => Err(serde::ser::Error::custom(format_args!("{other:?} has no text"))),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Jitter, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(WordOrShare)
        } else {
            deserializer.deserialize_str(WordOrShare)
        }
    }

    struct WordOrShare;

    impl Visitor<'_> for WordOrShare {
        type Value = Jitter;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"none\", \"full\", \"equal\", \"decorrelated\" or a share from 0 to 1")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Jitter, E> {
            if let Some((_, jitter)) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim())) {
                return Ok(*jitter);
            }
            match text.trim().parse() {
                Ok(share) => self.visit_f64(share),
                Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_f64<E: Error>(self, share: f64) -> Result<Jitter, E> {
            Jitter::proportional(share).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, share: u64) -> Result<Jitter, E> {
            self.visit_f64(share as f64)
        }

        fn visit_i64<E: Error>(self, share: i64) -> Result<Jitter, E> {
            self.visit_f64(share as f64)
        }
    }
}
