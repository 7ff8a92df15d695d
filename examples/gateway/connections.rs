//! Keep-alive connections to one server: those of the gateway to an upstream, and those of a test client to the gateway.

use crate::runtime::Runtime;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Sender = SendRequest<Full<Bytes>>;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No connection could be made: the server has seen nothing.
    Connect(io::Error),
    /// The connection broke, or what came back was not HTTP.
    Broken(hyper::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => error.source(),
            Self::Broken(error) => error.source(),
        }
    }
}

/// The connections to one server. They grow with the calls in flight, which the caller limits; those that fall idle are
/// kept, up to a number.
pub(crate) struct Connections<R> {
    runtime: R,
    authority: String,
    keep: usize,
    idle: Arc<Idle>,
}

#[derive(Debug, Default)]
struct Idle(Mutex<Vec<Sender>>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Connections<R> {
    pub(crate) fn new(runtime: &R, authority: impl Into<String>, keep: usize) -> Self {
        Self { runtime: runtime.clone(), authority: authority.into(), keep, idle: Arc::default() }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends `request`. A kept connection that the server closed meanwhile, before it took the request, is replaced by
    /// the next; that is no attempt of its own.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let (mut sender, kept) = match self.take_idle().await {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Lease { sender: Some(sender), keep: self.keep, idle: Arc::clone(&self.idle) };
                    return Ok((response, lease));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
    }

    /// Closes the connections that are idle; those in use close when their response has been read.
    pub(crate) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    async fn take_idle(&self) -> Option<Sender> {
        loop {
            let mut sender = self.idle.lock().pop()?;
            // Ready as soon as the connection's task has read the last response to its end; an error if it is closed.
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, SendError> {
        let stream = self.runtime.connect(&self.authority).await.map_err(SendError::Connect)?;
        let (sender, connection) = http1::handshake(stream).await.map_err(SendError::Broken)?;
        // Its errors are reported to the request in flight.
        self.runtime.spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// A connection whose response is being read; dropped, it falls idle.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: Option<Sender>,
    keep: usize,
    idle: Arc<Idle>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) {
            let mut idle = self.idle.lock();
            if idle.len() < self.keep {
                idle.push(sender);
            }
        }
    }
}
