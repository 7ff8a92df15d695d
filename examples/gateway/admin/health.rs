//! Whether the gateway should be sent requests.
//!
//! It is live if it answers at all. It is ready while it accepts requests and there is an upstream whose circuit is not open.

use crate::proxy::{Gateway, Upstream};
use crate::server::Server;
use serde_json::{Value, json};

pub(super) struct Health {
    accepting: bool,
    /// The upstreams, and whether their circuits are open.
    upstreams: Vec<(String, bool)>,
}

impl Health {
    pub(super) fn of<R>(gateway: &Gateway<R>, front: &Server) -> Self {
        let upstream = |upstream: &Upstream<R>| (upstream.name.clone(), upstream.guard.is_open());
        Self { accepting: front.is_accepting(), upstreams: gateway.upstreams.iter().map(upstream).collect() }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.why_not().is_none()
    }

    fn why_not(&self) -> Option<&'static str> {
        if !self.accepting {
            return Some("the gateway takes no more requests");
        }
        let all_open = self.upstreams.iter().all(|(_, is_open)| *is_open);
        all_open.then_some("the circuit of every upstream is open")
    }

    pub(super) fn said(&self) -> Value {
        let open: Vec<_> =
            self.upstreams.iter().filter(|(_, is_open)| *is_open).map(|(name, _)| name).collect();
        json!({
            "ready": self.is_ready(),
            "reason": self.why_not(),
            "accepting": self.accepting,
            "upstreams": self.upstreams.len(),
            "open": open,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(accepting: bool, open: &[bool]) -> Health {
        let upstreams = open.iter().enumerate().map(|(index, is_open)| (format!("u{index}"), *is_open));
        Health { accepting, upstreams: upstreams.collect() }
    }

    #[test]
    fn it_is_ready_while_it_accepts_and_one_circuit_is_not_open() {
        assert!(health(true, &[false, false]).is_ready());
        assert!(health(true, &[true, false]).is_ready());
        assert!(!health(true, &[true, true]).is_ready());
        assert!(!health(false, &[false, false]).is_ready());
    }

    #[test]
    fn it_says_why_it_is_not() {
        let said = health(true, &[true]).said();
        assert_eq!(said["ready"], false);
        assert_eq!(said["reason"], "the circuit of every upstream is open");
        assert_eq!(said["open"][0], "u0");
        assert_eq!(health(false, &[true]).said()["reason"], "the gateway takes no more requests");
        assert_eq!(health(true, &[true, false]).said()["reason"], Value::Null);
    }
}
