//! A statement: a message with rows of label and value, as bytes that can be signed.
//!
//! The bytes are canonical JSON (RFC 8785): `{"message":"…","rows":[["label","value"],…]}`. One
//! statement has one spelling, and every other spelling is refused, so that a device shows
//! everything that it signs.

use serde::{Deserialize, Serialize};

/// The media type of a statement's bytes.
pub const MEDIA_TYPE: &str = "application/vnd.countersign.statement+json";

/// A message with rows. The members are in the order of RFC 8785 §3.2.3.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The question to the user; may be empty.
    pub message: String,
    /// Label and value, in the order in which they were given.
    pub rows: Vec<(String, String)>,
}

/// The bytes are not a statement, or not in canonical form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a canonical statement")]
pub struct BadStatement;

impl Statement {
    /// The bytes to sign.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "states an invariant")]
    pub fn to_bytes(&self) -> Vec<u8> {
        // serde_json escapes the same characters as RFC 8785 §3.2.2.2, in the same way. The tests
        // check it.
        serde_json::to_vec(self).expect("strings and lists are plain JSON")
    }

    /// Reads a statement to show it.
    ///
    /// # Errors
    /// Refuses bytes that [`Self::to_bytes`] would not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadStatement> {
        let statement: Self = serde_json::from_slice(bytes).map_err(|_| BadStatement)?;
        if statement.to_bytes() == bytes { Ok(statement) } else { Err(BadStatement) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        // The string of section 3.2.2, and every control character of section 3.2.2.2.
        let message = "\u{20ac}$\u{f}\nA'B\"\\\\\"/".to_owned();
        let controls: String = (0..0x20_u8).map(char::from).chain(['\u{7f}', '\u{2028}']).collect();
        let statement = Statement { message, rows: vec![("k".to_owned(), controls)] };
        let expected = [
            r#"{"message":"€$\u000f\nA'B\"\\\\\"/","rows":[["k","\u0000\u0001\u0002\u0003\u0004"#,
            r"\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015",
            r"\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f",
            "\u{7f}\u{2028}\"]]}",
        ];
        assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), expected.concat());
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let good = r#"{"message":"Pay","rows":[["to","Ann"]]}"#;
        assert!(Statement::parse(good.as_bytes()).is_ok());
        for bad in [
            r#"{"message":"Pay","rows":[["to","Ann"]]} "#,
            r#"{ "message":"Pay","rows":[["to","Ann"]]}"#,
            r#"{"rows":[["to","Ann"]],"message":"Pay"}"#,
            r#"{"message":"Pay","message":"Pay","rows":[["to","Ann"]]}"#,
            r#"{"message":"Pay","rows":[["to","Ann"]],"small":"print"}"#,
            r#"{"message":"P\u0061y","rows":[["to","Ann"]]}"#,
            r#"{"message":"Pay","rows":[["to","Ann","!"]]}"#,
            r#"{"message":"Pay"}"#,
            r#"{"message":"\ud800","rows":[]}"#,
            "",
        ] {
            assert_eq!(Statement::parse(bad.as_bytes()), Err(BadStatement), "{bad}");
        }
    }

    #[test]
    fn statements_are_written_as_the_specification_says() {
        #[derive(Deserialize)]
        struct Vectors {
            cases: Vec<Case>,
            refused: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Case {
            message: String,
            rows: Vec<(String, String)>,
            bytes: String,
        }
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/statements.json"));
        assert_eq!((vectors.cases.len(), vectors.refused.len()), (3, 9));
        for Case { message, rows, bytes } in vectors.cases {
            let statement = Statement { message, rows };
            assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), bytes);
            assert_eq!(Statement::parse(bytes.as_bytes()), Ok(statement));
        }
        for bytes in vectors.refused {
            assert_eq!(Statement::parse(bytes.as_bytes()), Err(BadStatement), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn every_statement_round_trips(
            message: String,
            rows: Vec<(String, String)>,
        ) {
            let statement = Statement { message, rows };
            prop_assert_eq!(Statement::parse(&statement.to_bytes()), Ok(statement));
        }

        #[test]
        fn bytes_that_are_read_are_written_unchanged(bytes: Vec<u8>) {
            if let Ok(statement) = Statement::parse(&bytes) {
                prop_assert_eq!(statement.to_bytes(), bytes);
            }
        }
    }
}
