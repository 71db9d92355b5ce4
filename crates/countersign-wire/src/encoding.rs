//! The encodings of bytes, times and bounded text in JSON.
//!
//! JOSE values and secrets are base64url without padding; all other bytes are base64 with padding.
//! Both are canonical: one value has one spelling.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn to_base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Writes bytes as base64 with padding.
pub(crate) fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// Reads base64 with padding, up to `MAX` bytes.
pub(crate) fn unbase64<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX.div_ceil(3) * 4 {
        return Err(D::Error::custom("too long"));
    }
    let bytes = STANDARD.decode(&text).map_err(|_| D::Error::custom("not base64"))?;
    if bytes.len() > MAX {
        return Err(D::Error::custom("too long"));
    }
    Ok(bytes)
}

/// A list of values, such as a certificate chain, each base64 with padding.
pub(crate) mod base64_list {
    use base64::Engine as _;
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, STANDARD, Serializer};

    pub(crate) fn serialize<S: Serializer>(list: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|bytes| STANDARD.encode(bytes)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let bytes = texts.iter().map(|text| STANDARD.decode(text)).collect::<Result<_, _>>();
        bytes.map_err(|_| D::Error::custom("not base64"))
    }
}

/// A time in whole milliseconds since the Unix epoch, or a duration in whole milliseconds.
pub(crate) mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_millis() as u64)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// As [`millis`], for a time that may be absent.
pub(crate) mod millis_option {
    use super::{Deserialize, Deserializer, Duration, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde prescribes the signature")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_millis() as u64).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

/// Reads text of 1 to `MAX` bytes without control characters.
pub(crate) fn name<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<String, D::Error> {
    let text = bounded::<D, MAX>(deserializer)?;
    if text.is_empty() { Err(D::Error::custom("empty")) } else { Ok(text) }
}

/// Reads text of at most `MAX` bytes without control characters.
pub(crate) fn bounded<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX {
        return Err(D::Error::custom("too long"));
    }
    if has_control(&text) {
        return Err(D::Error::custom("holds a control character"));
    }
    Ok(text)
}

/// The result of `char::is_control`, with a fast path for ASCII: most texts are ASCII, and some are
/// long.
fn has_control(text: &str) -> bool {
    let ascii = |octet: &u8| octet.is_ascii() && !octet.is_ascii_control();
    !text.as_bytes().iter().all(ascii) && text.chars().any(char::is_control)
}

/// As [`name`], for a text that may be absent. `null` counts as absent.
pub(crate) fn name_option<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    match &text {
        Some(text) if text.is_empty() => Err(D::Error::custom("empty")),
        Some(text) if text.len() > MAX => Err(D::Error::custom("too long")),
        Some(text) if has_control(text) => Err(D::Error::custom("holds a control character")),
        _ => Ok(text),
    }
}

/// Reads a list of at most `MAX` items.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = Vec::<T>::deserialize(deserializer)?;
    if items.len() > MAX { Err(D::Error::custom("too many")) } else { Ok(items) }
}

/// Reads a list of 1 to `MAX` items.
pub(crate) fn some<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = list::<D, T, MAX>(deserializer)?;
    if items.is_empty() { Err(D::Error::custom("none")) } else { Ok(items) }
}
