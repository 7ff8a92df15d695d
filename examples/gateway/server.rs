//! An HTTP/1.1 server: the accept loop with a bound on connections, and a graceful end. The gateway is one, and so is
//! each service of the self-contained run.

use crate::http::{Body, HyperTimer};
use crate::runtime::Runtime;
use cofferdam::sync::{CancelToken, OwnedPermit, Semaphore};
use futures_util::future::{Either, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time for the head of a request, from its first byte; also how long a connection may idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// After a failed accept (out of file descriptors, say) the loop lets some time pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A running server. A cheap handle: clones are the same.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Take no more connections, and no further request on any.
    stop: CancelToken,
    /// Drop the connections as they are.
    abort: CancelToken,
    /// The connections since the last death; see [`Server::set_down`].
    life: Mutex<Option<CancelToken>>,
    /// One permit for each connection.
    room: Arc<Semaphore>,
    connections: AtomicU64,
    malformed: AtomicU64,
}

impl Shared {
    fn life(&self) -> MutexGuard<'_, Option<CancelToken>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Listens on `address` and answers with `handler`, on at most `room` connections.
    pub(crate) async fn start<R, H, Fut>(
        runtime: &R,
        address: SocketAddr,
        room: u32,
        handler: H,
    ) -> io::Result<Self>
    where
        R: Runtime,
        H: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = runtime.bind(address).await?;
        let address = R::local_addr(&listener)?;
        let abort = CancelToken::new();
        let shared = Arc::new(Shared {
            stop: CancelToken::new(),
            life: Mutex::new(Some(abort.child())),
            abort,
            room: Arc::new(Semaphore::new(room)),
            connections: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        });
        runtime.spawn(accept(runtime.clone(), listener, Arc::clone(&shared), handler));
        Ok(Self { address, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it takes connections and requests.
    pub(crate) fn is_accepting(&self) -> bool {
        !self.shared.stop.is_cancelled()
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Connections that ended because what came was not HTTP.
    pub(crate) fn malformed(&self) -> u64 {
        self.shared.malformed.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open_connections(&self) -> u32 {
        self.shared.room.in_use()
    }

    /// Down: breaks all connections, and every new one at once, until it is up again.
    pub(crate) fn set_down(&self, down: bool) {
        let new = (!down).then(|| self.shared.abort.child());
        let old = std::mem::replace(&mut *self.shared.life(), new);
        if let Some(old) = old {
            old.cancel();
        }
    }

    /// Stops accepting, lets every request that has begun end, and closes the connections; those that are still open
    /// after `limit` are cut. Returns how many were.
    pub(crate) async fn shutdown(&self, limit: Duration) -> u32 {
        self.shared.stop.cancel();
        // All permits are back when all connections have ended.
        if self.shared.room.acquire_all().timeout(limit).await.is_ok() {
            return 0;
        }
        let cut = self.shared.room.in_use();
        self.shared.abort.cancel();
        drop(self.shared.room.acquire_all().await);
        cut
    }
}

async fn accept<R, H, Fut>(runtime: R, listener: R::Listener, shared: Arc<Shared>, handler: H)
where
    R: Runtime,
    H: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let clock = runtime.clock();
    let mut http = http1::Builder::new();
    http.timer(HyperTimer(clock.clone())).header_read_timeout(HEAD_TIME);
    while let Ok(Ok(permit)) = shared.stop.run(shared.room.acquire_owned()).await {
        let (stream, peer) = match shared.stop.run(R::accept(&listener)).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) => {
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
            Err(_) => break,
        };
        // No life, no service: the stream is dropped.
        let Some(life) = shared.life().clone() else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let serving = serve(http.clone(), stream, peer, life, permit, Arc::clone(&shared), handler.clone());
        runtime.spawn(serving);
    }
}

async fn serve<S, H, Fut>(
    http: http1::Builder,
    stream: S,
    peer: SocketAddr,
    life: CancelToken,
    permit: OwnedPermit,
    shared: Arc<Shared>,
    handler: H,
) where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
    H: Fn(Request<Incoming>, SocketAddr) -> Fut,
    Fut: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let response = handler(request, peer);
        async move { Ok::<_, Infallible>(response.await) }
    });
    {
        let mut connection = pin!(http.serve_connection(stream, service));
        let end = life.run(async {
            match select(connection.as_mut(), pin!(shared.stop.cancelled())).await {
                Either::Left((end, _)) => end,
                Either::Right(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        });
        if matches!(end.await, Ok(Err(error)) if error.is_parse()) {
            shared.malformed.fetch_add(1, Ordering::Relaxed);
        }
    }
    // The place is free when the socket is closed, not before.
    drop(permit);
}
