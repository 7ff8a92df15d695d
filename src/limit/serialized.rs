//! Rates, quotas and durations in configuration files: their text, or for rates and quotas a number.

use super::{Quota, Rate, text};
use crate::ConfigError;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// As its text.
impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As its text.
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From its text; or, in a format for people, from a plain number, which is so many a second.
impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

/// From its text; or, in a format for people, from a plain number, which is so many a second, all of them at once if
/// saved up (see [`Quota::per_second`] and [`Quota::per_second_f64`]).
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

/// What a number alone means.
trait PerSecond: FromStr<Err = ConfigError> {
    const EXPECTED: &'static str;
    fn per_second(count: u64) -> Self;
    fn per_second_f64(rate: f64) -> Result<Self, ConfigError>;
}

impl PerSecond for Rate {
    const EXPECTED: &'static str = "a rate such as \"100/s\" or \"5 per minute\", or a number a second";

    fn per_second(count: u64) -> Self {
        Self::per_second(count)
    }

    fn per_second_f64(rate: f64) -> Result<Self, ConfigError> {
        Self::per_second_f64(rate)
    }
}

impl PerSecond for Quota {
    const EXPECTED: &'static str =
        "a quota such as \"100/s\" or \"5 per minute burst 20\", or a number a second";

    fn per_second(count: u64) -> Self {
        Self::per_second(count)
    }

    fn per_second_f64(rate: f64) -> Result<Self, ConfigError> {
        Self::per_second_f64(rate)
    }
}

/// A format that is not for people does not say what comes next, and was written by us: it is the text.
fn read<'de, T: PerSecond, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let visitor = TextOrNumber(PhantomData);
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(visitor)
    } else {
        deserializer.deserialize_str(visitor)
    }
}

struct TextOrNumber<T>(PhantomData<T>);

impl<T: PerSecond> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<T, E> {
        Ok(T::per_second(count))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<T, E> {
        u64::try_from(count)
            .map(T::per_second)
            .map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
    }

    fn visit_f64<E: Error>(self, rate: f64) -> Result<T, E> {
        T::per_second_f64(rate).map_err(E::custom)
    }
}

/// A duration as its text, such as `250ms`, `1.5s` or `1h 30min`; for fields, by `serde(with)`. A number alone has no unit
/// and is refused.
#[cfg(feature = "resilience")]
pub(crate) mod duration {
    use super::{ConfigError, Deserializer, Serializer, Text, text};
    use std::time::Duration;

    const LIKE: &str = "must be like 250ms, 1.5s or 1h 30min";

    pub(crate) fn parse(text: &str) -> Result<Duration, ConfigError> {
        text::parse_nanos(text)
            .map(Duration::from_nanos)
            .map_err(|wrong| ConfigError::new("duration", "text", format_args!("{text:?}"), wrong.rule(LIKE)))
    }

    pub(crate) fn write<E: serde::ser::Error>(duration: Duration) -> Result<String, E> {
        let nanos =
            u64::try_from(duration.as_nanos()).map_err(|_| E::custom("a duration of more than 584 years"))?;
        Ok(text::nanos_text(nanos))
    }

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write::<S::Error>(*duration)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Text { expected: "a duration such as \"250ms\" or \"1.5s\"", parse })
    }

    /// The same where there may be none: as nothing, or in formats that have no word for it as `none`.
    pub(crate) mod optional {
        use super::super::TextOrNothing;
        use super::{ConfigError, Deserializer, Duration, Serializer, Text, write};

        pub(crate) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => serializer.serialize_str(&write::<S::Error>(*duration)?),
                None => serializer.serialize_str("none"),
            }
        }

        fn parse(text: &str) -> Result<Option<Duration>, ConfigError> {
            let none = text.trim().eq_ignore_ascii_case("none");
            if none { Ok(None) } else { super::parse(text).map(Some) }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            let visitor = Text { expected: "a duration such as \"250ms\" or \"1.5s\", or \"none\"", parse };
            if deserializer.is_human_readable() {
                deserializer.deserialize_any(TextOrNothing(visitor))
            } else {
                deserializer.deserialize_str(visitor)
            }
        }
    }
}

/// Reads a text.
#[cfg(feature = "resilience")]
pub(crate) struct Text<T> {
    pub(crate) expected: &'static str,
    pub(crate) parse: fn(&str) -> Result<T, ConfigError>,
}

#[cfg(feature = "resilience")]
impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
        (self.parse)(text).map_err(F::custom)
    }
}

/// As [`Text`], or what formats have for nothing.
#[cfg(feature = "resilience")]
struct TextOrNothing<T>(Text<Option<T>>);

#[cfg(feature = "resilience")]
impl<T> Visitor<'_> for TextOrNothing<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expected)
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<Option<T>, F> {
        self.0.visit_str(text)
    }

    fn visit_unit<F: Error>(self) -> Result<Option<T>, F> {
        Ok(None)
    }

    fn visit_none<F: Error>(self) -> Result<Option<T>, F> {
        Ok(None)
    }
}
