//! Whether the gateway should be sent requests: the crate's own [`Health`], with what there is to be asked here.
//!
//! It is live if it answers at all. It is ready while it takes requests and there is an upstream whose circuit is not open. That
//! a circuit is open, or that the machine is short of something, is shown, and keeps nobody away.

use crate::proxy::{Gateway, Upstream};
use crate::runtime::Runtime;
use crate::server::Server;
use cofferdam::ConfigError;
use cofferdam::health::{Check, Finding, Health, ResourceLimits};
use serde_json::{Value, json};
use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

/// How often the checks are run; and besides whenever somebody asks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Of the descriptors that the process may open.
const DESCRIPTORS: f64 = 0.9;

/// What is checked.
pub(crate) fn checks<R: Runtime>(gateway: &Arc<Gateway<R>>, front: &Server) -> Result<Health, ConfigError> {
    let health = Health::builder().clock(gateway.clock.clone()).build()?;
    let (server, upstreams) = (front.clone(), Arc::clone(gateway));
    essentials(
        &health,
        move || server.is_accepting(),
        move || upstreams.upstreams.iter().map(|upstream| upstream.guard.is_open()).collect(),
    )?;
    let optional = |check: Check| health.add(check.interval(INTERVAL).optional());
    for upstream in &gateway.upstreams {
        optional(upstream.guard.check(format!("circuit of {}", upstream.name)))?;
    }
    optional(gateway.background.check("access log"))?;
    optional(Check::of("resources", &ResourceLimits::new().descriptor_share(DESCRIPTORS)))?;
    Ok(health)
}

/// Without these nobody is served. `open`: of each upstream, whether its circuit is open.
fn essentials(
    health: &Health,
    accepting: impl Fn() -> bool + Send + Sync + 'static,
    open: impl Fn() -> Vec<bool> + Send + Sync + 'static,
) -> Result<(), ConfigError> {
    let intake = move || {
        let accepting = accepting();
        async move {
            if accepting {
                Finding::healthy()
            } else {
                Finding::unhealthy("the gateway takes no more requests")
            }
        }
    };
    let upstreams = move || {
        let all_open = open().into_iter().all(identity);
        async move {
            if all_open {
                Finding::unhealthy("the circuit of every upstream is open")
            } else {
                Finding::healthy()
            }
        }
    };
    health.add(Check::new("intake", intake).interval(INTERVAL).failures(1))?;
    health.add(Check::new("upstreams", upstreams).interval(INTERVAL).failures(1))
}

/// How it is now, for a probe of readiness: whether it is, and that in words.
pub(super) async fn readiness<R>(health: &Health, gateway: &Gateway<R>, front: &Server) -> (bool, Value) {
    let open = |upstream: &&Upstream<R>| upstream.guard.is_open();
    let open: Vec<_> = gateway.upstreams.iter().filter(open).map(|upstream| &upstream.name).collect();
    let (ready, mut said) = said(health).await;
    said["accepting"] = json!(front.is_accepting());
    said["upstreams"] = json!(gateway.upstreams.len());
    said["open"] = json!(open);
    (ready, said)
}

async fn said(health: &Health) -> (bool, Value) {
    let all = health.check_now().await;
    let report = health.readiness();
    let ready = report.status.is_working();
    let first = report.checks.iter().find(|check| check.critical && !check.status.is_working());
    let reason = report.reason.as_ref().or_else(|| first.and_then(|check| check.reason.as_ref()));
    let said = json!({
        "ready": ready,
        "reason": reason.filter(|_| !ready),
        "status": all.status,
        "checks": all.checks,
    });
    (ready, said)
}

/// Whether it is to live on.
pub(super) fn liveness(health: &Health) -> (bool, Value) {
    let report = health.liveness();
    (report.status.is_working(), json!({ "live": report.status.is_working(), "status": report.status }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam::health::Status;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn health(accepting: bool, open: &[bool]) -> (Health, Arc<AtomicBool>) {
        let (health, open) = (Health::new(), open.to_vec());
        let accepts = Arc::new(AtomicBool::new(accepting));
        let accepting = Arc::clone(&accepts);
        essentials(&health, move || accepting.load(Ordering::Relaxed), move || open.clone()).unwrap();
        (health, accepts)
    }

    fn asked(health: &Health) -> (bool, Value) {
        said(health).now_or_never().unwrap()
    }

    #[test]
    fn it_is_ready_while_it_accepts_and_one_circuit_is_not_open() {
        for (accepting, open, ready) in [
            (true, [false, false], true),
            (true, [true, false], true),
            (true, [true, true], false),
            (false, [false, false], false),
        ] {
            assert_eq!(asked(&health(accepting, &open).0).0, ready, "{accepting} {open:?}");
        }
    }

    #[test]
    fn it_says_why_it_is_not() {
        let (closed, accepts) = health(true, &[true]);
        let said = asked(&closed).1;
        assert_eq!(said["ready"], false);
        assert_eq!(said["reason"], "the circuit of every upstream is open");
        assert_eq!(said["checks"][1]["name"], "upstreams");
        accepts.store(false, Ordering::Relaxed);
        assert_eq!(asked(&closed).1["reason"], "the gateway takes no more requests");
        assert_eq!(asked(&health(true, &[true, false]).0).1["reason"], Value::Null);
    }

    #[test]
    fn what_is_optional_is_shown_and_keeps_nobody_away() {
        let (health, _) = health(true, &[false]);
        health.add(Check::new("circuit", || async { Status::CircuitOpen }).failures(1).optional()).unwrap();
        let (ready, said) = asked(&health);
        assert!(ready && said["reason"].is_null());
        assert_eq!(
            (&said["status"], &said["checks"][2]["status"]),
            (&json!("degraded"), &json!("circuit-open"))
        );
    }

    #[test]
    fn once_it_is_stopping_it_is_not_ready_and_lives_on() {
        let (health, _) = health(true, &[false]);
        assert_eq!(liveness(&health).1["live"], true);
        health.take_out_of_service("the gateway is stopping");
        let (ready, said) = asked(&health);
        assert_eq!((ready, &said["reason"]), (false, &json!("the gateway is stopping")));
        assert!(liveness(&health).0);
    }
}
