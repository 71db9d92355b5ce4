//! KOBIL's calls on users, devices and activation codes, with users' phones; and what remains of
//! transactions after their retention.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{Code, Error, KeyKind, PhoneFile, enrol};
use countersign_wire::frame::Close;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{ALL_ROLES, TestServer, credentials, payment, read};

/// Every call: its method, its two addresses, and the subsystem that answers.
const CALLS: [(&str, &str, &str, u8); 10] = [
    ("POST", "/digitanium/v4/users", "v3_user", 5),
    ("GET", "/digitanium/v4/users/jane/profile", "v3_user/jane", 5),
    ("DELETE", "/digitanium/v4/users/jane", "v3_user/jane", 5),
    ("PUT", "/digitanium/v4/users/jane/ssms/logout", "v3_user/jane/ssms/logout", 5),
    ("GET", "/digitanium/v4/users/jane/devices", "v3_user/devices/jane", 5),
    ("POST", "/digitanium/v4/users/jane/activationcodes", "v3_activationcode/jane/", 5),
    ("GET", "/digitanium/v4/users/jane/activationcodes", "v3_activationcode/jane/", 5),
    ("POST", "/digitanium/v4/devices/{device}/lock", "v3_device/{device}/lock", 6),
    ("POST", "/digitanium/v4/devices/{device}/unlock", "v3_device/{device}/unlock", 6),
    ("DELETE", "/digitanium/v4/devices/{device}", "v3_device/{device}", 6),
];

#[tokio::test]
async fn no_call_is_answered_without_a_token_of_its_own_tenant() {
    let server = TestServer::configured("[server]\ndefault_tenant = \"acme\"\n");
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let device = jane.phone().device_id.to_string();
    server.cli(&["tenant", "create", "other"]).unwrap();
    let create = ["client", "create", "Stranger", "--tenant", "other"];
    let stranger = server.cli(&[&create, &ALL_ROLES[..]].concat()).unwrap();
    let theirs = server.token_of("other", &credentials(&stranger)).await;
    let ours = server.token().await;
    for (method, by_host, by_realm, sub_system) in CALLS {
        let send = async |path: &str, token: Option<&str>| {
            let url = format!("{}{}", server.address, path.replace("{device}", &device));
            let mut call = server.http.request(method.parse().unwrap(), url).json(&json!({}));
            if let Some(token) = token {
                call = call.bearer_auth(token);
            }
            read(call.send().await.unwrap()).await
        };
        let unauthorized = json!({
            "message": "HTTP 401 Unauthorized", "status": "Unauthorized", "subSystem": sub_system,
        });
        for path in [by_host.to_owned(), format!("/auth/realms/acme/{by_realm}")] {
            for token in [None, Some("x.y.z"), Some(theirs.as_str())] {
                let (status, answer) = send(&path, token).await;
                assert_eq!((status.as_u16(), &answer), (401, &unauthorized), "{method} {path}");
            }
        }
        // Another tenant's clients, with tokens of their own, find none of our users.
        let (status, answer) = send(&format!("/auth/realms/other/{by_realm}"), Some(&theirs)).await;
        let expected = if by_realm == "v3_user" { 400 } else { 404 };
        assert_eq!(status.as_u16(), expected, "{method} {by_realm}: {answer}");
        let (status, answer) = send(&format!("/auth/realms/nowhere/{by_realm}"), Some(&ours)).await;
        assert_eq!((status.as_u16(), &answer["status"]), (404, &json!("TENANT_NOT_FOUND")));
    }
    let (status, answer) = server.call(Method::GET, "v3_user/devices/jane", None).await;
    assert_eq!((status.as_u16(), answer["data"][0]["locked"].as_bool()), (200, Some(false)));
}

#[tokio::test]
async fn a_body_that_is_none_makes_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let token = server.token().await;
    for path in ["v3_user", "v3_activationcode/jane/"] {
        let send = async |content_type: &str, body: &str| {
            let url = format!("{}/auth/realms/acme/{path}", server.address);
            let call =
                server.http.post(url).bearer_auth(&token).header("content-type", content_type);
            let (status, answer) = read(call.body(body.to_owned()).send().await.unwrap()).await;
            assert_eq!(answer["subSystem"], 5, "it is not in KOBIL's envelope: {answer}");
            status.as_u16()
        };
        for (content_type, body, status) in [
            ("multipart/form-data; boundary=x", "--x--", 415),
            ("application/x-www-form-urlencoded", "username=ann", 415),
            ("text/plain", r#"{"username":"ann"}"#, 415),
            ("application/json", "", 400),
            ("application/json", "null", 400),
            ("application/json", "[]", 400),
            ("application/json", "{", 400),
            ("application/json", r#"{"username":"ann","username":"bob"}"#, 400),
            ("application/json", &format!("{{\"attributes\":{}", "[".repeat(100_000)), 400),
            ("application/json", &format!("{{\"username\":\"{}\"}}", "x".repeat(300_000)), 413),
        ] {
            // The body for a code names no user, so a repeated request is accepted.
            if path != "v3_user" && body.contains("bob") {
                continue;
            }
            assert_eq!(send(content_type, body).await, status, "{path} {content_type} {body:.40}");
        }
    }
    let (_, answer) = server.call(Method::GET, "v3_activationcode/jane/", None).await;
    assert_eq!(answer["data"], json!([]));
    let (status, _) = server.call(Method::GET, "v3_user/ann", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, answer) = server.call(Method::GET, "v3_user/%ff", None).await;
    assert_eq!((status.as_u16(), &answer["status"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn a_code_that_an_application_made_lets_one_phone_in() {
    let server = TestServer::new();
    let body = json!({"username": "jane"});
    let (status, _) = server.call(Method::POST, "v3_user", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED);
    let path = "v3_activationcode/jane/";
    let asked = format!("{path}?responseQrType=mpower");
    let (status, made) = server.call(Method::POST, &asked, Some(&json!({"secret": true}))).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let picture = BASE64.decode(made["data"][0]["qrCode"].as_str().unwrap()).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    let code = made["data"][0]["activationCode"].as_str().unwrap();
    let (_, listed) = server.call(Method::GET, path, None).await;
    assert_eq!(listed["data"], json!([]), "a secret one is never listed");

    let file = server.path().join("phone.json");
    let asks = enrolment(&server, "jane", code, None, KeyKind::default());
    enrol(&PhoneFile::at(&file), &asks).await.unwrap();
    let mut jane = TestDevice::opened(file);
    // Created with the vendor's default, `Enabled` false, she can sign all the same.
    let request = payment("first");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    let (_, info) = server.call(Method::GET, "v3_user/jane", None).await;
    assert_eq!(info["data"]["enabled"], false);
}

#[tokio::test]
async fn a_user_has_a_few_codes_and_no_more() {
    let server = TestServer::new();
    server.user("jane");
    let make =
        async || server.call(Method::POST, "v3_activationcode/jane/", Some(&json!({}))).await;
    for _ in 0..16 {
        assert_eq!(make().await.0, StatusCode::OK);
    }
    let (status, answer) = make().await;
    assert_eq!((status.as_u16(), &answer["status"]), (429, &json!("TOO_MANY_REQUESTS")));
}

#[tokio::test]
async fn a_device_that_is_locked_is_hung_up_on_and_does_nothing_until_it_is_unlocked() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let device = format!("v3_device/{}", jane.phone().device_id);
    let request = payment("interrupted");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let (_, shown) = jane.opens(None).await.unwrap();
        let lock = server.call(Method::POST, &format!("{device}/lock"), None).await;
        assert_eq!(lock.1["data"], true);
        let refused = jane.device.approve(&shown, None).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{refused}");
        let closed = jane.device.next().await.unwrap_err();
        assert!(matches!(closed, Error::Closed(Close::Locked)), "{closed}");
        assert_eq!(server.device_state("jane").await, "OFFLINE");
        server.call(Method::POST, &format!("{device}/unlock"), None).await;
        // She can still end the transaction.
        jane = TestDevice::opened(jane.file.clone());
        jane.signs().await;
    });
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    let (status, _) = server.call(Method::DELETE, &device, None).await;
    assert_eq!(status, StatusCode::OK);
    let refused = TestDevice::opened(jane.file.clone()).polling().device.next().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Locked), "{refused}");
}

#[tokio::test]
async fn every_change_leaves_an_event_with_its_actor_and_without_contents() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let device = jane.phone().device_id.to_string();
    let request = payment("signed");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    server.call(Method::POST, &format!("v3_device/{device}/lock"), None).await;
    server.cli(&["device", "unlock", &device, "--tenant", "acme"]).unwrap();
    server.cli(&["user", "lock", "jane", "--tenant", "acme"]).unwrap();

    let listed = server.cli(&["history", "--tenant", "acme"]).unwrap();
    let events = listed.as_array().unwrap();
    let by = |event: &Value| {
        let (kind, actor) = (event["kind"].as_str().unwrap(), event["actor"].as_str().unwrap());
        format!("{kind} by {}", actor.split(':').next().unwrap())
    };
    let told: Vec<_> = events.iter().map(by).collect();
    let expected = [
        "tenant.created by command-line",
        "client.created by command-line",
        "user.created by command-line",
        "activation.created by command-line",
        "device.enrolled by device",
        "transaction.started by client",
        "transaction.taken by device",
        "transaction.ended by device",
        "device.locked by client",
        "device.unlocked by command-line",
        "user.locked by command-line",
    ];
    let without_reached: Vec<_> =
        told.iter().filter(|one| !one.starts_with("transaction.reached")).collect();
    assert_eq!(without_reached, expected.iter().collect::<Vec<_>>(), "{told:?}");
    assert!(!listed.to_string().contains("Pay"), "no content is in an event: {listed}");

    // A cursor goes on where the list before ended.
    let after = events[3]["number"].to_string();
    let rest = server.cli(&["history", "--tenant", "acme", "--after", &after]).unwrap();
    assert_eq!(rest.as_array().unwrap()[..], events[4..]);
}

#[tokio::test]
async fn who_is_logged_out_is_hung_up_on_and_may_come_back() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let log_out = async || server.call(Method::PUT, "v3_user/jane/ssms/logout", None).await;
    assert_eq!(log_out().await.0, StatusCode::CONFLICT);
    let request = payment("after");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        jane.device.next_offer().await.unwrap();
        assert_eq!(server.device_state("jane").await, "ONLINE");
        let (status, said) = log_out().await;
        assert_eq!((status, &said["data"]), (StatusCode::OK, &json!(true)));
        let closed = jane.device.next().await.unwrap_err();
        assert!(matches!(closed, Error::Closed(Close::Locked)), "{closed}");
        assert_eq!(log_out().await.0, StatusCode::CONFLICT);
        jane = TestDevice::opened(jane.file.clone());
        jane.signs().await;
    });
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_the_next_of_the_name_is_somebody_else() {
    let server = TestServer::new();
    let body = json!({"username": "jane"});
    server.call(Method::POST, "v3_user", Some(&body)).await;
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let (first, request) = (payment("signed"), payment("open"));
    let (answer, _) = join!(server.start_signature("jane", &first), jane.signs());
    assert_eq!(answer.1["status"], "OK");
    let (held, ()) = join!(server.start_signature("jane", &request), async {
        let (_, shown) = jane.opens(None).await.unwrap();
        let (status, _) = server.call(Method::DELETE, "v3_user/jane", None).await;
        assert_eq!(status, StatusCode::OK);
        let refused = jane.device.approve(&shown, None).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{refused}");
    });
    assert_eq!(held.1["data"]["resultCode"], "SERVER_CANCEL", "{}", held.1);
    let (status, answer) = server.start_signature("jane", &payment("late")).await;
    assert_eq!((status.as_u16(), &answer["status"]), (404, &json!("USER_NOT_FOUND")));

    server.call(Method::POST, "v3_user", Some(&body)).await;
    let mut other = TestDevice::enrolled(&server, "jane", None).await;
    let base = |phone: &TestDevice| phone.phone().serial_number[..10].to_owned();
    assert_ne!(base(&jane), base(&other));
    let (_, devices) = server.call(Method::GET, "v3_user/devices/jane", None).await;
    let ids: Vec<&Value> = rows(&devices).iter().map(|row| &row["deviceId"]).collect();
    assert_eq!(ids, [&json!(other.phone().device_id.to_string())]);
    let request = payment("hers");
    let (answer, shown) = join!(server.start_signature("jane", &request), other.signs());
    assert_eq!(answer.1["data"]["transactionId"], "hers", "{shown:?}");
    // The former user's signature stays, and its number stays used.
    assert_eq!(server.transaction("signed")["state"], "finished");
    let old = format!("v3_device/{}/unlock", jane.phone().device_id);
    assert_eq!(server.call(Method::POST, &old, None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_operator_finds_a_held_transaction_and_cancels_it() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("signed");
    let (first, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(first.0, StatusCode::OK);
    let request = payment("held");
    let (held, ()) = join!(server.start_signature("jane", &request), async {
        jane.device.next_offer().await.unwrap();
        let list = |words: &[&str]| {
            let words = [&["transaction", "list", "--tenant", "acme"], words].concat();
            let listed = server.cli(&words).unwrap();
            let rows = listed.as_array().unwrap().iter();
            rows.map(|row| row["reference"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let held = server.transaction("held");
        let since = held["started_at"].as_str().unwrap();
        assert_eq!(since.len(), "2026-11-28T12:00:00.000Z".len(), "{since}");
        assert_eq!(list(&["--client", &server.client.0]), ["held", "signed"]);
        assert_eq!(list(&["--client", "another"]), [""; 0]);
        assert_eq!(list(&["--state", "waiting"]), ["held"]);
        assert_eq!(list(&["--state", "finished"]), ["signed"]);
        assert_eq!(list(&["--since", since]), ["held"]);
        let cancel = ["transaction", "cancel", held["id"].as_str().unwrap(), "--tenant", "acme"];
        for _ in 0..2 {
            assert_eq!(server.cli(&cancel).unwrap()["state"], "cancelled");
        }
    });
    assert_eq!(held.1["data"]["resultCode"], "SERVER_CANCEL", "{}", held.1);
    let signed = server.transaction("signed");
    let failed =
        server.cli(&["transaction", "cancel", signed["id"].as_str().unwrap(), "--tenant", "acme"]);
    let failed = failed.unwrap_err();
    assert!(failed.stderr.contains("already ended"), "{}", failed.stderr);
}

#[tokio::test]
async fn of_what_was_kept_long_enough_the_signature_stays_and_is_told_again() {
    let mut server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let (signed, cancelled, young) = (payment("signed"), payment("cancelled"), payment("young"));
    let (first, _) = join!(server.start_signature("jane", &signed), jane.signs());
    let (_, ()) = join!(server.start_signature("jane", &cancelled), async {
        jane.device.next_offer().await.unwrap();
        server.cancel("jane", "cancelled").await;
    });
    let (_, _) = join!(server.start_signature("jane", &young), jane.signs());
    let shown = server.transaction("signed");
    let aged = Command::new("sqlite3")
        .arg(server.data().join("ledger.db"))
        .arg(
            "UPDATE transactions SET ended_at = ended_at - 90 * 86400000
              WHERE reference <> 'young'",
        )
        .output()
        .unwrap();
    assert!(aged.status.success(), "{}", String::from_utf8_lossy(&aged.stderr));
    server.crash();

    let references = async || {
        let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
        let rows = listed.as_array().unwrap().iter();
        rows.map(|row| row["reference"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    while references().await != ["young", "signed"] {}
    let found =
        server.cli(&["transaction", "show", shown["id"].as_str().unwrap(), "--tenant", "acme"]);
    let found = found.unwrap();
    for field in
        ["id", "request_key", "client", "client_name", "user", "takes", "end", "started_at"]
    {
        assert_eq!(found[field], shown[field], "{field}");
    }
    let again = server.start_signature("jane", &signed).await;
    assert_eq!(again, first, "the same call is answered as it was");
    let mut other = signed;
    other["signatureMessage"] = json!("Pay 6 € to Ann?");
    let (status, answer) = server.start_signature("jane", &other).await;
    assert_eq!((status.as_u16(), &answer["status"]), (409, &json!("CONFLICT")));
}

fn rows(answer: &Value) -> &Vec<Value> {
    answer["data"].as_array().unwrap()
}
