//! The stream of a connection: it holds a permit while it lives, and fails if its peer does not
//! read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection_limit::ConnectionPermit;

/// A transport whose unsent bytes can be dropped.
pub(super) trait Abort {
    /// Makes closing send a reset and drop the unsent bytes.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        // If the option is not available, the system drops the bytes later.
        let _ = self.set_zero_linger();
    }
}

/// A stream that holds its permit until it is dropped; after an upgrade, until the WebSocket is
/// dropped.
///
/// If a write makes no progress within its timeout, it fails, and so does the next read. So a peer
/// that sends and never reads is disconnected as well.
pub(super) struct ConnectionStream<S> {
    stream: S,
    /// Boxed: a test holds the size of a connection.
    state: Box<StreamState>,
}

/// The state of a stream while its peer does not read, and until it is dropped.
struct StreamState {
    write_wait: Duration,
    /// Runs while the peer reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<ConnectionPermit>,
}

impl<S> ConnectionStream<S> {
    pub(super) fn new(stream: S, place: Option<ConnectionPermit>, write_wait: Duration) -> Self {
        metrics::gauge!("countersign_connections_open").increment(1);
        metrics::counter!("countersign_connections_total").increment(1);
        let state = StreamState { write_wait, stalled: None, _place: place };
        Self { stream, state: Box::new(state) }
    }

    pub(super) fn inner(&self) -> &S {
        &self.stream
    }
}

impl<S: Abort> ConnectionStream<S> {
    /// Starts the timer when a write has to wait, and stops it when a write makes progress.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.state.stalled = None;
            return written;
        }
        let wait = self.state.write_wait;
        self.state.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        self.check(context)?;
        Poll::Pending
    }

    /// Fails if the peer has read nothing for too long.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(timer) = &mut self.state.stalled else { return Ok(()) };
        if timer.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        self.stream.abort();
        metrics::counter!("countersign_connections_closed_total", "reason" => "peer_does_not_read")
            .increment(1);
        Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))
    }
}

impl<S> Drop for ConnectionStream<S> {
    fn drop(&mut self) {
        metrics::gauge!("countersign_connections_open").decrement(1);
    }
}

impl<S: AsyncRead + Abort + Unpin> AsyncRead for ConnectionStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Abort + Unpin> AsyncWrite for ConnectionStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    impl Abort for DuplexStream {
        fn abort(&self) {}
    }

    fn pair() -> (ConnectionStream<DuplexStream>, DuplexStream) {
        let (server, peer) = tokio::io::duplex(8);
        (ConnectionStream::new(server, None, WAIT), peer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_makes_no_progress_fails_after_the_time_allowed() {
        let (mut stream, _peer) = pair();
        let begun = Instant::now();
        let written = tokio::time::timeout(2 * WAIT, stream.write_all(b"more than eight"));
        let error = written.await.expect("it fails by itself").unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_is_waited_for() {
        let (mut stream, mut peer) = pair();
        let read = async {
            for _ in 0..4 {
                tokio::time::sleep(WAIT / 2).await;
                peer.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 32]), read);
        written.unwrap();
    }

    /// A WebSocket that answers pings without end is read from, whatever becomes of the answers.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_and_never_reads_is_not_read_from_any_longer() {
        let (mut stream, mut peer) = pair();
        let mut full = Box::pin(stream.write_all(b"more than eight"));
        assert!(futures_util::poll!(&mut full).is_pending());
        drop(full);
        tokio::time::advance(WAIT).await;
        peer.write_all(b"ping").await.unwrap();
        let error = stream.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
