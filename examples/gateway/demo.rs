//! The self-contained run: its size, and the limits that go with it.

use crate::args::Limits;
use cofferdam::limit::Quota;
use std::time::Duration;

/// The self-contained run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demo {
    pub(crate) requests: u64,
    pub(crate) length: Duration,
    pub(crate) clients: u32,
    pub(crate) seed: u64,
}

impl Demo {
    /// Shares of the load: one for each client, three for the greedy first.
    pub(crate) fn shares(&self) -> u64 {
        u64::from(self.clients) + 2
    }

    /// Limits that this load meets, each of them.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            client_rate: self.fair_rate(),
            // The busiest services get 23 to 30 %, a route of posts 2.3 to 3 %, the favourite item some 5 %.
            upstream_rate: self.part(23.0),
            routes: vec![("POST /*/items".to_owned(), self.part(2.0))],
            resource_rate: self.part(4.0),
            ..Limits::none()
        }
    }

    /// So many percent of the load, each second; a fifth of a second's worth at once.
    fn part(&self, percent: f64) -> Quota {
        let rate = self.per_second(percent);
        Quota::per_second(rate).burst(rate.div_ceil(5))
    }

    /// So many percent of the requests of a second, at least one.
    pub(crate) fn per_second(&self, percent: f64) -> u64 {
        let part = self.requests as f64 * percent / 100.0 / self.length.as_secs_f64();
        (part.round() as u64).max(1)
    }

    /// Half as much again as one share sends, so that only the greedy client meets its limit, and a fifth of a second's
    /// worth at once.
    fn fair_rate(&self) -> Quota {
        let seconds = self.length.as_secs().max(1);
        let requests = (self.requests * 3).div_ceil(self.shares() * 2 * seconds).max(1);
        Quota::per_second(requests).burst(requests.div_ceil(5))
    }
}
