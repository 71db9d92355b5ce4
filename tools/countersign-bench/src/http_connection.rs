//! A kept-alive connection of HTTP/1.1, with one call at a time.

use anyhow::ensure;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use crate::connect::Target;
use crate::task::Tasks;

/// An open connection.
pub(super) struct HttpConnection(SendRequest<Full<Bytes>>);

impl HttpConnection {
    /// Connects. A task of `tasks` drives the connection.
    pub(super) async fn open(target: &Target, tasks: &Tasks) -> anyhow::Result<Self> {
        let (sender, driven) = handshake(TokioIo::new(target.connect().await?)).await?;
        tasks.spawn(async move {
            // The waiting call gets the error of a broken connection.
            let _ = driven.await;
        });
        Ok(Self(sender))
    }

    /// Whether the server has closed the connection, for example because it was idle.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Makes a call and returns the body of its answer.
    ///
    /// # Errors
    /// If the connection breaks, and for every status except 200.
    pub(super) async fn call(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        self.call_for(StatusCode::OK, request).await
    }

    /// Makes a call and returns the body of its answer.
    ///
    /// # Errors
    /// If the connection breaks, and for every status except `wanted`.
    pub(super) async fn call_for(
        &mut self,
        wanted: StatusCode,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Bytes> {
        let (status, body) = self.send(request).await?;
        let said = || String::from_utf8_lossy(&body).chars().take(400).collect::<String>();
        ensure!(status == wanted, "the server answered {status}: {}", said());
        Ok(body)
    }

    /// Makes a call and accepts any answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
