//! Those who wait for a limiter from outside, as one of several.

use crate::shim::{AtomicBool, Mutex, Ordering};
use crate::wait::Panicked;
use std::sync::{Arc, Weak};

/// Is told, with no lock held, that a limiter may let somebody through earlier than it said.
pub trait Follow: Send + Sync {
    /// Look again.
    fn look_again(self: Arc<Self>);
}

#[derive(Default)]
pub(super) struct Followers {
    /// Whether the list has anyone in it.
    any: AtomicBool,
    list: Mutex<Vec<Weak<dyn Follow>>>,
}

impl Followers {
    pub(super) fn add(&self, follower: Weak<dyn Follow>) {
        let mut list = self.list.lock();
        list.retain(|known| known.strong_count() > 0 && !Weak::ptr_eq(known, &follower));
        list.push(follower);
        // Relaxed: who follows looks for himself after this, under the lock of the limiter that has changed.
        self.any.store(true, Ordering::Relaxed);
    }

    /// A panic of what a follower wakes keeps no other from looking.
    pub(super) fn tell(&self, panicked: &mut Panicked) {
        // Relaxed: ordered by the lock of the limiter, which the change and the look of a follower both take.
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let list: Vec<_> = self.list.lock().iter().filter_map(Weak::upgrade).collect();
        for follower in list {
            panicked.catch(|| follower.look_again());
        }
    }
}
