//! Components by name: making one against removing it, and the order in which that is told.
//!
//! What a name stands for is in a map; an entry says itself whether it is still that of its name. Changes are numbered under one
//! lock, and what they are is told in that order.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a name that is made while it is removed stands for one component at a time, and each change is told in its turn | 2 | 3 | a removal that takes the lock of the changes after the name is gone |
//! | what replaces a component that is removed meanwhile is not lost | 2 | 3 | `replace` that does not look whether its entry was removed |

use crate::race::race;
use cofferdam_loom::resilience::Registry;
use cofferdam_loom::resilience::registry::RegistryEvent;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Numbers, counted up as they are made, and what was told of them: `+` is added, `-` removed, `=` replaced.
struct World {
    registry: Registry<u32>,
    told: Arc<Mutex<Vec<(char, u32)>>>,
}

fn world() -> World {
    let made = AtomicU32::new(0);
    let registry = Registry::builder(move |_| Ok::<_, Infallible>(made.fetch_add(1, Ordering::Relaxed)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let registry = registry.capacity(2).observer(move |event: &RegistryEvent<u32>| {
        let told = match event {
            RegistryEvent::Added { component, .. } => ('+', **component),
            RegistryEvent::Removed { component, .. } => ('-', **component),
            RegistryEvent::Replaced { new, .. } => ('=', **new),
            _ => ('?', 0),
        };
        log.lock().expect("whole").push(told);
    });
    World { registry: registry.build().expect("good"), told }
}

/// What was told is what has happened: each name comes before it goes, and what there is in the end is what was told last.
fn check(world: &World) {
    let told = world.told.lock().expect("whole");
    let mut there = None;
    for (what, number) in &*told {
        match what {
            '+' => assert_eq!(there.replace(*number), None, "{told:?}"),
            '-' => assert_eq!(there.take(), Some(*number), "{told:?}"),
            _ => assert!(there.replace(*number).is_some(), "{told:?}"),
        }
    }
    assert_eq!(world.registry.get("a").map(|number| *number), there, "{told:?}");
    assert_eq!(world.registry.len(), usize::from(there.is_some()));
}

/// S84
#[test]
fn a_name_that_is_made_while_it_is_removed_is_told_in_order() {
    race(
        Some(3),
        world,
        |world| drop(world.registry.get_or_create("a").expect("made")),
        |world| drop(world.registry.remove("a")),
        check,
    );
    race(
        Some(3),
        || {
            let world = world();
            world.registry.get_or_create("a").expect("made");
            world
        },
        |world| drop(world.registry.get_or_create("a").expect("made")),
        |world| drop(world.registry.remove("a").expect("there")),
        check,
    );
}

/// S84
#[test]
fn what_replaces_a_component_that_is_removed_meanwhile_is_not_lost() {
    race(
        Some(3),
        || {
            let world = world();
            world.registry.get_or_create("a").expect("made");
            world
        },
        |world| {
            let old = world.registry.replace("a", 10).expect("room");
            assert!(old.is_none_or(|old| *old == 0));
        },
        |world| assert!(world.registry.remove("a").is_some_and(|old| [0, 10].contains(&*old))),
        |world| {
            check(world);
            let told = world.told.lock().expect("whole");
            assert!(told.iter().any(|(what, number)| *what != '-' && *number == 10), "{told:?}");
        },
    );
}
