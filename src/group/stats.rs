//! The books of a group.

use super::error::Outcome;

/// What has become of the members of a group, at one moment.
///
/// `spawned` is the sum of `running`, `completed`, `panicked`, `cancelled`, `timed_out` and `dropped`, except while a member
/// is being handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Members taken in.
    pub spawned: usize,
    /// Those that have no outcome yet.
    pub running: usize,
    /// Those that gave a result, be it an error of their own.
    pub completed: usize,
    /// Those that panicked.
    pub panicked: usize,
    /// Those that were cancelled.
    pub cancelled: usize,
    /// Those whose time was over.
    pub timed_out: usize,
    /// Those that their executor dropped.
    pub dropped: usize,
    /// Outcomes that wait to be given out.
    pub unread: usize,
}

impl GroupStats {
    pub(super) fn count<T>(&mut self, outcome: &Outcome<T>) {
        let count = match outcome {
            Ok(_) => &mut self.completed,
            Err(error) if error.is_panic() => &mut self.panicked,
            Err(error) if error.is_cancelled() => &mut self.cancelled,
            Err(error) if error.is_timeout() => &mut self.timed_out,
            Err(_) => &mut self.dropped,
        };
        *count += 1;
    }
}
