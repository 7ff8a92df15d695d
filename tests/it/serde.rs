//! What stands in configuration files: rates and quotas as text.

use cofferdam::limit::{Quota, Rate};
use proptest::prelude::*;
use serde_json::{from_str, json, to_string};
use serde_test::{Configure, Token, assert_de_tokens, assert_de_tokens_error, assert_tokens};
use std::time::Duration;

#[test]
fn rates_and_quotas_are_written_as_their_text_and_read_again() {
    let quota = Quota::per_minute(5).burst(20);
    assert_eq!(to_string(&quota).unwrap(), "\"5/min burst 20\"");
    assert_eq!(to_string(&Rate::UNLIMITED).unwrap(), "\"unlimited\"");
    assert_tokens(&quota.readable(), &[Token::Str("5/min burst 20")]);
    assert_tokens(&Rate::per_hour(3).readable(), &[Token::Str("3/h")]);
    // Borrowed or not, and in whatever form people write.
    for text in [Token::String("5 per minute burst 20"), Token::BorrowedStr("5/60s burst 2_0")] {
        assert_de_tokens(&quota.readable(), &[text]);
    }
    let config = json!({ "limits": { "search": "100 per second burst 20", "mail": "1 every 90s" } });
    let read = |name: &str| serde_json::from_value::<Quota>(config["limits"][name].clone()).unwrap();
    assert_eq!(read("search"), Quota::per_second(100).burst(20));
    assert_eq!(read("mail"), Quota::every(Duration::from_secs(90)).unwrap());
}

#[test]
fn a_number_is_so_many_a_second() {
    assert_eq!(from_str::<Rate>("100").unwrap(), Rate::per_second(100));
    assert_eq!(from_str::<Quota>("100").unwrap(), Quota::per_second(100));
    assert_eq!(from_str::<Quota>("0").unwrap(), Quota::zero(0));
    assert_eq!(from_str::<Rate>("18446744073709551615").unwrap(), Rate::per_second(u64::MAX));
    assert_eq!(from_str::<Rate>("0.1").unwrap(), Rate::every(Duration::from_secs(10)).unwrap());
    assert_eq!(from_str::<Quota>("2.5").unwrap(), Quota::per_second_f64(2.5).unwrap());
    // Formats that have only signed numbers.
    assert_de_tokens(&Quota::per_second(7).readable(), &[Token::I64(7)]);
    assert_de_tokens(&Rate::per_second(7).readable(), &[Token::I8(7)]);
    assert_de_tokens(&Rate::per_second(7).readable(), &[Token::F32(7.0)]);
}

#[test]
fn a_format_that_is_not_for_people_has_the_text() {
    let quota = Quota::per_minute(5).burst(20);
    assert_tokens(&quota.compact(), &[Token::Str("5/min burst 20")]);
    assert_tokens(&Rate::per_hour(3).compact(), &[Token::Str("3/h")]);
}

#[test]
fn what_is_refused_says_why_and_where() {
    let cases = [
        (
            "\"ten/s\"",
            "quota: text = \"ten/s\": must be like 100/s, 5 per minute burst 20, 1 every 90s or unlimited",
        ),
        (
            "\"10/m\"",
            "quota: text = \"10/m\": must have a unit of ns, us, ms, s, min, h, d, w or their names in full",
        ),
        (
            "-3",
            "invalid value: integer `-3`, expected a quota such as \"100/s\" or \"5 per minute burst 20\", or a number a \
             second",
        ),
        ("-0.5", "rate: per second = -0.5: must not be negative"),
        ("1e300", "must be less than 2^64"),
        ("true", "invalid type: boolean `true`, expected a quota such as"),
        ("null", "invalid type: null, expected a quota such as"),
        ("[100]", "invalid type: sequence, expected a quota such as"),
        ("{\"rate\": 3}", "invalid type: map, expected a quota such as"),
    ];
    for (text, error) in cases {
        let found = from_str::<Quota>(text).unwrap_err().to_string();
        assert!(found.contains(error) && found.contains(" at line 1 column "), "{text}: {found}");
        assert!(from_str::<Rate>(text).is_err(), "{text}");
    }
    let error = from_str::<Rate>("false").unwrap_err().to_string();
    assert!(error.contains("a rate such as \"100/s\" or \"5 per minute\", or a number a second"), "{error}");
    // A rate has no burst.
    assert!(from_str::<Rate>("\"10/s burst 3\"").is_err());
    assert_de_tokens_error::<serde_test::Readable<Rate>>(
        &[Token::F64(f64::NAN)],
        "rate: per second = NaN: must be a number",
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_as_the_same(count in any::<u64>(), nanos in 1..=u64::MAX, burst in any::<u64>()) {
        let quota = Quota::per(count, Duration::from_nanos(nanos)).unwrap().burst(burst);
        prop_assert_eq!(from_str::<Quota>(&to_string(&quota).unwrap()).unwrap(), quota);
        let read: Rate = from_str(&to_string(&quota.rate()).unwrap()).unwrap();
        prop_assert_eq!((read.count(), read.period()), (count, Duration::from_nanos(nanos)));
    }
}
