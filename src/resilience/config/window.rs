//! A breaker's window as text: `100 calls`, `30s`, `30s in 6 parts`.

use crate::ConfigError;
use crate::limit::serialized::{Text, duration};
use crate::resilience::breaker::{PARTS, Window, WindowKind};
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// As `100 calls`, `30s`, or `30s in 6 parts`.
impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            WindowKind::Calls(calls) => serializer.collect_str(&format_args!("{calls} calls")),
            WindowKind::Time { length, parts: PARTS } => {
                serializer.serialize_str(&duration::write::<S::Error>(length)?)
            }
            WindowKind::Time { length, parts } => {
                let length = duration::write::<S::Error>(length)?;
                serializer.collect_str(&format_args!("{length} in {parts} parts"))
            }
        }
    }
}

/// From such a text.
impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a window such as \"100 calls\", \"30s\" or \"30s in 6 parts\"";
        deserializer.deserialize_str(Text { expected, parse })
    }
}

fn parse(text: &str) -> Result<Window, ConfigError> {
    let trimmed = text.trim();
    let counted =
        |text: &str, unit| text.strip_suffix(unit).and_then(|number| number.trim_end().parse().ok());
    if let Some(calls) = counted(trimmed, "calls").or_else(|| counted(trimmed, "call")) {
        return Ok(Window::calls(calls));
    }
    let window = match trimmed.split_once(" in ") {
        None => duration::parse(trimmed).map(Window::time),
        Some((length, parts)) => match counted(parts, "parts") {
            Some(parts) => duration::parse(length.trim()).map(|length| Window::time_in_parts(length, parts)),
            None => return wrong(text),
        },
    };
    window.or_else(|_| wrong(text))
}

fn wrong(text: &str) -> Result<Window, ConfigError> {
    let rule = "must be like 100 calls, 30s or 30s in 6 parts";
    Err(ConfigError::new("window", "text", format_args!("{text:?}"), rule))
}
