//! Why a policy refused or ended a call.

use crate::sync::ContextError;
use std::fmt;
use std::time::Duration;

/// Whether a [`Timeout`](super::Timeout) limits a whole call or one attempt of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The call with all its attempts, waits and delays.
    Total,
    /// One attempt.
    Attempt,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "call",
            Self::Attempt => "attempt",
        })
    }
}

/// What a call lacked for which there was [no room](Reason::Full).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shortage {
    /// All places were taken, and there was no waiting for one.
    Places,
    /// All places were taken, and the queue was full.
    Queue,
    /// It waited, and no place came free in time.
    Time,
}

/// Why a policy refused or ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A timeout ended it (or, with a limit of zero, did not begin it).
    #[non_exhaustive]
    TimedOut {
        /// The time it had.
        limit: Duration,
        /// What the limit was for.
        scope: Scope,
    },
    /// A circuit breaker is open.
    #[non_exhaustive]
    CircuitOpen {
        /// Time until the breaker will try a call, where it knows.
        retry_after: Option<Duration>,
    },
    /// A rate limiter has no tokens, or is paused.
    #[non_exhaustive]
    RateLimited {
        /// Time until there will be enough tokens; `None` if there never will be, or nobody knows.
        retry_after: Option<Duration>,
        /// Whether there never will be: waiting cannot help.
        never: bool,
    },
    /// A bulkhead has no room.
    #[non_exhaustive]
    Full {
        /// How many calls may run at once.
        limit: u32,
        /// How many calls were waiting for room.
        waiting: u32,
        /// How long this call had waited.
        waited: Duration,
        /// What it lacked.
        shortage: Shortage,
    },
    /// The call was dropped to protect the callee.
    Shed,
    /// The surrounding work was cancelled; why, its [`Context`](crate::sync::Context) says.
    Cancelled,
    /// The deadline of the surrounding work has passed, or would pass before the call could begin.
    DeadlineExceeded,
    /// The component is closed.
    Closed,
}

/// A policy refused or ended a call: which policy, and why.
///
/// It is small and `Copy`, and making one allocates nothing: refusing must cost less than what it prevents.
///
/// The name is that of the policy, or what kind of policy it is where it was given none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    policy: &'static str,
    reason: Reason,
}

impl Rejection {
    /// A refusal of the policy of this name.
    pub const fn new(policy: &'static str, reason: Reason) -> Self {
        Self { policy, reason }
    }

    /// The time was up.
    pub const fn timed_out(policy: &'static str, limit: Duration, scope: Scope) -> Self {
        Self::new(policy, Reason::TimedOut { limit, scope })
    }

    /// The breaker is open.
    pub const fn circuit_open(policy: &'static str, retry_after: Option<Duration>) -> Self {
        Self::new(policy, Reason::CircuitOpen { retry_after })
    }

    /// There are not enough tokens; without a `retry_after`, there never will be.
    pub const fn rate_limited(policy: &'static str, retry_after: Option<Duration>) -> Self {
        Self::new(policy, Reason::RateLimited { retry_after, never: retry_after.is_none() })
    }

    /// The rate limiter is paused until somebody resumes it: nobody knows when.
    pub const fn paused(policy: &'static str) -> Self {
        Self::new(policy, Reason::RateLimited { retry_after: None, never: false })
    }

    /// All `limit` places are taken and `waiting` calls wait for one; this call has waited for `waited`.
    pub const fn full(policy: &'static str, limit: u32, waiting: u32, waited: Duration) -> Self {
        let shortage = match (waited.is_zero(), waiting) {
            (false, _) => Shortage::Time,
            (true, 0) => Shortage::Places,
            (true, _) => Shortage::Queue,
        };
        Self::full_for_want_of(shortage, policy, limit, waiting, waited)
    }

    /// As [`full`](Self::full), by one who knows what was lacking.
    pub const fn full_for_want_of(
        shortage: Shortage,
        policy: &'static str,
        limit: u32,
        waiting: u32,
        waited: Duration,
    ) -> Self {
        Self::new(policy, Reason::Full { limit, waiting, waited, shortage })
    }

    /// The surrounding work has ended.
    pub fn ended(policy: &'static str, error: &ContextError) -> Self {
        Self::new(policy, if error.is_cancelled() { Reason::Cancelled } else { Reason::DeadlineExceeded })
    }

    /// The name of the policy.
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether a timeout ended the call.
    pub const fn is_timeout(&self) -> bool {
        matches!(self.reason, Reason::TimedOut { .. })
    }

    /// Whether a circuit breaker refused the call.
    pub const fn is_circuit_open(&self) -> bool {
        matches!(self.reason, Reason::CircuitOpen { .. })
    }

    /// Whether a rate limiter refused the call.
    pub const fn is_rate_limited(&self) -> bool {
        matches!(self.reason, Reason::RateLimited { .. })
    }

    /// Whether a bulkhead or a queue had no room.
    pub const fn is_full(&self) -> bool {
        matches!(self.reason, Reason::Full { .. })
    }

    /// Whether the call was shed.
    pub const fn is_shed(&self) -> bool {
        matches!(self.reason, Reason::Shed)
    }

    /// Whether the surrounding work was cancelled.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self.reason, Reason::Cancelled)
    }

    /// Whether the deadline of the surrounding work left no time.
    pub const fn is_deadline_exceeded(&self) -> bool {
        matches!(self.reason, Reason::DeadlineExceeded)
    }

    /// Whether a component was closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self.reason, Reason::Closed)
    }

    /// Whether the operation may have begun before the policy ended it. All but a timeout are refusals before the
    /// operation: it had no effect.
    pub const fn may_have_run(&self) -> bool {
        self.is_timeout()
    }

    /// See [`Error::is_retryable`](super::Error::is_retryable).
    pub const fn is_retryable(&self) -> bool {
        matches!(self.reason, Reason::TimedOut { .. } | Reason::RateLimited { retry_after: Some(_), .. })
    }

    /// Whether the refusal passes by itself: the same call may be let through later.
    pub const fn is_temporary(&self) -> bool {
        match self.reason {
            Reason::TimedOut { .. } | Reason::CircuitOpen { .. } | Reason::Full { .. } | Reason::Shed => true,
            Reason::RateLimited { never, .. } => !never,
            Reason::Cancelled | Reason::DeadlineExceeded | Reason::Closed => false,
        }
    }

    /// How long to wait before the same call can be let through, where the policy knows.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.reason {
            Reason::CircuitOpen { retry_after } | Reason::RateLimited { retry_after, .. } => retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.policy)?;
        match self.reason {
            Reason::TimedOut { limit, scope } => {
                write!(f, "{scope} not finished within its limit of {limit:?}")
            }
            Reason::CircuitOpen { retry_after: Some(after) } => {
                write!(f, "circuit open, retry after {after:?}")
            }
            Reason::CircuitOpen { retry_after: None } => f.write_str("circuit open"),
            Reason::RateLimited { retry_after: Some(after), .. } => {
                write!(f, "rate limited, retry after {after:?}")
            }
            Reason::RateLimited { never: true, .. } => f.write_str("rate limited, can never be let through"),
            Reason::RateLimited { .. } => f.write_str("rate limited, paused until it is resumed"),
            Reason::Full { limit, shortage: Shortage::Places, .. } => {
                write!(f, "full: all {limit} places taken")
            }
            Reason::Full { limit, waiting, shortage: Shortage::Queue, .. } => {
                write!(f, "queue full: all {limit} places taken, {waiting} waiting")
            }
            Reason::Full { limit, waited, shortage: Shortage::Time, .. } => {
                write!(f, "waited too long: none of {limit} places came free within {waited:?}")
            }
            Reason::Shed => f.write_str("shed"),
            Reason::Cancelled => f.write_str("cancelled"),
            Reason::DeadlineExceeded => f.write_str("deadline exceeded"),
            Reason::Closed => f.write_str("closed"),
        }
    }
}

impl std::error::Error for Rejection {}
