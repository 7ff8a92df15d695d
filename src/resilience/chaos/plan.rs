//! Chaos as people write it.

use super::{Chaos, ChaosBuilder, ClockSkew, ClockSkewBuilder};
use crate::ConfigError;
use crate::limit::Rate;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What to inject, as it stands on a command line or in a configuration.
///
/// ```text
/// plan  = rule { "," rule }
/// rule  = ( "latency=" duration | "hang" | "error" | "panic" | "cancel=" duration | "skew=" sign duration ) "@" share
/// sign  = "+" | "-"
/// share = number "%" | number from 0 to 1
/// ```
///
/// `cancel` cancels a call so long after it has begun. `skew` is a step of the clock, ahead or back, at a share of its readings: see
/// [`skew`](Self::skew). All else is for [`chaos`](Self::chaos).
///
/// ```
/// use cofferdam::resilience::chaos::Plan;
///
/// let plan: Plan = "latency=50ms@10%, error@5%".parse()?;
/// assert_eq!(plan.to_string(), "latency=50ms@0.1,error@0.05");
/// let chaos = plan.chaos::<u32, _>(|| "injected").seed(7).build();
/// # let _ = chaos;
/// assert_eq!(
///     "error@200%".parse::<Plan>().unwrap_err().to_string(),
///     "chaos: share = 200%: must be from 0% to 100%, or from 0 to 1"
/// );
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan(Vec<(What, f64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Latency(Duration),
    Hang,
    Error,
    Panic,
    Cancel(Duration),
    Ahead(Duration),
    Back(Duration),
}

impl What {
    fn is_of_the_clock(self) -> bool {
        matches!(self, Self::Ahead(_) | Self::Back(_))
    }
}

impl Plan {
    /// The policy, to be completed: `fault` makes the errors of rules that inject one.
    pub fn chaos<T, E>(&self, fault: impl Fn() -> E + Clone + Send + Sync + 'static) -> ChaosBuilder<T, E> {
        self.0.iter().fold(Chaos::builder(), |builder, (what, rate)| match what {
            What::Latency(delay) => builder.latency(*rate, *delay),
            What::Hang => builder.hang(*rate),
            What::Error => builder.fault(*rate, fault.clone()),
            What::Panic => builder.panic(*rate, "injected panic"),
            What::Cancel(after) => builder.cancel(*rate, *after),
            What::Ahead(_) | What::Back(_) => builder,
        })
    }

    /// The clock that its `skew` rules make, to be completed: with a seed, and the clock that is right.
    ///
    /// ```
    /// use cofferdam::resilience::chaos::Plan;
    ///
    /// let plan: Plan = "error@5%, skew=+5s@0.1%, skew=-100ms@1%".parse()?;
    /// assert!(plan.has_skew());
    /// let clock = plan.skew().seed(7).build().clock();
    /// # let _ = clock;
    /// # Ok::<(), cofferdam::ConfigError>(())
    /// ```
    pub fn skew(&self) -> ClockSkewBuilder {
        self.0.iter().fold(ClockSkew::builder(), |builder, (what, rate)| match what {
            What::Ahead(by) => builder.ahead(*rate, *by),
            What::Back(by) => builder.back(*rate, *by),
            _ => builder,
        })
    }

    /// Whether there is a rule for the clock.
    pub fn has_skew(&self) -> bool {
        self.0.iter().any(|(what, _)| what.is_of_the_clock())
    }

    /// Whether there is a rule for calls.
    pub fn has_faults(&self) -> bool {
        self.0.iter().any(|(what, _)| !what.is_of_the_clock())
    }

    /// Whether it injects nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Plan {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(rule).collect::<Result<_, _>>().map(Self)
    }
}

fn refuse(knob: &'static str, value: &str, rule: &'static str) -> ConfigError {
    ConfigError::new("chaos", knob, value.to_owned(), rule)
}

fn rule(text: &str) -> Result<(What, f64), ConfigError> {
    const LIKE: &str =
        "must look like latency=50ms@10%, hang@1%, error@5%, panic@1%, cancel=20ms@1% or skew=-5s@1%";
    let (what, share) = text.split_once('@').ok_or_else(|| refuse("rule", text, LIKE))?;
    let what = match what.trim() {
        "hang" => What::Hang,
        "error" => What::Error,
        "panic" => What::Panic,
        what => match what.split_once('=') {
            Some((name, value)) => match (name.trim(), value.trim()) {
                ("latency", delay) => What::Latency(duration("latency", delay)?),
                ("cancel", after) => What::Cancel(duration("cancel", after)?),
                ("skew", by) => match (by.strip_prefix('+'), by.strip_prefix('-')) {
                    (Some(by), _) => What::Ahead(duration("skew", by)?),
                    (_, Some(by)) => What::Back(duration("skew", by)?),
                    _ => return Err(refuse("skew", by, "must begin with + or -, like +5s or -100ms")),
                },
                _ => return Err(refuse("rule", text, LIKE)),
            },
            None => return Err(refuse("rule", text, LIKE)),
        },
    };
    Ok((what, self::share(share.trim())?))
}

/// As rates are read, which know all units.
fn duration(knob: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = || refuse(knob, text, "must be a duration above zero, like 50ms or 1.5s");
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(wrong());
    }
    let rate: Rate = format!("1/{text}").parse().map_err(|_| wrong())?;
    Ok(rate.period())
}

fn share(text: &str) -> Result<f64, ConfigError> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if (0.0..=whole).contains(&number) => Ok(number / whole),
        _ => Err(refuse("share", text, "must be from 0% to 100%, or from 0 to 1")),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (what, share)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match what {
                What::Latency(delay) => write!(f, "latency={delay:?}")?,
                What::Hang => f.write_str("hang")?,
                What::Error => f.write_str("error")?,
                What::Panic => f.write_str("panic")?,
                What::Cancel(after) => write!(f, "cancel={after:?}")?,
                What::Ahead(by) => write!(f, "skew=+{by:?}")?,
                What::Back(by) => write!(f, "skew=-{by:?}")?,
            }
            // Not in percent, which may take rounding.
            write!(f, "@{share}")?;
        }
        Ok(())
    }
}

/// As its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From such a text.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Plan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a plan such as \"latency=50ms@10%, error@5%\"";
        deserializer.deserialize_str(crate::limit::serialized::Text { expected, parse: str::parse })
    }
}
