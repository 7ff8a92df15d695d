//! The limiter's own line against a plain reference, over random histories.

use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{Acquire, Discipline, OwnedPermit, Partition, Request};
use cofferdam::sync::Order;
use cofferdam::testkit::{ManualClock, Polled};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Enter { permits: u32, lane: usize },
    Try { permits: u32, lane: usize },
    Leave(usize),
    Release(usize),
    Resize(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (permits, lane) = (0u32..4, 0usize..3);
    prop_oneof![
        6 => (permits.clone(), lane.clone()).prop_map(|(permits, lane)| Step::Enter { permits, lane }),
        1 => (permits, lane).prop_map(|(permits, lane)| Step::Try { permits, lane }),
        1 => any::<usize>().prop_map(Step::Leave),
        5 => any::<usize>().prop_map(Step::Release),
        1 => (1u32..8).prop_map(Step::Resize),
        4 => (1u64..60).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Granted,
    Shed,
    Above,
}

#[derive(Debug)]
struct Waiter {
    id: usize,
    permits: u32,
    lane: usize,
    shed_at: u64,
}

/// Everything by looking at everybody.
struct Reference {
    discipline: Discipline,
    shares: Vec<u64>,
    limit: u32,
    used: Vec<u32>,
    since: Vec<u64>,
    waiting: Vec<Waiter>,
    now: u64,
    ended: Vec<(usize, End)>,
}

impl Reference {
    fn free(&self) -> i64 {
        i64::from(self.limit) - i64::from(self.used.iter().sum::<u32>())
    }

    fn enter(&mut self, id: usize, permits: u32, lane: usize) -> Option<End> {
        if permits == 0 {
            return Some(End::Granted);
        }
        if permits > self.limit {
            return Some(End::Above);
        }
        if self.waiting.is_empty() && self.free() >= i64::from(permits) {
            self.used[lane] += permits;
            return Some(End::Granted);
        }
        if !self.waiting.iter().any(|waiter| waiter.lane == lane) {
            self.since[lane] = self.now;
        }
        let shed_at = match self.discipline {
            Discipline::ControlledDelay { target, interval, .. } => {
                let (target, interval) = (target.as_millis() as u64, interval.as_millis() as u64);
                (self.since[lane] + interval).max(self.now + target)
            }
            _ => u64::MAX,
        };
        self.waiting.push(Waiter { id, permits, lane, shed_at });
        self.serve();
        None
    }

    fn newest_first(&self, lane: usize) -> bool {
        let over = |interval: Duration| self.now - self.since[lane] >= interval.as_millis() as u64;
        match self.discipline {
            Discipline::AdaptiveLifo { interval }
            | Discipline::ControlledDelay { interval, lifo: true, .. } => over(interval),
            Discipline::Order(Order::Lifo) => true,
            _ => false,
        }
    }

    fn serve(&mut self) {
        let now = self.now;
        let ended = &mut self.ended;
        self.waiting.retain(|waiter| {
            let over = waiter.shed_at < now;
            if over {
                ended.push((waiter.id, End::Shed));
            }
            !over
        });
        loop {
            let lanes = (0..self.shares.len()).filter(|lane| self.waiting.iter().any(|w| w.lane == *lane));
            let Some(lane) = lanes.min_by(|a, b| {
                let (a, b) = (*a, *b);
                let left = u64::from(self.used[a]) * self.shares[b];
                let right = u64::from(self.used[b]) * self.shares[a];
                left.cmp(&right).then(self.since[a].cmp(&self.since[b]))
            }) else {
                return;
            };
            let mut of_lane = self.waiting.iter().enumerate().filter(|(_, waiter)| waiter.lane == lane);
            let next = if self.newest_first(lane) { of_lane.next_back() } else { of_lane.next() };
            let (at, permits) = next.map(|(at, waiter)| (at, waiter.permits)).unwrap();
            if self.free() < i64::from(permits) {
                return;
            }
            self.used[lane] += permits;
            self.ended.push((self.waiting.remove(at).id, End::Granted));
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        if self.waiting.iter().any(|waiter| waiter.shed_at < self.now) {
            self.serve();
        }
    }

    fn resize(&mut self, limit: u32) {
        self.limit = limit;
        let ended = &mut self.ended;
        self.waiting.retain(|waiter| {
            let above = waiter.permits > limit;
            if above {
                ended.push((waiter.id, End::Above));
            }
            !above
        });
        self.serve();
    }
}

type Wait = Polled<Acquire<ConcurrencyLimiter>>;

struct Real {
    time: ManualClock,
    limiter: ConcurrencyLimiter,
    partitions: Vec<Partition>,
    waits: Vec<(usize, usize, Wait)>,
    held: Vec<(usize, OwnedPermit)>,
}

impl Real {
    /// Polls everybody, twice: one who comes may let one in who was polled before him. Those who have ended, by number.
    fn poll(&mut self) -> Vec<(usize, End)> {
        let mut ended = self.poll_once();
        ended.append(&mut self.poll_once());
        ended
    }

    fn poll_once(&mut self) -> Vec<(usize, End)> {
        let mut ended = Vec::new();
        let held = &mut self.held;
        self.waits.retain_mut(|(id, lane, wait)| {
            let Some(end) = wait.poll() else { return true };
            ended.push((
                *id,
                match end {
                    Ok(permit) => {
                        held.push((*lane, permit));
                        End::Granted
                    }
                    Err(error) if error.is_shed() => End::Shed,
                    Err(error) => {
                        assert!(error.exceeds_limit(), "{error}");
                        End::Above
                    }
                },
            ));
            false
        });
        ended
    }
}

fn check(discipline: Discipline, shares: &[u32], limit: u32, steps: Vec<Step>) {
    let time = ManualClock::new();
    let names = ["a", "b", "c"];
    let builder = ConcurrencyLimiter::builder(limit).discipline(discipline).clock(time.clock());
    let builder =
        shares.iter().zip(names).fold(builder, |builder, (share, name)| builder.partition(name, *share));
    let limiter = builder.build().unwrap();
    let mut partitions = vec![Partition::REST];
    partitions.extend(names.iter().filter_map(|name| limiter.partition(name)));
    let mut all: Vec<u64> = vec![u64::from(100 - shares.iter().sum::<u32>())];
    all.extend(shares.iter().map(|share| u64::from(*share)));
    let lanes = all.len();
    let mut real = Real { time, limiter, partitions, waits: Vec::new(), held: Vec::new() };
    let mut reference = Reference {
        discipline,
        shares: all,
        limit,
        used: vec![0; lanes],
        since: vec![0; lanes],
        waiting: Vec::new(),
        now: 0,
        ended: Vec::new(),
    };
    for (id, step) in steps.into_iter().enumerate() {
        match step.clone() {
            Step::Enter { permits, lane } => {
                let lane = lane % lanes;
                let request = Request::new(permits).partition(real.partitions[lane]);
                let wait = Polled::new(real.limiter.acquire_with_owned(request));
                real.waits.push((id, lane, wait));
                if let Some(end) = reference.enter(id, permits, lane) {
                    reference.ended.push((id, end));
                }
            }
            Step::Try { permits, lane } => {
                let lane = lane % lanes;
                let request = Request::new(permits).partition(real.partitions[lane]);
                let free = reference.waiting.is_empty() && reference.free() >= i64::from(permits);
                let taken = real.limiter.try_acquire_with_owned(request);
                assert_eq!(taken.is_ok(), free || permits == 0, "{step:?}");
                if let Ok(permit) = taken {
                    reference.used[lane] += permits;
                    real.held.push((lane, permit));
                }
            }
            Step::Leave(which) => {
                if !real.waits.is_empty() {
                    let (id, ..) = real.waits.remove(which % real.waits.len());
                    reference.waiting.retain(|waiter| waiter.id != id);
                    reference.serve();
                }
            }
            Step::Release(which) => {
                if !real.held.is_empty() {
                    let (lane, permit) = real.held.remove(which % real.held.len());
                    reference.used[lane] -= permit.permits();
                    if permit.permits() > 0 {
                        reference.serve();
                    }
                    drop(permit);
                }
            }
            Step::Resize(to) => {
                real.limiter.resize(to).unwrap();
                reference.resize(to);
            }
            Step::Pass(millis) => {
                real.time.advance(Duration::from_millis(millis));
                reference.pass(millis);
            }
        }
        let mut expected = std::mem::take(&mut reference.ended);
        let mut ended = real.poll();
        expected.sort_by_key(|(id, _)| *id);
        ended.sort_by_key(|(id, _)| *id);
        assert_eq!(ended, expected, "after {step:?}, number {id}");
        let stats = real.limiter.stats();
        assert_eq!(stats.waiting, reference.waiting.len());
        assert_eq!(stats.in_flight, reference.used.iter().sum::<u32>());
        assert_eq!(i64::from(stats.available), reference.free().max(0));
        if lanes > 1 {
            for (partition, used) in real.partitions.iter().zip(&reference.used) {
                assert_eq!(real.limiter.partition_stats(*partition).in_flight, *used);
            }
        }
    }
    real.waits.clear();
    real.held.clear();
    let stats = real.limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting, real.time.armed()), (0, 0, 0));
}

fn disciplines() -> impl Strategy<Value = Discipline> {
    let ms = Duration::from_millis;
    prop_oneof![
        Just(Discipline::AdaptiveLifo { interval: ms(100) }),
        Just(Discipline::ControlledDelay { target: ms(10), interval: ms(100), lifo: true }),
        Just(Discipline::ControlledDelay { target: ms(40), interval: ms(50), lifo: false }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_line_serves_and_sheds_as_the_reference_does(
        discipline in disciplines(),
        limit in 1u32..6,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        check(discipline, &[], limit, steps);
    }

    #[test]
    fn partitions_are_served_as_the_reference_serves_them(
        discipline in prop_oneof![
            Just(Discipline::Order(Order::Fifo)), Just(Discipline::Order(Order::Lifo)), disciplines(),
        ],
        limit in 1u32..8,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        check(discipline, &[50, 30], limit, steps);
    }
}
