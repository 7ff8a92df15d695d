//! The rules: of parts, of calls, of a baseline, of resources.

use super::SECOND;
use cofferdam::health::Status::{self, CircuitOpen, Degraded, Healthy, Unhealthy};
use cofferdam::health::{Baseline, CallsRule, Finding, ResourceLimits, Resources};
use cofferdam::time::Clock;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn the_whole_is_healthy_from_80_percent_degraded_from_50_and_open_if_any_part_is() {
    let of = |healthy: usize, degraded: usize, unhealthy: usize| {
        let parts = [(Healthy, healthy), (Degraded, degraded), (Unhealthy, unhealthy)];
        Status::of_parts(parts.into_iter().flat_map(|(status, times)| vec![status; times]))
    };
    assert_eq!(of(0, 0, 0), Healthy, "empty");
    assert_eq!(
        (of(4, 0, 1), of(4, 1, 0), of(79, 0, 21), of(80, 0, 20)),
        (Healthy, Healthy, Degraded, Healthy)
    );
    assert_eq!(
        (of(1, 0, 1), of(1, 1, 0), of(49, 51, 0), of(50, 0, 50)),
        (Degraded, Degraded, Unhealthy, Degraded)
    );
    assert_eq!((of(0, 1, 0), of(0, 0, 1)), (Unhealthy, Unhealthy));
    assert_eq!(Status::of_parts([Healthy, Healthy, Healthy, Healthy, Healthy, CircuitOpen]), CircuitOpen);
    assert_eq!(Status::of_parts([Unhealthy, CircuitOpen]), CircuitOpen);
}

#[test]
fn the_worst_is_no_better_than_any_and_answers_with_its_code() {
    assert_eq!(Status::worst([]), Healthy);
    assert_eq!(Status::worst([Degraded, Healthy]), Degraded);
    assert_eq!(Status::worst([CircuitOpen, Unhealthy, Degraded]), Unhealthy);
    let codes = [Healthy, Degraded, CircuitOpen, Unhealthy].map(Status::http_status);
    assert_eq!(codes, [200, 200, 503, 503]);
}

#[test]
fn calls_degrade_from_a_tenth_and_are_unhealthy_above_a_half_or_degrade_for_a_minute() {
    let (rule, now) = (CallsRule::new(), Clock::system().now());
    let status = |successes, failures, ago: Option<u32>| {
        let later = now + SECOND * 3600;
        rule.judge(successes, failures, ago.map(|ago| later - SECOND * ago), later).status()
    };
    assert_eq!(status(0, 0, None), Healthy);
    assert_eq!(
        (status(91, 9, None), status(90, 10, None), status(9, 1, None)),
        (Healthy, Degraded, Degraded)
    );
    assert_eq!(
        (status(50, 50, None), status(50, 51, None), status(0, 1, None)),
        (Degraded, Unhealthy, Unhealthy)
    );
    assert_eq!((status(99, 1, Some(59)), status(99, 1, Some(60))), (Degraded, Healthy));
    // A clock that went back.
    assert_eq!(rule.judge(99, 1, Some(now + SECOND), now).status(), Degraded);
    assert_eq!(status(u64::MAX, u64::MAX, None), Degraded);
    let reason = rule.judge(1, 3, None, now);
    assert_eq!(reason.to_string(), "unhealthy: 3 of 4 calls have failed");
}

#[test]
fn another_rule_for_calls_says_what_is_wrong_with_it() {
    let rule = CallsRule::new().shares(0.0, 0.2).expect("valid").recent(Duration::ZERO);
    let now = Clock::system().now();
    assert_eq!(rule.judge(10, 0, None, now).status(), Healthy, "no failure is not a share of failures");
    assert_eq!(rule.judge(9, 1, Some(now), now).status(), Degraded);
    assert_eq!(CallsRule::new().recent(Duration::ZERO).judge(99, 1, Some(now), now).status(), Healthy);
    for (degraded, unhealthy, knob) in [
        (-0.1, 0.5, "degraded"),
        (f64::NAN, 0.5, "degraded"),
        (0.5, 0.4, "unhealthy"),
        (0.1, 1.1, "unhealthy"),
    ] {
        assert_eq!(CallsRule::new().shares(degraded, unhealthy).expect_err("invalid").knob(), knob);
    }
}

#[test]
fn findings_are_made_of_what_checks_return() {
    assert_eq!(Finding::from(()), Finding::healthy());
    assert_eq!(Finding::from(Ok::<_, String>(Degraded)), Degraded.into());
    let nested: Finding = Ok::<_, String>(Err::<(), _>("inner")).into();
    assert_eq!((nested.status(), nested.reason()), (Unhealthy, Some("inner")));
    let (first, second) = (Finding::degraded("a"), Finding::degraded("b"));
    assert_eq!(first.clone().or_worse(second), first);
    assert_eq!(first.or_worse(Finding::unhealthy("c")).reason(), Some("c"));
}

fn baseline() -> Baseline {
    Baseline::builder().window(5).samples(50).build().expect("valid")
}

#[test]
fn a_baseline_flags_what_is_beyond_its_deviations_and_only_on_the_bad_side() {
    let baseline = baseline();
    // 10 +- 1: the deviation is 1.
    let usual = |n: u32| if n % 2 == 0 { 9.0 } else { 11.0 };
    (0..200).for_each(|n| baseline.record(usual(n)));
    let stats = baseline.stats();
    assert!((stats.mean - 10.0).abs() < 0.1 && (stats.deviation - 1.0).abs() < 0.1, "{stats:?}");
    assert_eq!(stats.learned, 195);
    assert_eq!(baseline.judge(), Finding::healthy());
    (0..5).for_each(|_| baseline.record(12.5));
    assert_eq!(baseline.judge(), Finding::healthy(), "2.5 deviations");
    (0..5).for_each(|_| baseline.record(1.0));
    assert_eq!(baseline.judge(), Finding::healthy(), "better than ever");
    (0..5).for_each(|_| baseline.record(20.0));
    assert_eq!(baseline.judge().status(), Degraded);
    (0..5).for_each(|n| baseline.record(usual(n)));
    assert_eq!(baseline.judge(), Finding::healthy(), "over");
}

#[test]
fn what_is_bad_does_not_become_normal_by_lasting_unless_it_is_told_to() {
    let baseline = baseline();
    (0..100).for_each(|_| baseline.record(10.0));
    (0..10_000).for_each(|_| baseline.record(30.0));
    assert_eq!(baseline.judge().status(), Degraded);
    assert!((baseline.stats().mean - 10.0).abs() < 0.01, "{:?}", baseline.stats());
    baseline.relearn();
    assert_eq!(baseline.judge(), Finding::healthy());
    (0..100).for_each(|_| baseline.record(30.0));
    assert_eq!(baseline.judge(), Finding::healthy(), "the new normal");
}

#[test]
fn a_baseline_has_no_verdict_before_it_knows_enough() {
    let baseline = baseline();
    (0..54).for_each(|_| baseline.record(1.0));
    // One more would be the fiftieth that is learned.
    assert_eq!(baseline.stats().limit, None);
    (0..5).for_each(|_| baseline.record(1000.0));
    // Those that were driven out of the window were ones: the fiftieth was learned, and from then on the window judged.
    assert_eq!(baseline.judge().status(), Degraded);
    let young = self::baseline();
    (0..20).for_each(|n| young.record(f64::from(n) * 1000.0));
    assert_eq!(young.judge(), Finding::healthy());
}

#[test]
fn what_hardly_varies_is_not_flagged_for_a_trifle() {
    let baseline = baseline();
    (0..100).for_each(|_| baseline.record(100.0));
    (0..5).for_each(|_| baseline.record(109.0));
    assert_eq!(baseline.judge(), Finding::healthy(), "less than a tenth more");
    (0..5).for_each(|_| baseline.record(112.0));
    assert_eq!(baseline.judge().status(), Degraded);
}

#[test]
fn what_is_mostly_zero_has_a_floor() {
    let share = |floor| Baseline::builder().window(5).samples(50).floor(floor).build().expect("valid");
    for (floor, expected) in [(0.0, Degraded), (0.05, Healthy), (0.03, Degraded)] {
        let share = share(floor);
        (0..100).for_each(|_| share.record(0.0));
        (0..5).for_each(|_| share.record(0.04));
        assert_eq!(share.judge().status(), expected, "{floor}");
    }
}

#[test]
fn a_throughput_is_bad_when_it_is_low() {
    let throughput = Baseline::builder().window(5).samples(50).lower_is_worse().build().expect("valid");
    (0..100).for_each(|_| throughput.record(1000.0));
    (0..5).for_each(|_| throughput.record(5000.0));
    assert_eq!(throughput.judge(), Finding::healthy());
    (0..500).for_each(|_| throughput.record(1000.0));
    (0..5).for_each(|_| throughput.record(100.0));
    assert_eq!(throughput.judge().status(), Degraded);
}

#[test]
fn a_baseline_ignores_what_is_no_number_and_refuses_senseless_settings() {
    let baseline = baseline();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        baseline.record(value);
    }
    assert_eq!((baseline.stats().ignored, baseline.stats().learned), (3, 0));
    let knob = |builder: cofferdam::health::BaselineBuilder| builder.build().expect_err("invalid").knob();
    let builder = Baseline::builder;
    assert_eq!(knob(builder().window(0)), "window");
    assert_eq!(knob(builder().samples(0)), "samples");
    assert_eq!((knob(builder().weight(0.0)), knob(builder().weight(1.5))), ("weight", "weight"));
    assert_eq!(
        (knob(builder().weight(f64::NAN)), knob(builder().deviations(-1.0))),
        ("weight", "deviations")
    );
    assert_eq!((knob(builder().margin(f64::INFINITY)), knob(builder().floor(-1.0))), ("margin", "floor"));
}

proptest! {
    /// Weighted equally, the running mean and deviation are those of all the values.
    #[test]
    fn a_baseline_of_few_is_their_plain_mean_and_deviation(values in prop::collection::vec(-1e3..1e3, 2..40)) {
        let baseline = Baseline::builder().window(1).samples(1000).weight(0.001).build().expect("valid");
        values.iter().for_each(|value| baseline.record(*value));
        // The window has one more.
        baseline.record(0.0);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let stats = baseline.stats();
        prop_assert_eq!(stats.learned, values.len() as u64);
        prop_assert!((stats.mean - mean).abs() < 1e-6, "{} {}", stats.mean, mean);
        prop_assert!((stats.deviation - variance.sqrt()).abs() < 1e-6, "{} {}", stats.deviation, variance.sqrt());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn resources_are_those_of_this_process() {
    let before = Resources::read().expect("linux");
    assert!(before.resident > 100 << 10 && before.threads >= 1 && before.descriptors >= 3, "{before:?}");
    let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/status").expect("a file")).collect();
    let after = Resources::read().expect("linux");
    // Other tests open and close some besides.
    assert!(after.descriptors >= before.descriptors.saturating_sub(20) + 50, "{before:?} {after:?}");
    assert!(after.descriptor_limit.is_none_or(|limit| after.descriptors <= limit));
    drop(files);
}

#[cfg(target_os = "linux")]
#[test]
fn limits_of_resources_degrade_close_to_them_and_fail_above() {
    let mut found = Resources::read().expect("linux");
    (found.resident, found.threads, found.descriptors) = (1000, 90, 10);
    (found.descriptor_limit, found.load) = (Some(100), 2.0);
    let judge = |limits: ResourceLimits| limits.judge(&found).status();
    let new = ResourceLimits::new;
    assert_eq!(judge(new()), Healthy);
    assert_eq!((judge(new().threads(100)), judge(new().threads(101))), (Degraded, Healthy));
    assert_eq!((judge(new().threads(90)), judge(new().threads(89))), (Degraded, Unhealthy));
    assert_eq!((judge(new().resident(999)), judge(new().resident(2000))), (Unhealthy, Healthy));
    assert_eq!((judge(new().load(1.9)), judge(new().load(4.0))), (Unhealthy, Healthy));
    assert_eq!((judge(new().descriptors(5)), judge(new().descriptor_share(0.05))), (Unhealthy, Unhealthy));
    assert_eq!(judge(new().descriptor_share(0.5)), Healthy);
    assert_eq!(judge(new().threads(100).load(1.0)), Unhealthy, "the worst counts");
    found.descriptor_limit = None;
    assert_eq!(
        ResourceLimits::new().descriptor_share(0.0).judge(&found).status(),
        Healthy,
        "no limit, no share"
    );
}
