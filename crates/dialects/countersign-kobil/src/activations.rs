//! Activation codes: creating one, and listing the usable ones.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::event::Actor;
use countersign_core::port::{Part, Query, QuerySubject};
use countersign_core::refusal::{Fault, UserError, UserRefusal};
use countersign_core::role::Role;
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;
use countersign_wire::code::ActivationCode;
use countersign_wire::uri::EnrolUri;
use serde::Serialize;

use self::body::{ActivationRequest, NewCode};
use super::context::{Kobil, PathParams, json, known};
use super::render::{self, KobilError, SubSystem};
use countersign_http::qr;

pub mod body;

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

/// A code in a list, and in the answer to its creation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(rename = "userID")]
    user_id: String,
    activation_code: String,
    activation_not_after: String,
    /// The number of devices that it can still enrol.
    code_count: u8,
    /// A QR code, PNG.
    #[serde(skip_serializing_if = "Option::is_none")]
    qr_code: Option<String>,
}

impl Kobil {
    fn row(&self, activation: &Activation, with_picture: bool) -> Result<Row, Fault> {
        const READING: &str = "reading an activation code";
        let text = str::from_utf8(activation.code.expose());
        let text = text.map_err(Fault::while_doing(READING))?;
        let qr_code = if with_picture {
            let uri = EnrolUri {
                server: self.invitations.server.clone(),
                tenant: activation.tenant.to_string(),
                user: activation.user.to_string(),
                code: ActivationCode::parse(text).map_err(Fault::while_doing(READING))?,
                authority: self.invitations.authority,
            };
            qr::qr(&uri.to_text()).map(|png| BASE64.encode(png))
        } else {
            None
        };
        Ok(Row {
            user_id: activation.user.to_string(),
            activation_code: text.to_owned(),
            activation_not_after: activation.not_after.seconds().to_string(),
            code_count: 1,
            qr_code,
        })
    }
}

/// `POST …/users/{userName}/activationcodes`: with a `responseQrType`, the answer contains a QR
/// code.
async fn create(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::Enrol, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let asked = ActivationRequest::of(request.uri())?;
    let new = NewCode::parse(&json(request).await?)?;
    let (core, actor) = (&kobil.authenticator.core, Actor::Client(caller.client.clone()));
    let (code, chosen) = match new.code {
        Some(code) => (code, true),
        None => (ActivationCode::generate(), false),
    };
    // A whole second, so that the time in the answer is the exact one.
    let lasting = Timestamp((core.now() + kobil.invitations.lifetime).seconds() * 1_000);
    let activation = Activation {
        id: core.random_u128(),
        tenant: caller.tenant,
        user,
        code: Secret::new(code.as_str().as_bytes().to_vec()),
        not_after: new.not_after.unwrap_or(lasting),
        maker: actor.clone(),
        secret: new.secret,
        chosen,
        labels: Vec::new(),
        state: ActivationState::Open,
    };
    let row = kobil.row(&activation, asked.qr_type || asked.qr_code)?;
    match core.create_activation(&actor, activation).await {
        // The vendor answers an array here too, although it is of one.
        Ok(()) => Ok(render::CODE_CREATED.with(Some([row]), SubSystem::Users)),
        Err(UserError::Refused(UserRefusal::Exists)) => Err(render::CODE_EXISTS.into()),
        Err(error) => Err(error.into()),
    }
}

/// `GET …/users/{userName}/activationcodes`: the usable codes, the newest first, without the secret
/// ones.
async fn list(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::Enrol, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let asked = ActivationRequest::of(request.uri())?;
    let core = &kobil.authenticator.core;
    let parts = &[Part::Activations(core.now())];
    let query = Query { subject: QuerySubject::User(&user), parts };
    let found = core.read().snapshot(&caller.tenant, query).await?;
    if found.user.is_none() {
        return Err(render::USER_NOT_FOUND.into());
    }
    let found = found.activations.into_iter().map(|found| found.value);
    let shown = found.filter(|code| !code.secret && code.state == ActivationState::Open);
    let rows = shown.map(|code| kobil.row(&code, asked.qr_code));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(render::CODES_FETCHED.with(Some(rows), SubSystem::Users))
}
