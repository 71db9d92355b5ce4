//! The events of a running device, one a line: JSON for programs, and text for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::push::Wake;
use countersign_device::{Document, Event, Operation, State, View, display};
use serde::{Deserialize, Serialize};

use crate::cli::frame::frame;
use crate::cli::paint::Paint;
use countersign_http::time_format;

/// An event of a device, as `device run --json` prints it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(in crate::cli) enum DeviceEvent {
    /// The device is connected to the server.
    Connected,
    /// The server is unreachable; the device tries again by itself.
    Lost { why: String, again_in_seconds: u64 },
    /// The certificate of an identity was renewed.
    Renewed { identity: String, valid_until: String },
    /// The certificate of an identity is due, and could not be renewed.
    #[serde(rename = "not_renewed")]
    NotRenewed { identity: String, why: String },
    /// A push arrived; `key` names the transaction, if the push does.
    Woken { key: Option<String> },
    /// Another device of the user was enrolled.
    #[serde(rename = "device_added")]
    DeviceAdded { device_id: String, name: String, platform: String, app: String },
    /// A transaction is offered.
    Offered { id: String, client: String, pin_required: bool },
    /// The transaction is shown to the user.
    Shown {
        id: String,
        client: String,
        operation: Operation,
        media_type: String,
        /// Base64 of the exact bytes that will be signed.
        content: String,
        /// The document of a digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Box<Document>>,
        /// Its length in bytes, if the device fetched the document and computed the digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document_length: Option<u64>,
    },
    /// It ended or was taken elsewhere.
    Withdrawn { id: String, why: State },
    /// The user did not choose in time.
    Late { id: String },
    /// This device ended it.
    Ended { id: String, state: State },
    /// This device could not take or end it.
    Left { id: String, why: String },
    /// This device leaves it to other devices.
    Skipped { id: String },
}

impl From<&Event<'_>> for DeviceEvent {
    fn from(event: &Event<'_>) -> Self {
        match event {
            Event::Connected => Self::Connected,
            Event::Lost { why, again_in } => {
                Self::Lost { why: (*why).to_owned(), again_in_seconds: again_in.as_secs().max(1) }
            }
            Event::Renewed(renewed) => {
                let identity = renewed.id.clone();
                match &renewed.outcome {
                    Ok(end) => {
                        Self::Renewed { identity, valid_until: time_format::of_seconds(*end) }
                    }
                    Err(error) => Self::NotRenewed { identity, why: error.to_string() },
                }
            }
            Event::DeviceAdded(device) => Self::DeviceAdded {
                device_id: device.id.to_string(),
                name: device.name.clone(),
                platform: device.platform.clone(),
                app: device.app.clone(),
            },
            Event::Offered(offer) => Self::Offered {
                id: offer.id.to_string(),
                client: offer.client.clone(),
                pin_required: offer.pin_required,
            },
            Event::Shown(shown) => Self::Shown {
                id: shown.id().to_string(),
                client: shown.client().to_owned(),
                operation: shown.operation(),
                media_type: shown.media_type().to_owned(),
                content: BASE64.encode(shown.bytes()),
                document: shown.document().cloned().map(Box::new),
                document_length: match shown.view() {
                    View::Digest(digest) => digest.length,
                    _ => None,
                },
            },
            Event::Withdrawn(withdrawn) => {
                Self::Withdrawn { id: withdrawn.id.to_string(), why: withdrawn.why }
            }
            Event::Late(id) => Self::Late { id: id.to_string() },
            Event::Ended { id, state } => Self::Ended { id: id.to_string(), state: *state },
            Event::Left { id, why } => Self::Left { id: id.to_string(), why: why.to_string() },
            Event::Skipped(offer) => Self::Skipped { id: offer.id.to_string() },
        }
    }
}

impl DeviceEvent {
    pub(in crate::cli) fn woken(wake: &Wake) -> Self {
        let key = match wake {
            Wake::Fetch(fetch) => Some(fetch.key.clone()),
            Wake::Look => None,
        };
        Self::Woken { key }
    }

    /// The lines for the user.
    pub(in crate::cli) fn lines(&self, paint: Paint) -> Vec<String> {
        let line = match self {
            Self::Connected => format!("{} Connected, and waiting", paint.good("●")),
            Self::Woken { .. } => format!("{} Woken", paint.good("●")),
            Self::Lost { why, again_in_seconds } => {
                let why = display::line(why);
                format!("{} {why}; trying again in {again_in_seconds} s", paint.bad("○"))
            }
            Self::Renewed { valid_until, .. } => {
                let until = display::line(valid_until);
                format!("{} A certificate was renewed; it is valid until {until}", paint.good("●"))
            }
            Self::NotRenewed { why, .. } => {
                let why = display::line(why);
                format!("{} A certificate ends and could not be renewed: {why}", paint.bad("✗"))
            }
            Self::DeviceAdded { device_id, name, platform, .. } => {
                let (name, platform) = (display::line(name), display::line(platform));
                format!(
                    "{} Another device of yours was added: {name} ({platform}, {device_id}). \
                     If it was not you, tell whoever runs this service",
                    paint.bad("!")
                )
            }
            Self::Offered { .. } => return Vec::new(),
            Self::Shown {
                client,
                operation,
                media_type,
                content,
                document,
                document_length,
                ..
            } => {
                let asks = match operation {
                    Operation::Login => "asks you to log in",
                    Operation::Sign | Operation::Unknown => "asks you to sign",
                };
                let bytes = BASE64.decode(content).unwrap_or_default();
                // Content that cannot be shown is not taken, so it never comes here.
                let view = View::beside(media_type, &bytes, document.as_deref());
                let mut view = view.unwrap_or(View::Bytes(bytes));
                if let View::Digest(digest) = &mut view {
                    digest.length = *document_length;
                }
                return frame(&format!("{client} {asks}"), &view, paint);
            }
            Self::Withdrawn { why, .. } => format!("{} Withdrawn: {}", paint.dim("–"), told(*why)),
            Self::Late { .. } => format!("{} Not answered in time", paint.dim("–")),
            Self::Ended { state: State::Finished, .. } => {
                format!("{} Signed, and the server has verified it", paint.good("✓"))
            }
            Self::Ended { state, .. } => format!("{} Ended: {}", paint.dim("–"), told(*state)),
            Self::Left { why, .. } => format!("{} {}", paint.bad("✗"), display::line(why)),
            Self::Skipped { .. } => {
                format!("{} Skipped: its code cannot be entered here", paint.dim("–"))
            }
        };
        vec![line]
    }
}

fn told(state: State) -> &'static str {
    match state {
        State::Waiting => "it is open again",
        State::Taken => "another device has it",
        State::Finished => "it was signed",
        State::Declined => "it was declined",
        State::Failed => "it failed",
        State::Expired => "it expired",
        State::Cancelled => "the application cancelled it",
        State::Locked => "the user is locked",
        State::Unknown => "it is over",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::paint::Color;

    #[test]
    fn an_event_reads_as_it_was_written() {
        let line = r#"{"event":"ended","id":"00","state":"finished"}"#;
        let said: DeviceEvent = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&said).unwrap(), line);
        let lines = said.lines(Paint::new(Color::Never));
        assert_eq!(lines, ["✓ Signed, and the server has verified it"]);
    }

    #[test]
    fn no_word_of_the_servers_moves_the_cursor() {
        let said = DeviceEvent::Left { id: String::new(), why: "a\u{1b}[2J\nb".to_owned() };
        let lines = said.lines(Paint::new(Color::Never));
        assert_eq!(lines, ["✗ a⟨U+001B⟩[2J⟨U+000A⟩b"]);
    }
}
