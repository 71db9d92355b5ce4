//! The part of a transaction's terms that nothing is found by, as JSON in the row.
//!
//! These are the row's own structs: the domain is free to change its shapes, and the ledger's stay as
//! they were written.

use core::time::Duration;

use countersign_core::terms::{Callback, Clocks, Form, MediaType, Terms};
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
    form: FormBody,
    pub(super) pin_required: bool,
    pub(super) once: bool,
    pub(super) online: bool,
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
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum FormBody {
    Cms,
}

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
            },
            form: match terms.form {
                Form::Cms => FormBody::Cms,
            },
            pin_required: terms.pin_required,
            once: terms.once,
            online: terms.online,
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
        }
    }

    pub(super) fn form(&self) -> Form {
        match self.form {
            FormBody::Cms => Form::Cms,
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

    pub(super) fn callback(&mut self) -> Option<Callback> {
        let CallbackBody { url, headers } = self.callback.take()?;
        Some(Callback { url, headers })
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
