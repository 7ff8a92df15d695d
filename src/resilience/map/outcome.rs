//! What becomes of an item.

use crate::resilience::Error;

/// Why an item of a batch gave no result: [`task::ItemError`](crate::task::ItemError) with what comes out of a stack.
///
/// ```
/// use cofferdam::resilience::{ItemError, Stack};
///
/// # futures_executor::block_on(async {
/// let numbers = ["17", "x", "19"];
/// let stack = Stack::new();
/// let outcomes =
///     stack.map(numbers, |text| async { text.parse::<u32>() }).concurrency(1).fail_fast().collect().await;
/// assert_eq!(outcomes[0], Ok(17));
/// assert!(outcomes[1].as_ref().is_err_and(|error| error.is_failed()));
/// let not_run = outcomes[2].clone().unwrap_err();
/// assert_eq!(not_run.to_string(), "not run: item 1 failed");
/// assert_eq!(not_run.into_item(), Some("19"));
/// # });
/// ```
pub type ItemError<I, E> = crate::task::ItemError<I, Error<E>>;
