//! Against a reference: a bucket with a level, a queue and big integers, that knows nothing of arrival times.

use super::with_initial;
use cofferdam::limit::{Acquire, Quota, Rate, Reservation, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Tokens in `1 / period` parts: a nanosecond brings `count` parts, a token is `period` parts, in lowest terms.
struct Model {
    count: u128,
    period: u128,
    burst: u64,
    level: u128,
    last: u64,
    /// Who waits: number and tokens.
    queue: VecDeque<(usize, u64)>,
}

fn lowest(rate: Rate) -> (u128, u128) {
    let (mut a, mut b) = (u128::from(rate.count()), rate.period().as_nanos());
    let (count, period) = (a, b);
    while a != 0 {
        (a, b) = (b % a, a);
    }
    (count / b, period / b)
}

impl Model {
    fn new(quota: Quota, level: u64) -> Self {
        let (count, period) = lowest(quota.rate());
        let level = u128::from(level) * period;
        Self { count, period, burst: quota.burst_size(), level, last: 0, queue: VecDeque::new() }
    }

    /// Up to `now`, everyone served at his instant, which may be within a nanosecond; who, and from which one on.
    fn run(&mut self, now: u64) -> Vec<(usize, u64)> {
        let mut served = Vec::new();
        let (since, parts) = (self.last, u128::from(now - self.last) * self.count);
        let mut left = parts;
        while let Some(&(id, n)) = self.queue.front() {
            let need = u128::from(n) * self.period;
            let wait = need.saturating_sub(self.level);
            if wait > left {
                break;
            }
            left -= wait;
            self.level = self.level + wait - need;
            self.queue.pop_front();
            let spent = parts - left;
            served.push((id, since + spent.div_ceil(self.count.max(1)) as u64));
        }
        self.level = (self.level + left).min(u128::from(self.burst) * self.period);
        self.last = now;
        served
    }

    /// Parts that are missing for `n` tokens behind the queue.
    fn missing(&self, n: u64) -> u128 {
        let queued: u128 = self.queue.iter().map(|&(_, n)| u128::from(n)).sum();
        ((queued + u128::from(n)) * self.period).saturating_sub(self.level)
    }

    /// As the bucket's answer: the delay, `None` for never.
    fn try_take(&mut self, n: u64) -> Result<(), Option<u128>> {
        if n == 0 {
            return Ok(());
        }
        let missing = self.missing(n);
        if n <= self.burst && missing == 0 {
            self.level -= u128::from(n) * self.period;
            return Ok(());
        }
        Err((n <= self.burst && self.count > 0).then(|| missing.div_ceil(self.count)))
    }

    fn refund(&mut self, n: u64) {
        let full = u128::from(self.burst) * self.period;
        self.level = (self.level + u128::from(n) * self.period).min(full);
    }

    fn drain_to(&mut self, n: u64) {
        if self.queue.is_empty() {
            self.level = self.level.min(u128::from(n) * self.period);
        }
    }

    fn set(&mut self, quota: Quota) {
        let (count, mut period) = lowest(quota.rate());
        if count == 0 {
            // A pause keeps fractions of a token.
            period = self.period;
        }
        self.level = scaled(self.level, period, self.period).min(u128::from(quota.burst_size()) * period);
        (self.count, self.period, self.burst) = (count, period, quota.burst_size());
    }
}

/// `level * to / from`, whole and part separately so that nothing overflows.
fn scaled(level: u128, to: u128, from: u128) -> u128 {
    level / from * to + level % from * to / from
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Try(u64),
    Wait(u64),
    /// Waits, for so many tenths of a token at most.
    WaitAtMost(u64, u64),
    GiveUp(usize),
    Reserve(u64),
    Keep(usize),
    Cancel(usize),
    Refund(u64),
    DrainTo(u64),
    Set(Quota),
    Pause(u64),
    Resume,
}

/// In quarters of the time of a token, or of a nanosecond where that is shorter.
fn step(rate: Rate, quarters: u64) -> u64 {
    let (count, period) = lowest(rate);
    if count == 0 { quarters } else { (period * u128::from(quarters)).div_ceil(4 * count) as u64 }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let counts = prop_oneof![
        1..12u64,
        Just(1_000_000_007),
        Just(777_777),
        1..u64::from(u32::MAX),
        any::<u64>().prop_map(|n| n | 1)
    ];
    let periods = prop_oneof![
        Just(1u64),
        Just(1_000_000_000),
        Just(7_000_000),
        Just(1_000_000_009),
        Just(86_400_000_000_000),
        // Five years.
        Just(157_680_000_000_000_000),
        1..u64::from(u32::MAX),
    ];
    let bursts = prop_oneof![4 => 1..9u64, 1 => Just(777_777), 1 => 0..u64::from(u32::MAX)];
    (counts, periods, bursts).prop_map(|(count, period, burst)| {
        Quota::new(Rate::per(count, Duration::from_nanos(period)).unwrap(), burst)
    })
}

fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..6u64, 1 => Just(777_777), 1 => any::<u64>()]
}

/// `fixed`: also reservations.
fn ops(fixed: bool) -> impl Strategy<Value = Vec<Op>> {
    let waits = prop_oneof![
        6 => prop_oneof![6 => 0..12u64, 1 => 0..4000u64].prop_map(Op::Advance),
        4 => amounts().prop_map(Op::Try),
        4 => (0..5u64).prop_map(Op::Wait),
        2 => (0..5u64, 0..80u64).prop_map(|(n, tenths)| Op::WaitAtMost(n, tenths)),
        3 => any::<usize>().prop_map(Op::GiveUp),
        1 => amounts().prop_map(Op::Refund),
        1 => (0..6u64).prop_map(Op::DrainTo),
        1 => prop_oneof![4 => quotas(), 1 => (0..9u64).prop_map(Quota::zero)].prop_map(Op::Set),
    ];
    let all = prop_oneof![
        6 => (0..12u64).prop_map(Op::Advance),
        3 => (0..6u64).prop_map(Op::Try),
        3 => (1..6u64).prop_map(Op::Wait),
        2 => any::<usize>().prop_map(Op::GiveUp),
        4 => (1..6u64).prop_map(Op::Reserve),
        2 => any::<usize>().prop_map(Op::Keep),
        4 => any::<usize>().prop_map(Op::Cancel),
        1 => (0..6u64).prop_map(Op::Refund),
        1 => (0..6u64).prop_map(Op::DrainTo),
        1 => (0..12u64).prop_map(Op::Pause),
        1 => Just(Op::Resume),
    ];
    if fixed {
        prop::collection::vec(all, 1..80).boxed()
    } else {
        prop::collection::vec(waits, 1..60).boxed()
    }
}

struct World<'a> {
    time: ManualClock,
    bucket: &'a TokenBucket,
    start: Instant,
    waiters: Vec<(usize, u64, u64, Polled<Acquire<'a>>)>,
}

impl World<'_> {
    fn now(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // S31 to S36, S39, S40
    #[test]
    fn decisions_and_waits_are_those_of_the_reference(quota in quotas(), initial in 0..9u64, ops in ops(false)) {
        let initial = initial.min(quota.burst_size());
        let (time, bucket) = with_initial(quota, initial);
        let mut model = Model::new(quota, initial);
        let start = time.clock().now();
        let mut world = World { time, bucket: &bucket, start, waiters: Vec::new() };
        let mut quota = quota;
        let mut next = 0;
        for op in ops {
            let now = world.now();
            match op {
                Op::Advance(quarters) => {
                    let by = step(quota.rate(), quarters);
                    // Stay within the century that the reference's own numbers are good for.
                    if u128::from(now) + u128::from(by) > 3_000_000_000_000_000_000 {
                        continue;
                    }
                    let mut served = model.run(now + by);
                    // One grant after another: each at its very nanosecond.
                    for (id, at) in served.drain(..) {
                        world.time.advance_to(start + Duration::from_nanos(at));
                        let (_, _, _, waiter) = world.waiters.iter_mut().find(|waiter| waiter.0 == id).unwrap();
                        prop_assert_eq!(waiter.wakes(), 1, "served at {}", at);
                        prop_assert!(waiter.poll().unwrap().is_ok());
                        world.waiters.retain(|waiter| waiter.0 != id);
                    }
                    world.time.advance_to(start + Duration::from_nanos(now + by));
                }
                Op::Try(n) => {
                    let got = bucket.try_acquire_many(n).map_err(|denied| denied.retry_after().map(|d| d.as_nanos()));
                    let want = model.try_take(n);
                    // Past the end of 64-bit nanoseconds a delay is only said to be long.
                    let long = |r: Result<(), Option<u128>>| r.map_err(|d| d.map(|d| d.min(u128::from(u64::MAX >> 1))));
                    prop_assert_eq!(long(got), long(want), "try {} at {}", n, now);
                }
                Op::Wait(_) | Op::WaitAtMost(..) => {
                    let (n, limit) = match op {
                        Op::WaitAtMost(n, tenths) => (n, step(quota.rate(), tenths * 4) / 10),
                        Op::Wait(n) => (n, u64::MAX),
                        _ => unreachable!(),
                    };
                    let mut waiter = Polled::new(match op {
                        Op::Wait(_) => bucket.acquire_many(n),
                        _ => bucket.acquire_many_timeout(n, Duration::from_nanos(limit)),
                    });
                    match (waiter.poll(), model.try_take(n)) {
                        (Some(Ok(())), Ok(())) => {}
                        (Some(Err(error)), Err(delay)) => {
                            prop_assert!(delay.is_none_or(|delay| delay > u128::from(limit)));
                            prop_assert_eq!(error.is_never(), delay.is_none());
                        }
                        (None, Err(Some(delay))) => {
                            prop_assert!(delay <= u128::from(limit));
                            next += 1;
                            model.queue.push_back((next, n));
                            world.waiters.push((next, n, now.saturating_add(limit), waiter));
                        }
                        (got, want) => prop_assert!(false, "wait for {n}: {got:?}, the reference says {want:?}"),
                    }
                }
                Op::GiveUp(which) => {
                    if !world.waiters.is_empty() {
                        let (id, ..) = world.waiters.remove(which % world.waiters.len());
                        model.queue.retain(|waiter| waiter.0 != id);
                    }
                }
                Op::Refund(n) => {
                    bucket.refund(n);
                    model.refund(n);
                }
                Op::DrainTo(n) => {
                    bucket.drain_to(n);
                    model.drain_to(n);
                }
                Op::Set(new) => {
                    bucket.set_quota(new);
                    model.set(new);
                    quota = new;
                    // In order, as each one's going lets the others move up.
                    world.waiters.retain_mut(|(id, n, limit, waiter)| {
                        let at = model.queue.iter().position(|queued| queued.0 == *id).unwrap();
                        let ahead: u128 = model.queue.iter().take(at + 1).map(|queued| u128::from(queued.1)).sum();
                        let missing = (ahead * model.period).saturating_sub(model.level);
                        let late = match model.count {
                            _ if missing == 0 => false,
                            0 => true,
                            count => u128::from(now) + missing.div_ceil(count) > u128::from(*limit),
                        };
                        if *n > new.burst_size() || late {
                            assert!(waiter.poll().expect("told").is_err());
                            model.queue.remove(at);
                            return false;
                        }
                        true
                    });
                }
                Op::Reserve(_) | Op::Keep(_) | Op::Cancel(_) | Op::Pause(_) | Op::Resume => {}
            }
            // Whom giving up, a refund or a new quota has let through.
            for (id, _) in model.run(world.now()) {
                let (_, _, _, waiter) = world.waiters.iter_mut().find(|waiter| waiter.0 == id).unwrap();
                prop_assert!(waiter.poll().expect("let through").is_ok());
                world.waiters.retain(|waiter| waiter.0 != id);
            }
            prop_assert!(world.waiters.iter().all(|waiter| waiter.3.wakes() == 0));
            prop_assert_eq!(world.time.armed(), usize::from(!world.waiters.is_empty()));
            let there = if model.queue.is_empty() { model.level / model.period } else { 0 };
            prop_assert_eq!(u128::from(bucket.available()), there);
        }
        let _ = (world.bucket, world.start);
    }

    // S31, S35 to S37, MT9: a bucket that is filled at the rate, capped at the burst, and holds what is promised until it is
    // used, is never overdrawn, whatever is reserved, cancelled, refunded and paused. So no interval sees more than its due.
    #[test]
    fn nothing_is_admitted_that_is_not_there(
        quota in prop_oneof![3 => (1..8u64).prop_map(|burst| Quota::per_second(1).burst(burst)), 1 => quotas()],
        initial in 0..9u64,
        ops in ops(true),
    ) {
        let initial = initial.min(quota.burst_size());
        let (time, bucket) = with_initial(quota, initial);
        let start = time.clock().now();
        let mut waiters: Vec<(u64, Polled<Acquire<'_>>)> = Vec::new();
        let mut held: Vec<(usize, Reservation)> = Vec::new();
        let mut promised = 0;
        // By nanosecond, then in the order in which it came about; promises first.
        let mut events: Vec<(u64, usize, Event)> = Vec::new();
        let at = |instant: Instant| (instant - start).as_nanos() as u64;
        let used = |made: usize, reservation: &Reservation, now: u64| {
            let due = at(reservation.due());
            (due, if due > now { 0 } else { made }, Event::Taken(reservation.tokens()))
        };
        for (order, op) in (1..).zip(ops) {
            let now = at(time.clock().now());
            match op {
                Op::Advance(quarters) => {
                    let to = now + step(quota.rate(), quarters);
                    // From timer to timer, so that each grant is seen at its instant.
                    loop {
                        let next = time.next_deadline().map_or(to, at).min(to);
                        time.advance_to(start + Duration::from_nanos(next));
                        waiters.retain_mut(|(n, waiter)| match waiter.poll() {
                            Some(result) => {
                                assert!(result.is_ok());
                                events.push((next, order, Event::Taken(*n)));
                                false
                            }
                            None => true,
                        });
                        if next == to {
                            break;
                        }
                    }
                }
                Op::Try(n)
                    if bucket.try_acquire_many(n).is_ok() => {
                        events.push((now, order, Event::Taken(n)));
                    }
                Op::Wait(n) => {
                    let mut waiter = Polled::new(bucket.acquire_many(n));
                    match waiter.poll() {
                        Some(Ok(())) => events.push((now, order, Event::Taken(n))),
                        Some(Err(error)) => prop_assert!(error.exceeds_burst()),
                        None => waiters.push((n, waiter)),
                    }
                }
                Op::GiveUp(which) if !waiters.is_empty() => drop(waiters.remove(which % waiters.len())),
                Op::Reserve(n) => held.extend(bucket.reserve(n).map(|reservation| {
                    promised = promised.max(at(reservation.due()));
                    (order, reservation)
                })),
                Op::Keep(which) if !held.is_empty() => {
                    let (made, kept) = held.remove(which % held.len());
                    events.push(used(made, &kept, now));
                    kept.commit();
                }
                Op::Cancel(which) if !held.is_empty() => {
                    let (made, given_up) = held.remove(which % held.len());
                    // From its instant on it counts as used; given up at that very instant it is a refund.
                    let due = at(given_up.due());
                    if due <= now {
                        events.push((due, made, Event::Taken(given_up.tokens())));
                    }
                    if due == now {
                        events.push((now, order, Event::Refunded(given_up.tokens())));
                    }
                    given_up.cancel();
                }
                Op::Refund(n) => {
                    bucket.refund(n);
                    events.push((now, order, Event::Refunded(n)));
                }
                Op::DrainTo(n) => bucket.drain_to(n),
                // What has been promised stands, and a pause puts off others to then: not while there is such.
                Op::Pause(quarters) if promised <= now => bucket.pause_for(Duration::from_nanos(step(quota.rate(), quarters))),
                Op::Resume => bucket.resume(),
                _ => {}
            }
            // Whom a cancellation or a refund has let through.
            waiters.retain_mut(|(n, waiter)| match waiter.wakes() {
                0 => true,
                _ => {
                    assert!(waiter.poll().expect("woken to be served").is_ok());
                    events.push((now, order, Event::Taken(*n)));
                    false
                }
            });
        }
        let end = at(time.clock().now());
        for (made, kept) in held {
            events.push(used(made, &kept, end));
            let _ = kept.commit();
        }
        drop(waiters);
        bucket.resume();
        events.sort_by_key(|event| (event.0, event.1));
        let mut reference = Model::new(quota, initial);
        // Instants are rounded up to the nanosecond, which the reference's cap may cost as much each time.
        let mut slack = 0;
        for (nanos, _, event) in &events {
            reference.run(*nanos);
            slack += reference.count;
            match event {
                Event::Refunded(n) => reference.refund(*n),
                Event::Taken(n) => {
                    let price = u128::from(*n) * reference.period;
                    prop_assert!(price < reference.level + slack || price == 0, "{n} at {nanos}: {events:?}");
                    reference.level = reference.level.saturating_sub(price);
                }
            }
        }
        // None is lost for good: in time the bucket is full again, and no fuller.
        let last = events.last().map_or(end, |last| last.0.max(end));
        let full = u128::from(last) + (u128::from(quota.burst_size()) + 500) * reference.period / reference.count + 1;
        if full < 9_000_000_000_000_000_000 {
            time.advance_to(start + Duration::from_nanos(full as u64));
            prop_assert_eq!(bucket.available(), quota.burst_size());
            prop_assert_eq!(time.armed(), 0);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Taken(u64),
    Refunded(u64),
}
