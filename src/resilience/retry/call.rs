//! A retry that begins with the operation.

use super::blocking;
use super::judges::{followed_by, judged_by};
use super::{Judge, Lent, Retry, RetryAttempt, Settings};
use crate::resilience::{Call, Error, Operation};
use std::fmt;
use std::future::{Future, IntoFuture};

/// Tries an operation again, written behind it: for closures that make a future, and closures that block.
///
/// ```
/// use cofferdam::resilience::{Retry, RetryExt};
/// use cofferdam::time::Backoff;
/// use std::io;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let policy = Retry::builder().backoff(Backoff::ZERO).build()?;
/// # futures_executor::block_on(async {
/// async fn fetch() -> Result<String, io::Error> {
///     Ok("page".into())
/// }
///
/// let page = fetch
///     .retry(&policy)
///     .when(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset)
///     .notify(|error, next| eprintln!("{error}, again in {:?}", next.delay))
///     .await;
/// assert_eq!(page.unwrap(), "page");
/// # });
///
/// let number = (|| "17".parse::<u32>()).retry(&policy).call_sync();
/// assert_eq!(number, Ok(17));
/// # Ok(())
/// # }
/// ```
pub trait RetryExt<R>: FnMut() -> R + Sized {
    /// Under this policy. What is said behind it is for this call alone.
    fn retry<J>(self, policy: &Retry<J>) -> Retrying<'_, Lent<'_, J>, Self> {
        Retrying { settings: &policy.settings, judge: Lent(&policy.judge), op: self }
    }
}

impl<R, F: FnMut() -> R> RetryExt<R> for F {}

/// An operation with the policy under which it is to be tried again: await it, or, if the operation blocks,
/// [`call_sync`](Self::call_sync) it. See [`RetryExt::retry`].
#[must_use = "nothing is tried before it is awaited or called"]
pub struct Retrying<'a, J, F> {
    settings: &'a Settings,
    judge: J,
    op: F,
}

impl<'a, J, F> Retrying<'a, J, F> {
    fn with_judge<K>(self, change: impl FnOnce(J) -> K) -> Retrying<'a, K, F> {
        let Self { settings, judge, op } = self;
        Retrying { settings, judge: change(judge), op }
    }

    /// Runs an operation that blocks, as [`Retry::call_sync`].
    ///
    /// # Errors
    /// As there.
    pub fn call_sync<T, E>(self) -> Result<T, Error<E>>
    where
        F: FnMut() -> Result<T, E>,
        J: Judge<T, E>,
    {
        blocking::run(self.settings, self.judge, self.op)
    }
}

impl<'a, J, Op> Retrying<'a, J, Op> {
    judged_by!(Retrying<'a, J, Op>);
    followed_by!(Retrying<'a, J, Op>);
}

/// As [`Retry::call`].
impl<'a, J, F, Fut, T, E> IntoFuture for Retrying<'a, J, F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    J: Judge<T, E>,
{
    type Output = Result<T, Error<E>>;
    type IntoFuture = Call<RetryAttempt<'a, J, Operation<F, Fut>, E>>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        Call::new(RetryAttempt::new(self.settings, self.judge, Operation::new(self.op)))
    }
}

impl<J, F> fmt::Debug for Retrying<'_, J, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retrying").field(&self.settings).finish()
    }
}
