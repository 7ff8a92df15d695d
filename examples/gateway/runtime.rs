//! What the gateway needs of an executor, and the two that give it: everything else in this program is generic over
//! [`Runtime`].

use cofferdam::task::BoxTask;
use cofferdam::time::Clock;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// Sockets, tasks and time.
pub(crate) trait Runtime: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    type Stream: Read + Write + Send + Unpin + 'static;
    type Listener: Send + Sync + 'static;

    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;
    fn local_addr(listener: &Self::Listener) -> io::Result<SocketAddr>;
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
    /// Connects to `host:port`.
    fn connect(&self, authority: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
    fn clock(&self) -> Clock;
    /// Tasks that were spawned and have not ended.
    fn live_tasks(&self) -> u64;
}

/// The number of tasks alive; each holds a [`Alive`].
#[derive(Clone, Default)]
struct Tasks(Arc<AtomicU64>);

struct Alive(Tasks);

impl Tasks {
    fn enter(&self) -> Alive {
        self.0.fetch_add(1, Ordering::Relaxed);
        Alive(self.clone())
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Whoever reads zero also sees what the tasks did.
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// Keeps the count right also when the executor drops a task unfinished.
async fn counted(task: impl Future<Output = ()>, alive: Alive) {
    task.await;
    drop(alive);
}

/// smol: an `async-executor` on two threads, sockets and timers of `async-io`.
#[derive(Clone)]
pub(crate) struct Smol {
    executor: Arc<smol::Executor<'static>>,
    tasks: Tasks,
}

impl Smol {
    const THREADS: usize = 2;

    /// Runs `body` on a fresh executor to its end.
    pub(crate) fn run<T: Send + 'static, Fut: Future<Output = T> + Send + 'static>(
        body: impl FnOnce(Self) -> Fut,
    ) -> io::Result<T> {
        let executor = Arc::new(smol::Executor::new());
        let this = Self { executor: Arc::clone(&executor), tasks: Tasks::default() };
        let body = executor.spawn(body(this));
        let (ended, end) = smol::channel::bounded::<()>(1);
        let mut threads = Vec::new();
        for _ in 0..Self::THREADS {
            let (executor, end) = (Arc::clone(&executor), end.clone());
            let run = move || {
                let _ = smol::block_on(executor.run(end.recv()));
            };
            threads.push(std::thread::Builder::new().name("smol".to_owned()).spawn(run)?);
        }
        let output = smol::block_on(body);
        drop(ended);
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Ok(output)
    }
}

impl Runtime for Smol {
    const NAME: &'static str = "smol";
    type Stream = FuturesIo<smol::net::TcpStream>;
    type Listener = smol::net::TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        smol::net::TcpListener::bind(address).await
    }

    fn local_addr(listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((FuturesIo::new(stream), peer))
    }

    async fn connect(&self, authority: &str) -> io::Result<Self::Stream> {
        let stream = smol::net::TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(FuturesIo::new(stream))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(counted(task, self.tasks.enter())).detach();
    }

    fn clock(&self) -> Clock {
        Clock::system()
    }

    fn live_tasks(&self) -> u64 {
        self.tasks.count()
    }
}

/// tokio: its multi-thread runtime with two workers, its sockets, its clock.
#[derive(Clone)]
pub(crate) struct Tokio {
    handle: tokio::runtime::Handle,
    clock: Clock,
    tasks: Tasks,
}

impl Tokio {
    /// Runs `body` on a fresh runtime to its end.
    pub(crate) fn run<T: Send + 'static, Fut: Future<Output = T> + Send + 'static>(
        body: impl FnOnce(Self) -> Fut,
    ) -> io::Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let handle = tokio::runtime::Handle::current();
            let clock = Clock::tokio().map_err(io::Error::other)?;
            let body = body(Self { handle, clock, tasks: Tasks::default() });
            match tokio::spawn(body).await {
                Ok(output) => Ok(output),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(io::Error::other(error)),
                },
            }
        })
    }
}

impl Runtime for Tokio {
    const NAME: &'static str = "tokio";
    type Stream = TokioIo<tokio::net::TcpStream>;
    type Listener = tokio::net::TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<Self::Listener> {
        tokio::net::TcpListener::bind(address).await
    }

    fn local_addr(listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((TokioIo::new(stream), peer))
    }

    async fn connect(&self, authority: &str) -> io::Result<Self::Stream> {
        let stream = tokio::net::TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(counted(task, self.tasks.enter())));
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn live_tasks(&self) -> u64 {
        self.tasks.count()
    }
}

/// Any runtime as the crate's `Spawn`.
pub(crate) fn spawner<R: Runtime>(runtime: &R) -> impl Fn(BoxTask) + Send + Sync + use<R> {
    let runtime = runtime.clone();
    move |task: BoxTask| runtime.spawn(task)
}

/// How much is read at once. hyper lends memory that may be uninitialised; reading by way of a buffer of our own costs
/// one copy and no `unsafe`.
const READ: usize = 16 * 1024;

/// hyper's I/O over the `futures` traits.
pub(crate) struct FuturesIo<S> {
    stream: S,
    buffer: Box<[u8]>,
}

impl<S> FuturesIo<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; READ].into() }
    }
}

impl<S: smol::io::AsyncRead + Unpin> Read for FuturesIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, buffer } = self.get_mut();
        let room = cursor.remaining().min(buffer.len());
        let read = ready!(Pin::new(stream).poll_read(cx, &mut buffer[..room]))?;
        cursor.put_slice(&buffer[..read]);
        Poll::Ready(Ok(()))
    }
}

impl<S: smol::io::AsyncWrite + Unpin> Write for FuturesIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

/// hyper's I/O over the tokio traits.
pub(crate) struct TokioIo<S> {
    stream: S,
    buffer: Box<[u8]>,
}

impl<S> TokioIo<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; READ].into() }
    }
}

impl<S: tokio::io::AsyncRead + Unpin> Read for TokioIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, buffer } = self.get_mut();
        let room = cursor.remaining().min(buffer.len());
        let mut read = tokio::io::ReadBuf::new(&mut buffer[..room]);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        cursor.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> Write for TokioIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}
