//! The credentials in a request's `Authorization` header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// The bearer token of a request (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let authorization = authorization(headers)?;
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Id and secret from HTTP Basic. RFC 6749, section 2.3.1 requires form-encoding first. Some
/// clients omit it; generated secrets read the same either way.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = authorization(headers)?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

/// The only `Authorization` header. Of two, neither is chosen: a proxy may have checked the other.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (only, second) = (all.next()?, all.next());
    if second.is_none() { only.to_str().ok() } else { None }
}

/// The possible API keys in HTTP Basic, the likeliest first.
pub(super) fn key_spellings(headers: &HeaderMap) -> Vec<Zeroizing<String>> {
    let value = authorization(headers);
    let (scheme, payload) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    let payload = payload.trim();
    if !scheme.eq_ignore_ascii_case("basic") || payload.is_empty() {
        return Vec::new();
    }
    let decoded = BASE64.decode(payload).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.map(Zeroizing::new);
    let inner = decoded.as_ref().map(|text| match text.split_once(':') {
        Some((name, "")) => name,
        Some((_, password)) => password,
        None => text.as_str(),
    });
    let spellings = inner.into_iter().chain([payload]);
    spellings.map(|text| Zeroizing::new(text.to_owned())).collect()
}

fn form_decoded(text: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    match (pairs.next(), text.contains(['&', '='])) {
        (Some((decoded, _)), false) => decoded.into_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_authorization_headers_neither_counts() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer one".parse().unwrap());
        assert_eq!(bearer(&headers), Some("one"));
        headers.append(AUTHORIZATION, "Basic c2hvcDpz".parse().unwrap());
        assert_eq!((bearer(&headers), basic(&headers)), (None, None));
        assert!(key_spellings(&headers).is_empty());
    }
}
