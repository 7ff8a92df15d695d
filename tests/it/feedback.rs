//! What servers say about their limits: the examples of the RFC and of the drafts, what is in use, and what is absurd.

use cofferdam::limit::Feedback;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

/// Sunday, 06 November 1994, 08:49:37 GMT: the date of RFC 9110, section 5.6.7.
const THEN: u64 = 784_111_777;

fn at(unix: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix)
}

fn read(fields: &[(&str, &str)]) -> Feedback {
    Feedback::read(fields.iter().copied(), at(THEN))
}

fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

/// Limit, remaining, reset, window, policy.
type Numbers<'a> = (Option<u64>, Option<u64>, Option<Duration>, Option<Duration>, Option<&'a str>);

fn numbers(feedback: &Feedback) -> Numbers<'_> {
    let Feedback { limit, remaining, reset_after, window, policy, .. } = feedback;
    (*limit, *remaining, *reset_after, *window, policy.as_deref())
}

// S45, MT7: RFC 9110, sections 5.6.7 and 10.2.3
#[test]
fn retry_after_is_seconds_or_a_date_in_each_of_its_forms() {
    let minute_before = at(THEN - 60);
    let table = [
        ("120", secs(120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", secs(60)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", secs(60)),
        ("Sun Nov  6 08:49:37 1994", secs(60)),
        (" 7\t", secs(7)),
        ("0.65", millis(650)),
        ("0", secs(0)),
        // Dates that are over, and one that is now.
        ("Sun, 06 Nov 1994 08:48:37 GMT", secs(0)),
        ("Sun, 06 Nov 1983 08:49:37 GMT", secs(0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", secs(0)),
    ];
    for (value, wanted) in table {
        let feedback = Feedback::read([("Retry-After", value)], minute_before);
        assert_eq!((feedback.retry_after, feedback.ignored, feedback.clamped), (wanted, 0, 0), "{value}");
        assert_eq!(feedback.wait(), wanted.filter(|wait| !wait.is_zero()), "{value}");
    }
    // The example of section 10.2.3, read a minute before.
    let example = Feedback::read([("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")], at(946_684_739));
    assert_eq!(example.retry_after, secs(60));
}

#[test]
fn names_are_read_in_any_letter_case() {
    for name in ["retry-after", "RETRY-AFTER", "rEtRy-AfTeR"] {
        assert_eq!(read(&[(name, "5")]).retry_after, secs(5), "{name}");
    }
    for name in
        ["x-ratelimit-remaining", "X-RATELIMIT-Remaining", "x-rate-limit-remaining", "RATELIMIT-REMAINING"]
    {
        assert_eq!(read(&[(name, "5")]).remaining, Some(5), "{name}");
    }
    assert_eq!(read(&[("ratelimit", "\"a\";R=5")]).remaining, Some(5));
    // What is like it is not it.
    for name in
        ["x-retry-after", "retry-after-ms", "ratelimits", "x-ratelimit", "x-ratelimit-limit-minute", "é"]
    {
        assert_eq!(read(&[(name, "5")]), Feedback::default(), "{name}");
    }
}

// MT7
#[test]
fn the_custom_fields_are_read() {
    // As in Discord's documentation.
    let feedback = read(&[
        ("X-RateLimit-Limit", "5"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", "1470173023"),
        ("X-RateLimit-Reset-After", "1.5"),
        ("X-RateLimit-Bucket", "abcd1234"),
        ("X-RateLimit-Scope", "shared"),
        ("X-RateLimit-Global", "false"),
    ]);
    assert_eq!(numbers(&feedback), (Some(5), Some(0), millis(1500), None, None));
    assert_eq!((feedback.bucket.as_deref(), feedback.scope.as_deref()), (Some("abcd1234"), Some("shared")));
    assert_eq!((feedback.global, feedback.ignored, feedback.clamped), (false, 0, 1));
    assert_eq!(feedback.wait(), millis(1500));
    for global in
        [("X-RateLimit-Global", "True"), ("x-ratelimit-global", "1"), ("X-RateLimit-Scope", "GLOBAL")]
    {
        assert!(read(&[global]).global, "{global:?}");
    }
}

// MT7
#[test]
fn a_reset_is_seconds_from_now_a_date_or_a_date_in_milliseconds() {
    let now = at(1_470_173_000);
    let table = [
        ("30", secs(30)),
        ("0", secs(0)),
        ("2.25", millis(2250)),
        ("1470173023", secs(23)),
        ("1470173023.123", millis(23_123)),
        ("1470173023123", millis(23_123)),
        // Over.
        ("1470172999", secs(0)),
        ("1000000000", secs(0)),
        ("100000000000", secs(0)),
    ];
    for name in ["X-RateLimit-Reset", "RateLimit-Reset"] {
        for (value, wanted) in table {
            let feedback = Feedback::read([(name, value)], now);
            let said = (feedback.reset_after, feedback.ignored, feedback.clamped);
            assert_eq!(said, (wanted, 0, 0), "{name}: {value}");
        }
        // The last that is no date.
        let feedback = Feedback::read([(name, "999999999")], now);
        assert_eq!((feedback.reset_after, feedback.clamped), (Some(Feedback::MAX_WAIT), 1));
    }
}

// S45: draft-ietf-httpapi-ratelimit-headers-10, sections 3.2 and 4
#[test]
fn the_present_draft_is_read() {
    let table: &[(&[(&str, &str)], Numbers<'_>)] = &[
        (&[("RateLimit", r#""default";r=50;t=30"#)], (None, Some(50), secs(30), None, Some("default"))),
        (
            &[("RateLimit", r#""default";r=999;pk=:dHJpYWwxMjEzMjM=:"#)],
            (None, Some(999), None, None, Some("default")),
        ),
        (&[("RateLimit", r#""day";r=100;t=36000"#)], (None, Some(100), secs(3600), None, Some("day"))),
        (
            &[("RateLimit-Policy", r#""default";q=100;w=10"#)],
            (Some(100), None, None, secs(10), Some("default")),
        ),
        // Several policies and no limit beside them: the slowest, 1000 in an hour.
        (
            &[("RateLimit-Policy", r#""permin";q=50;w=60,"perhr";q=1000;w=3600"#)],
            (Some(1000), None, None, secs(3600), Some("perhr")),
        ),
        (
            &[
                ("RateLimit-Policy", r#""burst";q=100;w=60,"daily";q=1000;w=86400"#),
                ("RateLimit", r#""burst";r=50;t=30"#),
            ],
            (Some(100), Some(50), secs(30), secs(60), Some("burst")),
        ),
        (
            &[("RateLimit-Policy", r#""peruser";q=100;w=60;pk=:cHsdsRa894==:"#)],
            (Some(100), None, None, secs(60), Some("peruser")),
        ),
        // Bytes are not requests.
        (
            &[("RateLimit-Policy", r#""peruser";q=65535;qu="content-bytes";w=10;pk=:sdfjLJUOUH==:"#)],
            (None, None, None, None, None),
        ),
        (
            &[
                ("RateLimit", r#""bytes";r=0;t=5, "calls";r=7;t=9"#),
                (
                    "RateLimit-Policy",
                    r#""bytes";q=65535;qu="content-bytes";w=10, "calls";q=10;w=60;qu="requests""#,
                ),
            ],
            (Some(10), Some(7), secs(9), secs(60), Some("calls")),
        ),
        // The fewest; of as few, the latest; over several lines.
        (
            &[("RateLimit", r#""a";r=5;t=1,"b";r=3;t=2"#), ("ratelimit", r#""c";r=3;t=60, "d";r=4;t=90"#)],
            (None, Some(3), secs(60), None, Some("c")),
        ),
    ];
    for (fields, wanted) in table {
        let feedback = read(fields);
        assert_eq!(numbers(&feedback), *wanted, "{fields:?}");
        assert_eq!(feedback.ignored, 0, "{fields:?}");
    }
}

// S45: drafts 02 to 08
#[test]
fn the_older_drafts_are_read() {
    let table: &[(&[(&str, &str)], Numbers<'_>)] = &[
        (
            &[("RateLimit-Limit", "100"), ("RateLimit-Remaining", "50"), ("RateLimit-Reset", "50")],
            (Some(100), Some(50), secs(50), None, None),
        ),
        // The limit with policies behind it: the one of the same quota.
        (
            &[
                ("RateLimit-Limit", "100, 10;w=1, 100;w=60;comment=\"fixed window\""),
                ("RateLimit-Remaining", "9"),
            ],
            (Some(100), Some(9), None, secs(60), None),
        ),
        (
            &[
                ("RateLimit-Limit", "10"),
                ("RateLimit-Policy", "10;w=1, 50;w=60"),
                ("RateLimit-Remaining", "0"),
            ],
            (Some(10), Some(0), None, secs(1), None),
        ),
        (
            &[("RateLimit", "limit=100, remaining=50, reset=5"), ("RateLimit-Policy", "100;w=60")],
            (Some(100), Some(50), secs(5), secs(60), None),
        ),
        (
            &[
                ("RateLimit-Policy", "permin;l=50;w=60, perhr;l=1000;w=3600"),
                ("RateLimit", "permin;r=20;w=23, perhr;r=399;w=2402"),
            ],
            (Some(50), Some(20), None, secs(60), Some("permin")),
        ),
        (&[("RateLimit", "protection;r=50;t=30")], (None, Some(50), secs(30), None, Some("protection"))),
    ];
    for (fields, wanted) in table {
        let feedback = read(fields);
        assert_eq!(numbers(&feedback), *wanted, "{fields:?}");
        assert_eq!(feedback.ignored, 0, "{fields:?}");
    }
}

#[test]
fn of_several_families_the_newest_goes_first_and_the_others_fill_in() {
    let feedback = read(&[
        ("X-RateLimit-Limit", "1"),
        ("X-RateLimit-Remaining", "2"),
        ("X-RateLimit-Reset-After", "3"),
        ("RateLimit-Remaining", "4"),
        ("RateLimit-Reset", "5"),
        ("RateLimit", "\"a\";r=6"),
    ]);
    assert_eq!(numbers(&feedback), (Some(1), Some(6), secs(5), None, Some("a")));
    // The same field twice: the tighter.
    let twice = read(&[
        ("X-RateLimit-Remaining", "2"),
        ("X-RateLimit-Remaining", "3"),
        ("Retry-After", "1"),
        ("Retry-After", "9"),
        ("X-RateLimit-Reset", "8"),
        ("X-RateLimit-Reset", "4"),
        ("X-RateLimit-Limit", "20"),
        ("X-RateLimit-Limit", "10"),
    ]);
    assert_eq!(numbers(&twice), (Some(10), Some(2), secs(8), None, None));
    assert_eq!(twice.retry_after, secs(9));
}

// The draft: Retry-After must take precedence.
#[test]
fn retry_after_goes_before_the_reset() {
    assert_eq!(read(&[("Retry-After", "3"), ("RateLimit", "\"a\";r=0;t=60")]).wait(), secs(3));
    assert_eq!(read(&[("RateLimit", "\"a\";r=0;t=60")]).wait(), secs(60));
    assert_eq!(read(&[("RateLimit", "\"a\";r=1;t=60")]).wait(), None);
    assert_eq!(read(&[("RateLimit", "\"a\";r=0")]).wait(), None);
}

// S45
#[test]
fn absurd_values_are_clamped_and_counted() {
    let hour = Some(Feedback::MAX_WAIT);
    let waits = [
        ("Retry-After", "31536000", hour, 1),
        ("Retry-After", "99999999999999999999999999", hour, 2),
        ("Retry-After", "Mon, 06 Nov 1995 08:49:37 GMT", hour, 1),
        ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT", hour, 1),
        ("Retry-After", "-5", secs(0), 1),
    ];
    for (name, value, wanted, clamped) in waits {
        let feedback = read(&[(name, value)]);
        assert_eq!(
            (feedback.retry_after, feedback.clamped, feedback.ignored),
            (wanted, clamped, 0),
            "{value}"
        );
    }
    for value in ["9999999999", "1000000000000000000000000", "3600.000000001"] {
        let feedback = read(&[("X-RateLimit-Reset", value)]);
        assert_eq!(feedback.reset_after, hour, "{value}");
        assert!(feedback.clamped > 0);
    }
    let counts = read(&[("X-RateLimit-Limit", "99999999999999999999"), ("X-RateLimit-Remaining", "-1")]);
    assert_eq!((counts.limit, counts.remaining, counts.clamped), (Some(u64::MAX), Some(0), 2));
    // The longest wait is the caller's to set; nothing above it, and exactly it is fine.
    let within =
        |most, value| Feedback::read_within(Duration::from_secs(most), [("Retry-After", value)], at(THEN));
    assert_eq!((within(10, "11").retry_after, within(10, "11").clamped), (secs(10), 1));
    assert_eq!((within(10, "10").retry_after, within(10, "10").clamped), (secs(10), 0));
    // A clock before 1970.
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let feedback = Feedback::read([("Retry-After", "Thu, 01 Jan 1970 00:00:10 GMT")], before);
    assert_eq!(feedback.retry_after, secs(10));
}

// S45
#[test]
fn garbage_is_ignored_value_by_value_and_counted() {
    let feedback = read(&[
        ("Retry-After", "soon"),
        ("Retry-After", "Sun, 31 Feb 1994 08:49:37 GMT"),
        ("Retry-After", "NaN"),
        ("X-RateLimit-Limit", ""),
        ("X-RateLimit-Remaining", "a few"),
        ("X-RateLimit-Reset", "inf"),
        ("X-RateLimit-Reset-After", "1e3"),
        ("X-RateLimit-Global", "perhaps"),
        ("X-RateLimit-Bucket", "  "),
        ("RateLimit", ""),
        ("RateLimit-Policy", r#""name without quota", "open"#),
        ("RateLimit-Limit", "many, 10;w=1"),
        ("RateLimit-Remaining", "3"),
    ]);
    assert_eq!(feedback.ignored, 13);
    assert_eq!(numbers(&feedback), (Some(10), Some(3), None, secs(1), None));
    assert_eq!((feedback.retry_after, feedback.global, feedback.bucket.as_deref()), (None, false, None));
    // One bad item leaves the others.
    let feedback = read(&[("RateLimit", r#""a";r=x;t=1, "b";r=4;t=never, "c";r=5;t=2"#)]);
    assert_eq!((feedback.remaining, feedback.reset_after, feedback.ignored), (Some(4), None, 2));
    assert!(read(&[("Retry-After", "soon")]).is_empty());
    assert!(!read(&[("Retry-After", "0")]).is_empty());
}

#[test]
fn the_map_of_the_http_crate_says_the_same() {
    let mut headers = http::HeaderMap::new();
    headers.insert("retry-after", "120".parse().unwrap());
    headers.append("ratelimit", "\"a\";r=5;t=1".parse().unwrap());
    headers.append("ratelimit", "\"b\";r=3;t=2".parse().unwrap());
    headers.insert("x-ratelimit-bucket", http::HeaderValue::from_bytes(b"\xff").unwrap());
    let feedback = Feedback::read_headers(&headers, at(THEN));
    let mut wanted =
        read(&[("retry-after", "120"), ("ratelimit", "\"a\";r=5;t=1"), ("ratelimit", "\"b\";r=3;t=2")]);
    assert_eq!(wanted.ignored, 0);
    wanted.ignored = 1;
    assert_eq!(feedback, wanted);
    let within = Feedback::read_headers_within(Duration::from_secs(9), &headers, at(THEN));
    assert_eq!(within.retry_after, secs(9));
}

proptest! {
    // No text panics, no wait is above the longest, and what is read once is read again.
    #[test]
    fn whatever_is_said_is_read_within_bounds(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "Retry-After", "RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining",
                    "RateLimit-Reset", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
                    "X-RateLimit-Reset-After", "X-RateLimit-Global", "X-RateLimit-Bucket", "X-RateLimit-Scope",
                ]),
                prop_oneof![
                    "\\PC{0,20}",
                    "[-+.0-9eE]{0,24}",
                    "[\"a-c;=,rtqwl0-9 \\\\.-]{0,40}",
                    "(Sun|Mon|Sunday), [0-9]{2}[ -](Nov|Feb)[ -][0-9]{2,5} [0-9:]{5,9} GMT",
                    "(Sun|Fri) (Nov|Feb) [ 0-9]{2} [0-9:]{8} [0-9]{4}",
                ],
            ),
            0..8,
        ),
        wall in any::<u32>(),
        most in any::<u64>(),
    ) {
        let most = Duration::from_nanos(most);
        let pairs = || fields.iter().map(|(name, value)| (*name, value.as_str()));
        let feedback = Feedback::read_within(most, pairs(), at(u64::from(wall)));
        prop_assert!(feedback.retry_after.is_none_or(|wait| wait <= most));
        prop_assert!(feedback.reset_after.is_none_or(|wait| wait <= most));
        prop_assert_eq!(feedback, Feedback::read_within(most, pairs(), at(u64::from(wall))));
    }
}
