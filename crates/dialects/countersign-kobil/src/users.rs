//! Users: creating, showing, logging out and deleting one.
//!
//! A client's description of a user is stored and shown as it was given; no decision depends on it.
//! This includes `Enabled`: the vendor's default is false, and a user created with the vendor's
//! defaults must be able to sign. To stop a user from signing, lock the user. `credentials` and
//! roles have no meaning here and are not stored; users authenticate with their devices.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use countersign_core::event::Actor;
use countersign_core::refusal::{Fault, UserError, UserRefusal};
use countersign_core::role::Role;
use countersign_core::user::User;
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::info;

use self::body::{BadUser, NewUser, Profile};
use super::context::{Kobil, PathParams, json, known};
use super::render::{self, KobilError, SubSystem};

pub mod body;

pub(super) fn routes() -> Router<Kobil> {
    Router::new()
        .route("/digitanium/v4/users", known(post(create)))
        .route("/digitanium/v4/users/", known(post(create).delete(remove)))
        .route("/digitanium/v4/users/{user}", known(delete(remove)))
        .route("/digitanium/v4/users/{user}/profile", known(get(show)))
        .route("/digitanium/v4/users//profile", known(get(show)))
        .route("/digitanium/v4/users/{user}/ssms/logout", known(put(log_out)))
        .route("/digitanium/v4/users//ssms/logout", known(put(log_out)))
        .route("/auth/realms/{realm}/v3_user", known(post(create)))
        .route("/auth/realms/{realm}/v3_user/", known(post(create).get(show).delete(remove)))
        .route("/auth/realms/{realm}/v3_user/{user}", known(get(show).delete(remove)))
        .route("/auth/realms/{realm}/v3_user/{user}/ssms/logout", known(put(log_out)))
        .route("/auth/realms/{realm}/v3_user//ssms/logout", known(put(log_out)))
}

impl From<BadUser> for KobilError {
    fn from(bad: BadUser) -> Self {
        match bad {
            BadUser::Nameless => render::NO_USER.into(),
            BadUser::Body(bad) => bad.into(),
        }
    }
}

/// `POST …/users`
async fn create(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let new = NewUser::parse(&json(request).await?)?;
    let core = &kobil.authenticator.core;
    let (name, profile) = (&new.name, Some(new.profile.as_str()));
    match core.create_user(&Actor::Client(caller.client), &caller.tenant, name, profile).await {
        Ok(()) => Ok(render::USER_CREATED.with::<()>(None, SubSystem::Users)),
        Err(UserError::Refused(UserRefusal::Exists)) => Err(render::USER_EXISTS.into()),
        Err(error) => Err(error.into()),
    }
}

/// A user as a client sees it: the published members, and the other ones that it gave.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserInfo<'a> {
    username: &'a str,
    /// A UUID, which no other user has or had.
    id: String,
    enabled: bool,
    email_verified: bool,
    attributes: Box<RawValue>,
    required_actions: Vec<String>,
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl<'a> UserInfo<'a> {
    fn of(user: &'a User) -> Result<Self, Fault> {
        let profile: Profile = match &user.profile {
            // The operator created this user without a profile; such a user is enabled.
            None => Profile { enabled: true, ..Profile::default() },
            Some(profile) => serde_json::from_str(profile)
                .map_err(Fault::while_doing("reading a user's profile"))?,
        };
        let none = || RawValue::from_string("{}".into()).expect("it is JSON");
        Ok(Self {
            username: user.name.as_str(),
            id: user.id.to_string(),
            enabled: profile.enabled,
            email_verified: false,
            attributes: profile.attributes.unwrap_or_else(none),
            required_actions: profile.required_actions,
            admin: false,
            first_name: profile.first_name,
            last_name: profile.last_name,
            email: profile.email,
        })
    }
}

/// `GET …/users/{userName}/profile`
async fn show(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let found = kobil.authenticator.core.read().user(&caller.tenant, &named.user()?).await;
    let found = found?.ok_or(render::USER_NOT_FOUND)?;
    let info = UserInfo::of(&found.value)?;
    Ok(render::USER_FETCHED.with(Some(info), SubSystem::Users))
}

/// `DELETE …/users/{userName}`
async fn remove(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    let actor = Actor::Client(caller.client.clone());
    kobil.authenticator.core.delete_user(&actor, &caller.tenant, &user).await?;
    info!(client = %caller.client, "User {user} of {} is deleted", caller.tenant);
    Ok(render::USER_DELETED.with::<()>(None, SubSystem::Users))
}

/// `PUT …/users/{userName}/ssms/logout`
async fn log_out(
    State(kobil): State<Kobil>,
    named: PathParams,
    request: Request,
) -> Result<Response, KobilError> {
    let caller = kobil.caller(Role::People, &named, request.uri(), request.headers()).await?;
    let actor = Actor::Client(caller.client.clone());
    match kobil.authenticator.core.log_out(&actor, &caller.tenant, &named.user()?).await {
        Ok(()) => Ok(render::LOGGED_OUT.with(Some(true), SubSystem::Users)),
        Err(UserError::Refused(UserRefusal::Unchanged)) => Err(render::NOT_LOGGED_IN.into()),
        Err(error) => Err(error.into()),
    }
}
