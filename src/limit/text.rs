//! Rates and quotas as people write them. Numbers are decimal and stay exact.

use super::rate::{SECOND, gcd};
use super::{Quota, Rate};
use std::fmt;

/// Longest first: printing takes the first that divides.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3600 * SECOND),
    ("min", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// A decimal number: `digits / 10^decimals`, with no zero at the end of its decimals.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    digits: u64,
    decimals: u32,
}

impl Decimal {
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

/// Reads digits with at most one point among them.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || text.ends_with('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let mut digits = 0u64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        digits = digits.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(Decimal { digits, decimals: u32::try_from(fraction.len()).ok()? })
}

fn period(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let number = number.trim_end();
    let nanos = if number.is_empty() { unit } else { decimal(number)?.times(unit)? };
    (nanos > 0).then_some(nanos)
}

/// The rate, and the burst it has if none is given.
pub(super) fn parse_rate(text: &str) -> Option<(Rate, u64)> {
    if text == "unlimited" {
        return Some((Rate::UNLIMITED, u64::MAX));
    }
    let (count, per) = text.split_once('/')?;
    let count = decimal(count.trim())?;
    let (tokens, nanos) = count.per(period(per.trim())?)?;
    let burst = if tokens == 0 { 0 } else { count.whole().max(1) };
    Some((Rate::from_parts(tokens, nanos), burst))
}

pub(super) fn parse_quota(text: &str) -> Option<Quota> {
    let Some((rate, burst)) = text.split_once("burst") else {
        let (rate, burst) = parse_rate(text)?;
        return Some(Quota::new(rate, burst));
    };
    let (rate, _) = parse_rate(rate.trim_end())?;
    let burst = decimal(burst.trim())?.times(1)?;
    (!rate.is_unlimited()).then(|| Quota::new(rate, burst))
}

/// What is wrong with a text that has the right form.
pub(super) const RANGE: &str =
    "must have numbers below 2^64 and a period of whole nanoseconds, at least one and under 2^64";

/// Whether it has the form of a rate that is not unlimited, whatever its numbers.
pub(super) fn is_rate(text: &str) -> bool {
    let Some((count, period)) = text.split_once('/') else { return false };
    let period = period.trim();
    let (number, unit) =
        period.split_at(period.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(period.len()));
    let number = number.trim_end();
    is_number(count.trim())
        && (number.is_empty() || is_number(number))
        && UNITS.iter().any(|(name, _)| *name == unit)
}

/// Whether it is a decimal number of any size.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    is_whole(whole) && is_whole(fraction)
}

/// Whether it is a whole number of any size.
pub(super) fn is_whole(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn write_rate(f: &mut fmt::Formatter<'_>, rate: Rate) -> fmt::Result {
    if rate.is_unlimited() {
        return f.write_str("unlimited");
    }
    let nanos = rate.period_nanos();
    let (name, unit) = UNITS.iter().find(|(_, unit)| nanos % unit == 0).copied().unwrap_or(("ns", 1));
    match nanos / unit {
        1 => write!(f, "{}/{name}", rate.count()),
        number => write!(f, "{}/{number}{name}", rate.count()),
    }
}
