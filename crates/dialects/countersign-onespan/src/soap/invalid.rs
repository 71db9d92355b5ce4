//! The reasons why a message or a parameter is invalid.

use super::xml::{self, BadXml};

/// The reason why a message is invalid; a fault for its sender.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSoap {
    /// It is not well-formed XML, or exceeds a limit.
    #[error("{0}")]
    Xml(#[from] BadXml),
    /// The body is not an envelope.
    #[error("the body is not an envelope of SOAP 1.1")]
    NotEnvelope,
    /// The envelope has the namespace of another version.
    #[error("only SOAP 1.1 is spoken here")]
    OtherVersion,
    /// A header has `mustUnderstand`, which no header here may have.
    #[error("the header asks for something that is not understood")]
    Mandatory,
    /// The body of the envelope has no command, or several.
    #[error("the envelope's Body must hold exactly one command")]
    NotOneCommand,
    /// The command is none of those that are served.
    #[error(
        "the command must be authSignatureRequest, genRequest, getPreparedSignatureRequest, authSignature, \
         cancelAuthSignatureRequest or authUserRequest in the namespace {}, \
         or authUser or getSecureChallenge in the namespace {}",
        xml::SIGNATURE,
        xml::AUTHENTICATION
    )]
    UnknownCommand,
}

/// The reason why a parameter is invalid; a sentence for the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadParameter(pub String);
