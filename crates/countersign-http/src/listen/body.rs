//! A request's body: it must arrive in time, and the part that no handler read is discarded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use countersign_core::limits::BODY_BYTES_MAX;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, timeout};

/// How much of an unread body is discarded before the answer: as much as an honest client sends.
const DISCARDED_BYTES_MAX: usize = BODY_BYTES_MAX;
/// The longest time for discarding.
const DISCARD_WAIT_MAX: Duration = Duration::from_secs(1);

/// A body that must be read whole within a time that starts at the first read.
pub(super) struct RequestBody {
    /// `None` after a failure.
    body: Option<Incoming>,
    wait: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    unread: Unread,
}

/// The part of a body that a handler did not read.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Option<Incoming>>>);

impl RequestBody {
    /// The body, and a handle to its unread part.
    pub(super) fn new(body: Incoming, wait: Duration) -> (Self, Unread) {
        let unread = Unread::default();
        (Self { body: Some(body), wait, timer: None, unread: unread.clone() }, unread)
    }
}

impl Unread {
    /// Reads and drops the unread part, within limits of size and time.
    ///
    /// A client that is refused before it has sent its body sees the answer only if it could send
    /// all of it: over HTTP/2, many clients treat the reset that would follow as an error (RFC
    /// 9113, section 8.1).
    pub(super) async fn discard(self) {
        let Some(mut body) = self.0.lock().take() else { return };
        if body.size_hint().lower() > DISCARDED_BYTES_MAX as u64 {
            return;
        }
        let read = async {
            let mut left = DISCARDED_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(fewer) = left.checked_sub(length) else { return };
                left = fewer;
            }
        };
        // After the time is over, the rest of the body is not awaited.
        let _ = timeout(DISCARD_WAIT_MAX, read).await;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.unread.0.lock() = Some(body);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            if !matches!(frame, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let wait = self.wait;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(timer.as_mut().poll(context));
        self.body = None;
        Poll::Ready(Some(Err("the body did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
