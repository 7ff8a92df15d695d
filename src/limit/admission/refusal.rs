//! A call that was turned away.

use std::fmt;

/// A call was turned away to spare the server; why.
///
/// That was a matter of chance, and of the counts at that moment: there is no time after which the same call will be let
/// through, nor is there one that never will be. Trying again at once would undo what the refusal is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotAdmitted {
    pub(super) requests: u64,
    pub(super) accepts: u64,
    pub(super) probability: f64,
}

impl NotAdmitted {
    /// The probability with which it was turned away.
    pub const fn probability(&self) -> f64 {
        self.probability
    }

    /// Requests in the window, without this one.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// How many of these the server accepted.
    pub const fn accepts(&self) -> u64 {
        self.accepts
    }
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, accepts, probability } = self;
        write!(
            f,
            "admission control: turned away with a probability of {probability:.2}: {accepts} of {requests} requests \
             were accepted"
        )
    }
}

impl std::error::Error for NotAdmitted {}
