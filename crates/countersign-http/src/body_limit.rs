//! Request bodies, read whole and within limits before they are parsed.

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use countersign_core::limits::BODY_BYTES_MAX;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::listen::{BodyAccount, BodySender};

/// The reason why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyRefusal {
    /// Its media type is not the one that this call accepts.
    NotJson,
    /// It is larger than [`BODY_BYTES_MAX`], or than an unauthenticated caller's body may be.
    TooLarge,
    /// The bodies of all requests already use the whole memory for bodies.
    Busy,
    /// It ended early, or took too long.
    Broken,
}

/// Reads a body whose media type is JSON, of an authenticated caller.
///
/// # Errors
/// [`BodyRefusal`].
pub async fn json(request: Request) -> Result<Bytes, BodyRefusal> {
    if !is(request.headers(), "application/json") {
        return Err(BodyRefusal::NotJson);
    }
    any(request).await
}

/// Reads a body of any type, of an authenticated caller.
///
/// # Errors
/// [`BodyRefusal::TooLarge`], [`BodyRefusal::Busy`] and [`BodyRefusal::Broken`].
pub async fn any(request: Request) -> Result<Bytes, BodyRefusal> {
    read(request, BodySender::Known, BODY_BYTES_MAX).await
}

/// The same for at most `bytes_max`.
///
/// # Errors
/// As [`any`].
pub async fn at_most(request: Request, bytes_max: usize) -> Result<Bytes, BodyRefusal> {
    read(request, BodySender::Known, bytes_max).await
}

/// Reads a body of any type and at most `bytes_max`, of a caller that the body itself
/// authenticates.
///
/// # Errors
/// As [`any`].
pub async fn of_stranger(request: Request, bytes_max: usize) -> Result<Bytes, BodyRefusal> {
    read(request, BodySender::Stranger, bytes_max).await
}

async fn read(
    request: Request,
    sender: BodySender,
    bytes_max: usize,
) -> Result<Bytes, BodyRefusal> {
    let account = request.extensions().get::<BodyAccount>();
    let mut memory = account.map(|account| account.reservation(sender));
    let mut body = request.into_body();
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyRefusal::TooLarge);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyRefusal::Broken)?;
        let Some(part) = frame.data_ref() else { continue };
        if whole.len() + part.len() > bytes_max {
            return Err(BodyRefusal::TooLarge);
        }
        if let Some(memory) = &mut memory {
            memory.grow(part.len()).map_err(|_| BodyRefusal::Busy)?;
        }
        whole.extend_from_slice(part);
    }
    let whole = whole.freeze();
    Ok(match memory {
        Some(memory) if !whole.is_empty() => memory.hold(whole),
        _ => whole,
    })
}

/// Whether the body's media type is this one, parameters aside (RFC 9110, section 8.3.1).
pub fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    said.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media_type)
}
