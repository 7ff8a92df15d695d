//! Request-scoped values: a persistent list, newest first.

use std::any::{Any, TypeId};
use std::sync::Arc;

type Payload = dyn Any + Send + Sync;

#[derive(Clone, Default)]
pub(super) struct Values(Option<Arc<Entry<Payload>>>);

struct Entry<T: ?Sized> {
    older: Option<Arc<Entry<Payload>>>,
    value: T,
}

/// An entry that hides older values of all types but these.
struct Only(Box<[TypeId]>);

impl Values {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn with<T: Send + Sync + 'static>(&self, value: T) -> Self {
        Self(Some(Arc::new(Entry { older: self.0.clone(), value })))
    }

    pub(super) fn keep_only(&self, types: &[TypeId]) -> Self {
        if types.is_empty() || self.0.is_none() { Self::NONE } else { self.with(Only(types.into())) }
    }

    /// Whether any value can be found.
    pub(super) fn any(&self) -> bool {
        let mut let_through: Vec<&[TypeId]> = Vec::new();
        let mut at = self.0.as_deref();
        while let Some(entry) = at {
            match entry.value.downcast_ref::<Only>() {
                Some(only) => let_through.push(&only.0),
                None => {
                    let kind = entry.value.type_id();
                    if let_through.iter().all(|only| only.contains(&kind)) {
                        return true;
                    }
                }
            }
            at = entry.older.as_deref();
        }
        false
    }

    pub(super) fn find<T: 'static>(&self) -> Option<&T> {
        let mut at = self.0.as_deref();
        while let Some(entry) = at {
            if let Some(value) = entry.value.downcast_ref::<T>() {
                return Some(value);
            }
            if entry.value.downcast_ref::<Only>().is_some_and(|only| !only.0.contains(&TypeId::of::<T>())) {
                return None;
            }
            at = entry.older.as_deref();
        }
        None
    }
}

/// In a loop: a long list must not cost stack.
impl<T: ?Sized> Drop for Entry<T> {
    fn drop(&mut self) {
        let mut older = self.older.take();
        while let Some(mut entry) = older {
            // There are no weak references, so the last owner gets the entry. Of two owners who give it up in the same
            // moment neither may, and then the entry's own drop goes on with the loop.
            older = Arc::get_mut(&mut entry).and_then(|entry| entry.older.take());
        }
    }
}
