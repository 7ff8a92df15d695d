//! Names that come from outside, for components that keep them for ever.

use crate::shim::Mutex;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Names that are kept; there is no need for more where they stand in configuration, and no harm by those who do not.
const MOST_NAMES: usize = 65_536;

/// What a name is called when there are too many.
const ONE_TOO_MANY: &str = "(one of too many names)";

/// The name for as long as the process lives: components carry their names into every refusal, which must be small and
/// allocate nothing. The same name is kept once, however often it is asked for.
pub(in crate::resilience) fn static_name(name: &str) -> &'static str {
    static NAMES: OnceLock<Mutex<BTreeSet<&'static str>>> = OnceLock::new();
    let mut names = NAMES.get_or_init(|| Mutex::new(BTreeSet::new())).lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    if names.len() >= MOST_NAMES {
        return ONE_TOO_MANY;
    }
    let kept: &'static str = Box::leak(Box::from(name));
    names.insert(kept);
    kept
}
