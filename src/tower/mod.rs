//! Policies as `tower` layers: the same [`Stack`], or any policy of it, around any `tower` service.
//!
//! ```
//! use cofferdam::tower::PolicyLayer;
//! use cofferdam::resilience::{Bulkhead, Stack, Timeout};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # futures_executor::block_on(async {
//! let stack = Stack::new()
//!     .bulkhead(Bulkhead::new(100)?)
//!     .timeout(Timeout::attempt(Duration::from_secs(2)));
//! let mut service = ServiceBuilder::new()
//!     .layer(PolicyLayer::once(stack))
//!     .service_fn(|name: String| async move { Ok::<_, std::io::Error>(format!("hello {name}")) });
//!
//! let greeting = service.ready().await?.call("ada".into()).await?;
//! assert_eq!(greeting, "hello ada");
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Which layer
//! | | requests | policies |
//! |---|---|---|
//! | [`PolicyLayer::new`] | are cloned for each attempt | any |
//! | [`PolicyLayer::once`] | are moved: they need not be `Clone` | those that make one attempt only ([`Single`]), told apart at compile time |
//! | [`PolicyLayer::by_request`], [`PolicyLayer::once_by_request`] | as those | chosen for each request: limits and breakers by key |
//!
//! A request that cannot be sent twice, one with a body that is read from a socket say, goes through a layer of the second
//! kind; so it is a matter of types, not of luck, that it is sent once.
//!
//! # Readiness
//! **`poll_ready` is always ready and reserves nothing.** Policies decide in `call`: that is where there is a call that they can
//! refuse, queue, time and judge. So a service that was polled ready and is then dropped, or kept and never called, holds
//! nothing back from others; and an open breaker refuses whatever the inner service is doing, without asking it.
//!
//! **The inner service is asked in the response future**, inside the policies: waiting for it to be ready is part of an
//! attempt, and so within its timeout and in the breaker's view. Each attempt asks an instance of its own, and calls that one:
//! with [`PolicyLayer::once`] the service that was there, a clone taking its place; with [`PolicyLayer::new`] a clone of
//! it for each attempt, so that an instance that has failed to get ready, or was dropped while it waited, is not used again.
//! A service that bounds how much it does by handing out readiness, as `tower`'s `ConcurrencyLimit` and `Buffer` do,
//! shares its bound with its clones, and works.
//!
//! What this means around it: a `LoadShed` or a load balancer outside sees a service that is always ready. It is told of
//! overload by rejections.
//!
//! A call ends with its response. What of the response is still to come, as the body of an HTTP response, is outside: a place
//! in a bulkhead is free, and a timeout at its end, when the headers are there.
//!
//! # Clones
//! Clones of a layer, of the services that it made, and of those, share what the policies count and hold. A server that
//! clones its services for each connection has one limit, not one for each.
//!
//! # Errors
//! The error of the service is [`Error<S::Error>`](crate::resilience::Error). To answer refusals with responses, with the feature `http`:
//! [`RespondLayer`].
//!
//! # Cost
//! The response future is named ([`OwnedCall`](crate::resilience::OwnedCall)) and not boxed. A call clones the inner service once, or
//! once and once more for each attempt where attempts may be several; and allocates nothing of its own, except by request.
//!
//! [`Stack`]: crate::resilience::Stack
//! [`Single`]: crate::resilience::Single

#![forbid(unsafe_code)]

mod layer;
mod request;
#[cfg(feature = "http")]
mod respond;
mod service;
mod source;

pub use layer::PolicyLayer;
pub use request::{Cloned, Fresh, Moved, RequestAttempt, Requests, Spent};
#[cfg(feature = "http")]
pub use respond::{Respond, RespondFuture, RespondLayer, RespondService, Standard};
pub use service::PolicyService;
pub use source::{ByRequest, PolicyFor, PolicySource, Same};
