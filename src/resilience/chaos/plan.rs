//! Chaos as people write it.

use super::{Chaos, ChaosBuilder};
use crate::ConfigError;
use crate::limit::Rate;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What to inject, as it stands on a command line or in a configuration.
///
/// ```text
/// plan  = rule { "," rule }
/// rule  = ( "latency=" duration | "hang" | "error" | "panic" ) "@" share
/// share = number "%" | number from 0 to 1
/// ```
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
}

impl Plan {
    /// The policy, to be completed: `fault` makes the errors of rules that inject one.
    pub fn chaos<T, E>(&self, fault: impl Fn() -> E + Clone + Send + Sync + 'static) -> ChaosBuilder<T, E> {
        self.0.iter().fold(Chaos::builder(), |builder, (what, rate)| match what {
            What::Latency(delay) => builder.latency(*rate, *delay),
            What::Hang => builder.hang(*rate),
            What::Error => builder.fault(*rate, fault.clone()),
            What::Panic => builder.panic(*rate, "injected panic"),
        })
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
    const LIKE: &str = "must look like latency=50ms@10%, hang@1%, error@5% or panic@1%";
    let (what, share) = text.split_once('@').ok_or_else(|| refuse("rule", text, LIKE))?;
    let what = match what.trim() {
        "hang" => What::Hang,
        "error" => What::Error,
        "panic" => What::Panic,
        what => match what.split_once('=') {
            Some((name, delay)) if name.trim() == "latency" => What::Latency(duration(delay.trim())?),
            _ => return Err(refuse("rule", text, LIKE)),
        },
    };
    Ok((what, self::share(share.trim())?))
}

/// As rates are read, which know all units.
fn duration(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || refuse("latency", text, "must be a duration above zero, like 50ms or 1.5s");
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
            }
            // Not in percent, which may take rounding.
            write!(f, "@{share}")?;
        }
        Ok(())
    }
}
