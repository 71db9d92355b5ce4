//! Callback URLs and headers of every dialect, checked when a transaction is started and not hours
//! later.

use countersign_core::id::TenantName;
use countersign_core::limits::{
    CALLBACK_HEADER_BYTES_MAX, CALLBACK_HEADERS_MAX, CALLBACK_URL_BYTES_MAX,
};
use countersign_core::spec::Callback;
use countersign_core::time::Timestamp;
use http::{HeaderName, HeaderValue};
use url::Url;

use countersign_egress::guard::Forbidden;
use countersign_egress::resolve::Resolver;

/// The reason why a callback is refused; a sentence for the caller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadCallback {
    /// The URL is too long.
    #[error("it is longer than {CALLBACK_URL_BYTES_MAX} bytes")]
    Long,
    /// It cannot be parsed as a URL.
    #[error("it is not a URL")]
    NotUrl,
    /// The scheme is not HTTPS.
    #[error("it does not begin with https://")]
    NotHttps,
    /// It has a user name or a password.
    #[error("it carries a user name or a password")]
    Credentials,
    /// It is at a forbidden address.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There are too many headers.
    #[error("there are more than {CALLBACK_HEADERS_MAX} headers")]
    ManyHeaders,
    /// A name or a value of a header is invalid.
    #[error("`{0}` is not a header that can be sent")]
    Header(String),
    /// The delivery sets this header itself.
    #[error("the header `{0}` is not the caller's to set")]
    Reserved(String),
}

/// Headers for framing and routing, hop-by-hop headers (RFC 9110, section 7.6.1), and headers that
/// the delivery itself sets.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks callback addresses when transactions start.
#[derive(Clone)]
pub struct Callbacks(Resolver);

impl Callbacks {
    /// Checks by the same rules as the deliveries.
    pub fn new(resolver: Resolver) -> Self {
        Self(resolver)
    }

    /// Checks whether an address that [`callback`] has read may be called, as far as this is known
    /// now. The look-up of its name counts for `tenant`.
    ///
    /// # Errors
    /// [`BadCallback::Forbidden`].
    pub async fn check(
        &self,
        tenant: &TenantName,
        callback: &Callback,
        now: Timestamp,
    ) -> Result<(), BadCallback> {
        let url = Url::parse(&callback.url).map_err(|_| BadCallback::NotUrl)?;
        Ok(self.0.check(tenant, &url, now).await?)
    }
}

/// Reads a callback's URL and headers. The URL is kept in its normal form, without its fragment,
/// which is never sent.
///
/// # Errors
/// [`BadCallback`], the first reason found.
pub fn callback(url: &str, headers: Vec<(String, String)>) -> Result<Callback, BadCallback> {
    if url.len() > CALLBACK_URL_BYTES_MAX {
        return Err(BadCallback::Long);
    }
    let mut parsed = Url::parse(url).map_err(|_| BadCallback::NotUrl)?;
    parsed.set_fragment(None);
    if parsed.as_str().len() > CALLBACK_URL_BYTES_MAX {
        return Err(BadCallback::Long);
    }
    if parsed.scheme() != "https" {
        return Err(BadCallback::NotHttps);
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(BadCallback::Credentials);
    }
    if headers.len() > CALLBACK_HEADERS_MAX {
        return Err(BadCallback::ManyHeaders);
    }
    for (name, value) in &headers {
        let known = name.parse::<HeaderName>().map_err(|_| BadCallback::Header(shown(name)))?;
        let sendable =
            value.len() <= CALLBACK_HEADER_BYTES_MAX && HeaderValue::from_str(value).is_ok();
        if !sendable {
            return Err(BadCallback::Header(shown(name)));
        }
        if RESERVED.contains(&known.as_str()) || known.as_str().starts_with("webhook-") {
            return Err(BadCallback::Reserved(shown(name)));
        }
    }
    Ok(Callback { url: parsed.into(), headers })
}

/// The caller's text, shortened and cleaned for an error message.
fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Callback, BadCallback> {
        callback("https://shop.example/done", vec![(name.into(), value.into())])
    }

    #[test]
    fn a_callback_is_https_and_its_headers_can_be_sent() {
        assert!(with("Authorization", "Bearer x").is_ok());
        assert!(with("X-Order", "").is_ok());
        for (url, reason) in [
            ("http://shop.example/", BadCallback::NotHttps),
            ("shop.example", BadCallback::NotUrl),
            ("https://", BadCallback::NotUrl),
            ("https://a:b@shop.example/", BadCallback::Credentials),
        ] {
            assert_eq!(callback(url, vec![]), Err(reason), "{url}");
        }
        for long in
            ["a".repeat(CALLBACK_URL_BYTES_MAX), "ä".repeat(CALLBACK_URL_BYTES_MAX / 2 - 20)]
        {
            let long = format!("https://shop.example/{long}");
            assert_eq!(callback(&long, vec![]), Err(BadCallback::Long));
        }
    }

    #[test]
    fn an_address_is_kept_in_its_normal_form() {
        for (url, kept) in [
            ("https://shop.example/done", "https://shop.example/done"),
            ("HTTPS://Shop.Example:443/a/../b?x=1#y", "https://shop.example/b?x=1"),
            ("https://0x7f.1", "https://127.0.0.1/"),
            ("https:\\\\shop.example\\a", "https://shop.example/a"),
        ] {
            assert_eq!(callback(url, vec![]).unwrap().url, kept);
        }
    }

    #[test]
    fn what_frames_or_routes_the_request_is_not_the_callers_to_set() {
        for name in ["Host", "content-length", "Transfer-Encoding", "Webhook-Id", "TE", "Upgrade"] {
            assert!(matches!(with(name, "x"), Err(BadCallback::Reserved(_))), "{name}");
        }
        for (name, value) in
            [("X-A", "a\r\nHost: b"), ("X-A", "\n"), ("X A", "b"), ("", "b"), ("X\r\n", "b")]
        {
            assert!(matches!(with(name, value), Err(BadCallback::Header(_))), "{name:?} {value:?}");
        }
        let many = vec![("X-A".to_owned(), String::new()); CALLBACK_HEADERS_MAX + 1];
        assert_eq!(callback("https://shop.example/", many), Err(BadCallback::ManyHeaders));
    }
}
