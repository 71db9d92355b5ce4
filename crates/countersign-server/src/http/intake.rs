//! Bodies, taken in whole and bounded before anybody looks at them.

use axum::extract::Request;
use bytes::Bytes;
use countersign_core::limits::BODY_BYTES_MAX;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Why a body was not taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// It does not say that it is what this call takes.
    NotJson,
    /// It is larger than [`BODY_BYTES_MAX`].
    TooLarge,
    /// It ended early, or took too long.
    Broken,
}

/// A body that says that it is JSON.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn json(request: Request) -> Result<Bytes, Refused> {
    if !is(request.headers(), "application/json") {
        return Err(Refused::NotJson);
    }
    any(request).await
}

/// A body of any type.
///
/// # Errors
/// [`Refused::TooLarge`] and [`Refused::Broken`].
pub(crate) async fn any(request: Request) -> Result<Bytes, Refused> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Err(_) => Err(Refused::Broken),
    }
}

/// Whether the body says that it is of this media type, parameters aside (RFC 9110, section 8.3.1).
pub(crate) fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    said.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media_type)
}
