//! For calls to a service that may be made twice.

use super::standard_client;
use crate::resilience::OnFailure;
use crate::resilience::config::{HedgeDelay, HedgeSettings, HedgedSettings};
use std::time::Duration;

/// Settings for calls to a service that may be made twice, of which a few take far longer than the rest: reads from
/// replicas.
///
/// As [`standard_client`], with a hedge inside the retry, so that each of the two attempts is judged, limited and timed by
/// itself:
///
/// | setting | value | why |
/// |---|---|---|
/// | `hedge.delay` | the 95th percentile of the last 30 to 60 s, of at least 100 calls, from 5 ms to 2 s | one call in twenty gets a second attempt (Dean and Barroso), whatever the callee's pace. Less than 5 ms is within what a scheduler may take; 2 s is Polly's delay |
/// | `hedge.max_hedges` | 1 | the second attempt brings most of the gain; a third is for a callee that is slow as a whole, which it does not help |
/// | `hedge.on_failure` | wait for the delay | the attempts that are under way go on when one fails; failures are the retry's business, which waits between attempts |
/// | `hedge.budget` | none of its own: that of the retry | hedges and retries together are a tenth of the calls. When all calls become slow at once, few are doubled |
///
/// The closure of the operation is cloned for a hedge. Of what takes effect, one may come to take effect twice: use
/// [`standard_client`] for that, or none of the two.
///
/// ```
/// use cofferdam::resilience::presets;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// let stack = presets::hedged_client("search").build()?;
/// assert_eq!(stack.call(|| async { Ok::<_, std::io::Error>("hit") }).await?, "hit");
/// assert_eq!(stack.hedge().map(|hedge| hedge.stats().started), Some(0));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn hedged_client(name: impl Into<String>) -> HedgedSettings {
    let mut hedge = HedgeSettings::new(HedgeDelay::Quantile {
        quantile: 0.95,
        window: Duration::from_secs(30),
        min_samples: 100,
        least_delay: Duration::from_millis(5),
        most_delay: Some(Duration::from_secs(2)),
    });
    hedge.max_hedges = 1;
    hedge.on_failure = OnFailure::WaitForDelay;
    standard_client(name).hedge(hedge)
}
