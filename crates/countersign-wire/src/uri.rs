//! The text of an enrolment's QR code: `countersign:enrol?server=…&tenant=…&user=…&code=…`, and
//! `&ca=…` if the server has an authority of its own.
//!
//! Values are percent-encoded UTF-8 (RFC 3986 §2); a plus sign is a plus sign.

use core::fmt::Write as _;

use zeroize::Zeroizing;

use crate::code::ActivationCode;
use crate::encoding::{from_base64url, to_base64url};
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
    /// SHA-256 of the certificate, DER, of the server's own authority; `None` if the server's
    /// certificate is by an authority that systems trust.
    pub authority: Option<[u8; 32]>,
}

/// The text is not an enrolment URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an enrolment URI")]
pub struct BadUri;

const PREFIX: &str = "countersign:enrol?";
/// The bound of a URI: four values, with each byte percent-encoded, and their names; and a digest.
const URI_BYTES_MAX: usize = 4 * (3 * NAME_BYTES_MAX + 16) + "&ca=".len() + 43;

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
        if let Some(digest) = &self.authority {
            text.push_str("&ca=");
            text.push_str(&to_base64url(digest));
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
        let mut authority = None;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(BadUri)?;
            let place = match name {
                "server" => &mut server,
                "tenant" => &mut tenant,
                "user" => &mut user,
                "code" => &mut code,
                "ca" => &mut authority,
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
            authority: authority.map(|text| digest_of(&text)).transpose()?,
        })
    }
}

/// The digest in a parameter.
fn digest_of(text: &str) -> Result<[u8; 32], BadUri> {
    from_base64url(text).and_then(|bytes| bytes.try_into().ok()).ok_or(BadUri)
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
    fn an_authority_is_a_whole_digest() {
        let start = "countersign:enrol?server=s&tenant=t&user=u&code=c";
        let digest = "A".repeat(42) + "E";
        let uri = EnrolUri::parse(&format!("{start}&ca={digest}")).unwrap();
        assert_eq!(uri.authority.map(|digest| digest[31]), Some(1));
        assert!(uri.to_text().ends_with(&format!("&ca={digest}")));
        for bad in ["", "AA", &"A".repeat(44), &("A".repeat(42) + "F"), &("+".repeat(43))] {
            assert!(EnrolUri::parse(&format!("{start}&ca={bad}")).is_err(), "{bad}");
        }
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
            ca: Option<String>,
            uri: String,
        }
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/uris.json"));
        assert_eq!((vectors.cases.len(), vectors.refused.len()), (3, 7));
        for Case { server, tenant, user, code, ca, uri } in vectors.cases {
            let read = EnrolUri::parse(&uri).unwrap();
            assert_eq!((&read.server, &read.tenant, &read.user), (&server, &tenant, &user));
            assert_eq!((read.code.as_str(), read.to_text().as_str()), (&*code, &*uri));
            assert_eq!(read.authority.map(to_base64url), ca);
        }
        for uri in vectors.refused {
            assert_eq!(EnrolUri::parse(&uri).err(), Some(BadUri), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn every_uri_round_trips(
            user in "\\PC{1,40}",
            code in "\\PC{1,40}",
            authority in any::<Option<[u8; 32]>>(),
        ) {
            let (server, tenant) = ("https://sign.example.com:8443".to_owned(), "bank".to_owned());
            prop_assume!(code.len() <= 128);
            let made = ActivationCode::parse(&code).unwrap();
            let uri = EnrolUri { server, tenant, user, code: made, authority };
            let text = uri.to_text();
            prop_assert!(text.is_ascii());
            let read = EnrolUri::parse(&text).unwrap();
            prop_assert_eq!(read.to_text(), text);
            prop_assert_eq!(read.code.as_str(), code);
            prop_assert_eq!((read.server, read.user), (uri.server, uri.user));
            prop_assert_eq!(read.authority, authority);
        }
    }
}
