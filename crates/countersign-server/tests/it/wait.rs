//! Callers that wait for users: each one is a small task, and not a thread.

use reqwest::{Certificate, Client, RequestBuilder, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};

/// Open transactions of one user, in this test.
const PER_USER: usize = 100;
/// Requests on one HTTP/2 connection, below the server's limit on streams.
const PER_CONNECTION: usize = 200;

/// The number of waiting callers: a thousand, or the value of `HELD`.
fn held() -> usize {
    std::env::var("HELD").map_or(1_000, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_wait_without_a_thread_each() {
    let server = server();
    let (token, address) = (server.token().await, server.address.clone());
    let ask = move |client: &Client, user: usize, number: usize| {
        let mut request = payment(&format!("held-{number}"));
        request["deviceGoOnlineTimeout"] = json!(600);
        let url = format!("{address}/auth/realms/acme/v3_user/digitaniumsignature/user{user}");
        client.post(url).bearer_auth(&token).json(&request)
    };
    callers_wait(server, ask, r#""status":"OK""#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_soap_calls_are_suspended_without_a_thread_each() {
    let server = server();
    let ((id, secret), address) = (server.client.clone(), server.address.clone());
    let ask = move |client: &Client, user: usize, number: usize| {
        let body = format!(
            "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' \
             xmlns:sig='http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature'><s:Body>\
             <sig:authSignatureRequest><componentType>Shop</componentType>\
             <user><userID>user{user}</userID></user><push><title>Pay {number} € to Ann?</title>\
             <dataFieldList/></push></sig:authSignatureRequest></s:Body></s:Envelope>"
        );
        let call = client.post(format!("{address}/onespan/soap")).basic_auth(&id, Some(&secret));
        call.header("content-type", "text/xml; charset=utf-8").body(body)
    };
    callers_wait(server, ask, "<statusCodeEnum>STAT_SUCCESS</statusCodeEnum>").await;
}

/// A server with high limits on open transactions and waiting callers, and long waits.
fn server() -> TestServer {
    TestServer::configured(&format!(
        "[transactions]\nopen_per_user_max = {PER_USER}\n[onespan]\nwait_seconds = 300\n"
    ))
}

/// Starts waiting callers, each with the call that `ask` makes for a user and a number; lets one
/// user sign, whose caller receives `success`; and ends the server.
async fn callers_wait(
    mut server: TestServer,
    ask: impl Fn(&Client, usize, usize) -> RequestBuilder,
    success: &str,
) {
    let held = held();
    let mut people = Vec::new();
    for number in 0..held.div_ceil(PER_USER) {
        let user = format!("user{number}");
        server.user(&user);
        people.push(TestDevice::enrolled(&server, &user, None).await);
    }
    let ca = std::fs::read(server.data().join("tls/ca.pem")).unwrap();
    let client = || {
        let root = Certificate::from_pem(&ca).unwrap();
        Client::builder().tls_certs_only([root]).http2_prior_knowledge().build().unwrap()
    };
    let clients: Vec<Client> = (0..held.div_ceil(PER_CONNECTION)).map(|_| client()).collect();
    let before = server.kibibytes("VmRSS:");
    let mut calls = JoinSet::new();
    for number in 0..held {
        let call = ask(&clients[number / PER_CONNECTION], number / PER_USER, number);
        calls.spawn(async move {
            let answer = call.send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        });
    }
    until("all callers wait", async || {
        (gauge(&server, "countersign_callers_held").await == held.to_string()).then_some(())
    })
    .await;
    let each = (server.kibibytes("VmRSS:") - before) * 1024 / held as u64;
    let threads = server.threads();
    println!(
        "{held} callers held: {each} bytes of the server's memory each, {threads} threads in all"
    );
    assert!(threads < 32, "{threads} threads");
    assert!(each < 64 * 1024, "{each} bytes for each caller");

    // While all of them wait, one user signs, and only that caller is answered.
    let began = Instant::now();
    people[0].signs().await;
    let (status, body) = calls.join_next().await.unwrap().unwrap();
    println!("answered {} ms after the device came online", began.elapsed().as_millis());
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains(success), "{body}");

    // The other callers are told to ask again.
    assert_eq!(server.stop(), Some(0));
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// The present value of a gauge of the server.
async fn gauge(server: &TestServer, name: &str) -> String {
    let log = server.log();
    let address = log.split("Health and metrics on ").nth(1).unwrap().split_whitespace().next();
    let url = format!("{}/metrics", address.unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}
