//! The specification's vectors: keys that are known, and messages that are right under them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A file of vectors.
pub(crate) fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("vectors are JSON")
}

/// A member that is text.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("the vectors have a text `{name}`"))
}

/// A member that is bytes in base64.
pub(crate) fn base64(value: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(text(value, name)).expect("vectors are in base64")
}

/// The members of a list.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("the vectors have a list `{name}`"))
}
