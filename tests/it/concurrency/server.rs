//! A simulated server behind an adaptive limiter: workers, a queue in front of them, and clients that always want more.
//!
//! Discrete events in virtual time. A client that is refused tries again when a call ends, so that as much is in flight as
//! the limiter lets through and the clients ask for.

use cofferdam::limit::AdaptiveLimiter;
use cofferdam::limit::concurrency::{Outcome, adaptive::OwnedGuard};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

pub(crate) struct Server {
    /// Calls that are worked on at once: the capacity.
    pub(crate) workers: usize,
    /// How long the work on a call takes on average.
    pub(crate) work: Duration,
    /// Of how many exponential parts it is made: 1 is very noisy, many are even.
    pub(crate) parts: u32,
    /// Clients.
    pub(crate) load: usize,
    /// After how long the answer is a drop.
    pub(crate) timeout: Duration,
    /// Answers, good ones and late ones.
    pub(crate) answers: (u64, u64),
    /// The limit at the end of each second.
    pub(crate) trace: Vec<u32>,
    limiter: AdaptiveLimiter,
    rng: Rng,
    start: Instant,
    now: Duration,
    number: u64,
    working: BinaryHeap<Reverse<(Duration, u64)>>,
    queue: VecDeque<u64>,
    calls: std::collections::HashMap<u64, (Duration, OwnedGuard)>,
}

impl Server {
    /// `start` is the limiter's own beginning of time.
    pub(crate) fn new(
        limiter: AdaptiveLimiter,
        start: Instant,
        workers: usize,
        load: usize,
        seed: u64,
    ) -> Self {
        Self {
            workers,
            work: Duration::from_millis(200),
            parts: 4,
            load,
            timeout: Duration::MAX,
            answers: (0, 0),
            trace: Vec::new(),
            limiter,
            rng: Rng::with_seed(seed),
            start,
            now: Duration::ZERO,
            number: 0,
            working: BinaryHeap::new(),
            queue: VecDeque::new(),
            calls: std::collections::HashMap::new(),
        }
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.admit();
        while let Some(Reverse((at, call))) = self.working.peek().copied().filter(|next| next.0.0 <= end) {
            self.tick(at);
            self.working.pop();
            if let Some((began, guard)) = self.calls.remove(&call) {
                let late = at - began > self.timeout;
                self.answers.0 += u64::from(!late);
                self.answers.1 += u64::from(late);
                let outcome = if late { Outcome::Dropped } else { Outcome::Success };
                guard.record_at(outcome, self.start + at);
            }
            self.admit();
        }
        self.tick(end);
    }

    fn tick(&mut self, now: Duration) {
        while (self.trace.len() as u64) < now.as_secs() {
            self.trace.push(self.limiter.limit());
        }
        self.now = now;
    }

    fn admit(&mut self) {
        while self.calls.len() < self.load {
            let Ok(guard) = self.limiter.try_acquire_owned_at(self.start + self.now) else { break };
            self.number += 1;
            self.calls.insert(self.number, (self.now, guard));
            self.queue.push_back(self.number);
        }
        while self.working.len() < self.workers {
            let Some(call) = self.queue.pop_front() else { break };
            let parts = (0..self.parts).map(|_| -(1.0 - self.rng.f64()).ln()).sum::<f64>();
            let work = self.work.mul_f64(parts / f64::from(self.parts));
            self.working.push(Reverse((self.now + work, call)));
        }
    }
}
