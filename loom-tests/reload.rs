//! What is in use and made anew: the number of the present one, and those who keep what they read last.
//!
//! The one that is in force is under a lock. The number beside it is changed with that lock in hand, and read without.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a reader that sees a number has what came with it, and never stays behind | 2 | 3 | the number is changed before what it is the number of, outside the lock |

use crate::race::race;
use cofferdam_loom::resilience::config::{Reader, Reload, Reloadable};
use loom::sync::Mutex;

struct Part(u32);

impl Reload for Part {
    type Settings = u32;
    type Error = ();

    fn check(&self, _: &u32) -> Result<(), ()> {
        Ok(())
    }

    fn reload(&self, number: u32) -> Result<Self, ()> {
        Ok(Self(number))
    }
}

struct World {
    live: Reloadable<Part>,
    reader: Mutex<Reader<Part>>,
}

#[test]
fn a_reader_never_stays_behind() {
    race(
        Some(3),
        || {
            let live = Reloadable::new(Part(0));
            let reader = Mutex::new(live.reader());
            World { live, reader }
        },
        |world| world.live.reload(1).expect("good"),
        |world| {
            let mut reader = world.reader.lock().expect("whole");
            let first = reader.current().0;
            assert!(reader.current().0 >= first, "it does not go back");
        },
        |world| {
            assert_eq!(world.reader.lock().expect("whole").current().0, 1);
            assert_eq!((world.live.load().0, world.live.generation()), (1, 1));
        },
    );
}
