//! Components by name.

use crate::support::panic_message;
use cofferdam::ConfigError;
use cofferdam::resilience::registry::{Registry, RegistryEvent};
use cofferdam::resilience::{Bulkhead, CircuitBreaker, Retry, Stack, Timeout};
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

type Events = Arc<Mutex<Vec<String>>>;

/// A registry of numbers, counted up by its factory, and what its observers heard.
fn counting() -> (Registry<u32>, Events) {
    let made = AtomicU32::new(0);
    let registry = Registry::new(move |_| Ok::<_, ConfigError>(made.fetch_add(1, Ordering::SeqCst)));
    let events = heard(&registry);
    (registry, events)
}

fn heard(registry: &Registry<u32>) -> Events {
    let events = Events::default();
    let theirs = Arc::clone(&events);
    registry.observe(move |event: &RegistryEvent<u32>| {
        let text = match event {
            RegistryEvent::Added { name, component, .. } => format!("+{name}={component}"),
            RegistryEvent::Replaced { name, old, new, .. } => format!("{name}:{old}->{new}"),
            RegistryEvent::Removed { name, component, .. } => format!("-{name}={component}"),
            other => format!("{other:?}"),
        };
        theirs.lock().unwrap().push(text);
    });
    events
}

fn taken(events: &Events) -> Vec<String> {
    std::mem::take(&mut *events.lock().unwrap())
}

// S84
#[test]
fn of_thirty_two_threads_that_get_one_name_one_makes_it() {
    for _ in 0..20 {
        let (registry, events) = counting();
        let start = Arc::new(Barrier::new(32));
        let threads: Vec<_> = (0..32)
            .map(|_| {
                let (registry, start) = (registry.clone(), Arc::clone(&start));
                std::thread::spawn(move || {
                    start.wait();
                    registry.get_or_create("x").unwrap()
                })
            })
            .collect();
        let handles: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(handles.iter().all(|handle| Arc::ptr_eq(handle, &handles[0])));
        assert_eq!((taken(&events), registry.len()), (vec!["+x=0".to_owned()], 1));
        assert_eq!(*registry.get_or_create("y").unwrap(), 1, "the factory ran once before");
    }
}

#[test]
fn names_are_unique_and_what_is_refused_comes_back() {
    let (registry, events) = counting();
    let first = registry.insert("a", 10).unwrap();
    let refused = registry.insert("a", 11).unwrap_err();
    assert!(refused.is_taken() && !refused.is_full());
    assert_eq!((refused.to_string().as_str(), refused.name()), ("registry: there is a \"a\" already", "a"));
    assert_eq!(*refused.into_inner(), 11);
    assert!(Arc::ptr_eq(&first, &registry.get_or_create("a").unwrap()));
    assert_eq!(*registry.get_or_create_with("b", |_| Ok::<_, ConfigError>(20)).unwrap(), 20);
    assert_eq!(registry.names(), ["a", "b"]);
    assert_eq!(taken(&events), ["+a=10", "+b=20"]);
    assert!(registry.get("c").is_none());
    assert_eq!(registry.len(), 2, "asking makes nothing");
}

#[test]
fn what_is_replaced_or_removed_goes_on_for_those_who_hold_it() {
    let registry = Registry::new(|name| CircuitBreaker::builder().name(name).build());
    let breaker = registry.get_or_create("mail").unwrap();
    let guard = breaker.try_acquire().unwrap();
    let removed = registry.remove("mail").unwrap();
    assert!(Arc::ptr_eq(&breaker, &removed));
    guard.failure();
    assert_eq!(breaker.stats().failures, 1);
    assert!(breaker.try_acquire().is_ok());
    let next = registry.get_or_create("mail").unwrap();
    assert_eq!((next.stats().failures, next.name()), (0, "mail"));
    let old =
        registry.replace("mail", CircuitBreaker::quick_failover().name("new").build().unwrap()).unwrap();
    assert!(Arc::ptr_eq(&old.unwrap(), &next));
    assert!(next.try_acquire().is_ok());
    assert_eq!(registry.get("mail").unwrap().name(), "new");
    assert!(registry.remove("nobody").is_none());
}

#[test]
fn what_comes_changes_and_goes_is_told() {
    let (registry, events) = counting();
    registry.get_or_create("a").unwrap();
    registry.get_or_create("a").unwrap();
    assert_eq!(registry.replace("a", 7).unwrap().as_deref(), Some(&0));
    assert!(registry.replace("b", 8).unwrap().is_none());
    registry.remove("a");
    registry.remove("a");
    registry.get_or_create("a").unwrap();
    assert_eq!(taken(&events), ["+a=0", "a:0->7", "+b=8", "-a=7", "+a=1"]);
    let mut all = Vec::new();
    registry.for_each(|name, component| all.push((name, *component)));
    all.sort_unstable();
    assert_eq!(all, [("a", 1), ("b", 8)]);
}

#[test]
fn an_observer_may_use_the_registry_and_a_panicking_one_disturbs_nobody() {
    let (registry, events) = counting();
    let inside = registry.clone();
    registry.observe(move |event: &RegistryEvent<u32>| {
        if event.name() == "a" && event.component().is_some() {
            inside.get_or_create("from a").unwrap();
            inside.remove("a");
        }
        assert_ne!(event.name(), "bad");
    });
    registry.get_or_create("a").unwrap();
    registry.get_or_create("bad").unwrap();
    assert_eq!(taken(&events), ["+a=0", "+from a=1", "-a=0", "+bad=2"]);
    assert_eq!(registry.names(), ["bad", "from a"]);
}

/// Each name's events must tell one story: added, then replaced or removed, and only then added again.
#[test]
fn events_of_racing_threads_come_in_the_order_of_the_changes() {
    let (registry, events) = counting();
    let start = Arc::new(Barrier::new(6));
    let threads: Vec<_> = (0..6_u32)
        .map(|thread| {
            let (registry, start) = (registry.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for round in 0..300_u32 {
                    let name = ["a", "b"][(round % 2) as usize];
                    match (thread + round) % 3 {
                        0 => drop(registry.get_or_create(name).unwrap()),
                        1 => drop(registry.replace(name, 100_000 + thread * 1000 + round).unwrap()),
                        _ => drop(registry.remove(name)),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut now: std::collections::HashMap<String, Option<String>> = Default::default();
    for event in taken(&events) {
        if let Some(added) = event.strip_prefix('+') {
            let (name, value) = added.split_once('=').unwrap();
            let before = now.insert(name.into(), Some(value.into())).flatten();
            assert_eq!(before, None, "{event}");
        } else if let Some(removed) = event.strip_prefix('-') {
            let (name, value) = removed.split_once('=').unwrap();
            let before = now.insert(name.into(), None).flatten();
            assert_eq!(before.as_deref(), Some(value), "{event}");
        } else {
            let (name, change) = event.split_once(':').unwrap();
            let (old, new) = change.split_once("->").unwrap();
            let before = now.insert(name.into(), Some(new.into())).flatten();
            assert_eq!(before.as_deref(), Some(old), "{event}");
        }
    }
    for name in ["a", "b"] {
        let told = now.get(name).cloned().flatten();
        assert_eq!(registry.get(name).map(|value| value.to_string()), told);
    }
}

/// One name for two threads, so often that one is removed between being found and being replaced.
#[test]
fn what_was_removed_is_not_replaced() {
    let registry = Registry::new(|_| Ok::<u32, ConfigError>(0));
    // What the name stands for by what was told, and how often that was no continuation.
    let told = Arc::new(Mutex::new((None, 0)));
    let seen = Arc::clone(&told);
    registry.observe(move |event: &RegistryEvent<u32>| {
        let before = match event {
            RegistryEvent::Replaced { old, .. } => Some(**old),
            RegistryEvent::Removed { component, .. } => Some(**component),
            _ => None,
        };
        let mut seen = seen.lock().unwrap();
        seen.1 += u32::from(seen.0 != before);
        seen.0 = event.component().map(|now| **now);
    });
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            for _ in 0..20_000 {
                registry.remove("a");
                registry.get_or_create("a").unwrap();
            }
        });
        start.wait();
        for round in 1..20_000 {
            registry.replace("a", round).unwrap();
        }
    });
    assert_eq!(*told.lock().unwrap(), (registry.get("a").map(|now| *now), 0));
}

#[test]
fn what_cannot_be_made_is_not_there_and_says_why() {
    let tries = AtomicU32::new(0);
    let registry = Registry::new(move |_| Bulkhead::new(tries.fetch_add(1, Ordering::SeqCst)));
    let error = registry.get_or_create("orders").unwrap_err();
    assert!(!error.is_full());
    assert_eq!(
        (error.name(), error.to_string().as_str()),
        ("orders", "registry: \"orders\" could not be made")
    );
    assert!(error.source().unwrap().is::<ConfigError>());
    assert!(registry.is_empty() && registry.get("orders").is_none());
    assert!(registry.get_or_create("orders").is_ok(), "the next who asks tries again");
}

#[test]
fn a_factory_that_panics_leaves_the_name_free() {
    let (registry, events) = counting();
    let message = panic_message(|| {
        let _ = registry.get_or_create_with("a", |_| -> Result<u32, ConfigError> { panic!("no such thing") });
    });
    assert_eq!(message, "no such thing");
    assert_eq!(*registry.get_or_create("a").unwrap(), 0);
    assert_eq!(taken(&events), ["+a=0"]);
}

#[test]
fn there_is_room_for_so_many_names_and_none_is_forgotten() {
    let registry =
        Registry::builder(|name: &str| Ok::<_, ConfigError>(name.len() as u32)).capacity(2).build().unwrap();
    assert_eq!(registry.capacity(), 2);
    registry.get_or_create("a").unwrap();
    registry.get_or_create("bb").unwrap();
    let full = registry.get_or_create("ccc").unwrap_err();
    assert!(full.is_full());
    assert_eq!(full.to_string(), "registry: no room for \"ccc\", all 2 names are taken");
    let refused = registry.insert("ccc", 3).unwrap_err();
    assert!(refused.is_full() && !refused.is_taken());
    assert_eq!(refused.to_string(), full.to_string());
    assert_eq!(*registry.replace("ccc", 9).unwrap_err().into_inner(), 9);
    assert_eq!(registry.names(), ["a", "bb"]);
    registry.remove("a");
    assert!(registry.get_or_create("ccc").is_ok());
    let error = Registry::builder(|_| Ok::<u8, ConfigError>(0)).capacity(0).build().unwrap_err();
    assert_eq!(error.to_string(), "registry: capacity = 0: must be at least 1");
}

#[test]
fn whole_stacks_have_names_too() {
    let registry = Registry::new(|name| {
        let stack = Stack::new()
            .retry(Retry::builder().name(name).build()?)
            .breaker(CircuitBreaker::builder().name(name).build()?)
            .timeout(Timeout::attempt(Duration::from_secs(1)).name(name));
        Ok::<_, ConfigError>(stack)
    });
    let stack = registry.get_or_create("search").unwrap();
    assert_eq!(stack.describe()[1].to_string(), "circuit breaker(search)");
    assert_eq!(futures_executor::block_on(stack.call(|| async { Ok::<_, ()>(3) })), Ok(3));
    // The name is the same text, not a new one each time.
    registry.remove("search");
    let again = registry.get_or_create("search").unwrap();
    assert!(std::ptr::eq(stack.describe()[1].name(), again.describe()[1].name()));
}

/// Names are kept for as long as the process lives, so this is seen in a process of its own.
#[test]
fn names_beyond_the_last_that_is_kept_are_refused_and_called_by_no_other() {
    const ME: &str = "registry::names_beyond_the_last_that_is_kept_are_refused_and_called_by_no_other";
    const CHILD: &str = "COFFERDAM_TEST_HAS_A_PROCESS_OF_ITS_OWN";
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([ME, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let registry = |capacity| Registry::builder(Ok::<_, ConfigError>).capacity(capacity).build().unwrap();
    let first = registry(100_000);
    let most = 65_536;
    for number in 0..most {
        let name = number.to_string();
        assert_eq!(*first.get_or_create(&name).unwrap(), name);
    }
    let error = first.get_or_create("one more").unwrap_err();
    assert!(error.is_full());
    assert_eq!(
        error.to_string(),
        "registry: no room for \"one more\", all 65536 names of the process are taken"
    );
    assert!(error.source().is_none());
    let refused = first.insert("one more", "mine").unwrap_err();
    assert!(refused.is_full() && !refused.is_taken());
    assert!(first.replace("one more", "mine").is_err());
    assert_eq!(first.len(), most, "nothing is added");
    // One that is known costs nothing, whose registry ever it is.
    assert_eq!(*registry(5).get_or_create("17").unwrap(), "17");
    let settings = cofferdam::resilience::config::StackSettings::default().name("another");
    assert_eq!(
        settings.check().unwrap_err().to_string(),
        "name: \"another\": is one too many: the process has as many names as it keeps"
    );
}
