//! Bodies, taken in whole and bounded before anybody looks at them.

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use countersign_core::limits::BODY_BYTES_MAX;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::listen::{BodyAccount, BodySender};

/// Why a body was not taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyRefusal {
    /// It does not say that it is what this call takes.
    NotJson,
    /// It is larger than [`BODY_BYTES_MAX`], or than a stranger's may be.
    TooLarge,
    /// The bodies of all requests take all the memory that they may.
    Busy,
    /// It ended early, or took too long.
    Broken,
}

/// A body that says that it is JSON, of a caller that has proved who it is.
///
/// # Errors
/// [`BodyRefusal`].
pub async fn json(request: Request) -> Result<Bytes, BodyRefusal> {
    if !is(request.headers(), "application/json") {
        return Err(BodyRefusal::NotJson);
    }
    any(request).await
}

/// A body of any type, of a caller that has proved who it is.
///
/// # Errors
/// [`BodyRefusal::TooLarge`], [`BodyRefusal::Busy`] and [`BodyRefusal::Broken`].
pub async fn any(request: Request) -> Result<Bytes, BodyRefusal> {
    read(request, BodySender::Known, BODY_BYTES_MAX).await
}

/// A body of any type and at most `bytes_max`, of anybody: what proves the caller is in it.
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

/// Whether the body says that it is of this media type, parameters aside (RFC 9110, section 8.3.1).
pub fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    said.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media_type)
}
