//! Rates and quotas in configuration files: their text, or a number.

use super::{Quota, Rate};
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
