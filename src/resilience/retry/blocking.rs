//! A run that blocks its thread.

use super::{Judge, RetryAttempt, Settings};
use crate::resilience::{Call, Error, Operation};
use crate::task::block_on;
use std::future::ready;

/// The run of an operation that is done when it returns: all that it ever waits for are the sleeps between attempts.
pub(super) fn run<T, E, J: Judge<T, E>>(
    settings: &Settings,
    judge: J,
    mut op: impl FnMut() -> Result<T, E>,
) -> Result<T, Error<E>> {
    block_on(Call::new(RetryAttempt::new(settings, judge, Operation::new(|| ready(op())))))
}
