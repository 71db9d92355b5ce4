//! What a client may do: each role and each operation, at the door of each dialect.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::soap::envelope;
use crate::test_device::TestDevice;
use crate::test_server::{ALL_ROLES, TestServer, read};
use crate::trustedx::PREFIX;

const ROLES: [&str; 3] = ["ask", "people", "enrol"];

/// KOBIL's calls: method, path below the realm, the role, and the subsystem that answers.
const KOBIL: [(&str, &str, &str, u8); 12] = [
    ("POST", "v3_user/digitaniumsignature/jane", "ask", 5),
    ("DELETE", "v3_user/cancelsignature/jane", "ask", 5),
    ("POST", "v3_user", "people", 5),
    ("GET", "v3_user/jane", "people", 5),
    ("PUT", "v3_user/jane/ssms/logout", "people", 5),
    ("GET", "v3_user/devices/jane", "people", 5),
    ("POST", "v3_device/{device}/lock", "people", 6),
    ("POST", "v3_device/{device}/unlock", "people", 6),
    ("POST", "v3_activationcode/jane/", "enrol", 5),
    ("GET", "v3_activationcode/jane/", "enrol", 5),
    ("DELETE", "v3_device/{device}", "people", 6),
    ("DELETE", "v3_user/jane", "people", 5),
];

/// OneSpan's commands, all of which need the role `ask`.
const COMMANDS: [&str; 6] = [
    "authSignatureRequest",
    "genRequest",
    "getPreparedSignatureRequest",
    "authSignature",
    "cancelAuthSignatureRequest",
    "authUserRequest",
];

/// OneSpan's calls of phones.
const PHONES: [&str; 8] = [
    "signature/push/getPreparedSignatureRequest",
    "signature/push/authSignature",
    "signature/scan/cancelAuthSignatureRequest",
    "authentication/push/getPreparedSecureChallenge",
    "authentication/scan/authUser",
    "authentication/push/cancelAuthUser",
    "notification/push/updateNotificationID",
    "provisioning/getServerTime",
];

/// TrustedX's calls: method, path, the scope, and the role.
const TRUSTEDX: [(&str, &str, &str, &str); 12] = [
    ("POST", "/signatures/device/raw", "sign", "ask"),
    ("POST", "/signatures/device/commitment/transaction", "sign", "ask"),
    ("POST", "/signatures/device/commitment/document", "sign", "ask"),
    ("POST", "/signatures/device/authentication", "sign", "ask"),
    ("GET", "/signatures/00000000000000000000000000000001", "sign", "ask"),
    ("GET", "/signatures/00000000000000000000000000000001/result", "sign", "ask"),
    ("DELETE", "/signatures/00000000000000000000000000000001", "sign", "ask"),
    ("GET", "/sign_identities", "profile", "people"),
    ("GET", "/sign_identities/00000000000000000000000000000001", "profile", "people"),
    ("PUT", "/sign_identities/00000000000000000000000000000001/status", "manage", "people"),
    ("PUT", "/sign_identities/00000000000000000000000000000001/labels", "manage", "people"),
    ("DELETE", "/sign_identities/00000000000000000000000000000001", "manage", "people"),
];

/// The scopes for requesting signatures, reading identities, changing them, and registering them.
const SCOPES: [&str; 4] = [
    "urn:safelayer:eidas:sign:identity:use:device",
    "urn:safelayer:eidas:sign:identity:profile",
    "urn:safelayer:eidas:sign:identity:manage",
    "urn:safelayer:eidas:sign:identity:register",
];

/// Makes one of KOBIL's calls with this token and an empty object as the body.
async fn kobil(server: &TestServer, token: &str, method: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/auth/realms/acme/{path}", server.address);
    let call = server.http.request(method.parse().unwrap(), url).bearer_auth(token);
    let (status, answer) = read(call.json(&json!({})).send().await.unwrap()).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn at_kobils_door_each_call_needs_its_role() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let device = jane.phone().device_id.to_string();
    // First every refusal, so that it is seen that nothing was done.
    for is_allowed in [false, true] {
        for role in ROLES {
            let client = server.client_with(&format!("{role} {is_allowed}"), &["--role", role]);
            let token = server.token_of("acme", &client).await;
            for (method, path, needed, sub_system) in KOBIL {
                if (role == needed) != is_allowed {
                    continue;
                }
                let path = path.replace("{device}", &device);
                let (status, answer) = kobil(&server, &token, method, &path).await;
                if is_allowed {
                    assert!(![401, 403].contains(&status), "{role} {method} {path}: {answer}");
                    continue;
                }
                let refusal = json!({
                    "message": format!("The client does not have the role {needed}"),
                    "status": "FORBIDDEN",
                    "subSystem": sub_system,
                });
                assert_eq!((status, &answer), (403, &refusal), "{role} {method} {path}");
            }
        }
        if !is_allowed {
            let (_, devices) = server.call(Method::GET, "v3_user/devices/jane", None).await;
            assert_eq!(devices["data"][0]["locked"], json!(false), "{devices}");
            let (_, codes) = server.call(Method::GET, "v3_activationcode/jane/", None).await;
            assert_eq!(codes["data"], json!([]));
        }
    }
    let (status, _) = server.call(Method::GET, "v3_user/jane", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "the role people deletes users");
}

#[tokio::test]
async fn a_client_that_is_made_without_a_role_may_ask_and_nothing_else() {
    let server = TestServer::new();
    server.user("jane");
    let client = server.client_with("Least", &[]);
    let token = server.token_of("acme", &client).await;
    for (method, path, needed, _) in KOBIL {
        let (status, answer) = kobil(&server, &token, method, &path.replace("{device}", "1")).await;
        assert_eq!(status == 403, needed != "ask", "{method} {path}: {answer}");
    }
    let listed = server.cli(&["client", "list", "--tenant", "acme"]).unwrap();
    let of = |name: &str| {
        let row = listed.as_array().unwrap().iter().find(|row| row["name"] == name);
        row.unwrap()["roles"].clone()
    };
    assert_eq!((of("Least"), of("Shop")), (json!(["ask"]), json!(["ask", "people", "enrol"])));
}

#[tokio::test]
async fn at_onespans_soap_door_each_command_needs_the_role_ask() {
    let server = TestServer::new();
    for role in ROLES {
        let client = server.client_with(role, &["--role", role]);
        for command in COMMANDS {
            let body = envelope(&format!("<sig:{command}/>"));
            let answer = server.post_soap(&client, "text/xml", body).await;
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            if role == "ask" {
                assert_eq!(status, 200, "{command}: {text}");
                continue;
            }
            assert_eq!(status, 403, "{role} {command}: {text}");
            assert!(text.contains("<faultcode>soapenv:Client</faultcode>"), "{text}");
            let sentence = "<faultstring>the client does not have the role ask</faultstring>";
            assert!(text.contains(sentence), "{text}");
        }
    }
}

/// Phones present no client: their door is open for front-end keys only, whatever roles a client
/// has.
#[tokio::test]
async fn at_onespans_rest_door_only_a_front_end_key_is_let_in() {
    let server = TestServer::new();
    let key = |kind: &str| {
        let made = server.cli(&["key", "create", "--tenant", "acme", "--kind", kind]).unwrap();
        ("app".to_owned(), made["api_key"].as_str().unwrap().to_owned())
    };
    let (front, back) = (key("front-end"), key("back-end"));
    for (who, is_allowed) in [(&front, true), (&back, false), (&server.client, false)] {
        for path in PHONES {
            let url = format!("{}/rest/v2/{path}", server.address);
            let call = server.http_from([127, 0, 0, 3]).post(url.replace("localhost", "127.0.0.1"));
            let answer = call.basic_auth(&who.0, Some(&who.1)).json(&json!({})).send().await;
            let status = answer.unwrap().status().as_u16();
            if is_allowed {
                assert_eq!(status, 200, "{path}");
            } else {
                assert!([401, 429].contains(&status), "{path}: {status}");
            }
        }
    }
}

/// Makes one of TrustedX's calls; answers the status, the error and its description.
async fn trustedx(
    server: &TestServer,
    token: &str,
    method: &str,
    path: &str,
) -> (u16, String, String) {
    let url = format!("{}{PREFIX}{path}", server.address);
    let call = server.http.request(method.parse().unwrap(), url).bearer_auth(token);
    let answer = call.json(&json!({})).send().await.unwrap();
    let status = answer.status().as_u16();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (status, text("error"), text("error_description"))
}

#[tokio::test]
async fn at_trustedxs_door_each_call_needs_its_scope_and_its_role() {
    let server = TestServer::new();
    for role in ROLES {
        let client = server.client_with(role, &["--role", role]);
        let token = server.trustedx_token(&client, "").await;
        for (method, path, needed_scope, needed) in TRUSTEDX {
            let wanted = scope_of(needed_scope);
            let (status, error, sentence) = trustedx(&server, &token, method, path).await;
            if role == needed {
                assert!(![401, 403].contains(&status), "{role} {method} {path}: {error}");
                continue;
            }
            let refusal = (403, "insufficient_scope", format!("this call needs {wanted}"));
            assert_eq!((status, error.as_str(), sentence), refusal, "{role} {method} {path}");
            let (status, refused) =
                crate::trustedx::oauth::token_at(&server, "acme", &client, wanted).await;
            assert_eq!((status.as_u16(), &refused["error"]), (400, &json!("invalid_scope")));
        }
    }
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_from_tokens_that_have_its_scope() {
    let server = TestServer::new();
    let client = server.client_with("Changing", &ALL_ROLES);
    let (token, realms) =
        (server.trustedx_token(&client, "").await, server.token_of("acme", &client).await);
    let list = async || trustedx(&server, &token, "GET", "/sign_identities").await;
    assert_eq!(list().await.0, 200);
    assert_eq!(kobil(&server, &realms, "POST", "v3_user").await.0, 400);
    let set = |roles: &[&str]| {
        let set = ["client", "set-roles", &client.0, "--tenant", "acme"];
        server.cli(&[&set, roles].concat()).unwrap()
    };
    assert_eq!(set(&["--role", "enrol"])["roles"], json!(["enrol"]));
    assert_eq!(set(&["--role", "enrol"])["roles"], json!(["enrol"]), "done already");
    let sentence = "the client does not have the role people".to_owned();
    assert_eq!(list().await, (403, "access_denied".to_owned(), sentence));
    assert_eq!(kobil(&server, &realms, "POST", "v3_user").await.0, 403);
    set(&["--role", "people"]);
    assert_eq!(list().await.0, 200);
    assert_eq!(kobil(&server, &realms, "POST", "v3_user").await.0, 400);
}

/// The example of the issue: a client for reading identities made codes, and deleted users.
#[tokio::test]
async fn a_client_that_is_limited_to_a_scope_gets_no_more_at_any_door() {
    let server = TestServer::new();
    server.user("jane");
    for (last, role) in [
        ("sign", Some("ask")),
        ("profile", None),
        ("manage", Some("people")),
        ("register", Some("enrol")),
    ] {
        let limited = [&ALL_ROLES[..], &["--scope", scope_of(last)]].concat();
        let client = server.client_with(last, &limited);
        let token = server.token_of("acme", &client).await;
        for (method, path, needed, _) in KOBIL.into_iter().filter(|call| call.0 != "DELETE") {
            let path = path.replace("{device}", "1");
            let (status, answer) = kobil(&server, &token, method, &path).await;
            assert_eq!(status == 403, role != Some(needed), "{last} {method} {path}: {answer}");
        }
        let body = envelope("<sig:genRequest/>");
        let answer = server.post_soap(&client, "text/xml", body).await;
        assert_eq!(answer.status().as_u16() == 403, role != Some("ask"), "{last}");
        let token = server.trustedx_token(&client, "").await;
        for (method, path, needed, _) in TRUSTEDX {
            let (status, error, _) = trustedx(&server, &token, method, path).await;
            assert_eq!(status == 403, needed != last, "{last} {method} {path}: {error}");
        }
    }
}

/// A scope by the short name of what it allows.
fn scope_of(name: &str) -> &'static str {
    match name {
        "sign" => SCOPES[0],
        "profile" => SCOPES[1],
        "manage" => SCOPES[2],
        _ => SCOPES[3],
    }
}
