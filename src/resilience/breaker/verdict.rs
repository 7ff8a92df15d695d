//! When the trials of a half-open breaker have given a verdict.

use super::rules::least;
use super::word::Trials;

/// What the trials of a half-open phase, or of one step of it, must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// How many trials.
    pub(super) trials: u32,
    /// It opens with so many failures, or so many slow trials.
    failures: u32,
    slow: u32,
    /// So many successes close it; without, it closes when the trials that are left cannot open it any more.
    successes: Option<u32>,
}

/// What the trials have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Close,
    Wait,
}

impl Rule {
    /// So many successes close it, one failure opens it; and one slow trial, if slow calls open the breaker at all.
    pub(super) fn successes(trials: u32, successes: u32, slow: bool) -> Self {
        Self { trials, failures: 1, slow: if slow { 1 } else { u32::MAX }, successes: Some(successes) }
    }

    /// This share of failures, or that share of slow trials, opens it.
    pub(super) fn rate(trials: u32, failures: u32, slow: Option<u32>) -> Self {
        let slow = slow.map_or(u32::MAX, |slow| least(slow, trials));
        Self { trials, failures: least(failures, trials), slow, successes: None }
    }

    /// As early as it is certain.
    pub(super) fn verdict(self, trials: Trials, slow: u32) -> Verdict {
        let failures = trials.judged.saturating_sub(trials.successes);
        if failures >= self.failures || slow >= self.slow {
            return Verdict::Open;
        }
        let left = self.trials.saturating_sub(trials.judged);
        let closes = match self.successes {
            Some(successes) => trials.successes >= successes,
            None => failures + left < self.failures && slow.saturating_add(left) < self.slow,
        };
        if closes { Verdict::Close } else { Verdict::Wait }
    }
}

/// Lets through a share of those who come: evenly, beginning with the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    step: usize,
    credit: u64,
}

/// A call in thousand-millionths.
const CALL: u64 = 1_000_000_000;

impl Ramp {
    /// Before the first of `shares`.
    pub(super) fn begin(shares: &[u32]) -> Self {
        Self::at(shares, 0)
    }

    fn at(shares: &[u32], step: usize) -> Self {
        let share = shares.get(step).map_or(CALL, |share| u64::from(*share));
        Self { step, credit: CALL - share.min(CALL) }
    }

    /// The step after this one, if there is one.
    pub(super) fn next(self, shares: &[u32]) -> Option<Self> {
        (self.step + 1 < shares.len()).then(|| Self::at(shares, self.step + 1))
    }

    pub(super) fn step(self) -> usize {
        self.step
    }

    /// Whether this call is among those that may be let through.
    pub(super) fn draw(&mut self, shares: &[u32]) -> bool {
        let Some(share) = shares.get(self.step) else { return true };
        self.credit += u64::from(*share);
        let drawn = self.credit >= CALL;
        if drawn {
            self.credit -= CALL;
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::share;
    use super::*;

    fn after(rule: Rule, outcomes: &str) -> Verdict {
        let mut trials = Trials { out: 0, judged: 0, successes: 0 };
        let mut slow = 0;
        for outcome in outcomes.chars() {
            assert_eq!(rule.verdict(trials, slow), Verdict::Wait, "{outcomes}");
            trials.judged += 1;
            trials.successes += u32::from(outcome != 'F');
            slow += u32::from(outcome == 'L');
        }
        rule.verdict(trials, slow)
    }

    /// S11
    #[test]
    fn the_verdict_is_given_as_early_as_it_is_certain_and_at_the_last_trial_at_the_latest() {
        let half = Rule::rate(4, share(0.5), None);
        for (outcomes, verdict) in [
            ("FF", Verdict::Open),
            ("SSS", Verdict::Close),
            ("SFF", Verdict::Open),
            ("FSSS", Verdict::Close),
            ("SSF", Verdict::Wait),
            ("SSFF", Verdict::Open),
        ] {
            assert_eq!(after(half, outcomes), verdict, "{outcomes}");
        }
        for trials in 1..20 {
            for percent in 1..=100 {
                let rule = Rule::rate(trials, share(f64::from(percent) / 100.0), Some(share(0.3)));
                for failures in 0..=trials {
                    let judged = Trials { out: 0, judged: trials, successes: trials - failures };
                    let reached = failures * 100 >= percent * trials;
                    let expected = if reached { Verdict::Open } else { Verdict::Close };
                    assert_eq!(rule.verdict(judged, 0), expected);
                }
            }
        }
        let slow = Rule::rate(10, share(1.0), Some(share(0.3)));
        assert_eq!(after(slow, "LLL"), Verdict::Open);
        assert_eq!(after(slow, "LLSSSSSSSS"), Verdict::Close);
        assert_eq!(after(Rule::successes(3, 2, true), "SL"), Verdict::Open);
        assert_eq!(after(Rule::successes(3, 2, false), "SL"), Verdict::Close);
    }

    #[test]
    fn a_ramp_lets_its_share_through_beginning_with_the_first() {
        let shares = [share(0.1), share(0.25), share(0.3), share(1.0)];
        let mut ramp = Ramp::begin(&shares);
        for (step, percent) in [10, 25, 30, 100].into_iter().enumerate() {
            assert_eq!(ramp.step(), step);
            let drawn: Vec<bool> = (0..1000).map(|_| ramp.draw(&shares)).collect();
            assert!(drawn[0]);
            assert_eq!(drawn.iter().filter(|drawn| **drawn).count(), percent * 10);
            ramp = ramp.next(&shares).unwrap_or(ramp);
        }
        assert!(ramp.next(&shares).is_none());
        assert!(Ramp::begin(&[]).draw(&[]), "no ramp: everybody");
    }
}
