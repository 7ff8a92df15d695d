//! Names that come from outside, for components that keep them for ever.

use crate::shim::Unmodelled;
use std::collections::BTreeSet;

/// Names that are kept; there is no need for more where they stand in configuration, and no harm by those who do not.
pub(in crate::resilience) const MOST_NAMES: usize = 65_536;

/// The name for as long as the process lives: components carry their names into every refusal, which must be small and
/// allocate nothing. The same name is kept once, however often it is asked for. `None`: there are too many.
pub(in crate::resilience) fn static_name(name: &str) -> Option<&'static str> {
    static NAMES: Unmodelled<BTreeSet<&'static str>> = Unmodelled::new(BTreeSet::new());
    NAMES.with(|names| {
        if let Some(known) = names.get(name) {
            return Some(*known);
        }
        if names.len() >= MOST_NAMES {
            return None;
        }
        let kept: &'static str = Box::leak(Box::from(name));
        names.insert(kept);
        Some(kept)
    })
}
