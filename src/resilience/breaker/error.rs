//! Refusals.

use super::State;
use crate::resilience::{Reason, Rejection};
use std::fmt;
use std::time::Duration;

/// The breaker did not let the call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) retry_after: Option<Duration>,
}

impl Open {
    /// The breaker's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The state the breaker was in: open, half-open with all trials out, forced open, or shut down.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When to try again.
    ///
    /// * Open: the rest of the break.
    /// * Half-open: the time until the verdict is overdue or a trial's place is free for another, whichever is sooner. At that
    ///   time at the latest the breaker decides anew: it lets another call through in the place of a trial whose lease is over;
    ///   or, if the verdict is overdue by then, which goes first where both are at once, it opens for another break (or closes:
    ///   [`OnOverdue`](super::OnOverdue)). `None` if neither has a limit, and where the share of a ramp refused.
    /// * Forced open, shut down: `None`. Waiting does not help.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether somebody has forced the breaker open.
    pub const fn is_forced(&self) -> bool {
        matches!(self.state, State::ForcedOpen)
    }

    /// Whether the breaker is shut down.
    pub const fn is_shut_down(&self) -> bool {
        matches!(self.state, State::ShutDown)
    }

    /// Whether all trials of a half-open breaker are under way.
    pub const fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen)
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.state)?;
        if self.is_half_open() {
            f.write_str(" and all its trials are under way")?;
        }
        match self.retry_after {
            Some(after) => write!(f, ", retry after {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Open {}

impl From<Open> for Rejection {
    fn from(open: Open) -> Self {
        if open.is_shut_down() {
            Rejection::new(open.name, Reason::Closed)
        } else {
            Rejection::circuit_open(open.name, open.retry_after)
        }
    }
}

/// A breaker in this state cannot be put into that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    pub(super) name: &'static str,
    pub(super) from: State,
    pub(super) to: State,
}

impl IllegalTransition {
    /// The breaker's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The state the breaker is in.
    pub const fn from(&self) -> State {
        self.from
    }

    /// The state that was asked for.
    pub const fn to(&self) -> State {
        self.to
    }
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cannot go from {} to {}", self.name, self.from, self.to)
    }
}

impl std::error::Error for IllegalTransition {}
