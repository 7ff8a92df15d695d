//! What admission control has counted.

use super::NotAdmitted;
use crate::sync::striped::Striped;

pub(super) const ADMITTED: usize = 0;
pub(super) const SHED: usize = 1;
pub(super) const ACCEPTED: usize = 2;
pub(super) const REJECTED: usize = 3;
pub(super) const IGNORED: usize = 4;
pub(super) const CANCELLED: usize = 5;
pub(super) const COUNTERS: usize = 6;

/// What an [`AdmissionControl`](super::AdmissionControl) has counted since it was made, and what its window says.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdmissionStats {
    /// Calls that were turned away.
    pub shed: u64,
    /// Calls that were let through and have not ended.
    pub running: u64,
    /// Calls that the server accepted.
    pub accepted: u64,
    /// Calls that it rejected.
    pub rejected: u64,
    /// Calls that were ignored.
    pub ignored: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Requests in the window.
    pub window_requests: u64,
    /// How many of these were accepted.
    pub window_accepts: u64,
    /// The probability with which the next call is turned away.
    pub probability: f64,
}

pub(super) fn read(tally: &Striped<COUNTERS>, seen: NotAdmitted) -> AdmissionStats {
    let accepted = tally.sum::<ACCEPTED>();
    let rejected = tally.sum::<REJECTED>();
    let ignored = tally.sum::<IGNORED>();
    let cancelled = tally.sum::<CANCELLED>();
    let ended = accepted + rejected + ignored + cancelled;
    // After the others, so that it is not less than they are together.
    let admitted = tally.sum::<ADMITTED>();
    AdmissionStats {
        shed: tally.sum::<SHED>(),
        running: admitted.saturating_sub(ended),
        accepted,
        rejected,
        ignored,
        cancelled,
        window_requests: seen.requests,
        window_accepts: seen.accepts,
        probability: seen.probability,
    }
}
