//! Rates and quotas as people write them. Numbers are decimal and stay exact.
//!
//! ```text
//! quota  = rate ["burst" number] | "unlimited"
//! rate   = number ("/" | "per" | "every") [number] unit | "unlimited"
//! number = digits ["." digits], with single underscores between digits
//! ```
//!
//! Durations, too, for settings: one or more of `number unit`, to be added.
//!
//! Words and units in any letter case; spaces between any two parts, and wherever a digit, a letter and a slash meet,
//! none.

use super::rate::{SECOND, gcd};
use super::{Quota, Rate};
use std::fmt;

/// What is printed, longest first: printing takes the first that divides.
const PRINTED: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3600 * SECOND),
    ("min", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// What is read, in any letter case. No bare "m": it would be a minute to some and a month or a milli to others.
const READ: [(&[&str], u64); 8] = [
    (&["w", "week", "weeks"], 7 * 86_400 * SECOND),
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3600 * SECOND),
    (&["min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["ms", "msec", "msecs", "millisecond", "milliseconds"], 1_000_000),
    // Either sign for "micro" that Unicode has.
    (&["us", "\u{b5}s", "\u{3bc}s", "usec", "usecs", "microsecond", "microseconds"], 1000),
    (&["ns", "nsec", "nsecs", "nanosecond", "nanoseconds"], 1),
];

/// Why a text is not a rate or a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It does not look like one.
    Form,
    /// It does, but for the name of its unit.
    Unit,
    /// It does, with numbers that cannot be held exactly.
    Range,
}

impl Wrong {
    /// As a rule that was broken, for one who is told so what it should look like.
    pub(super) const fn rule(self, like: &'static str) -> &'static str {
        match self {
            Self::Form => like,
            Self::Unit => "must have a unit of ns, us, ms, s, min, h, d, w or their names in full",
            Self::Range => {
                "must have numbers below 2^64 and a period of whole nanoseconds, at least one and under 2^64"
            }
        }
    }
}

// --- numbers ---

/// A decimal number: `digits / 10^decimals`, with no zero at the end of its decimals.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    digits: u64,
    decimals: u32,
}

impl Decimal {
    const ONE: Self = Self { digits: 1, decimals: 0 };

    pub(super) fn decimals(self) -> u32 {
        self.decimals
    }

    fn whole(self) -> u64 {
        10u64.checked_pow(self.decimals).map_or(0, |scale| self.digits / scale)
    }

    /// This many per `period` nanoseconds, as a whole count and period.
    pub(super) fn per(self, period: u64) -> Option<(u64, u64)> {
        let scale = 10u64.checked_pow(self.decimals)?;
        if self.digits == 0 {
            return Some((0, period));
        }
        let shared = gcd(self.digits, scale);
        Some((self.digits / shared, period.checked_mul(scale / shared)?))
    }

    /// This many times `unit`, if that is whole.
    fn times(self, unit: u64) -> Option<u64> {
        let scale = 10u128.checked_pow(self.decimals)?;
        let product = u128::from(self.digits) * u128::from(unit);
        if product % scale != 0 {
            return None;
        }
        u64::try_from(product / scale).ok()
    }
}

/// Reads digits with at most one point among them, and underscores between them.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    is_number(text).then(|| value(text))?
}

/// The value of a text that is a number, if it can be held.
fn value(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches(['0', '_']);
    let (mut digits, mut decimals) = (0u64, 0u32);
    for byte in whole.bytes().filter(|byte| *byte != b'_') {
        digits = digits.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    for byte in fraction.bytes().filter(|byte| *byte != b'_') {
        digits = digits.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        decimals += 1;
    }
    Some(Decimal { digits, decimals })
}

/// Whether it is a decimal number of any size.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    [whole, fraction].iter().all(|part| part.split('_').all(is_digits))
}

// --- reading ---

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Number(&'a str),
    Word(&'a str),
    Slash,
    /// Anything else: there is no place for it.
    Other,
}

/// Cuts a text into its parts, one at a time.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let text = self.0.trim_start();
        let in_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '_');
        let first = text.chars().next()?;
        let length = |inside: &dyn Fn(char) -> bool| text.find(|c| !inside(c)).unwrap_or(text.len());
        let (length, token): (usize, fn(&'a str) -> Token<'a>) = if in_number(first) {
            (length(&in_number), Token::Number)
        } else if first.is_alphabetic() {
            (length(&char::is_alphabetic), Token::Word)
        } else if first == '/' {
            (1, |_| Token::Slash)
        } else {
            (first.len_utf8(), |_| Token::Other)
        };
        let (this, rest) = text.split_at_checked(length)?;
        self.0 = rest;
        Some(token(this))
    }

    fn number(&mut self) -> Result<&'a str, Wrong> {
        match self.next() {
            Some(Token::Number(text)) if is_number(text) => Ok(text),
            _ => Err(Wrong::Form),
        }
    }

    /// The unit of this name, in nanoseconds.
    fn unit(word: &str) -> Result<u64, Wrong> {
        let named = |names: &&[&str]| names.iter().any(|name| is(word, name));
        READ.iter().find(|(names, _)| named(names)).map(|(_, unit)| *unit).ok_or(Wrong::Unit)
    }

    fn end(&mut self) -> Result<(), Wrong> {
        self.next().map_or(Ok(()), |_| Err(Wrong::Form))
    }
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

/// A text of the right form, its numbers not yet looked at.
struct Form<'a> {
    count: &'a str,
    /// How many units the period has; 1 if that is not said.
    number: Option<&'a str>,
    unit: u64,
    burst: Option<&'a str>,
}

/// `None` is unlimited.
fn form(text: &str) -> Result<Option<Form<'_>>, Wrong> {
    let mut tokens = Tokens(text);
    let count = match tokens.next() {
        Some(Token::Word(word)) if is(word, "unlimited") => return tokens.end().map(|()| None),
        Some(Token::Number(text)) if is_number(text) => text,
        _ => return Err(Wrong::Form),
    };
    match tokens.next() {
        Some(Token::Slash) => {}
        Some(Token::Word(word)) if is(word, "per") || is(word, "every") => {}
        _ => return Err(Wrong::Form),
    }
    let (number, unit) = match tokens.next() {
        Some(Token::Number(text)) if is_number(text) => (Some(text), tokens.next()),
        other => (None, other),
    };
    let Some(Token::Word(unit)) = unit else { return Err(Wrong::Form) };
    let burst = match tokens.next() {
        None => None,
        Some(Token::Word(word)) if is(word, "burst") => Some(tokens.number()?),
        Some(_) => return Err(Wrong::Form),
    };
    tokens.end()?;
    let unit = Tokens::unit(unit)?;
    Ok(Some(Form { count, number, unit, burst }))
}

impl Form<'_> {
    /// The rate, and the burst it has if none is given.
    fn rate(&self) -> Result<(Rate, u64), Wrong> {
        let count = value(self.count).ok_or(Wrong::Range)?;
        let number = self.number.map_or(Some(Decimal::ONE), value).ok_or(Wrong::Range)?;
        let nanos = number.times(self.unit).filter(|nanos| *nanos > 0).ok_or(Wrong::Range)?;
        let (tokens, nanos) = count.per(nanos).ok_or(Wrong::Range)?;
        let burst = if tokens == 0 { 0 } else { count.whole().max(1) };
        Ok((Rate::from_parts(tokens, nanos), burst))
    }
}

pub(super) fn parse_rate(text: &str) -> Result<Rate, Wrong> {
    match form(text)? {
        None => Ok(Rate::UNLIMITED),
        Some(Form { burst: Some(_), .. }) => Err(Wrong::Form),
        Some(form) => form.rate().map(|(rate, _)| rate),
    }
}

pub(super) fn parse_quota(text: &str) -> Result<Quota, Wrong> {
    let Some(form) = form(text)? else { return Ok(Quota::unlimited()) };
    let (rate, burst) = form.rate()?;
    let Some(given) = form.burst else { return Ok(Quota::new(rate, burst)) };
    let given = value(given).ok_or(Wrong::Range)?;
    // There is no half token to save up.
    let burst = if given.decimals() == 0 { given.whole() } else { return Err(Wrong::Form) };
    Ok(Quota::new(rate, burst))
}

/// A sum such as `1h 30min`, in nanoseconds.
#[cfg(all(feature = "serde", feature = "resilience"))]
pub(super) fn parse_nanos(text: &str) -> Result<u64, Wrong> {
    let mut tokens = Tokens(text);
    let mut sum: Option<u64> = None;
    loop {
        let number = match tokens.next() {
            Some(Token::Number(text)) if is_number(text) => text,
            None => return sum.ok_or(Wrong::Form),
            Some(_) => return Err(Wrong::Form),
        };
        let Some(Token::Word(unit)) = tokens.next() else { return Err(Wrong::Form) };
        let unit = Tokens::unit(unit)?;
        let part = value(number).and_then(|number| number.times(unit)).ok_or(Wrong::Range)?;
        sum = Some(sum.unwrap_or(0).checked_add(part).ok_or(Wrong::Range)?);
    }
}

// --- printing ---

/// The largest unit of which it is a whole number, and that number.
fn in_units(nanos: u64) -> (u64, &'static str) {
    let (name, unit) = PRINTED.iter().find(|(_, unit)| nanos % unit == 0).copied().unwrap_or(("ns", 1));
    (nanos / unit, name)
}

/// As [`parse_nanos`] reads it.
#[cfg(all(feature = "serde", feature = "resilience"))]
pub(super) fn nanos_text(nanos: u64) -> String {
    let (number, unit) = if nanos == 0 { (0, "s") } else { in_units(nanos) };
    format!("{number}{unit}")
}

pub(super) fn write_rate(f: &mut fmt::Formatter<'_>, rate: Rate) -> fmt::Result {
    if rate.is_unlimited() {
        return f.write_str("unlimited");
    }
    match in_units(rate.period_nanos()) {
        (1, name) => write!(f, "{}/{name}", rate.count()),
        (number, name) => write!(f, "{}/{number}{name}", rate.count()),
    }
}
