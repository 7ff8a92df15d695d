//! For requests that come in.

use crate::resilience::config::{BulkheadSettings, OrderSettings, StackSettings};
use std::time::Duration;

/// Settings for a server's own requests: bounds what it does at once, and sheds what it does not get to in time, so that
/// it answers what it can when more comes in.
///
/// | setting | value | why |
/// |---|---|---|
/// | `total_timeout` | 10 s | counts the wait and the work: whoever asked has given up by then, and what is done for nobody is taken from the others (SRE, 22). Below the `attempt_timeout` of those who call |
/// | `bulkhead.running` | 100 | of a thousand requests a second that take 100 ms each, so many run at once (Little's law). Measure up to where more at once makes no more in all |
/// | `bulkhead.queue` | 50 | half of the places (SRE, 22): a longer queue turns an overload into waiting time for everybody |
/// | `bulkhead.order` | controlled delay: 5 ms, 100 ms, the newest first in an overload | the values of Maurer: a burst waits for up to 100 ms; in a queue that has not been empty for so long nobody waits for more than 5 ms, and those are served who have waited least and are most likely still there |
///
/// What is turned away is [shed](crate::resilience::Error::is_shed) or [full](crate::resilience::Error::is_full): say so with
/// a status that tells the caller to go elsewhere (503), and make that cheap.
///
/// No retry: each layer of a system that retries multiplies the calls of those below it (SRE, 22), and the request is the
/// caller's to repeat. No breaker: those are around the calls that the handler makes, one for each callee.
///
/// Where the number that may run at once is not known, or changes, use an
/// [`AdaptiveBulkhead`](crate::resilience::AdaptiveBulkhead) in a stack of your own. Where requests have classes, likewise,
/// with a [`Bulkhead`](crate::resilience::Bulkhead) of [order](crate::resilience::BulkheadBuilder::order) priority.
///
/// ```
/// use cofferdam::resilience::presets;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// let stack = presets::server("orders").build()?;
/// let status = match stack.call(|| async { Ok::<_, std::io::Error>(200) }).await {
///     Ok(status) => status,
///     Err(error) if error.is_shed() || error.is_full() => 503,
///     Err(error) if error.is_timeout() => 504,
///     Err(_) => 500,
/// };
/// assert_eq!(status, 200);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn server(name: impl Into<String>) -> StackSettings {
    let mut bulkhead = BulkheadSettings::new(100);
    bulkhead.queue = 50;
    bulkhead.order = OrderSettings::ControlledDelay {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
        lifo: true,
    };
    StackSettings::default().name(name).total_timeout(Duration::from_secs(10)).bulkhead(bulkhead)
}
