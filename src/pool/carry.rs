//! Which values of a submitter's context a task takes along.

#![forbid(unsafe_code)]

use crate::sync::Context;
use std::any::TypeId;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub(super) enum Carry {
    #[default]
    All,
    /// None but those of these types; none at all if there are none.
    Only(Arc<[TypeId]>),
}

impl Carry {
    /// The context with what may cross, and whether any of its values may.
    pub(super) fn through(&self, context: Context) -> (Context, bool) {
        let context = match self {
            Self::All => context,
            Self::Only(types) => context.keep_only(types),
        };
        let any = context.has_values();
        (context, any)
    }
}
