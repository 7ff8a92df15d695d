//! Tasks of which nobody is told until their submitter has what he gets.

#![forbid(unsafe_code)]

use super::sealed::{Arrange, Because, Delay, Intake};
use crate::pool::managed::{Call, Terms};
use std::cell::Cell;
use std::fmt;
use std::time::Instant;

/// As [`Plain`](super::Plain), but whom it concerns is told by who submits, afterwards.
#[derive(Default)]
pub struct Later(Cell<Option<Call>>);

impl Later {
    pub(super) fn put(&self, call: Call) {
        self.0.set(Some(call));
    }

    /// Whom the last submission concerns.
    pub(in crate::pool) fn call(&self) -> Call {
        self.0.take().unwrap_or_default()
    }
}

impl Arrange for Later {
    fn lane(&self) -> u16 {
        0
    }

    fn terms(&self) -> Option<&Terms> {
        None
    }

    fn expires(&self) -> Option<Instant> {
        None
    }

    fn delay(&self) -> Option<Delay> {
        None
    }

    fn refusal(&self, _intake: Intake<'_, ()>) -> Option<Because> {
        None
    }

    fn later(&self) -> Option<&Self> {
        Some(self)
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}
