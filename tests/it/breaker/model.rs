//! The breaker against a plain one, over random schedules of calls, results on time and late, jumps of time, and
//! interventions by hand, and changes of settings.

use super::{MS, Rig, rig};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{
    BreakerEvent, Builder, Guard, OnCancel, OnOverdue, Outcome, State, Trigger, Window,
};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
struct Settings {
    failures: Option<u32>,
    window: Option<Win>,
    rules: Rules,
    slow_call: Option<u32>,
    cancelled_slow: bool,
    recovery: u32,
    growth: u32,
    cap: u32,
    requests: u32,
    successes: u32,
    /// Percent, in place of the successes.
    rate_of_trials: Option<u32>,
    /// Percents.
    ramp: Vec<u32>,
    limit: Option<u32>,
    lease: Option<u32>,
    on_overdue: OnOverdue,
    cancel: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Win {
    Calls(u32),
    /// Milliseconds.
    Time {
        part: u32,
        parts: u32,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    minimum: u32,
    failures: Option<u32>,
    /// Percents.
    rate: Option<u32>,
    slow: Option<u32>,
}

impl Rules {
    fn any(&self) -> bool {
        self.failures.is_some() || self.rate.is_some() || self.slow.is_some()
    }
}

impl Settings {
    fn threshold(&self) -> u32 {
        self.failures.unwrap_or(if self.rules.any() { u32::MAX } else { 5 })
    }

    fn window(&self) -> Option<Win> {
        self.window.or(self.rules.any().then_some(Win::Calls(100)))
    }

    fn minimum(&self) -> u32 {
        match (self.rules.minimum, self.window()) {
            (0, Some(Win::Calls(calls))) => calls.min(10),
            (0, _) => 10,
            (minimum, _) => minimum,
        }
    }

    fn apply(&self, builder: Builder) -> Builder {
        let ms = |n: u32| n * MS;
        let share = |percent: u32| f64::from(percent) / 100.0;
        let ramp: Vec<f64> = self.ramp.iter().map(|percent| share(*percent)).collect();
        let mut builder = builder
            .recovery_time(ms(self.recovery))
            .recovery_growth(self.growth.into())
            .recovery_cap(ms(self.cap))
            .half_open_requests(self.requests)
            .success_threshold(self.successes)
            .half_open_ramp(&ramp)
            .half_open_limit(self.limit.map(ms))
            .trial_lease(self.lease.map(ms))
            .on_overdue(self.on_overdue)
            .count_cancelled_slow(self.cancelled_slow)
            .on_cancel(self.cancel.map_or(OnCancel::Neutral, |slow| OnCancel::FailureIfOlderThan(ms(slow))));
        if let Some(failures) = self.failures {
            builder = builder.failure_threshold(failures);
        }
        if let Some(window) = self.window {
            builder = builder.window(match window {
                Win::Calls(calls) => Window::calls(calls),
                Win::Time { part, parts } => Window::time_in_parts(ms(part * parts), parts),
            });
        }
        if self.rules.minimum > 0 {
            builder = builder.minimum_calls(self.rules.minimum);
        }
        if let Some(failures) = self.rules.failures {
            builder = builder.failures_in_window(failures);
        }
        if let Some(rate) = self.rules.rate {
            builder = builder.failure_rate(share(rate));
        }
        if let Some(slow) = self.slow_call {
            builder = builder.slow_call(ms(slow));
        }
        if let Some(rate) = self.rules.slow {
            builder = builder.slow_rate(share(rate));
        }
        if let Some(rate) = self.rate_of_trials {
            builder = builder.half_open_rate(share(rate));
        }
        builder
    }
}

fn window() -> impl Strategy<Value = Option<Win>> {
    prop_oneof![
        2 => Just(None),
        3 => (1..20_u32).prop_map(|calls| Some(Win::Calls(calls))),
        3 => (1..25_u32, 1..8_u32).prop_map(|(part, parts)| Some(Win::Time { part, parts })),
    ]
}

/// Rules that go with the window.
fn rules(window: Option<Win>) -> impl Strategy<Value = Rules> {
    let most = match window {
        Some(Win::Calls(calls)) => calls,
        _ => 12,
    };
    let percent = || prop::option::of(1..=100_u32);
    (0..=most.min(6), prop::option::of(1..=most), percent(), percent()).prop_map(
        |(minimum, failures, rate, slow)| {
            let minimum = if rate.is_some() || slow.is_some() { minimum } else { 0 };
            Rules { minimum, failures, rate, slow }
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let closed = window().prop_flat_map(|window| {
        let rules = prop_oneof![1 => Just(Rules::default()), 3 => rules(window)];
        (Just(window), rules, prop::option::of(1..4_u32), prop::option::of(1..20_u32), any::<bool>())
    });
    let first = (0..40_u32, 1..4_u32, 0..100_u32);
    let second = (1..5_u32, 0..5_u32, prop::option::of(1..40_u32), prop::option::of(1..40_u32));
    let third = (any::<bool>(), prop::option::of(0..20_u32));
    let fourth = (prop::option::weighted(0.3, 1..=100_u32), prop::collection::btree_set(1..=100_u32, 0..3));
    (closed, first, second, third, fourth).prop_map(|(closed, first, second, third, fourth)| {
        let (window, rules, failures, slow_call, cancelled_slow) = closed;
        let slow_call = if rules.slow.is_some() { slow_call.or(Some(7)) } else { slow_call };
        Settings {
            failures,
            window,
            rules,
            slow_call,
            cancelled_slow: cancelled_slow && slow_call.is_some(),
            recovery: first.0,
            growth: first.1,
            cap: first.0 + first.2,
            requests: second.0,
            successes: 1 + second.1 % second.0,
            rate_of_trials: fourth.0,
            ramp: fourth.1.into_iter().collect(),
            limit: second.2,
            lease: if second.2.is_none() { second.3.or(Some(15)) } else { second.3 },
            on_overdue: if third.0 { OnOverdue::Open } else { OnOverdue::Close },
            cancel: third.1,
        }
    })
}

#[derive(Clone, Debug)]
enum Op {
    Call,
    End(usize, Outcome),
    Drop(usize),
    Pass(u32),
    Poll,
    Reset,
    Trip,
    TripFor(u32),
    Force(State),
    Set(Box<Settings>),
}

fn op() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => (0..150_u64).prop_map(|ms| Outcome::RetryAfter(Duration::from_millis(ms))),
        1 => (0..90_u64).prop_map(|ms| Outcome::Trip(Duration::from_millis(ms))),
        1 => Just(Outcome::Ignore),
    ];
    let by_hand = prop_oneof![
        6 => Just(Op::Reset),
        6 => Just(Op::Trip),
        3 => (0..60_u32).prop_map(Op::TripFor),
        14 => settings().prop_map(|set| Op::Set(Box::new(set))),
        4 => Just(Op::Force(State::ForcedOpen)),
        4 => Just(Op::Force(State::ForcedClosed)),
        4 => Just(Op::Force(State::Disabled)),
        6 => Just(Op::Force(State::MetricsOnly)),
        1 => Just(Op::Force(State::ShutDown)),
    ];
    prop_oneof![
        20 => Just(Op::Call),
        20 => (any::<usize>(), outcome).prop_map(|(n, outcome)| Op::End(n, outcome)),
        4 => any::<usize>().prop_map(Op::Drop),
        12 => (0..30_u32).prop_map(Op::Pass),
        1 => (0..300_u32).prop_map(Op::Pass),
        2 => Just(Op::Poll),
        2 => by_hand,
    ]
}

/// One thread, one mutable struct, milliseconds.
#[derive(Clone)]
struct Plain {
    set: Settings,
    now: u32,
    era: u32,
    doing: Doing,
    opens: u32,
    calls: u32,
    changes: Vec<(State, State, Trigger, u32)>,
    crossings: u32,
    counts: Counts,
}

#[derive(Clone)]
enum Doing {
    Judging {
        failures: u32,
        dry: bool,
        log: Vec<Ended>,
        reached: [bool; 3],
        /// In metrics only, that the failures in a row are too many.
        told: bool,
    },
    Breaking {
        until: u32,
        /// If its end follows the settings: its beginning, the opens before it, and what the callee asked for.
        because: Option<(u32, u32, u32)>,
    },
    Trying {
        places: Vec<Trial>,
        successes: u32,
        failures: u32,
        slow: u32,
        due: Option<u32>,
        step: usize,
        credit: u32,
    },
    ByHand(State),
}

#[derive(Clone, Copy)]
struct Ended {
    at: u32,
    failed: bool,
    slow: bool,
}

/// A place: who has it, and whether a result has been taken for it.
#[derive(Clone)]
struct Trial {
    holder: Option<(u32, u32)>,
    judged: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    successes: u64,
    failures: u64,
    ignored: u64,
    cancelled: u64,
    rejected: u64,
    late: u64,
    unrecorded: u64,
    admitted: u64,
    slow: u64,
}

#[derive(Clone, Copy)]
struct Admitted {
    call: u32,
    era: u32,
    /// If that was asked for when it began, or of a trial.
    began: Option<u32>,
    on_trial: bool,
    place: usize,
}

impl Plain {
    fn raw_state(&self) -> State {
        match self.doing {
            Doing::Judging { dry: false, .. } => State::Closed,
            Doing::Judging { dry: true, .. } => State::MetricsOnly,
            Doing::Breaking { .. } => State::Open,
            Doing::Trying { .. } => State::HalfOpen,
            Doing::ByHand(state) => state,
        }
    }

    /// As the next call would find it.
    fn state(&self) -> State {
        let mut then = self.clone();
        while then.pass_time() {}
        then.raw_state()
    }

    fn become_(&mut self, doing: Doing, trigger: Trigger, at: u32) {
        let from = self.raw_state();
        self.era += 1;
        self.doing = doing;
        let to = self.raw_state();
        match to {
            State::Open => self.opens += 1,
            State::HalfOpen => {}
            _ => self.opens = 0,
        }
        if from != to {
            self.changes.push((from, to, trigger, at));
        }
    }

    /// How long a break is by the settings.
    fn length(&self, opens: u32, asked: u32) -> u32 {
        let grown = u64::from(self.set.recovery) * u64::from(self.set.growth).saturating_pow(opens);
        grown.max(asked.into()).min(self.set.cap.into()) as u32
    }

    fn open(&mut self, trigger: Trigger, at: u32, asked: u32) {
        let until = at + self.length(self.opens, asked);
        let because = Some((at, self.opens, asked));
        self.become_(Doing::Breaking { until, because }, trigger, at);
    }

    fn judging(dry: bool) -> Doing {
        Doing::Judging { failures: 0, dry, log: Vec::new(), reached: [false; 3], told: false }
    }

    fn closed() -> Doing {
        Self::judging(false)
    }

    fn trying(&self, step: usize) -> Doing {
        let credit = 100 - self.set.ramp.get(step).unwrap_or(&100);
        Doing::Trying { places: Vec::new(), successes: 0, failures: 0, slow: 0, due: None, step, credit }
    }

    /// Calls, failures, slow calls.
    fn held(&self) -> Option<[u64; 3]> {
        let Doing::Judging { log, .. } = &self.doing else { return None };
        let held: Vec<&Ended> = match self.set.window()? {
            Win::Calls(calls) => log.iter().rev().take(calls as usize).collect(),
            Win::Time { part, parts } => {
                log.iter().filter(|ended| ended.at / part + parts > self.now / part).collect()
            }
        };
        let count = |of: fn(&Ended) -> bool| held.iter().filter(|ended| of(ended)).count() as u64;
        Some([count(|_| true), count(|ended| ended.failed), count(|ended| ended.slow)])
    }

    fn rules_reached(&self) -> [bool; 3] {
        let Some([calls, failures, slow]) = self.held() else { return [false; 3] };
        let rules = self.set.rules;
        let enough = calls >= u64::from(self.set.minimum());
        let rate = |part: u64, percent: Option<u32>| {
            percent.is_some_and(|percent| enough && part * 100 >= u64::from(percent) * calls)
        };
        let many = rules.failures.is_some_and(|least| failures >= u64::from(least));
        [rate(failures, rules.rate), rate(slow, rules.slow), many]
    }

    fn pass_overdue(&mut self) -> bool {
        let Doing::Trying { places, due: Some(due), .. } = &self.doing else { return false };
        let due = *due;
        if self.now < due || places.iter().all(|place| place.holder.is_none()) {
            return false;
        }
        match self.set.on_overdue {
            OnOverdue::Close => self.become_(Self::closed(), Trigger::TrialsOverdue, due),
            _ => self.open(Trigger::TrialsOverdue, due, 0),
        }
        true
    }

    fn pass_time(&mut self) -> bool {
        if let Doing::Breaking { until, .. } = self.doing {
            if self.now >= until {
                self.become_(self.trying(0), Trigger::BreakOver, self.now);
                return true;
            }
        }
        self.pass_overdue()
    }

    /// Let through, or when to try again.
    fn call(&mut self) -> Result<Admitted, Option<u32>> {
        let timed = self.set.slow_call.is_some() || self.set.cancel.is_some();
        let when = timed.then_some(self.now);
        let mut began = Admitted { call: self.calls, era: 0, began: when, on_trial: false, place: 0 };
        if matches!(self.doing, Doing::Breaking { .. } | Doing::Trying { .. }) {
            while self.pass_time() {}
        }
        let (now, set) = (self.now, self.set.clone());
        let answer = match &mut self.doing {
            Doing::Judging { .. } | Doing::ByHand(State::ForcedClosed | State::Disabled) => Ok(()),
            Doing::ByHand(_) => Err(None),
            Doing::Breaking { until, .. } => Err(Some(*until - now)),
            Doing::Trying { places, due, step, credit, .. } => {
                let lease = places.iter().filter_map(|place| Some(place.holder?.1)).min();
                let next = due.unwrap_or(u32::MAX).min(lease.unwrap_or(u32::MAX));
                let taken = places.iter().filter(|place| place.holder.is_some() || place.judged).count();
                if taken as u32 >= set.requests && now < next {
                    self.counts.rejected += 1;
                    return Err((next != u32::MAX).then(|| next - now));
                }
                if let Some(percent) = set.ramp.get(*step) {
                    *credit += percent;
                    if *credit < 100 {
                        self.counts.rejected += 1;
                        return Err(None);
                    }
                    *credit -= 100;
                }
                let holder = Some((self.calls, set.lease.map_or(u32::MAX, |lease| now + lease)));
                let busy = places.iter().any(|place| place.holder.is_some());
                let free = places.iter().position(|place| place.holder.is_none() && !place.judged);
                let over = |place: &Trial| place.holder.is_some_and(|(_, end)| end <= now);
                let overdue = || places.iter().position(over);
                let place = free.or_else(|| {
                    if places.len() < set.requests as usize { Some(places.len()) } else { overdue() }
                });
                match place {
                    Some(place) => {
                        if !busy {
                            *due = set.limit.map(|limit| now + limit);
                        }
                        if place == places.len() {
                            places.push(Trial { holder: None, judged: false });
                        }
                        places[place].holder = holder;
                        (began.place, began.on_trial, began.began) = (place, true, Some(now));
                        Ok(())
                    }
                    None => Err((next != u32::MAX).then(|| next - now)),
                }
            }
        };
        match answer {
            Ok(()) => {
                self.calls += 1;
                self.counts.admitted += 1;
                began.era = self.era;
                Ok(began)
            }
            Err(after) => {
                self.counts.rejected += 1;
                Err(after)
            }
        }
    }

    /// `None`: dropped.
    fn end(&mut self, call: Admitted, mut outcome: Option<Outcome>) {
        if call.era == self.era {
            self.pass_overdue();
        }
        let present = call.era == self.era;
        let given_up = match &self.doing {
            // A trial that is out and has not lost its place.
            Doing::Trying { places, .. } if present => places
                .get(call.place)
                .and_then(|place| place.holder)
                .is_none_or(|(holder, _)| holder != call.call),
            // A trial of the past.
            _ => call.on_trial,
        };
        let set = self.set.clone();
        let took = call.began.filter(|_| !given_up).map_or(0, |began| self.now - began);
        if outcome.is_none() && set.cancel.is_some_and(|limit| took > limit) {
            outcome = Some(Outcome::Failure);
        }
        let slow = set.slow_call.is_some_and(|limit| took > limit)
            && match outcome {
                None => set.cancelled_slow,
                Some(outcome) => outcome != Outcome::Ignore,
            };
        let asked =
            outcome.and_then(|outcome| outcome.retry_after()).map_or(0, |after| after.as_millis() as u32);
        let failed = outcome.is_some_and(|outcome| outcome.is_failure());
        let succeeded = outcome == Some(Outcome::Success);
        let tripped = matches!(outcome, Some(Outcome::Trip(_)));
        if present && matches!(self.doing, Doing::ByHand(State::Disabled)) {
            self.counts.unrecorded += 1;
            return;
        }
        let judged = match &self.doing {
            Doing::Trying { places, .. } => places.get(call.place).is_some_and(|place| place.judged),
            _ => false,
        };
        match outcome {
            None => self.counts.cancelled += 1,
            Some(Outcome::Ignore) => self.counts.ignored += 1,
            _ if !present || judged => self.counts.late += 1,
            _ if failed => self.counts.failures += 1,
            _ => self.counts.successes += 1,
        }
        if !present || judged {
            return;
        }
        self.counts.slow += u64::from(slow);
        let now = self.now;
        match &mut self.doing {
            Doing::Judging { log, .. } if failed || succeeded || slow => {
                log.push(Ended { at: now, failed, slow });
                self.judge((failed, succeeded, tripped), asked);
            }
            Doing::Trying { places, successes, failures, slow: all_slow, step, .. } => {
                let place = &mut places[call.place];
                let slow = slow && set.rules.slow.is_some();
                if !(failed || succeeded || slow) {
                    if place.holder.is_some_and(|(holder, _)| holder == call.call) {
                        place.holder = None;
                    }
                    return;
                }
                *place = Trial { holder: None, judged: true };
                *failures += u32::from(failed);
                *successes += u32::from(!failed);
                *all_slow += u32::from(slow);
                let (failures, successes, slow, step) = (*failures, *successes, *all_slow, *step);
                let left = set.requests - failures - successes;
                let reaches = |part: u32, percent: u32| part * 100 >= percent * set.requests;
                let (opens, closes) = match set.rate_of_trials {
                    None => (failures > 0 || slow > 0, successes >= set.successes),
                    Some(percent) => {
                        let slow_reaches =
                            |slow| set.rules.slow.is_some_and(|percent| reaches(slow, percent));
                        let opens = reaches(failures, percent) || slow_reaches(slow);
                        (opens, !reaches(failures + left, percent) && !slow_reaches(slow + left))
                    }
                };
                if opens || tripped {
                    let trigger = match (failed, tripped) {
                        (_, true) => Trigger::Outcome,
                        (true, _) => Trigger::TrialFailed,
                        _ => Trigger::TrialSlow,
                    };
                    self.open(trigger, now, asked);
                } else if closes && step + 1 < set.ramp.len() {
                    self.era += 1;
                    self.doing = self.trying(step + 1);
                } else if closes {
                    self.become_(Self::closed(), Trigger::TrialsSucceeded, now);
                }
            }
            _ => {}
        }
    }

    /// What an outcome, which is in the log, does to a breaker that judges.
    fn judge(&mut self, (failed, succeeded, tripped): (bool, bool, bool), asked: u32) {
        let now_reached = self.rules_reached();
        let (threshold, now) = (self.set.threshold(), self.now);
        let Doing::Judging { failures, dry, reached, told, .. } = &mut self.doing else { return };
        let dry = *dry;
        let run = if failed {
            *failures + 1
        } else if succeeded {
            0
        } else {
            *failures
        };
        let crossed = now_reached.iter().zip(*reached).filter(|(now, before)| **now && !before).count();
        (*failures, *reached) = (run, now_reached);
        let in_a_row = failed && run >= threshold;
        if dry {
            // Once for as long as there are too many, also if other settings have made them so.
            let once = in_a_row && !*told;
            *told = if failed { in_a_row } else { *told && !succeeded };
            self.crossings += crossed as u32 + u32::from(tripped) + u32::from(once);
            return;
        }
        let triggers = [
            (now_reached[0], Trigger::FailureRate),
            (now_reached[1], Trigger::SlowRate),
            (now_reached[2], Trigger::FailuresInWindow),
            (tripped, Trigger::Outcome),
            (in_a_row, Trigger::ConsecutiveFailures),
        ];
        if let Some((_, trigger)) = triggers.into_iter().find(|(reached, _)| *reached) {
            self.open(trigger, now, asked);
        }
    }

    fn set(&mut self, set: Settings) {
        while self.pass_time() {}
        let reshaped = set.window() != self.set.window();
        self.set = set;
        match self.doing {
            Doing::Judging { dry, .. } if reshaped => {
                self.era += 1;
                self.doing = Self::judging(dry);
            }
            Doing::Breaking { ref mut until, because: Some((at, opens, asked)) } => {
                let grown = u64::from(self.set.recovery) * u64::from(self.set.growth).saturating_pow(opens);
                *until = at + grown.max(asked.into()).min(self.set.cap.into()) as u32;
            }
            Doing::Trying { .. } => {
                self.era += 1;
                self.doing = self.trying(0);
            }
            _ => {}
        }
    }

    fn trip_for(&mut self, length: u32) -> bool {
        while self.pass_time() {}
        let breaking = Doing::Breaking { until: self.now + length, because: None };
        match self.raw_state() {
            State::Open => self.doing = breaking,
            State::Closed | State::HalfOpen => self.become_(breaking, Trigger::Manual, self.now),
            _ => return false,
        }
        true
    }

    fn trip(&mut self) -> bool {
        while self.pass_time() {}
        match self.raw_state() {
            State::Open => true,
            State::Closed | State::HalfOpen => {
                self.open(Trigger::Manual, self.now, 0);
                true
            }
            _ => false,
        }
    }

    fn force(&mut self, to: State) -> bool {
        let from = self.raw_state();
        if from == State::ShutDown {
            return to == from;
        }
        let (doing, trigger) = match to {
            State::Closed => (Self::closed(), Trigger::Reset),
            State::MetricsOnly => (Self::judging(true), Trigger::Manual),
            State::ShutDown => (Doing::ByHand(to), Trigger::Shutdown),
            _ => (Doing::ByHand(to), Trigger::Manual),
        };
        if from != to || to == State::Closed {
            self.become_(doing, trigger, self.now);
        }
        true
    }
}

fn build(set: &Settings) -> Rig {
    rig(|builder| set.apply(builder))
}

fn step<'a>(
    rig: &'a Rig,
    plain: &mut Plain,
    running: &mut Vec<(Guard<&'a CircuitBreaker>, Admitted)>,
    op: Op,
) {
    let breaker = &rig.breaker;
    match op {
        Op::Call => match (breaker.try_acquire(), plain.call()) {
            (Ok(guard), Ok(call)) => running.push((guard, call)),
            (Err(open), Err(after)) => {
                assert_eq!(open.retry_after(), after.map(|after| after * MS));
                assert_eq!(open.state(), plain.raw_state());
            }
            (real, expected) => panic!("{real:?}, expected {:?}", expected.map(|_| ())),
        },
        Op::End(n, outcome) if !running.is_empty() => {
            let (guard, call) = running.swap_remove(n % running.len());
            guard.record(outcome);
            plain.end(call, Some(outcome));
        }
        Op::Drop(n) if !running.is_empty() => {
            let (guard, call) = running.swap_remove(n % running.len());
            drop(guard);
            plain.end(call, None);
        }
        Op::End(..) | Op::Drop(_) => {}
        Op::Pass(ms) => {
            rig.time.advance(ms * MS);
            plain.now += ms;
        }
        Op::Poll => {
            while plain.pass_time() {}
            assert_eq!(breaker.poll_transition(), plain.raw_state());
        }
        Op::Reset => assert_eq!(breaker.reset().is_ok(), plain.force(State::Closed)),
        Op::Trip => assert_eq!(breaker.trip().is_ok(), plain.trip()),
        Op::TripFor(length) => {
            assert_eq!(breaker.trip_for(length * MS).is_ok(), plain.trip_for(length));
        }
        Op::Set(set) => {
            breaker.set(set.apply(CircuitBreaker::builder())).unwrap();
            plain.set(*set);
        }
        Op::Force(to) => {
            let done = match to {
                State::ForcedOpen => breaker.force_open(),
                State::ForcedClosed => breaker.force_closed(),
                State::Disabled => breaker.disable(),
                State::MetricsOnly => breaker.metrics_only(),
                _ => {
                    drop(breaker.shutdown());
                    Ok(())
                }
            };
            assert_eq!(done.is_ok(), plain.force(to));
        }
    }
}

fn compare(rig: &Rig, plain: &Plain, start: std::time::Instant, running: usize) {
    assert_eq!(rig.breaker.state(), plain.state());
    let stats = rig.breaker.stats();
    let counts = Counts {
        successes: stats.successes,
        failures: stats.failures,
        ignored: stats.ignored,
        cancelled: stats.cancelled,
        rejected: stats.rejected,
        late: stats.late,
        unrecorded: stats.unrecorded,
        slow: stats.slow,
        admitted: stats.requests - stats.rejected,
    };
    assert_eq!(counts, plain.counts);
    assert_eq!((stats.running, stats.state_changes), (running as u64, plain.changes.len() as u64));
    assert_eq!(stats.consecutive_opens, plain.opens);
    if let Doing::Judging { failures, .. } = plain.doing {
        assert_eq!(stats.consecutive_failures, failures);
    }
    assert_eq!(stats.window.map(|held| [held.calls, held.failures, held.slow]), plain.held());
    let events = rig.events.lock().unwrap();
    let changes: Vec<_> = events
        .iter()
        .filter_map(|event| match *event {
            BreakerEvent::StateChanged { from, to, trigger, at, .. } => {
                Some((from, to, trigger, (at - start).as_millis() as u32))
            }
            _ => None,
        })
        .collect();
    assert_eq!(changes, plain.changes);
    let crossings = events.iter().filter(|event| matches!(event, BreakerEvent::ThresholdReached { .. }));
    assert_eq!(crossings.count(), plain.crossings as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 600 } else { 20_000 }))]

    #[test]
    fn does_what_a_plain_breaker_does(set in settings(), ops in prop::collection::vec(op(), 1..120)) {
        let rig = build(&set);
        let start = rig.time.clock().now();
        let mut plain = Plain {
            set,
            now: 0,
            era: 0,
            doing: Plain::closed(),
            opens: 0,
            calls: 0,
            changes: Vec::new(),
            crossings: 0,
            counts: Counts::default(),
        };
        let mut running = Vec::new();
        for op in ops {
            step(&rig, &mut plain, &mut running, op);
            compare(&rig, &plain, start, running.len());
        }
    }
}
