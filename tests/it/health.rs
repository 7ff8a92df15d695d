//! Health: rules, checks, reports, components, and the end of a service.

mod components;
mod driver;
mod flights;
mod leaks;
mod reports;
mod rules;
mod shutdown;

use cofferdam::health::{Check, Finding, Health, HealthEvent, Status};
use cofferdam::time::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A registry whose intervals are exact.
fn exact(clock: Clock) -> Health {
    Health::builder().clock(clock).jitter(0.0).build().expect("valid")
}

/// What a check finds is set by the test, and how often it was asked is counted.
#[derive(Clone, Default)]
struct Patient {
    finding: Arc<Mutex<Finding>>,
    asked: Arc<AtomicU64>,
}

impl Patient {
    fn is(&self, finding: impl Into<Finding>) {
        *self.finding.lock().expect("not poisoned") = finding.into();
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn find(&self) -> Finding {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.finding.lock().expect("not poisoned").clone()
    }

    fn check(&self, name: &str) -> Check {
        let patient = self.clone();
        Check::new(name, move || {
            let found = patient.find();
            async move { found }
        })
    }
}

fn ill() -> Finding {
    Finding::unhealthy("ill")
}

/// What observers are told, as text.
fn told(health: &Health) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    health.observe(move |event: &HealthEvent| {
        let line = match event {
            HealthEvent::Changed { check, from, to, reason, .. } => {
                let from = from.map_or_else(|| "-".to_owned(), |from| from.to_string());
                format!("{check}: {from} -> {to} ({})", reason.as_deref().unwrap_or("-"))
            }
            HealthEvent::OverallChanged { from, to, .. } => format!("all: {from} -> {to}"),
            HealthEvent::RecoveryEnded { check, attempt, error, .. } => {
                format!("{check}: recovery {attempt}: {}", error.as_deref().unwrap_or("done"))
            }
            other => panic!("{other:?}"),
        };
        list.lock().expect("not poisoned").push(line);
    });
    told
}

fn lines(told: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut *told.lock().expect("not poisoned"))
}

fn status_of(health: &Health, name: &str) -> Status {
    health.report().check(name).expect("a check of this name").status
}
