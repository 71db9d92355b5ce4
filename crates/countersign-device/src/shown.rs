//! The content as the user sees it, made of the signed bytes only.

use core::fmt;
use core::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use countersign_proof::raw::Hash;
use countersign_wire::body::{Content, Document, Match, Offer, Operation};
use countersign_wire::id::TransactionId;
use countersign_wire::statement::{self, Statement};

use crate::display;
use crate::error::Error;
use crate::html;

/// Base64 as applications write it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The media type of a digest that a caller gave.
pub(crate) const DIGEST_MEDIA_TYPE: &str = "application/vnd.countersign.digest+json";

/// A taken transaction that can be shown. Only a device can make one, and only such a value can be
/// approved; so the signed content is the shown content.
pub struct RenderedContent {
    pub(crate) offer: Offer,
    pub(crate) content: Content,
    pub(crate) view: View,
    pub(crate) deadline: Duration,
    /// Whether the device had to fetch the digest that it is going to sign.
    pub(crate) learnt: bool,
}

/// The content in readable form. `Display` is safe for a terminal.
#[derive(Clone, Eq, PartialEq)]
pub enum View {
    /// `text/plain; charset=utf-8`.
    Text(String),
    /// A message with rows of label and value.
    Statement(Statement),
    /// `text/html; charset=utf-8`: its [text](html::text), for a screen that does not render HTML.
    /// The source is in [`RenderedContent::bytes`].
    Html(String),
    /// `application/octet-stream`.
    Bytes(Vec<u8>),
    /// A digest that a caller gave, with its document's description.
    Digest(DigestView),
}

/// A digest that a caller gave, with its document's description.
#[derive(Clone, Eq, PartialEq)]
pub struct DigestView {
    /// The digest algorithm.
    pub hash: Hash,
    /// The digest, which is signed.
    pub digest: Vec<u8>,
    /// The display name of the document.
    pub alias: Option<String>,
    /// The document's length in bytes, if the device fetched and digested it.
    pub length: Option<u64>,
    /// The application's description: the [text](html::text) of HTML, or other text unchanged.
    pub html: Option<String>,
}

impl RenderedContent {
    /// The transaction.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.content.id
    }

    /// The display name of the application, from the sealed content. Show it with
    /// [`display::line`].
    #[must_use]
    pub fn client(&self) -> &str {
        &self.content.client
    }

    /// The operation that the user is asked for.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.offer.operation
    }

    /// The content to show.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The media type, which the signature covers too.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.content.media_type
    }

    /// The bytes to sign; for a document, its digest.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.content.bytes
    }

    /// The document of a digest, if the bytes are one, with the digest's algorithm from any source.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        self.content.document.as_ref()
    }

    /// The time since the Unix epoch at which the transaction expires.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether the user has to enter the code that the application shows.
    #[must_use]
    pub fn needs_match_code(&self) -> bool {
        self.offer.matching != Match::None
    }
}

/// Hides the content.
impl fmt::Debug for RenderedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("content", &self.content).finish_non_exhaustive()
    }
}

impl View {
    /// Reads the bytes by their media type.
    ///
    /// # Errors
    /// [`Error::CannotShow`] if a view would show less or more than the bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::beside(media_type, bytes, None)
    }

    /// As [`Self::of`], for bytes that may be a digest; `document` is its document.
    ///
    /// # Errors
    /// As [`Self::of`]; for a digest also if its length is not its algorithm's.
    pub fn beside(
        media_type: &str,
        bytes: &[u8],
        document: Option<&Document>,
    ) -> Result<Self, Error> {
        let refused = || Error::CannotShow(display::line(media_type));
        let text = || String::from_utf8(bytes.to_vec()).map_err(|_| refused());
        match media_type {
            "text/plain; charset=utf-8" => Ok(Self::Text(text()?)),
            "text/html; charset=utf-8" => {
                let shown = html::text(&text()?);
                let refused = |why| Error::CannotShow(format!("{media_type} ({why})"));
                shown.map(Self::Html).map_err(refused)
            }
            "application/octet-stream" => Ok(Self::Bytes(bytes.to_vec())),
            statement::MEDIA_TYPE => {
                Ok(Self::Statement(Statement::parse(bytes).map_err(|_| refused())?))
            }
            DIGEST_MEDIA_TYPE => {
                let document = document.ok_or_else(refused)?;
                let html = document.html.as_ref().map(|html| html::text(&decoded(&html.0)));
                let html = html.transpose().map_err(|why| {
                    Error::CannotShow(format!("text/html, as a document's description ({why})"))
                })?;
                DigestView::of(bytes, document, html).map(Self::Digest).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }
}

impl DigestView {
    /// The rows below the HTML: labels of this program, each with its value. Values are untrusted;
    /// show them with [`display::line`].
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let fetched = match self.length {
            Some(length) => format!("{length} bytes, with this digest"),
            None => "no: nothing but its digest is known here".to_owned(),
        };
        let digest = (self.hash.as_str(), hex::encode(&self.digest));
        let alias = self.alias.clone().map(|alias| ("document", alias));
        alias.into_iter().chain([("fetched", fetched), digest]).collect()
    }

    fn of(digest: &[u8], document: &Document, html: Option<String>) -> Option<Self> {
        let hash: Hash = document.digest_algorithm.as_ref()?.parse().ok()?;
        let alias = document.alias.clone();
        let digest = digest.to_vec();
        (digest.len() == hash.length()).then_some(Self { hash, digest, alias, length: None, html })
    }
}

/// Decodes HTML from base64. Other text is returned unchanged, because some applications send `=`
/// and other text there.
fn decoded(html: &str) -> String {
    let plain: String = html.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(plain).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| html.to_owned())
}

/// Lines of text begin with a bar and rows with a dot, so that no text looks like a row.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Html(text) => lines(f, text),
            Self::Statement(statement) => {
                if !statement.message.is_empty() {
                    lines(f, &statement.message)?;
                }
                for (label, value) in &statement.rows {
                    writeln!(f, "• {}: {}", display::line(label), display::line(value))?;
                }
                Ok(())
            }
            Self::Bytes(bytes) => dump(f, bytes),
            Self::Digest(view) => {
                if let Some(html) = &view.html {
                    lines(f, html)?;
                }
                for (label, value) in view.rows() {
                    writeln!(f, "• {label}: {}", display::line(&value))?;
                }
                Ok(())
            }
        }
    }
}

/// Hides the content.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Statement(_) => "Statement(…)",
            Self::Html(_) => "Html(…)",
            Self::Bytes(_) => "Bytes(…)",
            Self::Digest(_) => "Digest(…)",
        })
    }
}

fn lines(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    display::text(text).split('\n').try_for_each(|line| writeln!(f, "│ {line}"))
}

/// Writes sixteen bytes a line, in hex and in ASCII.
fn dump(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for (row, bytes) in bytes.chunks(16).enumerate() {
        write!(f, "│ {:05x} ", row * 16)?;
        bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
        let ascii = bytes.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        writeln!(
            f,
            "{:blank$}{}",
            "",
            ascii.collect::<String>(),
            blank = 3 * (16 - bytes.len()) + 2
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as STANDARD_BASE64;
    use countersign_wire::body::Text;

    use super::*;

    #[test]
    fn a_statement_is_shown_only_in_canonical_form() {
        let good = br#"{"message":"Pay","rows":[["to","Ann"]]}"#;
        let view = View::of(statement::MEDIA_TYPE, good).unwrap();
        assert_eq!(view.to_string(), "│ Pay\n• to: Ann\n");
        let more = br#"{"message":"Pay","rows":[["to","Ann"]],"small":"print"}"#;
        assert!(matches!(View::of(statement::MEDIA_TYPE, more), Err(Error::CannotShow(_))));
    }

    #[test]
    fn no_text_looks_like_a_row() {
        let statement = Statement {
            message: "Pay\n• to: Bob".to_owned(),
            rows: vec![("to".to_owned(), "Ann\n• to: Bob\u{202e}".to_owned())],
        };
        let view = View::of(statement::MEDIA_TYPE, &statement.to_bytes()).unwrap();
        let shown = "│ Pay\n│ • to: Bob\n• to: Ann⟨U+000A⟩• to: Bob⟨U+202E⟩\n";
        assert_eq!(view.to_string(), shown);
    }

    #[test]
    fn invalid_utf_8_and_unknown_types_are_not_shown() {
        for (media_type, bytes) in [
            ("text/plain; charset=utf-8", b"\xff".as_slice()),
            ("text/html; charset=utf-8", b"\xc0\x80"),
            ("text/plain", b"x"),
            ("text/plain; charset=latin1", b"x"),
            ("application/vnd.countersign.digest+json", b"{}"),
            ("", b""),
        ] {
            assert!(View::of(media_type, bytes).is_err(), "{media_type}");
        }
    }

    #[test]
    fn html_is_shown_as_its_text() {
        let page = b"<p>Pay <b>5</b></p><ul><li>now</ul>";
        let view = View::of("text/html; charset=utf-8", page).unwrap();
        assert_eq!(view.to_string(), "│ Pay 5\n│ \n│ - now\n");
    }

    #[test]
    fn refused_html_is_not_shown_as_content_or_description() {
        let page = "<p>Pay 5</p><script>x()</script>";
        let document = Document {
            digest_algorithm: Some("sha1".to_owned()),
            html: Some(Text(STANDARD_BASE64.encode(page))),
            ..Document::default()
        };
        for shown in [
            View::of("text/html; charset=utf-8", page.as_bytes()),
            View::beside(DIGEST_MEDIA_TYPE, &[0xab; 20], Some(&document)),
        ] {
            let Err(Error::CannotShow(what)) = shown else { panic!("it was shown") };
            assert!(what.contains("script"), "{what}");
        }
    }

    #[test]
    fn a_digest_is_shown_with_its_document_and_only_with_the_right_length() {
        let of = |html: &str, algorithm: &str| {
            let document = Document {
                digest_algorithm: Some(algorithm.to_owned()),
                alias: Some("Lease\u{1b}[2J".to_owned()),
                html: Some(Text(html.to_owned())),
                ..Document::default()
            };
            View::beside(DIGEST_MEDIA_TYPE, &[0xab; 20], Some(&document)).map(|v| v.to_string())
        };
        let rows = format!(
            "• document: Lease⟨U+001B⟩[2J\n• fetched: no: nothing but its digest is known here\n\
             • sha1: {}\n",
            "ab".repeat(20)
        );
        assert_eq!(of("PGI+eDwvYj4=", "sha1").unwrap(), format!("│ x\n{rows}"));
        assert_eq!(of("=eyJhIjoxfQ==", "sha1").unwrap(), format!("│ =eyJhIjoxfQ==\n{rows}"));
        assert!(of("", "sha256").is_err() && of("", "md5").is_err());
        assert!(View::of(DIGEST_MEDIA_TYPE, &[0xab; 20]).is_err());
    }

    #[test]
    fn every_byte_of_binary_content_is_shown() {
        let view = View::of("application/octet-stream", b"0123456789abcdef\x00\x1b").unwrap();
        let shown = "│ 00000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n\
                     │ 00010  00 1b                                            ..\n";
        assert_eq!(view.to_string(), shown);
    }
}
