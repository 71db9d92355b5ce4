//! The types of answers, the authorization server's tables, our additions and the example of a
//! policy, compared with recorded answers and with the code.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use countersign_core::limits::{CLOCK_MAX, NAME_BYTES_MAX, POLL_WAIT_MAX};
use countersign_http::oauth::{Form, Refusal};
use http::Request;
use serde_json::Value;

use super::*;

const PROCESSES: &str =
    include_str!("../../../../countersign-server/tests/it/transcripts/trustedx-processes.http");
const TOKENS: &str =
    include_str!("../../../../countersign-server/tests/it/transcripts/trustedx-oauth.http");
const DEFAULTS: &str = include_str!("../../../../countersign-config/src/config.default.toml");
/// The sources of the authorization server.
const SOURCES: [&str; 2] =
    [include_str!("../../../../countersign-http/src/oauth.rs"), include_str!("../oauth.rs")];

fn section(heading: &str) -> &'static str {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap();
    section.split("\n#").next().unwrap()
}

/// The recorded bodies that are JSON objects with this member.
fn recorded(recording: &str, member: &str) -> Vec<Value> {
    let bodies = recording.lines().filter(|line| line.starts_with('{'));
    // Masks of numbers have no quotation marks.
    let bodies = bodies.map(|line| line.replace(":{{seconds}}", ":0"));
    let bodies = bodies.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    bodies.filter(|body| body.get(member).is_some()).collect()
}

/// Collects the types of a value's members by their paths.
fn types(path: &str, value: &Value, into: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = if path == "links" && name.contains(':') { "*" } else { name };
                let path = if path.is_empty() { name.into() } else { format!("{path}.{name}") };
                types(&path, value, into);
            }
            "object"
        }
        Value::Array(values) => {
            for value in values {
                types(&format!("{path}[]"), value, into);
            }
            if values.iter().all(Value::is_string) && !values.is_empty() {
                "array of strings"
            } else {
                "array"
            }
        }
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::Null => "null",
    };
    // An array that is empty once may have strings at another time.
    if into.get(path) != Some(&"array of strings") {
        into.insert(path.to_owned(), kind);
    }
}

#[test]
fn each_member_of_a_process_and_of_an_identity_has_the_type_of_the_page() {
    let mut process = BTreeMap::new();
    for answer in recorded(PROCESSES, "signature") {
        types("", &answer["signature"], &mut process);
    }
    let mut unseen = Vec::new();
    for row in rows("### Members of a process") {
        match process.get(row[0]) {
            Some(kind) => assert_eq!(row[1], *kind, "{}", row[0]),
            None => unseen.push(row[0]),
        }
    }
    assert_eq!(unseen, ["result.digest_value", "result.digest_algorithm"]);
    let mut identity = BTreeMap::new();
    for usage in [Usage::Content, Usage::Digest] {
        let shown = serde_json::to_value(SignIdentity::example(usage)).unwrap();
        types("", &shown, &mut identity);
    }
    for row in rows("### Members of an identity") {
        assert_eq!(Some(&row[1]), identity.get(row[0]), "{}", row[0]);
    }
}

/// The status and the error of each refusal in the sources of the authorization server.
fn refusals_of_the_authorization_server() -> BTreeSet<(String, String)> {
    let programs = SOURCES.map(|source| source.split("#[cfg(test)]").next().unwrap());
    let all = programs.iter().flat_map(|program| program.split("Refusal(").skip(1));
    let all = all.filter_map(|rest| {
        let (status, rest) = rest.trim_start().strip_prefix("StatusCode::")?.split_once(',')?;
        let status = match status {
            "BAD_REQUEST" => "400",
            "UNAUTHORIZED" => "401",
            "NOT_FOUND" => "404",
            "TOO_MANY_REQUESTS" => "429",
            "SERVICE_UNAVAILABLE" => "503",
            other => panic!("{other}"),
        };
        Some((status.to_owned(), rest.split('"').nth(1)?.to_owned()))
    });
    // The grant `password` is KOBIL's.
    let of_passwords = ["unauthorized_client", "invalid_grant"];
    all.filter(|(_, error)| !of_passwords.contains(&&**error)).collect()
}

#[test]
fn the_page_names_every_error_of_the_authorization_server_and_no_other() {
    let named = rows("### Members at the authorization server | HTTP");
    let named: Vec<_> = named.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    let all: BTreeSet<_> = named.iter().cloned().collect();
    assert_eq!(all.len(), named.len(), "an error is named twice");
    assert_eq!(all, refusals_of_the_authorization_server());
}

#[tokio::test]
async fn the_fields_of_a_token_request_are_those_of_the_page() {
    let fields: Vec<_> = rows("### Members at the authorization server");
    let names: BTreeSet<_> = fields.iter().map(|row| row[0]).collect();
    let read = SOURCES.map(|source| source.split("field(\"").skip(1).collect::<Vec<_>>()).concat();
    let read: BTreeSet<_> = read.iter().map(|rest| rest.split('"').next().unwrap()).collect();
    // Those of the credentials, of KOBIL's grant and of `POST /introspect`.
    let others = ["client_id", "client_secret", "username", "password", "token"];
    assert_eq!(names, read.into_iter().filter(|name| !others.contains(name)).collect());
    let asks = async |body: String| {
        let form = "application/x-www-form-urlencoded";
        let request = Request::post("/token").header("content-type", form);
        let form = Form::read(request.body(Body::from(body)).unwrap()).await;
        form.ok().unwrap().asks_for_own_token().map_err(|Refusal(_, error, _)| error)
    };
    let grant = fields.iter().find(|row| row[0] == "grant_type").unwrap();
    assert_eq!(asks(format!("grant_type={}", grant[1].trim_matches('`'))).await, Ok(()));
    assert_eq!(asks(String::new()).await, Err(grant[2].trim_matches('`')));
    assert_eq!(asks("grant_type=password".into()).await, Err("unsupported_grant_type"));
}

/// The words in quotation marks of a text.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

fn keys(answer: &Value) -> BTreeSet<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_answers_of_the_authorization_server_have_the_members_of_the_page() {
    let section = section("### Members at the authorization server");
    let (_, token) = section.split_once("**200** `{\"access_token\"").unwrap();
    let token = format!("\"access_token\"{}", token.split("}`").next().unwrap());
    let mut named = quoted(&token);
    assert!(named.remove("Bearer"));
    for answer in recorded(TOKENS, "access_token") {
        assert_eq!(keys(&answer), named);
        assert_eq!(answer["token_type"], "Bearer");
    }
    let (_, active) = section.split_once("`{\"active\": true").unwrap();
    let mut named = quoted(active.split("}`").next().unwrap());
    named.insert("active");
    let (mut active, mut inactive) = (0, 0);
    for answer in recorded(TOKENS, "active") {
        if answer["active"] == true {
            assert_eq!(keys(&answer), named);
            active += 1;
        } else {
            assert_eq!(answer, serde_json::json!({"active": false}));
            inactive += 1;
        }
    }
    assert!(active > 0 && inactive > 0 && !recorded(TOKENS, "access_token").is_empty());
}

#[test]
fn the_scopes_of_the_page_are_the_defaults() {
    let named = rows("## Tokens | scope");
    assert_eq!(
        named.iter().map(|row| row[0]).collect::<Vec<_>>(),
        ["sign", "profile", "manage", "register"]
    );
    for row in named {
        let key = format!("\nscope_{} = \"", row[0]);
        let (_, rest) = DEFAULTS.split_once(&key).unwrap();
        let default = rest.split('"').next().unwrap();
        let shown = row[2].trim_matches('`');
        match shown.strip_prefix('…') {
            Some(end) => assert!(default.ends_with(end), "{default} {end}"),
            None => assert_eq!(default, shown),
        }
    }
}

#[test]
fn the_additions_of_the_page_are_read_and_have_its_bounds() {
    let source = include_str!("../extension.rs").split("#[cfg(test)]").next().unwrap();
    let after = |marker: &str| -> Vec<String> {
        let found = source.split(marker).skip(1);
        found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let read = ["parameter(query, \"", "milliseconds(query, \"", "headers.get(\""].map(after);
    let read: BTreeSet<String> = read.concat().iter().map(|name| name.to_lowercase()).collect();
    let rows = rows("## Our additions");
    let name = |cell: &str| {
        let name = cell.trim_matches(['`', '?']).split(['=', ':', '`']).next().unwrap();
        name.to_lowercase()
    };
    assert_eq!(rows.iter().map(|row| name(row[0])).collect::<BTreeSet<_>>(), read);
    let of = |wanted: &str| rows.iter().find(|row| name(row[0]) == wanted).unwrap()[1];
    assert!(of("idempotency-key").contains(&format!("1 to {NAME_BYTES_MAX} bytes")));
    assert!(of("expiresinms").ends_with("a week at most"));
    assert_eq!(CLOCK_MAX, Duration::from_hours(7 * 24));
    assert!(of("timeoutms").contains("a minute at most"));
    assert_eq!(POLL_WAIT_MAX, Duration::from_mins(1));
    let named: BTreeSet<_> = of("callbackurl").split('`').skip(1).step_by(2).collect();
    let members = ["status", "value", "signature_algorithm", "digest_value", "digest_algorithm"];
    let body = "{\"id\", \"result\"}";
    assert_eq!(named, members.into_iter().chain([body]).collect());
}

#[test]
fn the_example_of_a_policy_is_the_answer_by_default() {
    let example = section("### The policy of a device type");
    let example = example.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let answers = recorded(PROCESSES, "signature_policy");
    assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == example), "{answers:?}");
}
