//! Pauses, temporary limits and changes of settings in every mixture, against a bucket with a level and a plain queue.

use cofferdam::limit::{Acquire, Quota, Rate, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

/// Parts of a token: a rate of `r` a second brings `r` of them in a nanosecond. All that happens does at a whole millisecond
/// and all rates divide a million, so that nothing is ever rounded.
const TOKEN: u128 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// A rate per second, and a burst.
type Settings = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Granted,
    Never,
    TooLate,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    id: usize,
    n: u64,
    limit: u64,
}

struct Model {
    base: Settings,
    temporary: Vec<(Settings, u64)>,
    paused: Option<u64>,
    level: u128,
    last: u64,
    queue: VecDeque<Wait>,
    ended: Vec<(usize, u64, End)>,
}

impl Model {
    fn settings(&self) -> Settings {
        self.temporary.last().map_or(self.base, |temporary| temporary.0)
    }

    /// With nothing but the rate in between.
    fn pass(&mut self, to: u64) {
        let (rate, burst) = self.settings();
        let full = u128::from(burst) * TOKEN;
        while let Some(first) = self.queue.front().filter(|_| self.paused.is_none()).copied() {
            let need = u128::from(first.n) * TOKEN;
            let missing = need.saturating_sub(self.level);
            if missing > u128::from(to - self.last) * u128::from(rate) {
                break;
            }
            let at = self.last + missing.checked_div(u128::from(rate)).unwrap_or(0) as u64;
            self.level = self.level + missing - need;
            self.last = at;
            self.queue.pop_front();
            self.ended.push((first.id, at, End::Granted));
        }
        self.level = (self.level + u128::from(to - self.last) * u128::from(rate)).min(full);
        self.last = to;
    }

    fn run(&mut self, to: u64) {
        loop {
            let ends = self.temporary.last().map(|temporary| temporary.1);
            let resumes = self.paused.filter(|until| *until != u64::MAX);
            let Some(at) = ends.into_iter().chain(resumes).min().filter(|at| *at <= to) else { break };
            self.pass(at);
            if ends == Some(at) {
                self.temporary.pop();
                while self.temporary.last().is_some_and(|temporary| temporary.1 <= at) {
                    self.temporary.pop();
                }
            } else {
                self.paused = None;
            }
            self.changed();
        }
        self.pass(to);
    }

    /// When each in line, and one more behind, will have been served as things stand; those who cannot be are passed over.
    fn plan(&self, newcomer: Wait) -> Vec<(Wait, Result<u64, End>)> {
        let (rate, burst) = self.settings();
        let full = u128::from(burst) * TOKEN;
        let mut at = self.last;
        let mut level = self.level;
        if let Some(until) = self.paused {
            level = (level + u128::from(until - at) * u128::from(rate)).min(full);
            at = until;
        }
        self.queue
            .iter()
            .copied()
            .chain([newcomer])
            .map(|wait| {
                let need = u128::from(wait.n) * TOKEN;
                let missing = need.saturating_sub(level);
                let end = if wait.n > burst || (missing > 0 && rate == 0) {
                    Err(End::Never)
                } else {
                    let due = at.saturating_add((missing / u128::from(rate.max(1))) as u64);
                    if due > self.last && due > wait.limit {
                        Err(End::TooLate)
                    } else {
                        level = level + missing - need;
                        at = due;
                        Ok(due)
                    }
                };
                (wait, end)
            })
            .collect()
    }

    /// After a change of what is in force.
    fn changed(&mut self) {
        self.level = self.level.min(u128::from(self.settings().1) * TOKEN);
        let mut plan = self.plan(Wait { id: 0, n: 0, limit: u64::MAX });
        plan.pop();
        for (wait, end) in plan {
            if let Err(end) = end {
                self.queue.retain(|queued| queued.id != wait.id);
                self.ended.push((wait.id, self.last, end));
            }
        }
    }

    /// What one who comes now, and has until `limit`, is told: when, if not at once.
    fn ask(&self, n: u64, limit: u64) -> Result<u64, End> {
        self.plan(Wait { id: 0, n, limit }).pop().unwrap().1
    }
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Try(u64),
    Wait(u64),
    WaitAtMost(u64, u64),
    GiveUp(usize),
    Refund(u64),
    Drain(u64),
    Set(Settings),
    Temporarily(Settings, u64),
    Clear,
    PauseFor(u64),
    Pause,
    Resume,
}

fn settings() -> impl Strategy<Value = Settings> {
    let rates = prop_oneof![1 => Just(0u64), 8 => prop::sample::select(vec![1u64, 2, 4, 5, 10, 20, 100])];
    (rates, prop_oneof![1 => 0..2u64, 4 => 1..8u64])
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        7 => (0..3000u64).prop_map(Op::Advance),
        3 => (0..6u64).prop_map(Op::Try),
        6 => (1..6u64).prop_map(Op::Wait),
        4 => (1..6u64, 0..6000u64).prop_map(|(n, limit)| Op::WaitAtMost(n, limit)),
        3 => any::<usize>().prop_map(Op::GiveUp),
        1 => (0..6u64).prop_map(Op::Refund),
        1 => (0..6u64).prop_map(Op::Drain),
        1 => settings().prop_map(Op::Set),
        2 => (settings(), 1..5000u64).prop_map(|(settings, time)| Op::Temporarily(settings, time)),
        1 => Just(Op::Clear),
        2 => (0..5000u64).prop_map(Op::PauseFor),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
    ];
    prop::collection::vec(op, 1..60)
}

fn quota((rate, burst): Settings) -> Quota {
    if rate == 0 { Quota::zero(burst) } else { Quota::new(Rate::per_second(rate), burst) }
}

type Line<'a> = Vec<(usize, Polled<Acquire<'a>>)>;

/// Whoever has ended in the model has in the bucket, and nobody else.
fn compare(model: &mut Model, line: &mut Line<'_>) -> Result<(), TestCaseError> {
    for (id, at, end) in model.ended.drain(..) {
        let place = line.iter().position(|wait| wait.0 == id).unwrap();
        let (_, mut wait) = line.remove(place);
        let got = wait.poll();
        let as_said = match (end, &got) {
            (End::Granted, Some(Ok(()))) => true,
            (End::Never, Some(Err(error))) => error.is_never(),
            (End::TooLate, Some(Err(error))) => error.is_too_late(),
            _ => false,
        };
        prop_assert!(as_said, "{id} at {at}: {got:?}, and not {end:?}");
    }
    for (id, wait) in line {
        prop_assert_eq!(wait.wakes(), 0, "{} was woken", id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // S31, S34 to S36, S39, S40, MT9, RL12
    #[test]
    fn whatever_is_in_force_waits_are_those_of_the_reference(first in settings(), ops in ops()) {
        let time = ManualClock::new();
        let bucket = TokenBucket::builder(quota(first)).clock(time.clock()).build().unwrap();
        let start = time.clock().now();
        let level = u128::from(first.1) * TOKEN;
        let mut model = Model {
            base: first, temporary: Vec::new(), paused: None, level, last: 0, queue: VecDeque::new(), ended: Vec::new(),
        };
        let mut line: Line<'_> = Vec::new();
        for (id, op) in ops.into_iter().enumerate() {
            let now = model.last;
            let after = |ms: u64| now + ms * MS;
            match op {
                Op::Advance(ms) => {
                    let to = after(ms);
                    model.run(to);
                    let mut ended: Vec<_> = std::mem::take(&mut model.ended);
                    ended.reverse();
                    while let Some(first) = ended.pop() {
                        // Those of one instant together.
                        let at = first.1;
                        model.ended.push(first);
                        while let Some(next) = ended.pop_if(|next| next.1 == at) {
                            model.ended.push(next);
                        }
                        time.advance_to(start + Duration::from_nanos(at));
                        compare(&mut model, &mut line)?;
                    }
                    time.advance_to(start + Duration::from_nanos(to));
                }
                Op::Try(n) => {
                    let got = bucket.try_acquire_many(n).map_err(|denied| {
                        (denied.is_never(), denied.retry_after().map(|after| after.as_nanos() as u64))
                    });
                    let want = if n == 0 { Ok(now) } else { model.ask(n, u64::MAX) };
                    match want {
                        Ok(due) if due == now && (n == 0 || model.paused.is_none()) => {
                            prop_assert_eq!(got, Ok(()), "{} at {}", n, now);
                            model.level -= u128::from(n) * TOKEN;
                        }
                        Ok(u64::MAX) => prop_assert_eq!(got, Err((false, None))),
                        Ok(due) => prop_assert_eq!(got, Err((false, Some(due - now))), "{} at {}", n, now),
                        Err(_) => prop_assert_eq!(got, Err((true, None)), "{} at {}", n, now),
                    }
                }
                Op::Wait(_) | Op::WaitAtMost(..) => {
                    let (n, limit) = match op {
                        Op::WaitAtMost(n, limit) => (n, after(limit)),
                        Op::Wait(n) => (n, u64::MAX),
                        _ => unreachable!(),
                    };
                    let mut wait = Polled::new(match op {
                        Op::WaitAtMost(n, limit) => bucket.acquire_many_timeout(n, Duration::from_millis(limit)),
                        _ => bucket.acquire_many(n),
                    });
                    match (wait.poll(), model.ask(n, limit)) {
                        (Some(Ok(())), Ok(due)) => {
                            prop_assert!(due == now && model.paused.is_none());
                            model.level -= u128::from(n) * TOKEN;
                        }
                        (None, Ok(due)) => {
                            prop_assert!(due > now || model.paused.is_some());
                            model.queue.push_back(Wait { id, n, limit });
                            line.push((id, wait));
                        }
                        (Some(Err(error)), Err(end)) => {
                            prop_assert_eq!(error.is_never(), end == End::Never);
                        }
                        (got, want) => prop_assert!(false, "{n} until {limit} at {now}: {got:?}, and not {want:?}"),
                    }
                }
                Op::GiveUp(which) => {
                    if !line.is_empty() {
                        let (id, _) = line.remove(which % line.len());
                        model.queue.retain(|wait| wait.id != id);
                    }
                }
                Op::Refund(n) => {
                    bucket.refund(n);
                    let full = u128::from(model.settings().1) * TOKEN;
                    model.level = (model.level + u128::from(n) * TOKEN).min(full);
                }
                Op::Drain(n) => {
                    if line.is_empty() {
                        bucket.drain_to(n);
                        model.level = model.level.min(u128::from(n) * TOKEN);
                    }
                }
                Op::Set(settings) => {
                    bucket.set_quota(quota(settings));
                    model.base = settings;
                    model.changed();
                }
                Op::Temporarily(settings, ms) => {
                    bucket.set_temporarily(quota(settings), Duration::from_millis(ms));
                    model.temporary.push((settings, after(ms)));
                    model.changed();
                }
                Op::Clear => {
                    bucket.clear_temporary();
                    model.temporary.clear();
                    model.changed();
                }
                Op::PauseFor(ms) => {
                    bucket.pause_for(Duration::from_millis(ms));
                    if ms > 0 {
                        model.paused = model.paused.max(Some(after(ms)));
                    }
                    model.changed();
                }
                Op::Pause => {
                    bucket.pause();
                    model.paused = Some(u64::MAX);
                    model.changed();
                }
                Op::Resume => {
                    bucket.resume();
                    model.paused = None;
                    model.changed();
                }
            }
            model.run(now.max(model.last));
            compare(&mut model, &mut line)?;
            let free = model.queue.is_empty() && model.paused.is_none();
            let there = if free { model.level / TOKEN } else { 0 };
            prop_assert_eq!(u128::from(bucket.available()), there);
            let sleeps = model.paused.is_some_and(|until| until == u64::MAX) && model.temporary.is_empty();
            prop_assert_eq!(time.armed(), usize::from(!line.is_empty() && !sleeps));
            prop_assert_eq!(bucket.stats().waiting, line.len());
        }
    }
}
