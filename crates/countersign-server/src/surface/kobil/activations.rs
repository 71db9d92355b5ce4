//! Activation codes: make one, list those that can still be used.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::port::{Chance as _, Registry as _};
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;
use countersign_core::{Error, Fault, Refusal};
use countersign_wire::code::ActivationCode;
use countersign_wire::uri::EnrolUri;
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::render::{self, Problem, SubSystem};
use super::routes::{Kobil, Named, json, known};
use crate::surface::field::{BadBody, bad, object, optional};
use crate::surface::picture;

/// What every activation code is made with.
#[derive(Clone, Debug)]
pub(crate) struct Invitations {
    /// Where devices reach the server.
    pub(crate) server: String,
    /// How long a code is good, unless its maker says otherwise.
    pub(crate) lifetime: Duration,
}

pub(super) fn routes() -> Router<Kobil> {
    let both = || known(get(list).post(create));
    Router::new()
        .route("/digitanium/v4/users/{user}/activationcodes", both())
        .route("/digitanium/v4/users/{user}/activationcodes/", both())
        .route("/digitanium/v4/users//activationcodes", both())
        .route("/auth/realms/{realm}/v3_activationcode/{user}/", both())
        .route("/auth/realms/{realm}/v3_activationcode/{user}", both())
        .route("/auth/realms/{realm}/v3_activationcode//", both())
        .route("/auth/realms/{realm}/v3_activationcode/", both())
        .route("/auth/realms/{realm}/v3_activationcode", both())
}

/// A request to make a code.
#[derive(Debug)]
struct NewCode {
    /// None: it is generated.
    code: Option<ActivationCode>,
    /// None: as configured.
    not_after: Option<Timestamp>,
    secret: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    activation_code: Option<Box<RawValue>>,
    activation_not_after: Option<Box<RawValue>>,
    secret: Option<Box<RawValue>>,
}

impl NewCode {
    fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let fields: Fields = object(body)?;
        let code: Option<String> = optional(fields.activation_code, "activationCode", "a string")?;
        let code = match code.filter(|code| !code.is_empty()) {
            None => None,
            Some(code) => match ActivationCode::parse(&code) {
                Ok(code) => Some(code),
                Err(_) => bad("activationCode", "1 to 128 bytes without control characters")?,
            },
        };
        let secret: Option<bool> = optional(fields.secret, "secret", "true or false")?;
        let not_after = moment(fields.activation_not_after)?;
        Ok(Self { code, not_after, secret: secret.unwrap_or(false) })
    }
}

/// Epoch seconds, in a string or as a number. What is not given, or given empty, is none.
fn moment(raw: Option<Box<RawValue>>) -> Result<Option<Timestamp>, BadBody> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }

    const FIELD: &str = "activationNotAfter";
    const WHAT: &str = "epoch seconds, in a string";
    let seconds = match optional(raw, FIELD, WHAT)? {
        None => return Ok(None),
        Some(Seconds::Text(text)) if text.is_empty() => return Ok(None),
        Some(Seconds::Number(number)) => Some(number),
        Some(Seconds::Text(text)) => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        }
    };
    match seconds.and_then(|seconds: u64| seconds.checked_mul(1_000)) {
        Some(milliseconds) => Ok(Some(Timestamp(milliseconds))),
        None => bad(FIELD, WHAT),
    }
}

/// What the query asks for. Pictures of both types hold the same here: what a device enrols with.
#[derive(Debug, Default, Eq, PartialEq)]
struct Asked {
    qr_type: bool,
    qr_code: bool,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, BadBody> {
        let mut asked = Self::default();
        let query = uri.query().unwrap_or("").as_bytes();
        for (name, value) in url::form_urlencoded::parse(query) {
            match (&*name, &*value) {
                ("responseQrType", "mpower" | "normal") => asked.qr_type = true,
                ("responseQrType", "") | ("qrCode", "false" | "") => {}
                ("responseQrType", _) => bad("responseQrType", "mpower or normal")?,
                ("qrCode", "true") => asked.qr_code = true,
                ("qrCode", _) => bad("qrCode", "true or false")?,
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// A code as it is listed, and as it is shown when it was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    activation_code: String,
    activation_not_after: String,
    /// Devices that it still lets in.
    code_count: u8,
    /// A PNG.
    #[serde(skip_serializing_if = "Option::is_none")]
    qr_code: Option<String>,
}

impl Kobil {
    fn row(&self, activation: &Activation, with_picture: bool) -> Result<Row, Error> {
        const READING: &str = "reading an activation code";
        let text = str::from_utf8(activation.code.expose());
        let text = text.map_err(Fault::while_doing(READING))?;
        let qr_code = if with_picture {
            let uri = EnrolUri {
                server: self.invitations.server.clone(),
                tenant: activation.tenant.to_string(),
                user: activation.user.to_string(),
                code: ActivationCode::parse(text).map_err(Fault::while_doing(READING))?,
            };
            picture::qr(&uri.to_text()).map(|png| BASE64.encode(png))
        } else {
            None
        };
        Ok(Row {
            activation_code: text.to_owned(),
            activation_not_after: activation.not_after.seconds().to_string(),
            code_count: 1,
            qr_code,
        })
    }
}

/// `POST …/users/{userName}/activationcodes`: with a `responseQrType`, the answer has a picture.
async fn create(
    State(kobil): State<Kobil>,
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let asked = Asked::of(request.uri())?;
    let new = NewCode::parse(&json(request).await?)?;
    let core = &kobil.gate.core;
    // A whole second, so that what is told is what holds.
    let lasting = Timestamp((core.now() + kobil.invitations.lifetime).seconds() * 1_000);
    let activation = Activation {
        id: core.world.draw(),
        tenant: caller.tenant,
        user,
        code: Secret::new(
            new.code.unwrap_or_else(ActivationCode::generate).as_str().as_bytes().to_vec(),
        ),
        not_after: new.not_after.unwrap_or(lasting),
        secret: new.secret,
        state: ActivationState::Open,
    };
    let row = kobil.row(&activation, asked.qr_type || asked.qr_code)?;
    match core.invite(activation).await {
        Ok(()) => Ok(render::CODE_CREATED.with(Some(row), SubSystem::Users)),
        Err(Error::Refused(Refusal::Exists)) => Err(render::CODE_EXISTS.into()),
        Err(error) => Err(error.into()),
    }
}

/// `GET …/users/{userName}/activationcodes`: those that can still be used, the newest first, without
/// the secret ones.
async fn list(
    State(kobil): State<Kobil>,
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let asked = Asked::of(request.uri())?;
    let core = &kobil.gate.core;
    if core.store.user(&caller.tenant, &user).await.map_err(Error::from)?.is_none() {
        return Err(Error::from(Refusal::UnknownUser).into());
    }
    let found = core.store.activations(&caller.tenant, &user, core.now()).await;
    let found = found.map_err(Error::from)?.into_iter().map(|found| found.value);
    let shown = found.filter(|code| !code.secret && code.state == ActivationState::Open);
    let rows = shown.map(|code| kobil.row(&code, asked.qr_code));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(render::CODES_FETCHED.with(Some(rows), SubSystem::Users))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<NewCode, BadBody> {
        NewCode::parse(body.as_bytes())
    }

    #[test]
    fn a_moment_is_a_string_or_a_number_and_may_be_left_out() {
        let not_after = |body: &str| parse(body).unwrap().not_after;
        for none in ["{}", r#"{"activationNotAfter":null}"#, r#"{"activationNotAfter":""}"#] {
            assert_eq!(not_after(none), None, "{none}");
        }
        for some in [r#"{"activationNotAfter":"17"}"#, r#"{"activationNotAfter":17}"#] {
            assert_eq!(not_after(some), Some(Timestamp(17_000)), "{some}");
        }
        for wrong in ["-1", "1.5", r#""1e3""#, r#""soon""#, "[]", "99999999999999999999", "true"] {
            let BadBody(sentence) =
                parse(&format!(r#"{{"activationNotAfter":{wrong}}}"#)).unwrap_err();
            assert!(sentence.starts_with("activationNotAfter must be "), "{sentence}");
        }
    }

    #[test]
    fn every_field_of_a_wrong_type_is_refused_by_name() {
        for (field, wrong) in [
            ("activationCode", "1"),
            ("activationCode", r#""a\nb""#),
            ("secret", r#""yes""#),
            ("secret", "0"),
        ] {
            let BadBody(sentence) = parse(&format!(r#"{{"{field}":{wrong}}}"#)).unwrap_err();
            assert!(sentence.starts_with(&format!("{field} must be ")), "{sentence}");
        }
        assert!(parse(&format!(r#"{{"activationCode":"{}"}}"#, "x".repeat(129))).is_err());
        let generated = parse(r#"{"activationCode":"","secret":null}"#).unwrap();
        assert!(generated.code.is_none() && !generated.secret);
    }

    #[test]
    fn the_query_asks_for_what_there_is() {
        let asked = |query: &str| Asked::of(&format!("/x?{query}").parse().unwrap());
        assert_eq!(asked(""), Ok(Asked::default()));
        assert_eq!(asked("responseQrType=mpower"), Ok(Asked { qr_type: true, qr_code: false }));
        let both = Asked { qr_type: true, qr_code: true };
        assert_eq!(asked("qrCode=true&responseQrType=normal&a=b"), Ok(both));
        assert!(asked("responseQrType=svg").is_err());
        assert!(asked("qrCode=1").is_err());
    }
}
