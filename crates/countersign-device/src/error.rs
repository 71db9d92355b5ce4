//! The errors of a device, as sentences that tell the user what to do.

use core::error::Error as StdError;
use core::time::Duration;
use std::io;
use std::path::PathBuf;

use countersign_wire::body::{Code, RefusalBody, State};
use countersign_wire::frame::Close;
use countersign_wire::tls;

use crate::cms::CannotSign;
use crate::document::BadDocument;

/// The reason of a failure. Every sentence may be shown to the user; no sentence contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not `https://host[:port]`, nor `http://` with a local host.
    #[error("\"{0}\" is not a server's address: give https://host or https://host:port")]
    Address(String),
    /// The CA file has no certificate, or a malformed one.
    #[error("the CA file holds no certificate in PEM: give the server's tls/ca.pem")]
    Ca,
    /// A value is too long, empty, or has characters that are not allowed.
    #[error("{0} cannot be used: too long, empty, or with characters that are not allowed")]
    Name(&'static str),
    /// The connection failed or broke. A retry may succeed.
    #[error(
        "the server {server} cannot be reached ({why}): is it running, and is this its address?"
    )]
    Unreachable {
        /// The server's address.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The certificate of the answering server does not chain to the CA.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The server refused.
    #[error("{}", refused(.body))]
    Refused {
        /// The server's refusal.
        body: RefusalBody,
        /// The pause before the next try that the server requires.
        retry_after: Option<Duration>,
    },
    /// The answer does not follow this protocol, or was changed on its way.
    #[error("the answer is not what the device protocol says ({0}): is this a Countersign server?")]
    Unexpected(&'static str),
    /// The channel was closed with a code after which a device does not reconnect by itself.
    #[error("the server closed the channel: {}", closed(*.0))]
    Closed(Close),
    /// The sealed content does not open, or is for another transaction.
    #[error("the received content is not for this transaction; nothing was signed")]
    BadContent,
    /// The content cannot be shown exactly as it would be signed.
    #[error("this device cannot show content of type {0}, and signs nothing that it did not show")]
    CannotShow(String),
    /// The scanned text is not a request key.
    #[error("the scanned text is not a request key of ten digits")]
    NotAKey,
    /// No transaction with that request key is open for this device.
    #[error(
        "no transaction with this key is open for this device: it has ended, or is for another user"
    )]
    NothingThere,
    /// The document of a digest could not be fetched, or is another document.
    #[error("the document is not what was to be signed: {0}")]
    BadDocument(#[from] BadDocument),
    /// The transaction accepts no signature that this device's identities can make.
    #[error("this device has no identity whose signatures this transaction accepts: enrol one")]
    NoIdentity,
    /// The transaction accepts SHA-1 only, which the device's owner has not allowed.
    #[error(
        "this would be signed with SHA-1, which this device does not do unless its owner allows it"
    )]
    Sha1,
    /// An identity of `phone.json` cannot sign.
    #[error("the device's identity cannot sign: {0}")]
    CannotSign(#[from] CannotSign),
    /// The transaction requires the PIN, and the caller gave none.
    #[error("this transaction needs the PIN: give it with --pin")]
    PinNeeded,
    /// The transaction requires the PIN, and the device has none.
    #[error("this transaction needs a PIN, and this device has none: set one first")]
    NoPin,
    /// The PIN is empty, too long, or has control characters.
    #[error("this cannot be a PIN: 1 to 128 bytes without control characters")]
    BadPin,
    /// A change of the PIN was sent, and its answer did not arrive.
    #[error("the last change of the PIN was not confirmed: repeat it, with the same new PIN")]
    PinChanging,
    /// The device is enrolled and stored, but its PIN was not set.
    #[error("the device is enrolled, but its PIN could not be set: {0}")]
    PinNotSet(Box<Self>),
    /// The path exists already, and is not overwritten.
    #[error("{} exists already: remove it, or choose another path", .0.display())]
    Exists(PathBuf),
    /// The file is not a `phone.json`.
    #[error("{} is not a phone.json: {why}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// The defect, without any value of the file.
        why: &'static str,
    },
    /// The file system reported an error.
    #[error("{} cannot be {doing}: {source}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The operation as a participle: `read`, `written`, …
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A key could not be made.
    #[error("the system could not make a key of this kind")]
    NoKey,
}

impl Error {
    /// Whether the same call may succeed later, because the server decided nothing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { body, .. } => {
                matches!(body.error, Code::Internal | Code::Unavailable | Code::TooMany)
            }
            _ => false,
        }
    }

    /// The code of the server's refusal, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { body, .. } => Some(body.error),
            _ => None,
        }
    }

    pub(crate) fn refused(body: RefusalBody) -> Self {
        Self::Refused { body, retry_after: None }
    }

    /// The error of a failed connection, with the innermost reason of `cause`.
    pub(crate) fn connection(server: &str, cause: &(dyn StdError + 'static)) -> Self {
        let (why, untrusted) = innermost(cause);
        if untrusted { Self::Untrusted(why) } else { Self::unreachable(server, why) }
    }

    pub(crate) fn unreachable(server: &str, why: impl Into<String>) -> Self {
        Self::Unreachable { server: server.to_owned(), why: why.into() }
    }
}

/// The innermost cause as text, and whether a certificate caused it.
pub(crate) fn innermost(cause: &(dyn StdError + 'static)) -> (String, bool) {
    if let Some(refusal) = tls::refusal(cause) {
        return (refusal.sentence, refusal.by_certificate);
    }
    let mut at = cause;
    loop {
        // The source of an `io::Error` is the source of the inner error, so `source` would skip the
        // inner error.
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| at.source()) {
            Some(next) => at = next,
            None => return (at.to_string(), false),
        }
    }
}

fn refused(body: &RefusalBody) -> String {
    let advice = match body.error {
        Code::Unauthorised => {
            ": the device is unknown to the server, so enrol it again; or the address that it was \
             enrolled with is no longer one of the server's `public_addresses`, which its log says"
        }
        Code::EnrolmentRefused => ": check tenant, user and code, or ask for a new code",
        Code::Locked => ": ask an administrator to unlock it",
        Code::PinNotSet => ": set it first",
        Code::TooMany | Code::Internal | Code::Unavailable => ": try again later",
        _ => "",
    };
    // A known code has its own sentence, because the server's message may be any text.
    let said = match body.error {
        Code::Unknown => crate::display::line(&body.message),
        known => known.to_string(),
    };
    let left = match body.tries_left {
        Some(0) => ", and that locked the user".to_owned(),
        Some(left) => format!(", with {left} more before the user is locked"),
        None => String::new(),
    };
    let state = body.state.filter(|_| body.tries_left != Some(0)).map_or("", ended);
    format!("{said}{left}{state}{advice}")
}

fn ended(state: State) -> &'static str {
    match state {
        State::Finished => " (it was signed)",
        State::Declined => " (it was declined)",
        State::Failed => " (it failed)",
        State::Expired => " (it expired)",
        State::Cancelled => " (the application cancelled it)",
        State::Locked => " (the user was locked)",
        State::Waiting | State::Taken | State::Unknown => "",
    }
}

fn closed(close: Close) -> &'static str {
    match close {
        Close::Replaced => "another program is running with this device's keys; run only one",
        Close::Locked => "the user or the device is locked or logged out; ask an administrator",
        Close::Unauthorised => {
            "the device is unknown to it, so enrol it again; or the address that the device was \
             enrolled with is no longer one of the server's `public_addresses`, which its log says"
        }
        Close::Normal => "it ended the session; start again to reconnect",
        _ => "it does not understand this program; one of the two is too old",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_how_many_tries_are_left() {
        let mut body = RefusalBody::new(Code::WrongPin);
        body.tries_left = Some(2);
        let sentence = Error::refused(body).to_string();
        assert_eq!(sentence, "the PIN is wrong, with 2 more before the user is locked");
    }

    #[test]
    fn the_try_that_locks_says_so_once() {
        let mut body = RefusalBody::new(Code::WrongPin);
        (body.tries_left, body.state) = (Some(0), Some(State::Locked));
        let sentence = Error::refused(body.clone()).to_string();
        assert_eq!(sentence, "the PIN is wrong, and that locked the user");
        // Whoever asks later is told how the transaction ended.
        let later = RefusalBody { error: Code::Ended, tries_left: None, ..body };
        let sentence = Error::refused(later).to_string();
        assert!(sentence.ends_with(" (the user was locked)"), "{sentence}");
    }

    /// The server does not say which of the two it is.
    #[test]
    fn an_unknown_device_is_told_of_both_causes() {
        let moved = "or the address that the device was enrolled with is no longer one of the \
                     server's `public_addresses`, which its log says";
        let closed = Error::Closed(Close::Unauthorised).to_string();
        let sentence = "the server closed the channel: the device is unknown to it, so enrol it \
                        again; ";
        assert_eq!(closed, format!("{sentence}{moved}"));
        let refused = Error::refused(RefusalBody::new(Code::Unauthorised)).to_string();
        let advice = ": the device is unknown to the server, so enrol it again; ";
        let advice = format!("{advice}{}", moved.replacen("the device", "it", 1));
        assert_eq!(refused, format!("{}{advice}", Code::Unauthorised));
    }

    #[test]
    fn an_untrusted_server_is_told_in_words_without_advice_that_some_programs_cannot_follow() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let sentence = Error::connection("s", &io::Error::other(tls)).to_string();
        let expected = "the server's certificate is not trusted: its certificate has expired";
        assert_eq!(sentence, expected);
        let tls = rustls::Error::NoCertificatesPresented;
        let error = Error::connection("https://s", &io::Error::other(tls));
        assert_eq!(
            error.to_string(),
            "the server https://s cannot be reached (it sent no certificate): is it running, and \
             is this its address?"
        );
        assert!(error.is_transient());
    }

    #[test]
    fn only_calls_without_a_decision_are_transient() {
        for code in Code::ALL {
            let again = matches!(code, Code::Internal | Code::Unavailable | Code::TooMany);
            assert_eq!(Error::refused(RefusalBody::new(code)).is_transient(), again, "{code}");
        }
    }

    #[test]
    fn a_bad_certificate_is_found_at_the_bottom_of_its_causes() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(matches!(Error::connection("s", &wrapped), Error::Untrusted(_)));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(Error::connection("s", &refused).is_transient());
    }
}
