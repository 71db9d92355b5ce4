//! SOAP messages, parsed into types once. An invalid message is answered with a fault; a valid one
//! with a wrong parameter is answered with a status that names the parameter.

use countersign_core::limits::{CONTENT_BYTES_MAX, NAME_BYTES_MAX, ROWS_MAX};
use countersign_core::spec::Operation;

use super::invalid::{BadParameter, NotSoap};
use super::xml::{self, Element, Space};
use super::{attributes, logins};

/// The commands, by the vendor's names. `AuthUser` and `GetSecureChallenge` are in the vendor's
/// namespace of logins. `AuthUserRequest` is ours, and in that of signatures. No name is in both:
/// some clients keep one command of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SoapCommand {
    AuthSignatureRequest,
    GenRequest,
    GetPreparedSignatureRequest,
    AuthSignature,
    CancelAuthSignatureRequest,
    AuthUserRequest,
    AuthUser,
    GetSecureChallenge,
}

/// The format of a command's parameters and of its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// Elements with their own names; the answer is `status` and `result`.
    Elements,
    /// A list of attributes, each with an id and a value; the answer is `results`, with such a
    /// list.
    Attributes,
}

/// A command, extracted from its envelope.
#[derive(Debug)]
pub struct SoapCall {
    pub(super) command: SoapCommand,
    /// The style of the command and of its answer.
    pub style: Style,
    element: Element,
}

/// The content of a login for which the application gives no text.
pub(super) const LOGIN: &str = "Log in?";

/// A parsed command, with the component type that the caller gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestedAttributes {
    /// The component type that the caller gives.
    pub component: String,
    /// The command.
    pub what: What,
}

/// The parsed command. Names are not yet resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each command's description names its parameters")]
pub enum What {
    /// Start a signature of this user over these data, and answer when it ends.
    Sign { operation: Operation, user: NamedUser, serial: Option<String>, data: Data },
    /// Answer when the transaction with this key ends.
    Await { operation: Operation, user: NamedUser, serial: Option<String>, key: String },
    /// Create a request key for a signature of this user over these data.
    Prepare { operation: Operation, user: NamedUser, serial: Option<String>, data: Data },
    /// Give the transaction with this key to this device.
    Fetch { serial: String, key: String },
    /// End a transaction with this signature.
    Complete {
        operation: Operation,
        user: NamedUser,
        serial: Option<String>,
        key: String,
        signature: String,
    },
    /// End a transaction with the user's decline on this device.
    Cancel { serial: String, message: String },
}

impl What {
    /// The user whom the command is about, if it names one.
    pub(super) fn user(&self) -> Option<&NamedUser> {
        match self {
            Self::Sign { user, .. }
            | Self::Await { user, .. }
            | Self::Prepare { user, .. }
            | Self::Complete { user, .. } => Some(user),
            Self::Fetch { .. } | Self::Cancel { .. } => None,
        }
    }
}

/// The user who is to sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedUser {
    /// The name of the user.
    pub id: String,
    pub(super) domain: Option<String>,
}

/// The content that is to be signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// A title, which may be empty, and rows of key and value.
    Fields(String, Vec<(String, String)>),
    /// Bytes that only the application on the device can interpret.
    Body(Vec<u8>),
}

impl SoapCommand {
    pub(super) const ALL: [Self; 8] = [
        Self::AuthSignatureRequest,
        Self::GenRequest,
        Self::GetPreparedSignatureRequest,
        Self::AuthSignature,
        Self::CancelAuthSignatureRequest,
        Self::AuthUserRequest,
        Self::AuthUser,
        Self::GetSecureChallenge,
    ];

    /// The name of its element.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AuthSignatureRequest => "authSignatureRequest",
            Self::GenRequest => "genRequest",
            Self::GetPreparedSignatureRequest => "getPreparedSignatureRequest",
            Self::AuthSignature => "authSignature",
            Self::CancelAuthSignatureRequest => "cancelAuthSignatureRequest",
            Self::AuthUserRequest => "authUserRequest",
            Self::AuthUser => "authUser",
            Self::GetSecureChallenge => "getSecureChallenge",
        }
    }

    /// The name of the element of its answer. The vendor's pages print this one with "Respond".
    pub(super) fn answer(self) -> String {
        match self {
            Self::GetSecureChallenge => "getSecureChallengeRespond".into(),
            _ => format!("{}Response", self.as_str()),
        }
    }

    /// The namespace of its element and of its answer.
    pub(super) fn space(self) -> Space {
        match self {
            Self::AuthUser | Self::GetSecureChallenge => Space::Authentication,
            _ => Space::Signature,
        }
    }

    /// Whether the vendor's form of it has a list of attributes.
    fn has_attributes(self) -> bool {
        matches!(self, Self::GenRequest | Self::AuthSignature)
    }

    /// The allowed elements, if it has no list of attributes.
    fn elements(self) -> &'static [&'static str] {
        match self {
            Self::AuthSignatureRequest => {
                &["componentType", "user", "serialNumber", "push", "requestKey"]
            }
            Self::GenRequest => &[
                "componentType",
                "user",
                "serialNumber",
                "authType",
                "title",
                "dataFieldList",
                "dataBody",
            ],
            Self::GetPreparedSignatureRequest => &["componentType", "serialNumber", "requestKey"],
            Self::AuthSignature => {
                &["componentType", "user", "serialNumber", "requestKey", "signature"]
            }
            Self::CancelAuthSignatureRequest => {
                &["componentType", "serialNumber", "requestKeyMessage"]
            }
            Self::AuthUserRequest => {
                &["componentType", "user", "serialNumber", "push", "challengeKey"]
            }
            Self::AuthUser | Self::GetSecureChallenge => &[],
        }
    }
}

impl SoapCall {
    /// Extracts the command from a message.
    ///
    /// # Errors
    /// [`NotSoap`], the first reason found.
    pub fn find(message: &[u8]) -> Result<Self, NotSoap> {
        let envelope = xml::parse(message)?;
        match (envelope.space, &*envelope.name) {
            (Space::Soap, "Envelope") => {}
            // SOAP 1.1, section 4.4.1: another envelope means another version.
            (Space::Soap12 | Space::Other, "Envelope") => return Err(NotSoap::OtherVersion),
            _ => return Err(NotSoap::NotEnvelope),
        }
        let is = |element: &Element, name| element.space == Space::Soap && element.name == name;
        let parts = envelope.elements().ok_or(NotSoap::NotEnvelope)?;
        // SOAP 1.1, section 4: the header, if there is one, is first. Elements after the body are
        // ignored.
        let (header, rest) = match parts {
            [header, rest @ ..] if is(header, "Header") => (Some(header), rest),
            rest => (None, rest),
        };
        if header.is_some_and(|header| header.children.iter().any(Element::is_mandatory)) {
            return Err(NotSoap::Mandatory);
        }
        let at = parts.len() - rest.len();
        if !rest.first().is_some_and(|body| is(body, "Body")) {
            return Err(NotSoap::NotEnvelope);
        }
        let body = envelope.children.into_iter().nth(at).ok_or(NotSoap::NotEnvelope)?;
        if body.elements().is_none() {
            return Err(NotSoap::NotOneCommand);
        }
        let [element]: [Element; 1] =
            body.children.try_into().map_err(|_| NotSoap::NotOneCommand)?;
        let named = |command: &SoapCommand| {
            command.as_str() == element.name && command.space() == element.space
        };
        let command = SoapCommand::ALL.into_iter().find(named).ok_or(NotSoap::UnknownCommand)?;
        let listed = |child: &Element| child.name == "attributeSet";
        let is_listed = command.has_attributes() && element.children.iter().any(listed);
        let style = match command.space() {
            Space::Authentication => Style::Attributes,
            _ if is_listed => Style::Attributes,
            _ => Style::Elements,
        };
        Ok(Self { command, style, element })
    }

    /// The component type, whether or not the other parameters are valid.
    pub(super) fn component(&self) -> Option<String> {
        let text = |element: &Element| element.text().map(str::to_owned);
        let mut lists = self.element.children.iter().filter(|child| child.name.ends_with("Set"));
        if self.style == Style::Elements {
            return self.element.child("componentType").and_then(text);
        }
        let named = lists.find_map(|list| {
            list.children.iter().find(|attribute| {
                let id = attribute.child("attributeID").and_then(Element::text);
                matches!(id, Some("SIGNFLD_COMPONENT_TYPE" | "CREDFLD_COMPONENT_TYPE"))
            })
        });
        named.and_then(|attribute| attribute.child("value")).and_then(text)
    }

    /// Parses the parameters.
    ///
    /// # Errors
    /// [`BadParameter`], the first reason found.
    pub fn asked(&self) -> Result<RequestedAttributes, BadParameter> {
        match self.style {
            Style::Elements => self.of_elements(),
            Style::Attributes => match self.command {
                SoapCommand::AuthSignature => attributes::auth_signature(&self.element),
                SoapCommand::AuthUser => logins::auth_user(&self.element),
                SoapCommand::GetSecureChallenge => logins::challenge(&self.element),
                _ => attributes::gen_request(&self.element),
            },
        }
    }

    fn of_elements(&self) -> Result<RequestedAttributes, BadParameter> {
        let given = ParameterElements::of(&self.element, self.command.elements())?;
        let component = given.required("componentType")?;
        let what = match self.command {
            SoapCommand::AuthSignatureRequest => asked_to(Operation::Sign, "requestKey", &given)?,
            SoapCommand::AuthUserRequest => asked_to(Operation::Login, "challengeKey", &given)?,
            SoapCommand::GenRequest => {
                scan_only("authType", given.optional("authType")?.as_deref())?;
                let (user, serial) = (user(&given)?, given.optional("serialNumber")?);
                What::Prepare { operation: Operation::Sign, user, serial, data: data(&given)? }
            }
            SoapCommand::GetPreparedSignatureRequest => What::Fetch {
                serial: given.required("serialNumber")?,
                key: given.required("requestKey")?,
            },
            SoapCommand::AuthSignature => What::Complete {
                operation: Operation::Sign,
                user: user(&given)?,
                serial: given.optional("serialNumber")?,
                key: given.required("requestKey")?,
                signature: given.required("signature")?,
            },
            SoapCommand::CancelAuthSignatureRequest => What::Cancel {
                serial: given.required("serialNumber")?,
                message: given.required("requestKeyMessage")?,
            },
            SoapCommand::AuthUser | SoapCommand::GetSecureChallenge => {
                return bad("credentialAttributeSet is required");
            }
        };
        Ok(RequestedAttributes { component, what })
    }
}

/// The vendor's other kinds of request are for offline devices of its own.
pub(super) fn scan_only(name: &str, given: Option<&str>) -> Result<(), BadParameter> {
    match given {
        None | Some("SCAN") => Ok(()),
        Some(_) => bad(&format!("{name} must be SCAN, or absent")),
    }
}

fn user(given: &ParameterElements<'_>) -> Result<NamedUser, BadParameter> {
    let user = given.get("user").ok_or_else(|| BadParameter("user is required".into()))?;
    let user = ParameterElements::of(user, &["userID", "domain"])?;
    Ok(NamedUser { id: user.required("userID")?, domain: user.optional("domain")? })
}

/// A transaction to push, or the key of an existing one.
fn asked_to(
    operation: Operation,
    key: &str,
    given: &ParameterElements<'_>,
) -> Result<What, BadParameter> {
    let (user, serial) = (user(given)?, given.optional("serialNumber")?);
    match (given.get("push"), given.optional(key)?) {
        (Some(push), None) => {
            let data = match operation {
                Operation::Sign => {
                    data(&ParameterElements::of(push, &["title", "dataFieldList", "dataBody"])?)?
                }
                Operation::Login => {
                    login(&ParameterElements::of(push, &["title", "dataFieldList"])?)?
                }
            };
            Ok(What::Sign { operation, user, serial, data })
        }
        (None, Some(key)) => Ok(What::Await { operation, user, serial, key }),
        _ => bad(&format!("exactly one of push and {key} must be given")),
    }
}

/// A login needs no text, because the device shows the client's name. Without title and list, it
/// gets ours.
fn login(given: &ParameterElements<'_>) -> Result<Data, BadParameter> {
    let title = given.get("title").map(whole).transpose()?.unwrap_or_default();
    match given.get("dataFieldList") {
        Some(list) => fields(title, list),
        None if title.is_empty() => Ok(Data::Fields(LOGIN.into(), Vec::new())),
        None => Ok(Data::Fields(title, Vec::new())),
    }
}

/// Title and list, or a body.
fn data(given: &ParameterElements<'_>) -> Result<Data, BadParameter> {
    let title = given.get("title").map(whole).transpose()?.unwrap_or_default();
    match (given.get("dataFieldList"), given.optional("dataBody")?) {
        (Some(list), None) => fields(title, list),
        (None, Some(_)) if !title.is_empty() => bad("title must come with dataFieldList"),
        (None, Some(hex)) => body("dataBody", &hex),
        _ => bad("exactly one of dataFieldList and dataBody must be given"),
    }
}

pub(super) fn fields(title: String, list: &Element) -> Result<Data, BadParameter> {
    let list = elements(list)?;
    if list.len() > ROWS_MAX {
        return bad(&format!("dataFieldList must have at most {ROWS_MAX} fields"));
    }
    let mut rows = Vec::with_capacity(list.len());
    for field in list {
        if field.space != Space::Unqualified || field.name != "dataField" {
            return bad(&format!("{} must be dataField", shown(&field.name)));
        }
        let field = ParameterElements::of(field, &["key", "value"])?;
        let part = |name: &str| match field.get(name) {
            Some(part) => whole(part),
            None => bad(&format!("{name} of each dataField is required")),
        };
        rows.push((part("key")?, part("value")?));
    }
    if title.is_empty() && rows.is_empty() {
        return bad("dataFieldList must have a field, where there is no title");
    }
    Ok(Data::Fields(title, rows))
}

pub(super) fn body(name: &str, hex: &str) -> Result<Data, BadParameter> {
    match hex::decode(hex.trim_ascii()) {
        Ok(body) if (1..=CONTENT_BYTES_MAX).contains(&body.len()) => Ok(Data::Body(body)),
        _ => bad(&format!("{name} must be 1 to {CONTENT_BYTES_MAX} bytes in hex digits")),
    }
}

/// The parameters inside an element: each at most once, and only known ones.
pub(super) struct ParameterElements<'a>(Vec<&'a Element>);

impl<'a> ParameterElements<'a> {
    pub(super) fn of(element: &'a Element, names: &[&str]) -> Result<Self, BadParameter> {
        let mut given: Vec<&Element> = Vec::new();
        for child in elements(element)? {
            let name = shown(&child.name);
            if child.space != Space::Unqualified {
                return bad(&format!("{name} must be in no namespace"));
            }
            if !names.contains(&&*child.name) {
                let parent = shown(&element.name);
                return bad(&format!("{name} is not a parameter of {parent}"));
            }
            if given.iter().any(|known| known.name == child.name) {
                return bad(&format!("{name} is given twice"));
            }
            given.push(child);
        }
        given.retain(|child| !child.is_nil);
        Ok(Self(given))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Element> {
        self.0.iter().find(|element| element.name == name).copied()
    }

    /// A text; `None` if it is empty.
    pub(super) fn optional(&self, name: &str) -> Result<Option<String>, BadParameter> {
        let Some(element) = self.get(name) else { return Ok(None) };
        match element.text() {
            Some(text) => Ok((!text.is_empty()).then(|| text.to_owned())),
            None => bad(&format!("{name} must be a text")),
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<String, BadParameter> {
        let missing = || BadParameter(format!("{name} is required"));
        self.optional(name)?.ok_or_else(missing)
    }
}

pub(super) fn elements(element: &Element) -> Result<&[Element], BadParameter> {
    let mixed = || BadParameter(format!("{} must hold elements only", shown(&element.name)));
    element.elements().ok_or_else(mixed)
}

pub(super) fn whole(element: &Element) -> Result<String, BadParameter> {
    let text = element.whole_text();
    let not_text = || BadParameter(format!("{} must be a text", shown(&element.name)));
    text.map(str::to_owned).ok_or_else(not_text)
}

/// The caller's text, shortened for an error message.
pub(super) fn shown(name: &str) -> String {
    const _: () = assert!(64 < NAME_BYTES_MAX);
    name.chars().take(64).collect()
}

pub(super) fn bad<T>(sentence: &str) -> Result<T, BadParameter> {
    Err(BadParameter(sentence.to_owned()))
}

#[cfg(test)]
mod tests;
