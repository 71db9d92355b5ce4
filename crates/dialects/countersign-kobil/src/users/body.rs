//! Requests to create a user.

use countersign_core::id::UserName;
use countersign_core::limits::PROFILE_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use countersign_http::json_members::{BadBody, bad, object, optional};

/// The stored description of a user, in the ledger's form.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Profile {
    /// `firstName`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// `lastName`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// `email`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// `Enabled`; true by default.
    pub enabled: bool,
    /// `attributes`, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Box<RawValue>>,
    /// `RequiredActions`, as they were sent.
    pub required_actions: Vec<String>,
}

/// A request to create a user.
#[derive(Debug)]
pub struct NewUser {
    /// The name of the user.
    pub name: UserName,
    /// A [`Profile`], in its stored form.
    pub profile: String,
}

/// The reason why a body creates no user.
#[derive(Debug)]
pub enum BadUser {
    /// The user's name is absent.
    Nameless,
    /// A member is invalid.
    Body(BadBody),
}

impl From<BadBody> for BadUser {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad)
    }
}

/// The vendor writes some of the names with a capital letter; both spellings are accepted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserFields {
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
    /// Parses the body of the request.
    ///
    /// # Errors
    /// Names the first invalid member.
    pub fn parse(body: &[u8]) -> Result<Self, BadUser> {
        let fields: UserFields = object(body)?;
        let name: Option<String> = optional(fields.username, "username", "a string")?;
        // Trimmed, because the name in an address is trimmed too, and must find this user.
        let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or(BadUser::Nameless)?.parse();
        let name = match name {
            Ok(name) => name,
            Err(_) => bad("username", "1 to 255 bytes of visible characters")?,
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(body: &Value) -> Result<NewUser, BadUser> {
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
        let new = new.unwrap();
        assert_eq!(new.name.as_str(), "jane");
        assert_eq!(
            new.profile,
            r#"{"firstName":"Jane","enabled":true,"attributes":{"colour":["blue"],"n":1},"requiredActions":["UPDATE_PROFILE"]}"#
        );
        let least = parse(&json!({"username": "joe", "attributes": null})).unwrap();
        assert_eq!(least.profile, r#"{"enabled":false,"requiredActions":[]}"#);
    }

    #[test]
    fn every_field_of_a_wrong_type_is_refused_by_name() {
        let fields = ["username", "firstName", "lastName", "email", "Enabled", "attributes"];
        for field in fields.into_iter().chain(["RequiredActions"]) {
            for wrong in [json!(1.5), json!([1]), json!([{}])] {
                let mut body = json!({"username": "jane"});
                body[field] = wrong.clone();
                let Err(BadUser::Body(BadBody(sentence))) = parse(&body) else {
                    panic!("{field}: {wrong} is taken");
                };
                assert!(sentence.starts_with(&format!("{field} must be ")), "{wrong}: {sentence}");
            }
        }
    }

    #[test]
    fn a_profile_is_bounded_and_a_name_is_one() {
        let big = json!({"username": "jane", "attributes": {"a": "x".repeat(PROFILE_BYTES_MAX)}});
        assert!(matches!(parse(&big), Err(BadUser::Body(_))));
        for wrong in [json!({}), json!({"username": ""}), json!({"username": null})] {
            assert!(matches!(parse(&wrong), Err(BadUser::Nameless)), "{wrong}");
        }
        for wrong in ["a\nb".to_owned(), "x".repeat(256)] {
            assert!(matches!(parse(&json!({"username": wrong})), Err(BadUser::Body(_))));
        }
    }
}
