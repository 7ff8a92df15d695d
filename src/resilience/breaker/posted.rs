//! The settings that calls look at without the lock.

use super::OnCancel;
use super::config::{Config, nanos};
use super::rules::Rules;
use crate::shim::{AtomicU32, AtomicU64, Ordering, load_seq_cst_u64};

/// Copies of settings. While they are changed a call may see some of the old ones and some of the new, as if it had ended a little
/// earlier or later; what needs them to be of one mind is looked at again under the lock.
pub(super) struct Posted {
    /// `TIMES_CALLS`, `TIMESTAMPS`, `CANCELLED_SLOW`.
    flags: AtomicU32,
    failure_threshold: AtomicU32,
    half_open_requests: AtomicU32,
    slow_call: AtomicU64,
    cancel_limit: AtomicU64,
    /// Least calls, failures.
    counts: AtomicU64,
    /// Shares of failures and of slow calls.
    rates: AtomicU64,
    /// How often settings have been posted.
    posting: AtomicU64,
}

const TIMES_CALLS: u32 = 1;
const TIMESTAMPS: u32 = 2;
const CANCELLED_SLOW: u32 = 4;

const fn both(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Posted {
    pub(super) fn new(config: &Config) -> Self {
        let posted = Self {
            flags: AtomicU32::new(0),
            failure_threshold: AtomicU32::new(0),
            half_open_requests: AtomicU32::new(0),
            slow_call: AtomicU64::new(0),
            cancel_limit: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            rates: AtomicU64::new(0),
            posting: AtomicU64::new(0),
        };
        posted.post(config);
        posted
    }

    /// Under the lock. All but the last is Relaxed: see above.
    pub(super) fn post(&self, config: &Config) {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(config.times_calls(), TIMES_CALLS)
            | flag(config.knobs.timestamps, TIMESTAMPS)
            | flag(config.knobs.count_cancelled_slow, CANCELLED_SLOW);
        let cancel_limit = match config.knobs.on_cancel {
            OnCancel::Neutral => u64::MAX,
            OnCancel::FailureIfOlderThan(limit) => nanos(limit),
        };
        let rules = config.rules;
        self.flags.store(flags, Ordering::Relaxed);
        self.failure_threshold.store(config.failure_threshold, Ordering::Relaxed);
        self.half_open_requests.store(config.knobs.half_open_requests, Ordering::Relaxed);
        self.slow_call.store(config.slow_call, Ordering::Relaxed);
        self.cancel_limit.store(cancel_limit, Ordering::Relaxed);
        self.counts.store(both(rules.minimum, rules.failures), Ordering::Relaxed);
        self.rates.store(both(rules.failure_rate, rules.slow_rate), Ordering::Relaxed);
        // ORDERING: SeqCst pairs with `posting`: who sees the number sees the rules.
        self.posting.fetch_add(1, Ordering::SeqCst);
    }

    /// How often settings have been posted, or one less while they are: who looks at the rules afterwards finds those of that
    /// time, or later ones.
    #[inline]
    pub(super) fn posting(&self) -> u64 {
        // ORDERING: as in `post`. SeqCst for windows of time, where nothing else orders one who counts and one who reads.
        load_seq_cst_u64(&self.posting)
    }

    #[inline]
    fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether each call has to know when it began.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        self.has(TIMES_CALLS)
    }

    /// Whether the times of the last success and failure are noted.
    #[inline]
    pub(super) fn timestamps(&self) -> bool {
        self.has(TIMESTAMPS)
    }

    /// Whether somebody looks at how long calls take, or at when they end.
    #[inline]
    pub(super) fn looks_at_times(&self) -> bool {
        self.has(TIMES_CALLS | TIMESTAMPS)
    }

    /// Whether a dropped call that was slow is counted as slow.
    pub(super) fn cancelled_slow(&self) -> bool {
        self.has(CANCELLED_SLOW)
    }

    pub(super) fn failure_threshold(&self) -> u32 {
        self.failure_threshold.load(Ordering::Relaxed)
    }

    pub(super) fn half_open_requests(&self) -> u32 {
        self.half_open_requests.load(Ordering::Relaxed)
    }

    /// A call that takes longer is slow. `u64::MAX`: none is.
    #[inline]
    pub(super) fn slow_call(&self) -> u64 {
        self.slow_call.load(Ordering::Relaxed)
    }

    /// A dropped call that took longer is a failure. `u64::MAX`: none is.
    pub(super) fn cancel_limit(&self) -> u64 {
        self.cancel_limit.load(Ordering::Relaxed)
    }

    /// The rules, not older than what one who has counted an outcome before this one has looked at the [number](Self::posting) of.
    #[inline]
    pub(super) fn rules(&self) -> Rules {
        self.posting();
        let (counts, rates) = (self.counts.load(Ordering::Relaxed), self.rates.load(Ordering::Relaxed));
        Rules {
            minimum: counts as u32,
            failures: (counts >> 32) as u32,
            failure_rate: rates as u32,
            slow_rate: (rates >> 32) as u32,
        }
    }
}
