//! The breaker against a plain one, over random schedules of calls, results on time and late, jumps of time, and
//! interventions by hand.

use super::{MS, Rig, rig};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::resilience::breaker::{BreakerEvent, Guard, OnCancel, OnOverdue, Outcome, State, Trigger};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
struct Settings {
    failures: u32,
    recovery: u32,
    growth: u32,
    cap: u32,
    requests: u32,
    successes: u32,
    limit: Option<u32>,
    lease: Option<u32>,
    on_overdue: OnOverdue,
    slow: Option<u32>,
}

fn settings() -> impl Strategy<Value = Settings> {
    let first = (1..4_u32, 0..40_u32, 1..4_u32, 0..100_u32);
    let second = (1..4_u32, 0..4_u32, prop::option::of(1..40_u32), prop::option::of(1..40_u32));
    let third = (any::<bool>(), prop::option::of(0..20_u32));
    (first, second, third).prop_map(|(first, second, third)| Settings {
        failures: first.0,
        recovery: first.1,
        growth: first.2,
        cap: first.1 + first.3,
        requests: second.0,
        successes: 1 + second.1 % second.0,
        limit: second.2,
        lease: if second.2.is_none() { second.3.or(Some(15)) } else { second.3 },
        on_overdue: if third.0 { OnOverdue::Open } else { OnOverdue::Close },
        slow: third.1,
    })
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Call,
    End(usize, Outcome),
    Drop(usize),
    Pass(u32),
    Poll,
    Reset,
    Trip,
    Force(State),
}

fn op() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => (0..150_u64).prop_map(|ms| Outcome::RetryAfter(Duration::from_millis(ms))),
        1 => Just(Outcome::Ignore),
    ];
    let by_hand = prop_oneof![
        6 => Just(Op::Reset),
        6 => Just(Op::Trip),
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
    Judging { failures: u32, dry: bool },
    Breaking { until: u32 },
    Trying { places: Vec<Trial>, successes: u32, due: Option<u32> },
    ByHand(State),
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
}

#[derive(Clone, Copy)]
struct Admitted {
    call: u32,
    era: u32,
    began: u32,
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

    fn open(&mut self, trigger: Trigger, at: u32, asked: u32) {
        let grown = u64::from(self.set.recovery) * u64::from(self.set.growth).saturating_pow(self.opens);
        let length = grown.max(asked.into()).min(self.set.cap.into());
        self.become_(Doing::Breaking { until: at + length as u32 }, trigger, at);
    }

    fn closed() -> Doing {
        Doing::Judging { failures: 0, dry: false }
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
        if let Doing::Breaking { until } = self.doing {
            if self.now >= until {
                let trying = Doing::Trying { places: Vec::new(), successes: 0, due: None };
                self.become_(trying, Trigger::BreakOver, self.now);
                return true;
            }
        }
        self.pass_overdue()
    }

    /// Let through, or when to try again.
    fn call(&mut self) -> Result<Admitted, Option<u32>> {
        let mut began = Admitted { call: self.calls, era: 0, began: self.now, on_trial: false, place: 0 };
        if matches!(self.doing, Doing::Breaking { .. } | Doing::Trying { .. }) {
            while self.pass_time() {}
        }
        let (now, set) = (self.now, self.set.clone());
        let answer = match &mut self.doing {
            Doing::Judging { .. } | Doing::ByHand(State::ForcedClosed | State::Disabled) => Ok(()),
            Doing::ByHand(_) => Err(None),
            Doing::Breaking { until } => Err(Some(*until - now)),
            Doing::Trying { places, due, .. } => {
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
                        (began.place, began.on_trial) = (place, true);
                        Ok(())
                    }
                    None => {
                        let lease = places.iter().filter_map(|place| Some(place.holder?.1)).min();
                        let next = due.unwrap_or(u32::MAX).min(lease.unwrap_or(u32::MAX));
                        Err((next != u32::MAX).then(|| next - now))
                    }
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
        if outcome.is_none() && !given_up && self.set.slow.is_some_and(|slow| self.now - call.began > slow) {
            outcome = Some(Outcome::Failure);
        }
        let asked = match outcome {
            Some(Outcome::RetryAfter(after)) => after.as_millis() as u32,
            _ => 0,
        };
        let (failed, succeeded) = match outcome {
            Some(Outcome::Success) => (false, true),
            Some(Outcome::Failure | Outcome::RetryAfter(_)) => (true, false),
            _ => (false, false),
        };
        let evidence = failed || succeeded;
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
        let set = self.set.clone();
        match &mut self.doing {
            Doing::Judging { failures, dry } => {
                if succeeded {
                    *failures = 0;
                }
                if failed {
                    *failures += 1;
                    if *dry {
                        self.crossings += u32::from(*failures == set.failures);
                    } else if *failures >= set.failures {
                        self.open(Trigger::ConsecutiveFailures, self.now, asked);
                    }
                }
            }
            Doing::Trying { places, successes, .. } => {
                let place = &mut places[call.place];
                if !evidence {
                    if place.holder.is_some_and(|(holder, _)| holder == call.call) {
                        place.holder = None;
                    }
                } else if failed {
                    self.open(Trigger::TrialFailed, self.now, asked);
                } else {
                    *place = Trial { holder: None, judged: true };
                    *successes += 1;
                    if *successes >= set.successes {
                        self.become_(Self::closed(), Trigger::TrialsSucceeded, self.now);
                    }
                }
            }
            _ => {}
        }
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
            State::MetricsOnly => (Doing::Judging { failures: 0, dry: true }, Trigger::Manual),
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
    let ms = |n: u32| n * MS;
    rig(|builder| {
        builder
            .failure_threshold(set.failures)
            .recovery_time(ms(set.recovery))
            .recovery_growth(set.growth.into())
            .recovery_cap(ms(set.cap))
            .half_open_requests(set.requests)
            .success_threshold(set.successes)
            .half_open_limit(set.limit.map(ms))
            .trial_lease(set.lease.map(ms))
            .on_overdue(set.on_overdue)
            .on_cancel(set.slow.map_or(OnCancel::Neutral, |slow| OnCancel::FailureIfOlderThan(ms(slow))))
    })
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
        admitted: stats.requests - stats.rejected,
    };
    assert_eq!(counts, plain.counts);
    assert_eq!((stats.running, stats.state_changes), (running as u64, plain.changes.len() as u64));
    assert_eq!(stats.consecutive_opens, plain.opens);
    if let Doing::Judging { failures, .. } = plain.doing {
        assert_eq!(stats.consecutive_failures, failures);
    }
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
