//! Our additions to the vendor's API. They are query parameters and headers, and so outside its
//! bodies.
//!
//! | where | what |
//! |---|---|
//! | `Idempotency-Key: KEY` | the same request under the same key is answered with the process that it started |
//! | `?expiresInMs=N` | how long the process lives |
//! | `?callbackUrl=URL` | the address of the callback with its result |
//! | `?timeoutMs=N` | how long to wait for a result |

use std::time::Duration;

use countersign_core::limits::{CLOCK_MAX, NAME_BYTES_MAX, POLL_WAIT_MAX};
use countersign_core::spec::Callback;
use http::HeaderMap;

use countersign_http::callback_url;
use countersign_http::json_members::{BadBody, bad};

/// The additions to a creation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Extensions {
    /// The caller's name for its request.
    pub(super) key: Option<String>,
    /// The lifetime of the process.
    pub(super) lifetime: Option<Duration>,
    /// The callback for its result.
    pub(super) callback: Option<Callback>,
}

impl Extensions {
    /// Parses a creation's query and headers.
    pub(super) fn read(query: Option<&str>, headers: &HeaderMap) -> Result<Self, BadBody> {
        let callback =
            parameter(query, "callbackUrl").map(|url| callback_url::callback(&url, Vec::new()));
        let callback = callback.transpose();
        let callback = callback.map_err(|reason| BadBody(format!("callbackUrl: {reason}")))?;
        let lifetime = milliseconds(query, "expiresInMs", 1, CLOCK_MAX)?;
        Ok(Self { key: key(headers)?, lifetime, callback })
    }
}

/// How long to wait for a result.
pub(super) fn wait(query: Option<&str>) -> Result<Duration, BadBody> {
    // A caller that wants to wait longer asks again.
    let wait = milliseconds(query, "timeoutMs", 0, CLOCK_MAX)?;
    Ok(wait.unwrap_or_default().min(POLL_WAIT_MAX))
}

/// The first parameter of that name.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or("").as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn milliseconds(
    query: Option<&str>,
    name: &str,
    least: u64,
    most: Duration,
) -> Result<Option<Duration>, BadBody> {
    let Some(text) = parameter(query, name) else { return Ok(None) };
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    match text.parse() {
        Ok(count) if digits && (least..=most).contains(&count) => {
            Ok(Some(Duration::from_millis(count)))
        }
        _ => bad(name, &format!("a whole number of milliseconds from {least} to {most}")),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, BadBody> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=NAME_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => bad("Idempotency-Key", &format!("1 to {NAME_BYTES_MAX} visible characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_none() {
        assert_eq!(Extensions::read(None, &HeaderMap::new()), Ok(Extensions::default()));
        assert_eq!(Extensions::read(Some("a=b"), &HeaderMap::new()), Ok(Extensions::default()));
        assert_eq!(wait(None), Ok(Duration::ZERO));
    }

    #[test]
    fn times_are_whole_milliseconds_within_bounds() {
        let lifetime =
            |query: &str| Extensions::read(Some(query), &HeaderMap::new()).map(|e| e.lifetime);
        assert_eq!(lifetime("expiresInMs=1500"), Ok(Some(Duration::from_millis(1_500))));
        assert_eq!(lifetime("expiresInMs=604800000"), Ok(Some(CLOCK_MAX)));
        for bad in ["0", "-1", "+1", "1.5", "", "604800001", "99999999999999999999", "1e3"] {
            let query = format!("expiresInMs={bad}");
            let BadBody(sentence) = lifetime(&query).unwrap_err();
            assert!(sentence.starts_with("expiresInMs must be "), "{sentence}");
        }
        assert_eq!(wait(Some("timeoutMs=250")), Ok(Duration::from_millis(250)));
        assert_eq!(wait(Some("timeoutMs=86400000")), Ok(POLL_WAIT_MAX));
        assert!(wait(Some("timeoutMs=soon")).is_err());
    }

    #[test]
    fn a_callback_is_one_that_may_be_called() {
        let read = |query| Extensions::read(Some(query), &HeaderMap::new());
        let url = read("callbackUrl=https%3A%2F%2Fshop.example%2Fdone%3Fa%3Db").unwrap().callback;
        assert_eq!(url.unwrap().url, "https://shop.example/done?a=b");
        for bad in ["callbackUrl=", "callbackUrl=http://shop.example/"] {
            let BadBody(sentence) = read(bad).unwrap_err();
            assert!(sentence.starts_with("callbackUrl: "), "{sentence}");
        }
    }

    #[test]
    fn a_key_is_a_short_text() {
        let read = |key: &str| {
            let headers = [("idempotency-key", key)];
            let headers =
                headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Extensions::read(None, &HeaderMap::from_iter(headers)).map(|read| read.key)
        };
        assert_eq!(read("order-1"), Ok(Some("order-1".into())));
        assert!(read("").is_err() && read(&"a".repeat(256)).is_err() && read("\u{e9}").is_err());
    }
}
