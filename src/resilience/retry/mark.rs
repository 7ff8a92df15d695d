//! The number of an attempt, for those inside it.

/// The number of the attempt that is running, in the current [`Context`](crate::sync::Context) of a retry that
/// [marks](super::RetryBuilder::mark_attempts) its attempts.
///
/// ```
/// use cofferdam::resilience::{AttemptMark, Retry};
/// use cofferdam::sync::Context;
/// use cofferdam::time::Backoff;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let retry = Retry::builder().backoff(Backoff::ZERO).mark_attempts(true).build()?;
/// let outcome = retry.call(|| async {
///     let number = Context::current().value::<AttemptMark>().map_or(0, |mark| mark.number());
///     if number < 3 { Err(()) } else { Ok(number) }
/// });
/// assert_eq!(outcome.await, Ok(3));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptMark {
    pub(super) policy: &'static str,
    pub(super) number: u32,
}

impl AttemptMark {
    /// The name of the retry.
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// Which attempt this is, counted from 1.
    pub const fn number(&self) -> u32 {
        self.number
    }
}
