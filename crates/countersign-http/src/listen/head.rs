//! Checks of a request's head that hold for all requests.

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode, Version};

use crate::host;

/// The reason why a request is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BadHead {
    /// HTTP/1.1 without a host, or any version with two (RFC 9112, section 3.2).
    Host,
    /// HTTP/2 with a host that differs from its authority (RFC 9113, section 8.3.1).
    OtherHost,
    /// `Content-Length` with `Transfer-Encoding` (RFC 9112, section 6.3); [`super::framing`] finds
    /// it.
    TwoLengths,
}

/// Checks that a request names one host.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), BadHead> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let is_http1 = request.version() <= Version::HTTP_11;
    if second.is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(BadHead::Host);
    }
    match (host, request.uri().authority()) {
        (Some(host), Some(authority))
            if !is_http1
                && !host.to_str().is_ok_and(|host| host::is_same(host, authority.as_str())) =>
        {
            Err(BadHead::OtherHost)
        }
        _ => Ok(()),
    }
}

impl IntoResponse for BadHead {
    /// A sentence, and the end of the connection.
    fn into_response(self) -> Response {
        let sentence = match self {
            Self::Host => "the request must name one Host\n",
            Self::OtherHost => "Host must be what :authority is\n",
            Self::TwoLengths => {
                "the request must not have both Content-Length and Transfer-Encoding\n"
            }
        };
        (StatusCode::BAD_REQUEST, [(CONNECTION, "close")], sentence).into_response()
    }
}
