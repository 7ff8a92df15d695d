//! Sets whose members change under those who wait, against a reference that tries the first in line at every tick.

use super::{ms, set};
use cofferdam::limit::{Acquire, Joint, Quota, Rate};
use cofferdam::testkit::Polled;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Ticks of a millisecond in which a token comes in, so that none comes between two.
const TOKEN: u64 = 4;

fn quota(burst: u64) -> Quota {
    Quota::new(Rate::per(1, ms(TOKEN)).unwrap(), burst)
}

#[derive(Clone)]
struct Member {
    base: u64,
    temporary: Vec<(u64, u64)>,
    paused: Option<u64>,
    level: u64,
}

impl Member {
    fn burst(&self) -> u64 {
        self.temporary.last().map_or(self.base, |temporary| temporary.0)
    }

    fn clamp(&mut self) {
        self.level = self.level.min(self.burst() * TOKEN);
    }

    fn tick(&mut self, now: u64) {
        self.level += 1;
        self.clamp();
        while self.temporary.last().is_some_and(|temporary| temporary.1 <= now) {
            self.temporary.pop();
        }
        self.clamp();
        self.paused = self.paused.filter(|until| *until > now);
    }

    fn has(&self, n: u64) -> bool {
        self.paused.is_none() && self.level >= n * TOKEN
    }
}

#[derive(Clone, Copy)]
struct Wait {
    id: usize,
    n: u64,
    limit: u64,
}

#[derive(Clone)]
struct Model {
    members: Vec<Member>,
    paused: Option<u64>,
    queue: VecDeque<Wait>,
    now: u64,
    /// Whether they got their tokens.
    ended: Vec<(usize, bool)>,
}

impl Model {
    fn has(&self, n: u64) -> bool {
        self.members.iter().all(|member| member.has(n))
    }

    fn serve(&mut self) {
        let now = self.now;
        if let Some(until) = self.paused {
            let late: Vec<_> =
                self.queue.iter().filter(|wait| wait.limit < until).map(|wait| wait.id).collect();
            self.queue.retain(|wait| wait.limit >= until);
            self.ended.extend(late.into_iter().map(|id| (id, false)));
            return;
        }
        loop {
            while let Some(first) = self.queue.front().copied() {
                let never = self.members.iter().any(|member| first.n > member.burst());
                if !never && !self.has(first.n) {
                    break;
                }
                self.queue.pop_front();
                self.ended.push((first.id, !never));
                for member in self.members.iter_mut().filter(|_| !never) {
                    member.level -= first.n * TOKEN;
                }
            }
            // The first alone: the one behind, whose time may be over too, is first then, and is tried before that.
            if self.queue.front().is_some_and(|first| first.limit <= now) {
                self.ended.extend(self.queue.pop_front().map(|first| (first.id, false)));
                continue;
            }
            let late: Vec<_> =
                self.queue.iter().filter(|wait| wait.limit <= now).map(|wait| wait.id).collect();
            self.queue.retain(|wait| wait.limit > now);
            self.ended.extend(late.into_iter().map(|id| (id, false)));
            return;
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        for member in &mut self.members {
            member.tick(self.now);
        }
        self.paused = self.paused.filter(|until| *until > self.now);
        self.serve();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Try(u64),
    Wait(u64, Option<u64>),
    GiveUp(usize),
    Refund(u64),
    Pause(Option<u64>),
    Resume,
    Member(usize, Change),
}

#[derive(Clone, Debug)]
enum Change {
    Try(u64),
    Refund(u64),
    Drain(u64),
    Pause(Option<u64>),
    Resume,
    Burst(u64),
    Temporarily(u64, u64),
    Clear,
}

/// Nobody wants more than can be had at once: who does, and did not when he came, is told when he is first and knocks.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let change = prop_oneof![
        4 => (1..6u64).prop_map(Change::Try),
        1 => (1..4u64).prop_map(Change::Refund),
        2 => (0..4u64).prop_map(Change::Drain),
        2 => prop::option::weighted(0.7, 0..40u64).prop_map(Change::Pause),
        2 => Just(Change::Resume),
        1 => (4..8u64).prop_map(Change::Burst),
        2 => (4..8u64, 1..40u64).prop_map(|(burst, time)| Change::Temporarily(burst, time)),
        1 => Just(Change::Clear),
    ];
    let op = prop_oneof![
        6 => (0..30u64).prop_map(Op::Advance),
        1 => (1..4u64).prop_map(Op::Try),
        6 => (1..5u64, prop::option::of(0..60u64)).prop_map(|(n, limit)| Op::Wait(n, limit)),
        2 => any::<usize>().prop_map(Op::GiveUp),
        1 => (1..3u64).prop_map(Op::Refund),
        1 => prop::option::weighted(0.7, 0..40u64).prop_map(Op::Pause),
        1 => Just(Op::Resume),
        6 => (0..2usize, change).prop_map(|(member, change)| Op::Member(member, change)),
    ];
    prop::collection::vec(op, 1..60)
}

type Line<'a> = Vec<(usize, Polled<Acquire<'a, Joint>>)>;

fn compare(model: &mut Model, line: &mut Line<'_>) -> Result<(), TestCaseError> {
    for (id, granted) in model.ended.drain(..) {
        let place = line.iter().position(|wait| wait.0 == id).unwrap();
        let got = line.remove(place).1.poll();
        prop_assert_eq!(got.as_ref().map(Result::is_ok), Some(granted), "{} at {}: {:?}", id, model.now, got);
    }
    for (id, wait) in line {
        prop_assert_eq!(wait.wakes(), 0, "{} was woken at {}", id, model.now);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // S34 to S36, S43, MT9, RL12
    #[test]
    fn whoever_waits_is_served_at_the_first_instant_at_which_all_agree(bursts in [4..8u64, 4..8u64], ops in ops()) {
        let (time, all, buckets) = set(bursts.map(quota));
        let members = bursts.map(|base| Member { base, temporary: Vec::new(), paused: None, level: base * TOKEN });
        let mut model = Model {
            members: members.into(), paused: None, queue: VecDeque::new(), now: 0, ended: Vec::new(),
        };
        let mut line: Line<'_> = Vec::new();
        for (id, op) in ops.into_iter().enumerate() {
            let now = model.now;
            let pause = |paused: Option<u64>, time: Option<u64>| match time {
                Some(0) => paused,
                Some(time) => paused.max(Some(now + time)),
                None => Some(u64::MAX),
            };
            match op {
                Op::Advance(ticks) => for _ in 0..ticks {
                    model.tick();
                    time.advance(ms(1));
                    compare(&mut model, &mut line)?;
                },
                Op::Try(n) => {
                    let there = model.paused.is_none() && model.queue.is_empty() && model.has(n);
                    prop_assert_eq!(all.try_acquire_many(n).is_ok(), there);
                    for member in model.members.iter_mut().filter(|_| there) {
                        member.level -= n * TOKEN;
                    }
                }
                Op::Wait(n, limit) => {
                    let last = limit.map_or(u64::MAX, |limit| now + limit);
                    let mut wait = Polled::new(match limit {
                        None => all.acquire_many(n),
                        Some(limit) => all.acquire_many_timeout(n, ms(limit)),
                    });
                    match wait.poll() {
                        Some(Ok(())) => {
                            prop_assert!(model.paused.is_none() && model.queue.is_empty() && model.has(n));
                            for member in &mut model.members {
                                member.level -= n * TOKEN;
                            }
                        }
                        Some(Err(error)) if error.is_never() => {
                            prop_assert!(model.members.iter().any(|member| n > member.burst()));
                        }
                        Some(Err(_)) => {
                            // With nobody else about, it would not have been served in time.
                            let mut alone = model.clone();
                            alone.queue.push_back(Wait { id, n, limit: last });
                            alone.serve();
                            while alone.now < last.min(now + 100) {
                                alone.tick();
                            }
                            prop_assert!(!alone.ended.contains(&(id, true)));
                        }
                        None => {
                            model.queue.push_back(Wait { id, n, limit: last });
                            line.push((id, wait));
                        }
                    }
                }
                Op::GiveUp(which) => if !line.is_empty() {
                    let (id, _) = line.remove(which % line.len());
                    model.queue.retain(|wait| wait.id != id);
                },
                Op::Refund(n) => {
                    all.refund(n);
                    // One after the other, and whom the first lets through does not wait for the second.
                    for at in 0..2 {
                        model.members[at].level += n * TOKEN;
                        model.members[at].clamp();
                        model.serve();
                    }
                }
                Op::Pause(time) => {
                    match time {
                        Some(time) => all.pause_for(ms(time)),
                        None => all.pause(),
                    }
                    model.paused = pause(model.paused, time);
                }
                Op::Resume => {
                    all.resume();
                    model.paused = None;
                }
                Op::Member(at, change) => {
                    let (bucket, member) = (&buckets[at], &mut model.members[at]);
                    match change {
                        Change::Try(n) => {
                            let there = member.has(n);
                            prop_assert_eq!(bucket.try_acquire_many(n).is_ok(), there);
                            member.level -= if there { n * TOKEN } else { 0 };
                        }
                        Change::Refund(n) => {
                            bucket.refund(n);
                            member.level += n * TOKEN;
                        }
                        Change::Drain(n) => {
                            bucket.drain_to(n);
                            member.level = member.level.min(n * TOKEN);
                        }
                        Change::Pause(time) => {
                            match time {
                                Some(time) => bucket.pause_for(ms(time)),
                                None => bucket.pause(),
                            }
                            member.paused = pause(member.paused, time);
                        }
                        Change::Resume => {
                            bucket.resume();
                            member.paused = None;
                        }
                        Change::Burst(burst) => {
                            bucket.set_burst(burst);
                            member.base = burst;
                        }
                        Change::Temporarily(burst, time) => {
                            bucket.set_temporarily(quota(burst), ms(time));
                            member.temporary.push((burst, now + time));
                        }
                        Change::Clear => {
                            bucket.clear_temporary();
                            member.temporary.clear();
                        }
                    }
                    member.clamp();
                }
            }
            model.serve();
            compare(&mut model, &mut line)?;
            prop_assert_eq!(all.stats().waiting, line.len());
            for (bucket, member) in buckets.iter().zip(&model.members) {
                let there = if member.paused.is_some() { 0 } else { member.level / TOKEN };
                prop_assert_eq!(bucket.available(), there);
            }
        }
    }
}
