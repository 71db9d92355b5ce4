//! The part of a transaction's terms that nothing is found by, as JSON in the row.
//!
//! These are the row's own structs: the domain is free to change its shapes, and the ledger's stay as
//! they were written.

use core::time::Duration;

use countersign_core::id::{BadName, DeviceId};
use countersign_core::terms::{Callback, Clocks, Digits, Forms, MediaType, Operation, Terms};
use serde::{Deserialize, Serialize};

/// Column `body` of a transaction.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) client_name: String,
    /// SHA-256 of the request, hex; where the transaction has a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Digest>,
    media_type: MediaTypeBody,
    #[serde(default, skip_serializing_if = "OperationBody::is_sign")]
    operation: OperationBody,
    form: FormsBody,
    pub(super) pin_required: bool,
    pub(super) once: bool,
    pub(super) online: bool,
    /// Devices that were offered it when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    present: Vec<u64>,
    clocks: ClocksBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback: Option<CallbackBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) notice: Option<String>,
}

/// 32 bytes as hex.
pub(super) struct Digest(pub(super) [u8; 32]);

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum MediaTypeBody {
    Text,
    Statement,
    Octets,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum OperationBody {
    #[default]
    Sign,
    Login,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FormsBody {
    Cms,
    CodeOrCms { digits: DigitsBody },
}

/// Within the domain's bounds, or not read.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
struct DigitsBody(Digits);

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ClocksBody {
    Two { go_online_ms: u64, sign_ms: u64 },
    One { total_ms: u64 },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CallbackBody {
    url: String,
    headers: Vec<(String, String)>,
}

impl Body {
    pub(super) fn of(terms: &Terms) -> Self {
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            client_name: terms.client_name.clone(),
            request: terms.reference.as_ref().map(|reference| Digest(reference.request)),
            media_type: match terms.content.media_type {
                MediaType::Text => MediaTypeBody::Text,
                MediaType::Statement => MediaTypeBody::Statement,
                MediaType::Octets => MediaTypeBody::Octets,
            },
            operation: match terms.operation {
                Operation::Sign => OperationBody::Sign,
                Operation::Login => OperationBody::Login,
            },
            form: match terms.forms {
                Forms::Cms => FormsBody::Cms,
                Forms::CodeOrCms(digits) => FormsBody::CodeOrCms { digits: DigitsBody(digits) },
            },
            pin_required: terms.pin_required,
            once: terms.once,
            online: terms.online,
            present: terms.present.iter().map(|device| device.number()).collect(),
            clocks: match terms.clocks {
                Clocks::Two { go_online, sign } => {
                    ClocksBody::Two { go_online_ms: ms(go_online), sign_ms: ms(sign) }
                }
                Clocks::One(total) => ClocksBody::One { total_ms: ms(total) },
            },
            callback: terms.callback.as_ref().map(|callback| CallbackBody {
                url: callback.url.clone(),
                headers: callback.headers.clone(),
            }),
            notice: terms.notice.clone(),
        }
    }

    pub(super) fn media_type(&self) -> MediaType {
        match self.media_type {
            MediaTypeBody::Text => MediaType::Text,
            MediaTypeBody::Statement => MediaType::Statement,
            MediaTypeBody::Octets => MediaType::Octets,
        }
    }

    pub(super) fn operation(&self) -> Operation {
        match self.operation {
            OperationBody::Sign => Operation::Sign,
            OperationBody::Login => Operation::Login,
        }
    }

    pub(super) fn forms(&self) -> Forms {
        match self.form {
            FormsBody::Cms => Forms::Cms,
            FormsBody::CodeOrCms { digits } => Forms::CodeOrCms(digits.0),
        }
    }

    pub(super) fn clocks(&self) -> Clocks {
        match self.clocks {
            ClocksBody::Two { go_online_ms, sign_ms } => Clocks::Two {
                go_online: Duration::from_millis(go_online_ms),
                sign: Duration::from_millis(sign_ms),
            },
            ClocksBody::One { total_ms } => Clocks::One(Duration::from_millis(total_ms)),
        }
    }

    pub(super) fn present(&self) -> Result<Vec<DeviceId>, BadName> {
        self.present.iter().map(|number| DeviceId::try_from(*number)).collect()
    }

    pub(super) fn callback(&mut self) -> Option<Callback> {
        let CallbackBody { url, headers } = self.callback.take()?;
        Some(Callback { url, headers })
    }
}

impl OperationBody {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
    fn is_sign(&self) -> bool {
        matches!(self, Self::Sign)
    }
}

impl From<DigitsBody> for u8 {
    fn from(digits: DigitsBody) -> Self {
        digits.0.count()
    }
}

impl TryFrom<u8> for DigitsBody {
    type Error = &'static str;

    fn try_from(count: u8) -> Result<Self, Self::Error> {
        Digits::new(count).map(Self).ok_or("a code has 6 to 10 digits")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}
