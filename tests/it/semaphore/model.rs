//! Random operations against a plain reference: exact results and order where the order is strict; in barging order exact
//! results, and nobody left asleep beside permits.

use cofferdam::sync::{AcquireError, Order, OwnedPermit, Priority, Request, Semaphore};
use cofferdam::testkit::{ManualClock, Polled};
use proptest::prelude::*;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

const AGEING: u64 = 3;
const CLASSES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

#[derive(Clone, Debug)]
enum Op {
    Try(u32),
    TryAll,
    Acquire { n: u32, all: bool, class: usize, max_waiting: u32, limit: Option<u64> },
    Poll(usize),
    Cancel(usize),
    Release(usize),
    Split(usize, u32),
    Merge(usize, usize),
    Forget(usize),
    Resize(u32),
    Add(u32),
    Advance(u64),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..6u32;
    let at = 0..64usize;
    prop_oneof![
        3 => n.clone().prop_map(Op::Try),
        1 => Just(Op::TryAll),
        10 => (0..5u32, 0..8u8, 0..4usize, 0..12u32, 0..10u64).prop_map(|(n, all, class, max_waiting, limit)| {
            let max_waiting = if max_waiting > 4 { u32::MAX } else { max_waiting };
            Op::Acquire { n, all: all == 0, class, max_waiting, limit: (limit < 4).then_some(limit) }
        }),
        10 => at.clone().prop_map(Op::Poll),
        3 => at.clone().prop_map(Op::Cancel),
        10 => at.clone().prop_map(Op::Release),
        1 => (at.clone(), n.clone()).prop_map(|(at, n)| Op::Split(at, n)),
        1 => (at.clone(), at.clone()).prop_map(|(a, b)| Op::Merge(a, b)),
        1 => at.prop_map(Op::Forget),
        1 => (0..8u32).prop_map(Op::Resize),
        1 => n.prop_map(Op::Add),
        2 => (0..4u64).prop_map(Op::Advance),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // The last third of some runs happens after a close.
    (prop::collection::vec(op(), 1..120), 0..4u8).prop_map(|(mut ops, close)| {
        if close == 0 {
            ops.insert(ops.len() * 2 / 3, Op::Close);
        }
        ops
    })
}

/// How a wait ended, or how a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Granted(u32),
    Closed,
    Weight,
    Full,
    TimedOut,
}

fn end_of(result: &Result<OwnedPermit, AcquireError>) -> End {
    match result {
        Ok(permit) => End::Granted(permit.permits()),
        Err(error) if error.is_closed() => End::Closed,
        Err(error) if error.is_queue_full() => End::Full,
        Err(error) if error.is_timeout() => End::TimedOut,
        Err(error) => {
            assert!(error.exceeds_capacity() || error.is_zero(), "{error}");
            End::Weight
        }
    }
}

struct Wait {
    number: u64,
    wants: u32,
    all: bool,
    /// What decides in priority order, smallest first.
    rank: (u64, usize),
    deadline: Option<u64>,
    /// Ended, and its future does not know.
    end: Option<End>,
}

/// The reference: counts and a list, nothing concurrent.
struct Reference {
    order: Order,
    capacity: u32,
    free: i64,
    withheld: u32,
    closed: bool,
    now: u64,
    next: u64,
    waits: Vec<Wait>,
}

impl Reference {
    fn asleep(&self) -> impl Iterator<Item = &Wait> {
        self.waits.iter().filter(|wait| wait.end.is_none())
    }

    fn place(&self, wait: &Wait) -> (u64, usize, u64) {
        match self.order {
            Order::Lifo => (u64::MAX - wait.number, 0, 0),
            Order::Priority { .. } => (wait.rank.0, wait.rank.1, wait.number),
            _ => (wait.number, 0, 0),
        }
    }

    /// Strict orders: grants to the first, as long as that is possible.
    fn serve(&mut self) {
        if self.order == Order::Barging || self.closed {
            return;
        }
        loop {
            let first =
                self.asleep().min_by_key(|wait| self.place(wait)).map(|wait| (wait.number, wait.wants));
            let Some((number, wants)) = first.filter(|(_, wants)| i64::from(*wants) <= self.free) else {
                return;
            };
            self.free -= i64::from(wants);
            let wait = self.waits.iter_mut().find(|wait| wait.number == number).unwrap();
            wait.end = Some(End::Granted(wants));
        }
    }

    fn refused(&self, n: u32) -> Option<End> {
        if self.closed {
            Some(End::Closed)
        } else if n == 0 || n > self.capacity {
            Some(End::Weight)
        } else {
            None
        }
    }

    fn take(&mut self, n: u32) -> bool {
        let enough = self.free >= i64::from(n);
        self.free -= if enough { i64::from(n) } else { 0 };
        enough
    }

    fn try_take(&mut self, n: u32) -> bool {
        let may = self.order == Order::Barging || self.asleep().next().is_none();
        self.refused(n).is_none() && may && self.take(n)
    }

    /// The first poll of a request. `None`: it waits.
    fn acquire(&mut self, op: &Op) -> Option<End> {
        let &Op::Acquire { n, all, class, max_waiting, limit } = op else { unreachable!() };
        let wants = if all { self.capacity } else { n };
        if let Some(refused) = self.refused(wants) {
            return Some(refused);
        }
        let rank = (self.now + AGEING * (3 - class as u64), 3 - class);
        let wait = Wait {
            number: self.next,
            wants,
            all,
            rank,
            deadline: limit.map(|limit| self.now + limit),
            end: None,
        };
        let place = self.place(&wait);
        let overtakes = self.order == Order::Barging || self.asleep().all(|other| place < self.place(other));
        if overtakes && self.take(wants) {
            return Some(End::Granted(wants));
        }
        if self.asleep().count() >= max_waiting as usize {
            return Some(End::Full);
        }
        if limit == Some(0) {
            return Some(End::TimedOut);
        }
        self.next += 1;
        self.waits.push(wait);
        None
    }

    fn poll(&mut self, at: usize) -> Option<End> {
        let barging = self.order == Order::Barging && !self.closed;
        let (wants, now) = (self.waits[at].wants, self.now);
        let waits = self.waits[at].end.is_none();
        if waits && barging && self.take(wants) {
            self.waits[at].end = Some(End::Granted(wants));
        } else if waits && self.waits[at].deadline.is_some_and(|deadline| deadline <= now) {
            self.waits[at].end = Some(End::TimedOut);
        }
        let end = self.waits[at].end?;
        self.waits.remove(at);
        self.serve();
        Some(end)
    }

    fn cancel(&mut self, at: usize) {
        if let Some(End::Granted(n)) = self.waits.remove(at).end {
            self.free += i64::from(n);
        }
        self.serve();
    }

    fn release(&mut self, n: u32) {
        self.free += i64::from(n);
        self.serve();
    }

    fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity;
        for wait in self.waits.iter_mut().filter(|wait| wait.end.is_none()) {
            if wait.all {
                wait.wants = capacity;
            }
            if wait.wants > capacity || capacity == 0 {
                wait.end = Some(End::Weight);
            }
        }
        self.serve();
    }

    fn forget(&mut self, n: u32) {
        let lowered = n.min(self.capacity);
        self.free += i64::from(n - lowered);
        self.set_capacity(self.capacity - lowered);
    }
}

type Future = Pin<Box<dyn std::future::Future<Output = Result<OwnedPermit, AcquireError>>>>;

struct Run {
    time: ManualClock,
    semaphore: Arc<Semaphore>,
    reference: Reference,
    /// In step with the reference's; and how many wake-ups each had seen when it was last polled.
    futures: Vec<(Polled<Future>, u64)>,
    held: Vec<OwnedPermit>,
}

impl Run {
    fn new(order: Order, capacity: u32, withheld: u32) -> Self {
        let time = ManualClock::new();
        let initial = capacity - withheld.min(capacity);
        let builder = Semaphore::builder(capacity).order(order).initial(initial).clock(time.clock());
        let reference = Reference {
            order,
            capacity,
            free: i64::from(initial),
            withheld: capacity - initial,
            closed: false,
            now: 0,
            next: 0,
            waits: Vec::new(),
        };
        let semaphore = Arc::new(builder.build().unwrap());
        Self { time, semaphore, reference, futures: Vec::new(), held: Vec::new() }
    }

    fn step(&mut self, op: &Op) {
        let (waits, held) = (self.futures.len().max(1), self.held.len().max(1));
        match *op {
            Op::Try(n) => {
                let got = self.semaphore.try_acquire_many_owned(n);
                assert_eq!(got.is_ok(), self.reference.try_take(n));
                self.held.extend(got);
            }
            Op::TryAll => {
                let n = self.reference.capacity;
                let got = self.semaphore.try_acquire_all().map(|permit| permit.permits());
                assert_eq!(got.ok(), self.reference.try_take(n).then_some(n));
                if got.is_ok() {
                    self.reference.release(n);
                }
            }
            Op::Acquire { n, all, class, max_waiting, limit } => {
                let request = if all { Request::all() } else { Request::new(n) };
                let request = request.priority(CLASSES[class]).max_waiting(max_waiting);
                let acquire = self.semaphore.acquire_with_owned(request);
                let future: Future = match limit {
                    Some(limit) => Box::pin(acquire.timeout(Duration::from_nanos(limit))),
                    None => Box::pin(acquire),
                };
                let mut future = Polled::new(future);
                let got = future.poll();
                assert_eq!(got.as_ref().map(end_of), self.reference.acquire(op));
                match got {
                    Some(got) => self.held.extend(got),
                    None => {
                        let seen = future.wakes();
                        self.futures.push((future, seen));
                    }
                }
            }
            Op::Poll(at) if !self.futures.is_empty() => self.poll(at % waits),
            Op::Cancel(at) if !self.futures.is_empty() => {
                drop(self.futures.remove(at % waits));
                self.reference.cancel(at % waits);
            }
            Op::Release(at) if !self.held.is_empty() => {
                let permit = self.held.swap_remove(at % held);
                let n = permit.permits();
                drop(permit);
                self.reference.release(n);
            }
            Op::Split(at, n) if !self.held.is_empty() => {
                let had = self.held[at % held].permits();
                let part = self.held[at % held].split(n);
                assert_eq!(part.as_ref().map(|part| part.permits()), (n <= had).then_some(n));
                self.held.extend(part);
            }
            Op::Merge(a, b) if self.held.len() > 1 => {
                let one = self.held.swap_remove(a % held);
                let at = b % self.held.len();
                self.held[at].merge(one).unwrap();
            }
            Op::Forget(at) if !self.held.is_empty() => {
                let permit = self.held.swap_remove(at % held);
                let n = permit.permits();
                permit.forget();
                self.reference.forget(n);
            }
            Op::Resize(capacity) => {
                assert_eq!(self.semaphore.resize(capacity), self.reference.capacity);
                self.reference.free += i64::from(capacity) - i64::from(self.reference.capacity);
                self.reference.set_capacity(capacity);
            }
            Op::Add(n) => {
                let added = self.semaphore.add_permits(n).is_ok();
                assert_eq!(added, n <= self.reference.withheld);
                if added {
                    self.reference.withheld -= n;
                    self.reference.release(n);
                }
            }
            Op::Advance(by) => {
                self.time.advance(Duration::from_nanos(by));
                self.reference.now += by;
            }
            Op::Close => {
                self.semaphore.close();
                self.reference.closed = true;
                for wait in self.reference.waits.iter_mut().filter(|wait| wait.end.is_none()) {
                    wait.end = Some(End::Closed);
                }
            }
            _ => {}
        }
        self.compare();
    }

    fn poll(&mut self, at: usize) {
        let got = self.futures[at].0.poll();
        let expected = self.reference.poll(at);
        assert_eq!(got.as_ref().map(end_of), expected);
        match got {
            Some(got) => {
                self.held.extend(got);
                self.futures.remove(at);
            }
            None => self.futures[at].1 = self.futures[at].0.wakes(),
        }
    }

    fn compare(&self) {
        let stats = self.semaphore.stats();
        let free = self.reference.free;
        assert_eq!(stats.capacity, self.reference.capacity);
        assert_eq!(i64::from(stats.available), free.max(0));
        assert_eq!(i64::from(stats.in_use), i64::from(stats.capacity) - free);
        assert_eq!(stats.waiting, self.reference.asleep().count());
        let held: u32 = self.held.iter().map(OwnedPermit::permits).sum();
        let granted: u32 = self.reference.waits.iter().filter_map(granted).sum();
        assert_eq!(stats.in_use, held + granted + self.reference.withheld);
        for ((future, seen), wait) in self.futures.iter().zip(&self.reference.waits) {
            let woken = future.wakes() > *seen;
            assert!(woken || wait.end.is_none(), "a wait ended and its future was not woken");
            let strict = self.reference.order != Order::Barging && wait.deadline.is_none();
            assert!(!strict || woken == wait.end.is_some(), "woken for nothing");
        }
    }

    /// Polls whoever was woken, until nobody is. Then nobody sleeps beside permits that are enough for the first in line.
    fn settle(&mut self) {
        while let Some(at) = self.futures.iter().position(|(future, seen)| future.wakes() > *seen) {
            self.poll(at);
            self.compare();
        }
        let first = self.reference.asleep().min_by_key(|wait| self.reference.place(wait));
        if let Some(first) = first {
            assert!(i64::from(first.wants) > self.reference.free, "asleep beside what it wants");
        }
    }

    fn finish(mut self) {
        self.futures.clear();
        self.reference.waits.clear();
        self.held.clear();
        let stats = self.semaphore.stats();
        assert_eq!((stats.in_use, stats.waiting), (self.reference.withheld, 0), "all comes back");
    }
}

fn granted(wait: &Wait) -> Option<u32> {
    match wait.end {
        Some(End::Granted(n)) => Some(n),
        _ => None,
    }
}

fn check(order: Order, capacity: u32, withheld: u32, settle: bool, ops: &[Op]) {
    let mut run = Run::new(order, capacity, withheld);
    for op in ops {
        run.step(op);
        if settle {
            run.settle();
        }
    }
    run.settle();
    run.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strict_orders_agree_with_a_list(
        order in prop_oneof![
            Just(Order::Fifo),
            Just(Order::Lifo),
            Just(Order::Priority { ageing: Duration::from_nanos(AGEING) }),
        ],
        capacity in 1..7u32,
        withheld in 0..3u32,
        ops in ops(),
    ) {
        check(order, capacity, withheld, false, &ops);
    }

    #[test]
    fn barging_takes_what_is_free_and_leaves_nobody_asleep_beside_it(
        capacity in 1..7u32,
        withheld in 0..3u32,
        settle in any::<bool>(),
        ops in ops(),
    ) {
        check(Order::Barging, capacity, withheld, settle, &ops);
    }
}
