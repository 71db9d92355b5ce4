//! What a transaction is about, fixed when it starts and never changed: who asks whom to sign what,
//! with which consent, within which time.

use core::fmt;
use core::time::Duration;

use crate::id::{ClientId, DeviceId, RequestKey, TenantName, TransactionId, UserName};
use crate::time::Timestamp;

/// The terms of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Its own id; signatures name it.
    pub id: TransactionId,
    /// Whose it is.
    pub tenant: TenantName,
    /// The surface that it was started on.
    pub surface: Surface,
    /// Who asks.
    pub client: ClientId,
    /// Who asks, as people know them.
    pub client_name: String,
    /// Who is asked.
    pub user: UserName,
    /// The short handle, unique among the tenant's open transactions.
    pub request_key: RequestKey,
    /// What the caller calls it, where the surface lets it choose.
    pub reference: Option<Reference>,
    /// Which of the user's devices are offered it.
    pub addressed: Addressed,
    /// What is shown and signed.
    pub content: Content,
    /// What the person is asked for.
    pub operation: Operation,
    /// The forms that its signature may have.
    pub forms: Forms,
    /// Whether the person must prove the PIN before it is shown.
    pub pin_required: bool,
    /// Whether only the first device to take it may have it.
    pub once: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether an addressed device was online then.
    pub online: bool,
    /// The devices that were offered it then, being online.
    pub present: Vec<DeviceId>,
    /// How long it lives.
    pub clocks: Clocks,
    /// Where its end is told, besides to whoever asks.
    pub callback: Option<Callback>,
    /// Public words for a push; nothing of the transaction.
    pub notice: Option<String>,
}

/// How relying parties speak.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Surface {
    /// KOBIL's Start Signature.
    Kobil,
    /// OneSpan's push and scan signatures.
    OneSpan,
}

impl Surface {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Kobil, Self::OneSpan];

    /// Its name in the ledger, in logs and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kobil => "kobil",
            Self::OneSpan => "onespan",
        }
    }
}

/// What a person is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Operation {
    /// To sign what is shown.
    #[default]
    Sign,
    /// To prove who they are, by signing a challenge.
    Login,
}

/// A caller's own name for a transaction, unique per client, and what it asked under that name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// SHA-256 of the request, so that a repeated one is told from another one.
    pub request: [u8; 32],
}

/// Which devices a transaction is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressed {
    /// Every device of the user's; the first to end it wins.
    Any,
    /// This one.
    Device(DeviceId),
}

impl Addressed {
    /// Whether `device`, one of the user's, is addressed.
    #[must_use]
    pub fn covers(self, device: DeviceId) -> bool {
        match self {
            Self::Any => true,
            Self::Device(addressed) => addressed == device,
        }
    }
}

/// What is shown and signed: exactly these bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// What the bytes are.
    pub media_type: MediaType,
    /// The bytes, at most [`crate::limits::CONTENT_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// Content is for the person's eyes; logs get its size.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, {} bytes)", self.media_type.as_str(), self.bytes.len())
    }
}

/// Kinds of content, by how a device shows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaType {
    /// A message.
    Text,
    /// A message and rows of labels and values: canonical JSON (RFC 8785).
    Statement,
    /// Bytes that only the application on the device can read.
    Octets,
}

impl MediaType {
    /// The media type as it is signed (EN 319 122-1, mime-type) and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Statement => "application/vnd.countersign.statement+json",
            Self::Octets => "application/octet-stream",
        }
    }
}

/// Forms of signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// CMS `SignedData` (CAdES-B-B) with the content inside.
    Cms,
    /// Digits that only the device's code key makes over the content (RFC 6287).
    Code,
}

impl Form {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::Code => "code",
        }
    }
}

/// The forms that a transaction accepts, fixed when it starts; at least one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forms {
    /// A CMS only.
    Cms,
    /// A code of so many digits, or a CMS.
    CodeOrCms(Digits),
}

impl Forms {
    /// Whether a signature may have this form.
    #[must_use]
    pub fn accept(self, form: Form) -> bool {
        self.all().contains(&form)
    }

    /// All of them, the preferred one first.
    #[must_use]
    pub fn all(self) -> &'static [Form] {
        match self {
            Self::Cms => &[Form::Cms],
            Self::CodeOrCms(_) => &[Form::Code, Form::Cms],
        }
    }

    /// How long a code is, where one is accepted.
    #[must_use]
    pub fn digits(self) -> Option<Digits> {
        match self {
            Self::Cms => None,
            Self::CodeOrCms(digits) => Some(digits),
        }
    }
}

/// How many digits a code has: 6 to 10.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digits(u8);

impl Digits {
    /// That many, if a code may have that many.
    #[must_use]
    pub fn new(count: u8) -> Option<Self> {
        (6..=10).contains(&count).then_some(Self(count))
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u8 {
        self.0
    }
}

/// A transaction's clocks, counted from its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clocks {
    /// First a device must come online, then somebody must sign.
    Two {
        /// Until an addressed device has been online.
        go_online: Duration,
        /// From the first take to the end.
        sign: Duration,
    },
    /// One deadline, whatever happens before it.
    One(Duration),
}

/// Where a transaction's end is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Callback {
    /// The address, at most [`crate::limits::CALLBACK_URL_BYTES_MAX`].
    pub url: String,
    /// Headers of the caller's own, checked when the transaction was started.
    pub headers: Vec<(String, String)>,
}
