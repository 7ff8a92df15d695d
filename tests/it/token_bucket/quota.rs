//! Rates and quotas: constructors, edges, text.

use super::secs;
use cofferdam::limit::{Quota, Rate};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn rates_are_equal_when_they_are_the_same_speed() {
    assert_eq!(Rate::per_minute(60), Rate::per_second(1));
    assert_eq!(Rate::per_hour(1), Rate::every(secs(3600)).unwrap());
    assert_eq!(Rate::per(0, secs(5)).unwrap(), Rate::ZERO);
    assert_ne!(Rate::per_second(1), Rate::per_minute(61));
    assert_ne!(Rate::ZERO, Rate::UNLIMITED);
    assert!(Quota::zero(3).rate().is_zero() && Quota::per_second(0).rate().is_zero());
    assert!(Quota::unlimited().rate().is_unlimited());
}

#[test]
fn the_count_is_the_burst_until_another_is_given() {
    assert_eq!(Quota::per_second(100).burst_size(), 100);
    assert_eq!(Quota::per_minute(5).burst(20).burst_size(), 20);
    assert_eq!(Quota::every(secs(90)).unwrap().burst_size(), 1);
    assert_eq!(Quota::per_second_f64(2.5).unwrap().burst_size(), 2);
    assert_eq!(Quota::per_second_f64(0.25).unwrap().burst_size(), 1);
    assert_eq!(Quota::per_second_f64(0.0).unwrap().burst_size(), 0);
    assert_eq!(Quota::from(Rate::per_hour(7)).burst_size(), 7);
    assert_eq!(Quota::unlimited().burst(3), Quota::unlimited());
}

#[test]
fn bad_settings_are_refused_by_name() {
    let cases = [
        (Rate::per(3, Duration::ZERO), "rate: period = 0s: must be longer than zero"),
        (
            Rate::every(Duration::MAX),
            "rate: period = 18446744073709551615.999999999s: must be under 584 years",
        ),
        (Rate::per_second_f64(f64::NAN), "rate: per second = NaN: must be a number"),
        (
            Rate::per_second_f64(f64::INFINITY),
            "rate: per second = inf: must be finite; an endless rate is `unlimited`",
        ),
        (Rate::per_second_f64(-0.5), "rate: per second = -0.5: must not be negative"),
        (
            Rate::per_second_f64(18446744073709551616.0),
            "rate: per second = 18446744073709552000: must be less than 2^64",
        ),
        (
            Rate::per_second_f64(1e-11),
            "rate: per second = 0.00000000001: must be at least one in 584 years; no tokens at all is `zero`",
        ),
    ];
    for (result, text) in cases {
        assert_eq!(result.unwrap_err().to_string(), text);
    }
    assert!(Rate::per_second_f64(5e-324).is_err());
}

#[test]
fn fractions_are_the_decimals_they_print_as() {
    assert_eq!(Rate::per_second_f64(0.1).unwrap(), Rate::every(secs(10)).unwrap());
    assert_eq!(Rate::per_second_f64(2.5).unwrap(), Rate::per(5, secs(2)).unwrap());
    assert_eq!(Rate::per_second_f64(1e9).unwrap(), Rate::per_second(1_000_000_000));
    assert_eq!(Rate::per_second_f64(-0.0).unwrap(), Rate::ZERO);
    assert_eq!(Rate::per_second_f64(1e-9).unwrap(), Rate::every(secs(1_000_000_000)).unwrap());
}

#[test]
fn quotas_print_as_people_write_them() {
    let cases = [
        ("100/s", Quota::per_second(100)),
        ("5/min burst 20", Quota::per_minute(5).burst(20)),
        ("1/90s", Quota::every(secs(90)).unwrap()),
        ("777777/d", Quota::per(777_777, secs(86_400)).unwrap()),
        ("11/7ms burst 5", Quota::per(11, Duration::from_millis(7)).unwrap().burst(5)),
        ("0/s burst 5", Quota::zero(5)),
        ("0/s", Quota::per_second(0)),
        ("3/2min", Quota::per(3, secs(120)).unwrap()),
        ("unlimited", Quota::unlimited()),
        ("1/7ns", Quota::every(Duration::from_nanos(7)).unwrap()),
    ];
    for (text, quota) in cases {
        assert_eq!(quota.to_string(), text);
        assert_eq!(text.parse::<Quota>().unwrap(), quota, "{text}");
    }
}

#[test]
fn quotas_are_read_leniently_in_form_and_strictly_in_sense() {
    let same = |text: &str, quota: Quota| assert_eq!(text.parse::<Quota>().unwrap(), quota, "{text}");
    same(" 10 / s ", Quota::per_second(10));
    same("0.1/s", Quota::every(secs(10)).unwrap());
    same("2.50/s burst 7", Quota::per(5, secs(2)).unwrap().burst(7));
    same("1/1.5h", Quota::every(secs(5400)).unwrap());
    same("1000/1000ms", Quota::per_second(1000));
    let cases = [
        ("", "form"),
        ("10", "form"),
        ("10/", "form"),
        ("/s", "form"),
        ("per second", "form"),
        ("every 90s", "form"),
        ("10 second", "form"),
        ("10 in 3s", "form"),
        ("10 per per second", "form"),
        ("10//s", "form"),
        ("10/s/s", "form"),
        ("10/3", "form"),
        ("10/3 4s", "form"),
        ("-1/s", "form"),
        ("+1/s", "form"),
        ("1e3/s", "form"),
        ("10/s burst", "form"),
        ("10/s burst -1", "form"),
        ("10/s burst 1.5", "form"),
        ("10/s bursts 3", "form"),
        ("10/sburst 3", "form"),
        ("10/s burst 3 4", "form"),
        ("10/s burst 3s", "form"),
        ("unlimited burst 3", "form"),
        ("unlimited/s", "form"),
        ("1./s", "form"),
        (".5/s", "form"),
        ("1.2.3/s", "form"),
        ("_1/s", "form"),
        ("1_/s", "form"),
        ("1__0/s", "form"),
        ("1_.5/s", "form"),
        ("1._5/s", "form"),
        ("1,000/s", "form"),
        ("NaN/s", "form"),
        ("\u{661}/s", "form"),
        ("10/fortnight", "unit"),
        ("10 per m", "unit"),
        ("10/month burst 3", "unit"),
        ("10/0s", "range"),
        ("10/0.0s", "range"),
        ("99999999999999999999/s", "range"),
        ("18446744073709551616/s", "range"),
        ("1/0.1ns", "range"),
        ("1/600000d", "range"),
        ("1 every 99999999999999999999 ns", "range"),
        ("1/s burst 99999999999999999999", "range"),
    ];
    for (text, wrong) in cases {
        let error = text.parse::<Quota>().unwrap_err();
        let quoted = format!("{text:?}");
        assert_eq!((error.component(), error.knob(), error.value()), ("quota", "text", quoted.as_str()));
        // One that has the form is told of the unit or of the range.
        let rule = match wrong {
            "form" => "must be like 100/s, ",
            "unit" => "must have a unit of ",
            _ => "must have numbers below ",
        };
        assert!(error.rule().starts_with(rule), "{error}");
        if !text.contains("burst") {
            let of_rate = text.parse::<Rate>().unwrap_err();
            assert!(of_rate.rule().starts_with(rule) && of_rate.component() == "rate", "{of_rate}");
        }
    }
    let error = "10/s burst 3".parse::<Rate>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "rate: text = \"10/s burst 3\": must be like 100/s, 5 per minute, 0.1/s, 1 every 90s or unlimited"
    );
}

// RL1
#[test]
fn rates_are_read_in_words_too() {
    let cases = [
        ("5 per minute", Quota::per_minute(5)),
        ("100 per second burst 20", Quota::per_second(100).burst(20)),
        ("1 every 90s", Quota::every(secs(90)).unwrap()),
        ("1/90s burst 20", Quota::every(secs(90)).unwrap().burst(20)),
        ("3 every 2 hours", Quota::per(3, secs(7200)).unwrap()),
        ("3 PER 2 Hours Burst 4", Quota::per(3, secs(7200)).unwrap().burst(4)),
        ("0.5 per second", Quota::every(secs(2)).unwrap()),
        ("1 every 1.5 minutes", Quota::every(secs(90)).unwrap()),
        ("1 per week", Quota::every(secs(7 * 86_400)).unwrap()),
        ("1_000_000 per day burst 1_0", Quota::per(1_000_000, secs(86_400)).unwrap().burst(10)),
        ("1.2_5/s", Quota::per(5, secs(4)).unwrap().burst(1)),
        ("10/s burst 3.0", Quota::per_second(10).burst(3)),
        ("10/s burst 3.0_0", Quota::per_second(10).burst(3)),
        ("5per minute", Quota::per_minute(5)),
        ("10/SEC", Quota::per_second(10)),
        ("7 per 3\u{b5}s", Quota::per(7, Duration::from_micros(3)).unwrap()),
        ("7 per 3\u{3bc}s", Quota::per(7, Duration::from_micros(3)).unwrap()),
        ("UNLIMITED", Quota::unlimited()),
        (" \t5\nper  minute ", Quota::per_minute(5)),
        ("0 per second burst 7", Quota::zero(7)),
        ("1/18446744073709551615ns", Quota::every(Duration::from_nanos(u64::MAX)).unwrap()),
        ("18446744073709551615/s", Quota::per_second(u64::MAX)),
    ];
    for (text, quota) in cases {
        assert_eq!(text.parse::<Quota>().unwrap(), quota, "{text}");
        if !text.to_ascii_lowercase().contains("burst") {
            assert_eq!(text.parse::<Rate>().unwrap(), quota.rate(), "{text}");
        }
    }
}

/// Every name of a unit that is read, with its nanoseconds.
const UNITS: [(&str, u64); 35] = [
    ("w", 604_800_000_000_000),
    ("week", 604_800_000_000_000),
    ("weeks", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("day", 86_400_000_000_000),
    ("days", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("hr", 3_600_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("hours", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("mins", 60_000_000_000),
    ("minute", 60_000_000_000),
    ("minutes", 60_000_000_000),
    ("s", 1_000_000_000),
    ("sec", 1_000_000_000),
    ("secs", 1_000_000_000),
    ("second", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("ms", 1_000_000),
    ("msec", 1_000_000),
    ("msecs", 1_000_000),
    ("millisecond", 1_000_000),
    ("milliseconds", 1_000_000),
    ("us", 1_000),
    ("usec", 1_000),
    ("usecs", 1_000),
    ("microsecond", 1_000),
    ("microseconds", 1_000),
    ("ns", 1),
    ("nsec", 1),
    ("nsecs", 1),
    ("nanosecond", 1),
    ("nanoseconds", 1),
];

/// The same letters, some of them in upper case.
fn in_any_case(text: &str, upper: u64) -> String {
    let case = |(at, letter): (usize, char)| {
        if upper >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    };
    text.chars().enumerate().map(case).collect()
}

/// With an underscore at every third place.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let group = |(at, digit): (usize, char)| {
        let left = digits.len() - at;
        if at > 0 && left % 3 == 0 { format!("_{digit}") } else { digit.to_string() }
    };
    digits.chars().enumerate().map(group).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_reading_agree(
        count in prop_oneof![0..10u64, any::<u64>()],
        period in prop_oneof![1..100u64, any::<u64>().prop_map(|p| p.max(1)), (1..9u64).prop_map(|s| s * 1_000_000_000)],
        burst in prop_oneof![0..10u64, any::<u64>()],
    ) {
        let quota = Quota::new(Rate::per(count, Duration::from_nanos(period)).unwrap(), burst);
        let read: Quota = quota.to_string().parse().unwrap();
        prop_assert_eq!(read, quota);
        prop_assert_eq!(quota.rate().to_string().parse::<Rate>().unwrap(), quota.rate());
    }

    #[test]
    fn however_it_is_written_it_is_the_same(
        count in prop_oneof![0..2_000u64, any::<u64>()],
        number in prop_oneof![Just(None), (1..1_000u64).prop_map(Some)],
        (unit, nanos) in prop::sample::select(&UNITS[..]),
        burst in prop::option::of(prop_oneof![0..2_000u64, any::<u64>()]),
        between in prop::sample::select(&["/", " / ", " per ", "  every ", " PER\t"][..]),
        (space, upper, group) in (any::<bool>(), any::<u64>(), any::<bool>()),
    ) {
        let written = |number: u64| if group { grouped(number) } else { number.to_string() };
        let mut text = format!("{}{between}", written(count));
        if let Some(number) = number {
            text += &written(number);
            text += if space { " " } else { "" };
        }
        text += unit;
        if let Some(burst) = burst {
            text += &format!(" burst {}", written(burst));
        }
        let text = in_any_case(&text, upper);
        let period = Duration::from_nanos(number.unwrap_or(1) * nanos);
        let expected = Quota::per(count, period).unwrap();
        let expected = burst.map_or(expected, |burst| expected.burst(burst));
        let read: Quota = text.parse().unwrap();
        prop_assert_eq!(read, expected, "{}", text);
        prop_assert_eq!((read.rate().count(), read.rate().period()), (count, period), "{}: as written", text);
        prop_assert_eq!(read.to_string().parse::<Quota>().unwrap(), expected, "{}", text);
    }

    /// Nothing that is typed makes it panic, and what is read prints as something that reads the same.
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9_. /a-zµ\\PC]{0,24}|[0-9._]{1,22} ?(/|per|every) ?[0-9._]{0,22}(s|min|d|ns)( burst [0-9._]{1,20})?") {
        if let Ok(quota) = text.parse::<Quota>() {
            prop_assert_eq!(quota.to_string().parse::<Quota>().unwrap(), quota);
        }
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
    }

    #[test]
    fn any_fraction_is_met_closely_or_refused(rate in any::<f64>().prop_map(f64::abs)) {
        if let Ok(exact) = Rate::per_second_f64(rate) {
            let met = exact.as_per_second_f64();
            prop_assert!((met - rate).abs() <= rate * 1e-9, "{rate} became {met}");
        } else {
            prop_assert!(!(1e-10..1e19).contains(&rate));
        }
    }
}
