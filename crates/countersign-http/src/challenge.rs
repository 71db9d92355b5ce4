//! The `WWW-Authenticate` headers of 401 answers. Both schemes name a realm: Basic requires one
//! (RFC 7617, section 2), and Bearer has one (RFC 6750, section 3).

use http::HeaderValue;

/// Asks for HTTP Basic.
pub const BASIC: HeaderValue =
    HeaderValue::from_static("Basic realm=\"countersign\", charset=\"UTF-8\"");

/// Asks for a bearer token. There is no error code if the call had none (RFC 6750, section 3.1).
pub const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"countersign\"");

/// Asks for another bearer token than the one of the call, which is invalid.
pub const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"countersign\", error=\"invalid_token\"");
