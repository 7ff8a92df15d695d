//! Refusals in the terms of HTTP.

use super::{Error, Reason, Rejection};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

impl Rejection {
    /// The status of the response that says this to a client.
    ///
    /// | reason | status |
    /// |---|---|
    /// | rate limited | 429 Too Many Requests |
    /// | circuit open, full, shed, cancelled, closed | 503 Service Unavailable |
    /// | timed out, deadline exceeded | 504 Gateway Timeout |
    pub const fn status(&self) -> StatusCode {
        match self.reason() {
            Reason::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Reason::TimedOut { .. } | Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A response with the [status](Self::status) and an empty body, and with `Retry-After`, in whole seconds rounded up, where
    /// the policy [knows](Self::retry_after) when. It does not tell the client which policy refused.
    ///
    /// ```
    /// use cofferdam::resilience::Rejection;
    /// use std::time::Duration;
    ///
    /// let rejection = Rejection::rate_limited("by client", Some(Duration::from_millis(1200)));
    /// let response = rejection.response::<String>();
    /// assert_eq!(response.status(), 429);
    /// assert_eq!(response.headers()["retry-after"], "2");
    /// ```
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        if let Some(after) = self.retry_after() {
            let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl<E> Error<E> {
    /// The [status](Rejection::status) of the refusal; `None` if the operation's own error is what happened last.
    pub fn status(&self) -> Option<StatusCode> {
        self.rejection().map(Rejection::status)
    }
}
