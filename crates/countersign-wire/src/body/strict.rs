//! Strict reading of a device's body: a refusal names the member that is wrong, and never repeats
//! its value.

use core::fmt::Write as _;

use serde::de::DeserializeOwned;

use super::RefusalBody;

/// The longest unknown name that is repeated to the device.
const NAME_BYTES_MAX: usize = 64;

const NO_OBJECT: &str = "the body is not an object with the members of this call";

/// Reads a body.
///
/// # Errors
/// `bad_request`, whose message names the first member that is not as the protocol says.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RefusalBody> {
    // An array of the members' values would be read as well.
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| b"[0123456789-\"tfn".contains(first)) {
        return Err(RefusalBody::bad_request(NO_OBJECT));
    }
    serde_json::from_slice(body).map_err(|error| RefusalBody::bad_request(&complaint(body, &error)))
}

fn complaint(body: &[u8], error: &serde_json::Error) -> String {
    if !error.is_data() {
        return "the body is not JSON".to_owned();
    }
    let text = error.to_string();
    let place = offset(body, error);
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    if let Some(member) = missing {
        let path = path_at(body, place);
        let dot = if path.is_empty() { "" } else { "." };
        return format!("`{path}{dot}{member}` is missing");
    }
    // A last member that is refused after it was parsed is noticed behind its object's end.
    let is_behind = place > 0 && matches!(body[place - 1], b'}' | b']');
    let path = path_at(body, place - usize::from(is_behind));
    if path.is_empty() {
        return NO_OBJECT.to_owned();
    }
    if text.starts_with("unknown field ") {
        return format!("`{path}` is not a member of this call");
    }
    if text.starts_with("duplicate field ") {
        return format!("`{path}` occurs twice");
    }
    format!("`{path}` is not as the protocol says")
}

/// The place of an error: the number of bytes that were read before it.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (before + error.column()).min(body.len())
}

/// An object or an array that is not closed yet.
enum Open {
    /// With its last key.
    Object(String),
    /// With the number of elements before the present one.
    Array(usize),
}

/// The member of JSON at a place, such as `identities[0].csr`. The JSON before the place is
/// well-formed.
fn path_at(body: &[u8], place: usize) -> String {
    let mut open: Vec<Open> = Vec::new();
    let mut is_key = false;
    let mut at = 0;
    while at < place {
        match body[at] {
            b'"' => {
                let end = string_end(body, at, place);
                if let (true, Some(Open::Object(key))) = (is_key, open.last_mut()) {
                    *key = name(&body[at..end]);
                    is_key = false;
                }
                at = end;
                continue;
            }
            b'{' => {
                open.push(Open::Object(String::new()));
                is_key = true;
            }
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => {
                open.pop();
                is_key = false;
            }
            b',' => match open.last_mut() {
                Some(Open::Array(before)) => *before += 1,
                _ => is_key = true,
            },
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for part in open {
        match part {
            Open::Object(key) if path.is_empty() => path = key,
            Open::Object(key) if key.is_empty() => {}
            Open::Object(key) => write!(path, ".{key}").expect("writing to a string never fails"),
            Open::Array(before) => {
                write!(path, "[{before}]").expect("writing to a string never fails");
            }
        }
    }
    path
}

/// The place behind the string that begins at `start`.
fn string_end(body: &[u8], start: usize, place: usize) -> usize {
    let mut at = start + 1;
    while at < place {
        match body[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    place
}

/// A key as it may be repeated: a sender's own text, if it is short and plain.
fn name(quoted: &[u8]) -> String {
    let bare = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let bare = bare.strip_suffix(b"\"").unwrap_or(bare);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    if bare.len() <= NAME_BYTES_MAX && bare.iter().all(is_plain) {
        String::from_utf8_lossy(bare).into_owned()
    } else {
        "…".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::{Code, EnrolmentRequest, Take};
    use super::*;

    fn refused<T: DeserializeOwned + core::fmt::Debug>(body: &str) -> String {
        let refusal = read::<T>(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.error, Code::BadRequest);
        let start = "the request is not understood: ";
        refusal.message.strip_prefix(start).unwrap_or_else(|| panic!("{refusal:?}")).to_owned()
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code)]
        name: String,
        #[expect(dead_code)]
        parts: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code)]
        size: u8,
    }

    #[test]
    fn a_refusal_names_the_member_and_never_its_value() {
        for (body, complaint) in [
            ("", "the body is not JSON"),
            ("{", "the body is not JSON"),
            ("[]", "the body is not an object with the members of this call"),
            ("7", "the body is not an object with the members of this call"),
            ("{}", "`name` is missing"),
            (r#"{"name": "secret"}"#, "`parts` is missing"),
            (r#"{"name": 4711}"#, "`name` is not as the protocol says"),
            (r#"{"name": "a,\"b", "parts": "secret"}"#, "`parts` is not as the protocol says"),
            (r#"{"name": "n", "parts": [{"size": 1}, {}]}"#, "`parts[1].size` is missing"),
            (
                "{\"name\": \"n\",\n \"parts\": [{\"size\": 1},\n {\"size\": 256}]}",
                "`parts[1].size` is not as the protocol says",
            ),
            (
                r#"{"parts": [{"size": 1, "seize": 2}]}"#,
                "`parts[0].seize` is not a member of this call",
            ),
            (r#"{"name": "n", "name": "n"}"#, "`name` occurs twice"),
            (r#"{"na<b>me": 1}"#, "`…` is not a member of this call"),
        ] {
            assert_eq!(refused::<Outer>(body), complaint, "{body}");
        }
    }

    #[test]
    fn the_bodies_of_the_protocol_name_their_members() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(refused::<Take>("{}"), "`id` is missing");
        assert_eq!(refused::<Take>(r#"{"id": "x"}"#), "`id` is not as the protocol says");
        let take = format!(r#"{{"id": "{id}", "pin": "2580"}}"#);
        assert_eq!(refused::<Take>(&take), "`pin` is not a member of this call");
        let enrolment = r#"{"tenant": "bank", "user": "ann", "identities": [{"use": "both"}]}"#;
        let complaint = "`identities[0].use` is not as the protocol says";
        assert_eq!(refused::<EnrolmentRequest>(enrolment), complaint);
    }
}
