//! Longer waits, so that those who wait for the same instant do not all come at once.

use crate::shim::Mutex;
use crate::time::Rng;

/// Waits are lengthened by up to a share of themselves.
pub(super) struct Jittered {
    share: f64,
    rng: Mutex<Rng>,
}

impl Jittered {
    pub(super) fn new(share: f64, rng: Rng) -> Self {
        Self { share, rng: Mutex::new(rng) }
    }

    /// By how much a wait of this length is lengthened.
    pub(super) fn draw(&self, waited: u64) -> u64 {
        let drawn = self.rng.lock().f64();
        (waited as f64 * self.share * drawn) as u64
    }
}
