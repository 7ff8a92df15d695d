//! What happens to a registry.

use std::fmt;
use std::sync::Arc;

/// A name got, changed or lost its component.
///
/// Observers hear of the changes of a registry in the order in which they took effect.
#[non_exhaustive]
pub enum RegistryEvent<C> {
    /// There is one of this name, and there was none before.
    #[non_exhaustive]
    Added {
        /// The name.
        name: &'static str,
        /// What it stands for.
        component: Arc<C>,
    },
    /// The name stands for another one.
    #[non_exhaustive]
    Replaced {
        /// The name.
        name: &'static str,
        /// What it stood for; handles of it go on as they are.
        old: Arc<C>,
        /// What it stands for.
        new: Arc<C>,
    },
    /// The name stands for nothing.
    #[non_exhaustive]
    Removed {
        /// The name.
        name: &'static str,
        /// What it stood for; handles of it go on as they are.
        component: Arc<C>,
    },
}

impl<C> RegistryEvent<C> {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Added { name, .. } | Self::Replaced { name, .. } | Self::Removed { name, .. } => name,
        }
    }

    /// What the name stands for now.
    pub fn component(&self) -> Option<&Arc<C>> {
        match self {
            Self::Added { component, .. } => Some(component),
            Self::Replaced { new, .. } => Some(new),
            Self::Removed { .. } => None,
        }
    }
}

impl<C> fmt::Debug for RegistryEvent<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Added { .. } => "Added",
            Self::Replaced { .. } => "Replaced",
            Self::Removed { .. } => "Removed",
        };
        f.debug_struct(kind).field("name", &self.name()).finish_non_exhaustive()
    }
}
