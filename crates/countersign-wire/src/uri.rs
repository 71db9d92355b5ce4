//! The text of an enrolment's QR code: `countersign:enrol?server=…&tenant=…&user=…&code=…`.
//!
//! Values are percent-encoded UTF-8 (RFC 3986 §2); a plus sign is a plus sign.

use core::fmt::Write as _;

use zeroize::Zeroizing;

use crate::code::ActivationCode;
use crate::limits::NAME_BYTES_MAX;

/// The server, tenant and user of an enrolment, and the code.
#[derive(Clone, Debug)]
pub struct EnrolUri {
    /// The server's public address, such as `https://sign.example.com`.
    pub server: String,
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The code.
    pub code: ActivationCode,
}

/// The text is not an enrolment URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an enrolment URI")]
pub struct BadUri;

const PREFIX: &str = "countersign:enrol?";
/// The bound of a URI: four values, with each byte percent-encoded, and their names.
const URI_BYTES_MAX: usize = 4 * (3 * NAME_BYTES_MAX + 16);

impl EnrolUri {
    /// The URI's text. It contains the code, so it is secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(PREFIX.to_owned());
        let pairs = [
            ("server=", self.server.as_str()),
            ("&tenant=", &self.tenant),
            ("&user=", &self.user),
            ("&code=", self.code.as_str()),
        ];
        for (name, value) in pairs {
            text.push_str(name);
            encode(value, &mut text);
        }
        text
    }

    /// Reads a URI. Parameters may be in any order; unknown ones are ignored.
    ///
    /// # Errors
    /// Refuses another scheme, and a parameter that is missing, empty, repeated, too long, or not
    /// percent-encoded UTF-8.
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        if text.len() > URI_BYTES_MAX {
            return Err(BadUri);
        }
        let query = text.strip_prefix(PREFIX).ok_or(BadUri)?;
        let (mut server, mut tenant, mut user, mut code) = (None, None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(BadUri)?;
            let place = match name {
                "server" => &mut server,
                "tenant" => &mut tenant,
                "user" => &mut user,
                "code" => &mut code,
                _ => continue,
            };
            let value = decode(value).ok_or(BadUri)?;
            if value.is_empty() || value.len() > NAME_BYTES_MAX || place.replace(value).is_some() {
                return Err(BadUri);
            }
        }
        let code = Zeroizing::new(code.ok_or(BadUri)?);
        Ok(Self {
            server: server.ok_or(BadUri)?,
            tenant: tenant.ok_or(BadUri)?,
            user: user.ok_or(BadUri)?,
            code: ActivationCode::parse(&code).map_err(|_| BadUri)?,
        })
    }
}

fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            byte => write!(text, "%{byte:02X}").expect("writing to a string never fails"),
        }
    }
}

fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let [high, low, after @ ..] = after else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
            bytes.push(digit(*high)? * 16 + digit(*low)?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_may_stand_in_any_order_with_others_between() {
        let uri = EnrolUri::parse("countersign:enrol?code=A%2DB&x=&user=j%C3%B6&tenant=t&server=s");
        let uri = uri.unwrap();
        assert_eq!((uri.code.as_str(), uri.user.as_str()), ("A-B", "jö"));
        assert!(!format!("{uri:?}").contains("A-B"));
    }

    #[test]
    fn a_text_that_is_not_an_enrolment_uri_is_refused() {
        for bad in [
            "countersign:enrol",
            "https:enrol?server=s&tenant=t&user=u&code=c",
            "countersign:enrol?server=s&tenant=t&user=u",
            "countersign:enrol?server=s&tenant=t&user=u&code=",
            "countersign:enrol?server=s&tenant=t&user=u&code=c&code=d",
            "countersign:enrol?server=s&tenant=t&user=%&code=c",
            "countersign:enrol?server=s&tenant=t&user=%+1&code=c",
            "countersign:enrol?server=s&tenant=t&user=%FF&code=c",
            "countersign:enrol?server=s&tenant=t&user=u&code",
        ] {
            assert_eq!(EnrolUri::parse(bad).err(), Some(BadUri), "{bad}");
        }
    }

    #[test]
    fn uris_are_written_as_the_specification_says() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            cases: Vec<Case>,
            refused: Vec<String>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            server: String,
            tenant: String,
            user: String,
            code: String,
            uri: String,
        }
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/uris.json"));
        assert_eq!((vectors.cases.len(), vectors.refused.len()), (2, 6));
        for Case { server, tenant, user, code, uri } in vectors.cases {
            let read = EnrolUri::parse(&uri).unwrap();
            assert_eq!((&read.server, &read.tenant, &read.user), (&server, &tenant, &user));
            assert_eq!((read.code.as_str(), read.to_text().as_str()), (&*code, &*uri));
        }
        for uri in vectors.refused {
            assert_eq!(EnrolUri::parse(&uri).err(), Some(BadUri), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn every_uri_round_trips(user in "\\PC{1,40}", code in "\\PC{1,40}") {
            let (server, tenant) = ("https://sign.example.com:8443".to_owned(), "bank".to_owned());
            prop_assume!(code.len() <= 128);
            let made = ActivationCode::parse(&code).unwrap();
            let uri = EnrolUri { server, tenant, user, code: made };
            let text = uri.to_text();
            prop_assert!(text.is_ascii());
            let read = EnrolUri::parse(&text).unwrap();
            prop_assert_eq!(read.to_text(), text);
            prop_assert_eq!(read.code.as_str(), code);
            prop_assert_eq!((read.server, read.user), (uri.server, uri.user));
        }
    }
}
