//! The receiver's side of a self-hosted service: `UnifiedPush`, as ntfy serves it. A device reads a
//! stream of JSON lines; a message that is not text is base64.

use std::collections::HashMap;
use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{Answer, plain};

/// The listener of each topic.
#[derive(Default)]
pub(crate) struct Ntfy(Mutex<HashMap<String, mpsc::UnboundedSender<Bytes>>>);

impl Ntfy {
    /// `GET /up/{topic}/json`
    pub(crate) fn stream(&self, path: &str) -> Answer {
        let Some(topic) = path.strip_suffix("/json") else { return plain(StatusCode::NOT_FOUND) };
        let (sender, mut lines) = mpsc::unbounded_channel();
        let _ = sender.send(line(&json!({"event": "open", "topic": topic})));
        self.0.lock().insert(topic.to_owned(), sender);
        let stream = async_stream(move |context| lines.poll_recv(context));
        Response::new(StreamBody::new(stream).boxed())
    }

    /// Forwards a message, if the topic has a listener.
    pub(crate) fn took(&self, path: &str, message: &[u8]) {
        if let Some(listener) = self.0.lock().get(path) {
            let message = STANDARD.encode(message);
            let event = json!({
                "event": "message", "topic": path, "message": message, "encoding": "base64",
            });
            let _ = listener.send(line(&event)); // Fails only if the listener is gone.
        }
    }
}

fn line(event: &serde_json::Value) -> Bytes {
    format!("{event}\n").into()
}

fn async_stream(
    poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>>
    + Send
    + Sync
    + 'static,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync {
    use futures_util::StreamExt as _;
    futures_util::stream::poll_fn(poll).map(|bytes| Ok(Frame::data(bytes)))
}
