//! `docs/trustedx.md` compared with the code: its tables name the members that are read and
//! written, and the errors, and no others; and their other columns are true.

mod answers;
mod bounds;

use std::collections::BTreeSet;
use std::fmt;

use axum::response::IntoResponse as _;
use countersign_core::device::Usage;
use countersign_core::outcome::Outcome;
use countersign_core::refusal::UnknownIdentity;
use countersign_core::refusal::{CancelRefusal, DeviceRefusal, Fault, Quota, StartRefusal};
use countersign_http::body_limit::BodyRefusal;
use countersign_http::caller::AuthError;
use countersign_proof::BadProof;
use countersign_wire::body::{Code, RefusalBody};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::body::{InfoFields, InputFields, ProcessFields, ServiceFields};
use super::identity::SignIdentity;
use super::identity::body::{IdentityFields, LabelsFields};
use super::links::body::{FinishFields, LinkFields, Words};
use super::problem::{self, ProcessError};
use super::selector::{DetailsFields, SelectorFields};

const PAGE: &str = include_str!("../../../../docs/trustedx.md");

/// The rows of a table under a heading: the first one, or the one whose first column has the name
/// behind ` | `. The first two columns are without their backticks.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (heading, first) = heading.split_once(" | ").unwrap_or((heading, ""));
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let table = section.find(&format!("\n| {first}")).expect("the page has the table");
    let mut rows = Vec::new();
    for line in section[table..].lines().skip_while(|line| !line.starts_with("|---")).skip(1) {
        let Some(row) = line.strip_prefix("| ") else { break };
        let row = row.strip_suffix('|').expect("a row ends").trim_end();
        let mut columns: Vec<_> =
            row.split(" | ").map(|cell| cell.trim_end_matches(" |")).collect();
        for column in columns.iter_mut().take(2) {
            if column.matches('`').count() == 2 {
                *column = column.trim_matches('`');
            }
        }
        rows.push(columns);
    }
    assert!(!rows.is_empty(), "{heading}");
    rows
}

/// The first two columns of the first table under a heading.
fn table(heading: &str) -> Vec<(&'static str, &'static str)> {
    let second = |row: &[&'static str]| row.get(1).copied().unwrap_or_default();
    rows(heading).iter().map(|row| (row[0], second(row))).collect()
}

/// The members that the page names under a heading.
fn members(heading: &str) -> BTreeSet<String> {
    let rows = table(heading);
    let named: BTreeSet<String> = rows.iter().map(|(member, _)| (*member).to_owned()).collect();
    assert_eq!(named.len(), rows.len(), "{heading} names a member twice");
    named
}

/// The names of a type's members, which its `Deserialize` asks for.
fn fields<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    struct Names;

    #[derive(Debug)]
    struct Asked(Vec<&'static str>);

    impl fmt::Display for Asked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl std::error::Error for Asked {}

    impl de::Error for Asked {
        fn custom<M: fmt::Display>(message: M) -> Self {
            panic!("{message}")
        }
    }

    impl<'de> Deserializer<'de> for Names {
        type Error = Asked;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
            panic!("a body is a struct")
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Asked> {
            Err(Asked(fields.to_vec()))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    match T::deserialize(Names) {
        Err(Asked(fields)) => fields,
        Ok(_) => panic!("nothing was asked for"),
    }
}

fn below<T: for<'de> Deserialize<'de>>(path: &str) -> impl Iterator<Item = String> {
    let path = path.to_owned();
    fields::<T>().into_iter().map(move |name| format!("{path}{name}"))
}

#[test]
fn the_page_names_every_member_of_a_creation_and_no_other() {
    let read: BTreeSet<String> = below::<ProcessFields>("")
        .chain(below::<InputFields>("input."))
        .chain(below::<ServiceFields>("input.service."))
        .chain(below::<InfoFields>("input.document_info."))
        .chain(below::<InfoFields>("input.data_info."))
        .chain(below::<SelectorFields>("sign_identities[]."))
        .chain(below::<DetailsFields>("sign_identities[].details."))
        .collect();
    assert_eq!(members("### Members of a creation"), read);
}

#[test]
fn the_page_names_every_member_of_the_smaller_bodies_and_no_other() {
    let read: BTreeSet<String> =
        below::<IdentityFields>("").chain(below::<LabelsFields>("")).collect();
    assert_eq!(members("### Members of a change of an identity"), read);
    let read: BTreeSet<String> = below::<FinishFields>("")
        .chain(below::<LinkFields>("sign_identity."))
        .chain(below::<Words>(""))
        .collect();
    assert_eq!(members("### Members of a link's body"), read);
}

/// The paths of a value's members. `links` has a member for each kind of signature.
fn paths(path: &str, value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let name = if path == "links" { "*" } else { name };
                let inner =
                    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                into.insert(inner.clone());
                paths(&inner, value, into);
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                paths(&format!("{path}[]"), value, into);
            }
        }
        _ => {}
    }
}

#[test]
fn the_page_names_every_member_of_an_identity_and_no_other() {
    let mut written = BTreeSet::new();
    for usage in [Usage::Content, Usage::Digest] {
        let identity = serde_json::to_value(SignIdentity::example(usage)).unwrap();
        paths("", &identity, &mut written);
    }
    // The page has the whole path of a scope in one row.
    for between in ["links.*", "links.*.auth", "links.*.auth.oauth2"] {
        assert!(written.remove(between), "{between}");
    }
    assert_eq!(members("### Members of an identity"), written);
}

/// The status and the code that a caller gets.
async fn told(error: ProcessError) -> (String, String) {
    let response = error.into_response();
    let status = response.status().as_u16().to_string();
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    if body.is_empty() {
        return (status, "–".to_owned());
    }
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, body["error"].as_str().unwrap().to_owned())
}

/// Every reason for which a call is refused.
fn refusals() -> Vec<ProcessError> {
    let fault = || Fault::new("testing", "it failed");
    let auth = [
        AuthError::NoTenant,
        AuthError::NoToken,
        AuthError::NotAuthenticated,
        AuthError::TooManyTries,
    ];
    let starts = [
        StartRefusal::UnknownUser,
        StartRefusal::UserLocked,
        StartRefusal::NoIdentity,
        StartRefusal::CertificateEnded,
        StartRefusal::OtherOrder,
        StartRefusal::TooManyOpen,
        StartRefusal::Quota(Quota::Waiting),
    ];
    let devices = [
        DeviceRefusal::Unknown,
        DeviceRefusal::UserLocked,
        DeviceRefusal::Ended(Outcome::Finished),
        DeviceRefusal::Late,
        DeviceRefusal::PinRequired,
        DeviceRefusal::PinWrong { tries_left: 0 },
        DeviceRefusal::CodeWrong { tries_left: 0 },
        DeviceRefusal::CodeWrong { tries_left: 1 },
        DeviceRefusal::OtherForm,
        DeviceRefusal::BadProof(BadProof::Signature),
        DeviceRefusal::ManyIdentities,
    ];
    let bodies =
        [BodyRefusal::NotJson, BodyRefusal::TooLarge, BodyRefusal::Busy, BodyRefusal::Broken];
    let of_devices =
        [Code::Unauthorised, Code::Locked, Code::NotFound, Code::TooMany, Code::Unavailable];
    let mut all = vec![
        ProcessError::NoToken,
        ProcessError::BadToken,
        ProcessError::OtherScope("scope".into()),
        ProcessError::Gone,
        ProcessError::Pending,
        ProcessError::Bad("sentence".into()),
        ProcessError::Failed(fault()),
        problem::NOT_FOUND,
        problem::OTHER_METHOD,
        problem::STOPPING,
        CancelRefusal::Late.into(),
        UnknownIdentity.into(),
        AuthError::NoRole(countersign_core::role::Role::Ask).into(),
        AuthError::Failed.into(),
    ];
    all.extend(auth.map(ProcessError::from));
    all.extend(starts.map(ProcessError::from));
    all.extend(devices.map(ProcessError::from));
    all.extend(bodies.map(ProcessError::from));
    all.extend(of_devices.map(|code| ProcessError::Device(Box::new(RefusalBody::new(code)))));
    all
}

#[tokio::test]
async fn the_page_names_every_error_and_no_other() {
    let mut answered = BTreeSet::new();
    for refusal in refusals() {
        answered.insert(told(refusal).await);
    }
    let named = table("## Errors");
    let named: BTreeSet<_> =
        named.into_iter().map(|(status, error)| (status.to_owned(), error.to_owned())).collect();
    assert_eq!(named, answered);
}
