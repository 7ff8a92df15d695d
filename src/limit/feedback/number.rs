//! Decimal numbers as fields write them.

use std::time::Duration;

/// A number that was read, and whether it had to be clamped to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) whole: u64,
    /// Thousand-millionths, rounded down.
    pub(super) nanos: u32,
    pub(super) clamped: bool,
}

impl Number {
    /// Reads digits, perhaps with a sign before and a fraction behind; `None` for anything else. Saturates on both sides.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = trim(text);
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let mut clamped = false;
        let whole = whole.bytes().fold(0u64, |sum, digit| {
            let next = sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(digit - b'0')));
            clamped |= next.is_none();
            next.unwrap_or(u64::MAX)
        });
        let places = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = places.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        if negative && (whole, nanos) != (0, 0) {
            return Some(Self { whole: 0, nanos: 0, clamped: true });
        }
        Some(Self { whole, nanos, clamped })
    }

    pub(super) const fn seconds(self) -> Duration {
        // Not `Duration::new`, which carries: there is nothing to carry.
        Duration::from_secs(self.whole).saturating_add(Duration::from_nanos(self.nanos as u64))
    }

    pub(super) const fn millis(self) -> Duration {
        Duration::from_millis(self.whole).saturating_add(Duration::from_nanos(self.nanos as u64 / 1000))
    }
}

/// Without the white space that RFC 9110 allows around a value.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_nothing_else_is_one() {
        let number = |whole, nanos, clamped| Some(Number { whole, nanos, clamped });
        let table = [
            ("0", number(0, 0, false)),
            (" 42\t", number(42, 0, false)),
            ("+1.5", number(1, 500_000_000, false)),
            ("1470173023.123", number(1_470_173_023, 123_000_000, false)),
            ("0.0000000019", number(0, 1, false)),
            (".5", number(0, 500_000_000, false)),
            ("5.", number(5, 0, false)),
            ("-0", number(0, 0, false)),
            ("-1", number(0, 0, true)),
            ("-0.1", number(0, 0, true)),
            ("18446744073709551615", number(u64::MAX, 0, false)),
            ("18446744073709551616", number(u64::MAX, 0, true)),
            ("99999999999999999999999999999999.5", number(u64::MAX, 500_000_000, true)),
        ];
        for (text, wanted) in table {
            assert_eq!(Number::read(text), wanted, "{text:?}");
        }
        for garbage in ["", "-", ".", "NaN", "inf", "1e3", "0x10", "1 2", "1.2.3", "--1", "١", "1,5", "12s"]
        {
            assert_eq!(Number::read(garbage), None, "{garbage:?}");
        }
    }
}
