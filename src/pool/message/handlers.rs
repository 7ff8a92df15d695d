//! Who handles which message.

#![forbid(unsafe_code)]

use super::{Codec, FrameCodec, Message};
use crate::ConfigError;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type Boxed<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;
type Handler<E> = Arc<dyn Fn(Message) -> Boxed<E> + Send + Sync>;

/// Handlers of messages by their names, and the codec of the messages.
///
/// Clones share the handlers that there are at that time; one that is added to a clone is its own.
///
/// ```
/// use cofferdam::pool::{FrameCodec, Handlers, Message, WorkerPool};
/// use std::convert::Infallible;
///
/// # futures_executor::block_on(async {
/// let handlers = Handlers::new(FrameCodec).on("greet", |message: Message| async move {
///     assert_eq!(message.payload(), b"world");
///     Ok::<_, Infallible>(())
/// })?;
/// let bytes = handlers.encode(&Message::new("greet", "world"))?;
///
/// let (pool, workers) = WorkerPool::builder().workers(1).build()?;
/// let work = async {
///     let handle = pool.submit(handlers.decode(&bytes)?).await?;
///     drop(pool);
///     Ok::<_, Box<dyn std::error::Error>>(handle.await?)
/// };
/// let (handled, ()) = futures_util::future::join(work, workers.into_future()).await;
/// handled??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # use std::future::IntoFuture;
/// ```
pub struct Handlers<E, C = FrameCodec> {
    codec: Arc<C>,
    handlers: HashMap<Arc<str>, Handler<E>>,
}

impl<E, C: Codec> Handlers<E, C> {
    /// No handlers yet.
    pub fn new(codec: C) -> Self {
        Self { codec: Arc::new(codec), handlers: HashMap::new() }
    }

    /// One more handler, for the messages of that name. What it returns is the result of the task: an error rejects the
    /// message.
    ///
    /// # Errors
    /// The name has a handler already.
    pub fn on<H, F>(mut self, name: impl Into<Arc<str>>, handler: H) -> Result<Self, ConfigError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let name = name.into();
        if self.handlers.contains_key(&name) {
            return Err(ConfigError::new("message handlers", "on", name, "must be the first of its name"));
        }
        self.handlers.insert(name, Arc::new(move |message| Box::pin(handler(message))));
        Ok(self)
    }

    /// The names that have a handler, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(|name| &**name)
    }

    /// The message as bytes. Whether there is a handler is the receiver's business.
    ///
    /// # Errors
    /// The codec refuses it.
    pub fn encode(&self, message: &Message) -> Result<Vec<u8>, MessageError> {
        self.codec.encode(message).map_err(|error| MessageError(Reason::Codec(Box::new(error))))
    }

    /// The task that these bytes ask for.
    ///
    /// # Errors
    /// The codec refuses them, or nobody handles messages of that name.
    pub fn decode(&self, bytes: &[u8]) -> Result<Handling<E>, MessageError> {
        let message =
            self.codec.decode(bytes).map_err(|error| MessageError(Reason::Codec(Box::new(error))))?;
        self.handle(message)
    }

    /// The task that this message asks for.
    ///
    /// # Errors
    /// Nobody handles messages of that name.
    pub fn handle(&self, message: Message) -> Result<Handling<E>, MessageError> {
        match self.handlers.get(message.name()) {
            Some(handler) => Ok(Handling { message, handler: Arc::clone(handler), running: None }),
            None => Err(MessageError(Reason::Unknown(message))),
        }
    }
}

impl<E, C> Clone for Handlers<E, C> {
    fn clone(&self) -> Self {
        Self { codec: Arc::clone(&self.codec), handlers: self.handlers.clone() }
    }
}

impl<E, C> fmt::Debug for Handlers<E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.handlers.keys().collect();
        names.sort_unstable();
        f.debug_struct("Handlers").field("names", &names).finish_non_exhaustive()
    }
}

/// A message on its way through its handler: a future of the handler's result. The handler is called at the first poll.
///
/// # Cancel safety
/// As that of the handler's future, which is dropped with it.
#[must_use = "futures do nothing unless polled"]
pub struct Handling<E> {
    message: Message,
    handler: Handler<E>,
    running: Option<Boxed<E>>,
}

impl<E> Handling<E> {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The same from the start, for one more attempt: what a retried task makes its future with.
    pub fn again(&self) -> Self {
        Self { message: self.message.clone(), handler: Arc::clone(&self.handler), running: None }
    }
}

impl<E> Future for Handling<E> {
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let running = this.running.get_or_insert_with(|| (this.handler)(this.message.clone()));
        running.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for Handling<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling")
            .field("message", &self.message)
            .field("begun", &self.running.is_some())
            .finish_non_exhaustive()
    }
}

/// Why a message has no task.
pub struct MessageError(Reason);

enum Reason {
    Codec(Box<dyn Error + Send + Sync>),
    Unknown(Message),
}

impl MessageError {
    /// Whether nobody handles messages of that name.
    pub fn is_unknown(&self) -> bool {
        matches!(self.0, Reason::Unknown(_))
    }

    /// The message that nobody handles.
    pub fn into_message(self) -> Option<Message> {
        match self.0 {
            Reason::Unknown(message) => Some(message),
            Reason::Codec(_) => None,
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Codec(_) => f.write_str("message handlers: the codec refuses the message"),
            Reason::Unknown(message) => {
                write!(f, "message handlers: nobody handles messages named {:?}", message.name())
            }
        }
    }
}

impl fmt::Debug for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Codec(error) => f.debug_tuple("Codec").field(error).finish(),
            Reason::Unknown(message) => f.debug_tuple("Unknown").field(message).finish(),
        }
    }
}

impl Error for MessageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Reason::Codec(error) => Some(&**error),
            Reason::Unknown(_) => None,
        }
    }
}
