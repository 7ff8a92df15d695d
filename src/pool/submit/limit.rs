//! How long a submitter waits for room.

#![forbid(unsafe_code)]

use crate::pool::error::Refusal;
use crate::time::{Clock, Deadline, Sleep};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The end of the wait, if it has one.
pub(in crate::pool) struct Limit {
    /// From the first wait on.
    limit: Option<Duration>,
    expires: Option<Instant>,
    sleep: Option<Sleep>,
    /// The task expires before the limit is over.
    expires_first: bool,
    is_over: bool,
}

impl Limit {
    pub(super) fn new(limit: Option<Duration>, expires: Option<Instant>) -> Self {
        Self { limit, expires, sleep: None, expires_first: false, is_over: false }
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.limit
    }

    /// Why the wait is over, if it is.
    pub(super) fn poll(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<Refusal> {
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            None => {
                let limit = self.limit.map_or(Deadline::NEVER, |limit| Deadline::after(clock.now(), limit));
                let expires = self.expires.map_or(Deadline::NEVER, Deadline::at);
                self.expires_first = expires <= limit;
                let sleep =
                    limit.min(expires).instant().map_or_else(Sleep::never, |at| clock.sleep_until(at));
                self.sleep.insert(sleep)
            }
        };
        // Not polled again after its end: it may be the user's.
        if !self.is_over {
            ready!(Pin::new(sleep).poll(cx));
            self.is_over = true;
        }
        Poll::Ready(match self.limit {
            Some(limit) if !self.expires_first => Refusal::TimedOut(limit),
            _ => Refusal::Expired,
        })
    }
}
