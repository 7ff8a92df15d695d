//! How everything is, to be shown.

use super::check::Kind;
use super::state::Entry;
use super::{Finding, Status};
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a service is, at one moment.
///
/// As JSON, with durations in seconds:
///
/// ```json
/// {"status":"degraded","reason":null,"checks":[{"name":"cache","status":"unhealthy","reason":"no route to host",
///  "critical":false,"checked":true,"lasted":12.5,"last_run":2.0,"last_took":0.031,"failures":4,"successes":0}]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The whole.
    pub status: Status,
    /// Why, if that is in none of the checks.
    pub reason: Option<String>,
    /// Each of them, in the order in which they were added.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// 200 or 503; see [`Status::http_status`].
    pub fn http_status(&self) -> u16 {
        self.status.http_status()
    }

    /// The text of an answer of type `application/json`.
    pub fn to_json(&self) -> String {
        // Of these types nothing can go wrong.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One of the checks.
    pub fn check(&self, name: &str) -> Option<&CheckReport> {
        self.checks.iter().find(|check| &*check.name == name)
    }
}

/// How one check is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    #[serde(serialize_with = "text")]
    pub name: Arc<str>,
    /// What it is. Unhealthy before it has been found often enough to be anything.
    pub status: Status,
    /// Why.
    pub reason: Option<String>,
    /// Whether it is critical.
    pub critical: bool,
    /// Whether it has been found often enough to be anything.
    pub checked: bool,
    /// For how long it has been so.
    #[serde(serialize_with = "seconds")]
    pub lasted: Option<Duration>,
    /// How long ago the last run ended.
    #[serde(serialize_with = "seconds")]
    pub last_run: Option<Duration>,
    /// How long that took.
    #[serde(serialize_with = "seconds")]
    pub last_took: Option<Duration>,
    /// Failures in a row up to now.
    pub failures: u32,
    /// Successes in a row up to now.
    pub successes: u32,
}

impl CheckReport {
    pub(super) fn of(entry: &Entry, kind: Option<Kind>, now: Instant) -> Self {
        let (check, course) = (&entry.item.check, &entry.course);
        let ago = |at| now.saturating_duration_since(at);
        let last = course.last.as_ref();
        let (mut status, reason) = match (&course.shown, last) {
            (Some(shown), _) => (shown.finding.status(), shown.finding.reason()),
            (None, Some(last)) => (Status::Unhealthy, last.finding.reason()),
            (None, None) => (Status::Unhealthy, Some("not checked yet")),
        };
        let mut reason = reason.map(str::to_owned);
        if kind == Some(Kind::Startup) && course.started {
            // Whatever it is by now.
            (status, reason) = (Status::Healthy, None);
        }
        Self {
            name: Arc::clone(&check.name),
            status,
            reason,
            critical: check.critical,
            checked: course.shown.is_some(),
            lasted: course.shown.as_ref().map(|shown| ago(shown.since)),
            last_run: last.map(|last| ago(last.at)),
            last_took: last.map(|last| last.took),
            failures: course.failures,
            successes: course.successes,
        }
    }
}

impl From<&CheckReport> for Finding {
    fn from(report: &CheckReport) -> Self {
        match &report.reason {
            Some(reason) => Self::new(report.status, reason.clone()),
            None => report.status.into(),
        }
    }
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
