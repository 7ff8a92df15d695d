//! Messages as bytes.

#![forbid(unsafe_code)]

use super::Message;
use std::error::Error;
use std::fmt;

/// Turns messages into bytes and back. What one codec encodes it must decode to an equal message.
///
/// [`FrameCodec`] is one that needs nothing. For the layout of a broker, or for JSON, implement it for a type of your own.
pub trait Codec: Send + Sync {
    /// Why bytes are no message.
    type Error: Error + Send + Sync + 'static;

    /// The message as bytes.
    ///
    /// # Errors
    /// The message does not fit the layout.
    fn encode(&self, message: &Message) -> Result<Vec<u8>, Self::Error>;

    /// The message that these bytes are.
    ///
    /// # Errors
    /// They are none.
    fn decode(&self, bytes: &[u8]) -> Result<Message, Self::Error>;
}

/// The plainest codec: a byte for the version (1), then name, number of headers, their keys and values, and the payload.
/// Each text is preceded by its length, and the number and lengths are 32 bits, little-endian. The payload is the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCodec;

const VERSION: u8 = 1;

impl Codec for FrameCodec {
    type Error = FrameError;

    fn encode(&self, message: &Message) -> Result<Vec<u8>, FrameError> {
        let headers: usize = message.headers.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(9 + message.name.len() + headers + message.payload.len());
        bytes.push(VERSION);
        put_text(&mut bytes, &message.name)?;
        put_number(&mut bytes, message.headers.len())?;
        for (key, value) in &message.headers {
            put_text(&mut bytes, key)?;
            put_text(&mut bytes, value)?;
        }
        bytes.extend_from_slice(&message.payload);
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Message, FrameError> {
        let (&version, mut rest) = bytes.split_first().ok_or(FrameError(Fault::Short))?;
        if version != VERSION {
            return Err(FrameError(Fault::Version(version)));
        }
        let mut message = Message::new(take_text(&mut rest)?, []);
        for _ in 0..take_number(&mut rest)? {
            let (key, value) = (take_text(&mut rest)?, take_text(&mut rest)?);
            message = message.with_header(key, value);
        }
        message.payload = rest.to_vec();
        Ok(message)
    }
}

fn put_number(bytes: &mut Vec<u8>, number: usize) -> Result<(), FrameError> {
    let number = u32::try_from(number).map_err(|_| FrameError(Fault::Long(number)))?;
    bytes.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

fn put_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), FrameError> {
    put_number(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn take_number(bytes: &mut &[u8]) -> Result<u32, FrameError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(FrameError(Fault::Short))?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*number))
}

fn take_text(bytes: &mut &[u8]) -> Result<String, FrameError> {
    let length = take_number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(FrameError(Fault::Short))?;
    *bytes = rest;
    let text = std::str::from_utf8(text).map_err(|_| FrameError(Fault::Text))?;
    Ok(text.to_owned())
}

/// Why [`FrameCodec`] refuses a message or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError(Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Short,
    Version(u8),
    Text,
    Long(usize),
}

impl FrameError {
    /// Whether the bytes end too early.
    pub fn is_truncated(&self) -> bool {
        self.0 == Fault::Short
    }

    /// Whether the bytes are of another version of the layout, or of something else.
    pub fn is_version(&self) -> bool {
        matches!(self.0, Fault::Version(_))
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::Short => f.write_str("message frame: the bytes end too early"),
            Fault::Version(version) => {
                write!(f, "message frame: version {version}, where {VERSION} is the only one known")
            }
            Fault::Text => f.write_str("message frame: a name or header is not UTF-8"),
            Fault::Long(length) => write!(f, "message frame: a length of {length} does not fit into 32 bits"),
        }
    }
}

impl Error for FrameError {}
