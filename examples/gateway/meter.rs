//! The limits that a service of the self-contained run enforces by itself, and what it says of them.
//!
//! Reads and writes are counted in windows of a second. With each read the service says in the fields of the IETF draft what
//! remains; of writes it speaks only when it refuses one, as many servers do.

use crate::tally::lock;
use cofferdam::time::Clock;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// What the service calls the bucket, whichever route it is reached by.
const BUCKET: HeaderName = HeaderName::from_static("x-ratelimit-bucket");

pub(crate) struct Meter {
    clock: Clock,
    started: Instant,
    reads: Mutex<Window>,
    writes: Mutex<Window>,
}

struct Window {
    limit: u64,
    index: u64,
    used: u64,
    stats: MeterStats,
    /// Until when callers were told to stay away.
    told_until: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct MeterStats {
    /// 429s sent.
    pub(crate) refused: u64,
    /// Times that it asked callers to wait who had not been asked already.
    pub(crate) waits: u64,
    /// Requests that came all the same.
    pub(crate) unheeded: u64,
}

impl Meter {
    pub(crate) fn new(clock: &Clock, started: Instant, reads: u64, writes: u64) -> Self {
        let window = |limit| {
            Mutex::new(Window { limit, index: 0, used: 0, stats: MeterStats::default(), told_until: None })
        };
        Self { clock: clock.clone(), started, reads: window(reads), writes: window(writes) }
    }

    /// Whether a request is let in, and what to say.
    pub(crate) fn admit(&self, method: &Method) -> (bool, HeaderMap) {
        let now = self.clock.now();
        let (window, bucket) =
            if method.is_safe() { (&self.reads, "reads") } else { (&self.writes, "writes") };
        let mut window = lock(window);
        let (admitted, reset) = window.count(now, now.saturating_duration_since(self.started));
        let remaining = window.limit.saturating_sub(window.used);
        // Whole seconds, rounded up, as both fields want it.
        let seconds = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
        if !admitted || method.is_safe() && remaining == 0 {
            window.ask_to_wait(now, Duration::from_secs(seconds));
        }
        let mut fields = HeaderMap::new();
        let mut say = |name, text: String| {
            if let Ok(value) = HeaderValue::from_str(&text) {
                fields.insert(name, value);
            }
        };
        say(BUCKET, bucket.to_owned());
        if method.is_safe() {
            say(HeaderName::from_static("ratelimit-policy"), format!("\"reads\";q={};w=1", window.limit));
            say(HeaderName::from_static("ratelimit"), format!("\"reads\";r={remaining};t={seconds}"));
        } else if !admitted {
            say(HeaderName::from_static("x-ratelimit-limit"), window.limit.to_string());
            say(HeaderName::from_static("x-ratelimit-remaining"), "0".to_owned());
        }
        if !admitted {
            say(RETRY_AFTER, seconds.to_string());
        }
        (admitted, fields)
    }

    pub(crate) fn stats(&self) -> MeterStats {
        let (reads, writes) = (lock(&self.reads).stats, lock(&self.writes).stats);
        MeterStats {
            refused: reads.refused + writes.refused,
            waits: reads.waits + writes.waits,
            unheeded: reads.unheeded + writes.unheeded,
        }
    }
}

impl Window {
    /// Counts a request; whether there is room for it, and how long until there is again.
    fn count(&mut self, now: Instant, since: Duration) -> (bool, Duration) {
        self.stats.unheeded += u64::from(self.told_until.is_some_and(|until| now < until));
        let index = since.as_secs() / WINDOW.as_secs();
        if index != self.index {
            (self.index, self.used) = (index, 0);
        }
        let admitted = self.used < self.limit;
        self.used += u64::from(admitted);
        self.stats.refused += u64::from(!admitted);
        (admitted, WINDOW.mul_f64(index as f64 + 1.0).saturating_sub(since))
    }

    fn ask_to_wait(&mut self, now: Instant, wait: Duration) {
        self.stats.waits += u64::from(self.told_until.is_none_or(|until| now >= until));
        self.told_until = self.told_until.max(Some(now + wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam::limit::Feedback;
    use cofferdam::testkit::ManualClock;

    #[test]
    fn it_enforces_what_it_says_and_says_what_it_enforces() {
        let time = ManualClock::new();
        let clock = time.clock();
        let meter = Meter::new(&clock, clock.now(), 2, 1);
        let read = || meter.admit(&Method::GET);
        let heard = |fields: &HeaderMap| Feedback::read_headers(fields, clock.wall());
        time.advance(Duration::from_millis(300));

        let (admitted, fields) = read();
        let said = heard(&fields);
        assert!(admitted && said.wait().is_none());
        assert_eq!((said.limit, said.remaining), (Some(2), Some(1)));
        assert_eq!((said.window, said.bucket.as_deref()), (Some(WINDOW), Some("reads")));
        // The last that is let in learns that it is the last.
        let (admitted, fields) = read();
        assert!(admitted);
        assert_eq!(heard(&fields).wait(), Some(Duration::from_secs(1)));
        assert!(!read().0);

        // Writes have a window of their own, and nothing is said before it is full.
        let (admitted, fields) = meter.admit(&Method::POST);
        assert!(admitted && heard(&fields).wait().is_none());
        let (admitted, fields) = meter.admit(&Method::PUT);
        let said = heard(&fields);
        assert!(!admitted);
        assert_eq!((said.retry_after, said.remaining), (Some(Duration::from_secs(1)), Some(0)));
        let stats = meter.stats();
        assert_eq!((stats.refused, stats.waits, stats.unheeded), (2, 2, 1));

        time.advance(Duration::from_secs(1));
        assert!(read().0 && meter.admit(&Method::POST).0);
        assert_eq!(meter.stats().unheeded, 1);
    }
}
