//! Tasks that arrive as bytes: a codec, and handlers by name.
//!
//! There is no broker here. Who has one gives what it delivers to [`Handlers::decode`], submits the task that comes back,
//! and acknowledges to the broker when the task's handle says so.

#![forbid(unsafe_code)]

mod codec;
mod handlers;

pub use codec::{Codec, FrameCodec, FrameError};
pub use handlers::{Handlers, Handling, MessageError};

use std::fmt;

/// A named message with its payload, whose format is an affair between its sender and its handler.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message {
    name: String,
    payload: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Message {
    /// A message for the handler of that name.
    pub fn new(name: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), payload: payload.into(), headers: Vec::new() }
    }

    /// The same with one more header: what is not the handler's business, such as an id, or where to send an answer.
    #[must_use]
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((key.into(), value.into()));
        self
    }

    /// The name of its handler.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, for who does not need the rest.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The first header of that key.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// All headers, in the order in which they were added.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Without the payload, which may be large, and nobody else's business.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("name", &self.name)
            .field("bytes", &self.payload.len())
            .field("headers", &self.headers)
            .finish()
    }
}
