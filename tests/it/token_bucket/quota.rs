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
    let refused = [
        "",
        "10",
        "10/",
        "/s",
        "-1/s",
        "1e3/s",
        "10/0s",
        "10/fortnight",
        "10/s burst",
        "10/s burst -1",
        "10/s burst 1.5",
        "10/s bursts 3",
        "unlimited burst 3",
        "1./s",
        "1.2.3/s",
        "99999999999999999999/s",
        "1/0.1ns",
        "1/600000d",
        "1/s burst 99999999999999999999",
        "NaN/s",
    ];
    for text in refused {
        let error = text.parse::<Quota>().unwrap_err();
        let quoted = format!("{text:?}");
        assert_eq!((error.component(), error.knob(), error.value()), ("quota", "text", quoted.as_str()));
        // One that has the form is told of the range.
        let out_of_range =
            ["10/0s", "99999999999999999999/s", "1/0.1ns", "1/600000d", "1/s burst 99999999999999999999"];
        let rule = if out_of_range.contains(&text) { "must have numbers below" } else { "must be like" };
        assert!(error.rule().starts_with(rule), "{error}");
    }
    let rule = |text: &str| text.parse::<Rate>().unwrap_err().rule();
    assert!(rule("10/s burst 3").starts_with("must be like"));
    assert!(rule("10/0s").starts_with("must have numbers below"));
    let empty = "".parse::<Rate>().unwrap_err().to_string();
    assert!(empty.starts_with("rate: text = \"\": must be like"), "{empty}");
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
    fn any_fraction_is_met_closely_or_refused(rate in any::<f64>().prop_map(f64::abs)) {
        if let Ok(exact) = Rate::per_second_f64(rate) {
            let met = exact.as_per_second_f64();
            prop_assert!((met - rate).abs() <= rate * 1e-9, "{rate} became {met}");
        } else {
            prop_assert!(!(1e-10..1e19).contains(&rate));
        }
    }
}
