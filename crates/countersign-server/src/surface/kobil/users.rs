//! Users: make one, show one, log one out, delete one.
//!
//! What an application says of a person when it makes them is kept as it was given, and shown again;
//! nothing is decided on it. `Enabled` is among it: the vendor's default is false, and a user made with
//! the vendor's defaults is to sign all the same. Whoever must not sign is locked. `credentials` and
//! roles have no meaning here and are not kept; people prove themselves with their devices.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use countersign_core::id::UserName;
use countersign_core::limits::PROFILE_BYTES_MAX;
use countersign_core::port::{Created, Registry as _};
use countersign_core::user::User;
use countersign_core::{Error, Fault, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::info;

use super::render::{self, Problem, SubSystem};
use super::routes::{Kobil, Named, json, known};
use crate::surface::field::{BadBody, bad, object, optional};

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

/// What is kept of a user, in the ledger and in this form.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Box<RawValue>>,
    required_actions: Vec<String>,
}

/// A request to make a user.
#[derive(Debug)]
struct NewUser {
    name: UserName,
    profile: String,
}

/// The vendor writes some of the names with a capital letter; both spellings are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    username: Option<Box<RawValue>>,
    first_name: Option<Box<RawValue>>,
    last_name: Option<Box<RawValue>>,
    email: Option<Box<RawValue>>,
    #[serde(rename = "Enabled", alias = "enabled")]
    enabled: Option<Box<RawValue>>,
    attributes: Option<Box<RawValue>>,
    #[serde(rename = "RequiredActions", alias = "requiredActions")]
    required_actions: Option<Box<RawValue>>,
}

impl NewUser {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields: Fields = object(body)?;
        let name: Option<String> = optional(fields.username, "username", "a string")?;
        // What an address names is trimmed as well, so that whoever is made can be addressed.
        let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or(render::NO_USER)?.parse();
        let name = match name {
            Ok(name) => name,
            Err(_) => bad("username", "1 to 255 bytes without control characters")?,
        };
        let attributes = fields.attributes;
        if attributes.as_ref().is_some_and(|raw| !raw.get().starts_with('{')) {
            bad::<()>("attributes", "an object")?;
        }
        let actions: Option<Vec<String>> =
            optional(fields.required_actions, "RequiredActions", "an array of strings")?;
        let enabled: Option<bool> = optional(fields.enabled, "Enabled", "true or false")?;
        let profile = Profile {
            first_name: optional(fields.first_name, "firstName", "a string")?,
            last_name: optional(fields.last_name, "lastName", "a string")?,
            email: optional(fields.email, "email", "a string")?,
            enabled: enabled.unwrap_or(false),
            attributes,
            required_actions: actions.unwrap_or_default(),
        };
        let profile = serde_json::to_string(&profile).expect("a profile is plain JSON");
        if profile.len() > PROFILE_BYTES_MAX {
            let sentence = format!("A user's profile may have {PROFILE_BYTES_MAX} bytes in all");
            return Err(BadBody(sentence).into());
        }
        Ok(Self { name, profile })
    }
}

/// `POST …/users`
async fn create(
    State(kobil): State<Kobil>,
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    let new = NewUser::parse(&json(request).await?)?;
    let core = &kobil.gate.core;
    let (name, profile) = (&new.name, Some(new.profile.as_str()));
    let made = core.store.create_user(&caller.tenant, name, profile, core.now()).await;
    match made.map_err(Error::from)? {
        Created::Made => Ok(render::USER_CREATED.with::<()>(None, SubSystem::Users)),
        Created::Exists => Err(render::USER_EXISTS.into()),
    }
}

/// What an application is shown of a user: the published members, and what else it gave.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    username: &'a str,
    /// What the serial numbers of the user's devices begin with: no other user has or had it.
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

impl<'a> Info<'a> {
    fn of(user: &'a User) -> Result<Self, Fault> {
        let profile: Profile = match &user.profile {
            // Made by the operator, who does not say; such a user is in use.
            None => Profile { enabled: true, ..Profile::default() },
            Some(profile) => serde_json::from_str(profile)
                .map_err(Fault::while_doing("reading a user's profile"))?,
        };
        let none = || RawValue::from_string("{}".into()).expect("it is JSON");
        Ok(Self {
            username: user.name.as_str(),
            id: user.serial_base.to_string(),
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
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    let found = kobil.gate.core.store.user(&caller.tenant, &named.user()?).await;
    let found = found.map_err(Error::from)?.ok_or(Error::from(Refusal::UnknownUser))?;
    let info = Info::of(&found.value).map_err(Error::from)?;
    Ok(render::USER_FETCHED.with(Some(info), SubSystem::Users))
}

/// `DELETE …/users/{userName}`
async fn remove(
    State(kobil): State<Kobil>,
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    let user = named.user()?;
    kobil.gate.core.delete_user(&caller.tenant, &user).await?;
    info!(client = %caller.client, "User {user} of {} is deleted", caller.tenant);
    Ok(render::USER_DELETED.with::<()>(None, SubSystem::Users))
}

/// `PUT …/users/{userName}/ssms/logout`
async fn log_out(
    State(kobil): State<Kobil>,
    named: Named,
    request: Request,
) -> Result<Response, Problem> {
    let caller = kobil.caller(&named, request.uri(), request.headers()).await?;
    match kobil.gate.core.log_out(&caller.tenant, &named.user()?).await {
        Ok(()) => Ok(render::LOGGED_OUT.with(Some(true), SubSystem::Users)),
        Err(Error::Refused(Refusal::Unchanged)) => Err(render::NOT_LOGGED_IN.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &Value) -> Result<NewUser, Problem> {
        NewUser::parse(body.to_string().as_bytes())
    }

    #[test]
    fn what_is_said_of_a_user_is_kept_and_what_would_be_secret_is_not() {
        let new = parse(&json!({
            "username": " jane ", "firstName": "Jane", "Enabled": true,
            "attributes": {"colour": ["blue"], "n": 1},
            "credentials": [{"type": "password", "value": "hunter2"}],
            "RequiredActions": ["UPDATE_PROFILE"], "realmRoles": ["x"], "ClientRoles": {},
        }));
        let new = new.ok().unwrap();
        assert_eq!(new.name.as_str(), "jane");
        assert_eq!(
            new.profile,
            r#"{"firstName":"Jane","enabled":true,"attributes":{"colour":["blue"],"n":1},"requiredActions":["UPDATE_PROFILE"]}"#
        );
        let least = parse(&json!({"username": "joe", "attributes": null})).ok().unwrap();
        assert_eq!(least.profile, r#"{"enabled":false,"requiredActions":[]}"#);
    }

    #[test]
    fn every_field_of_a_wrong_type_is_refused_by_name() {
        let fields = ["username", "firstName", "lastName", "email", "Enabled", "attributes"];
        for field in fields.into_iter().chain(["RequiredActions"]) {
            for wrong in [json!(1.5), json!([1]), json!([{}])] {
                let mut body = json!({"username": "jane"});
                body[field] = wrong.clone();
                let Err(Problem::Bad(sentence)) = parse(&body) else {
                    panic!("{field}: {wrong} is taken");
                };
                assert!(sentence.starts_with(&format!("{field} must be ")), "{wrong}: {sentence}");
            }
        }
    }

    #[test]
    fn a_profile_is_bounded_and_a_name_is_one() {
        let big = json!({"username": "jane", "attributes": {"a": "x".repeat(PROFILE_BYTES_MAX)}});
        assert!(matches!(parse(&big), Err(Problem::Bad(_))));
        for wrong in [json!({}), json!({"username": ""}), json!({"username": null})] {
            assert!(matches!(parse(&wrong), Err(Problem::Literal(_))), "{wrong}");
        }
        for wrong in ["a\nb".to_owned(), "x".repeat(256)] {
            assert!(matches!(parse(&json!({"username": wrong})), Err(Problem::Bad(_))));
        }
    }
}
