//! OneSpan's SOAP, called like a client application: suspended calls, how they end, and invalid
//! requests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::DeclineReason;
use countersign_proof::ocra;
use countersign_wire::id::TransactionId;
use countersign_wire::jwe::{self, Purpose};
use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use tokio::time::{Instant, timeout};

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, openssl_verifies};

const STATEMENT: &[u8] = br#"{"message":"Pay?","rows":[["To","Ann"]]}"#;
const FIELDS: &str = "<dataFieldList><dataField><key>To</key><value>Ann</value></dataField>\
    </dataFieldList>";
const JANE: &str = "<componentType>Shop</componentType><user><userID>jane</userID>\
    <domain>acme</domain></user>";

impl TestServer {
    /// Sends a command with these parameters; returns the text of the answer.
    pub(crate) async fn soap(&self, command: &str, parameters: &str) -> String {
        let body = envelope(&format!("<sig:{command}>{parameters}</sig:{command}>"));
        let answer = self.post_soap(&self.client, "text/xml; charset=utf-8", body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    }

    pub(crate) async fn post_soap(
        &self,
        (id, secret): &(String, String),
        media_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let call = self.http.post(format!("{}/onespan/soap", self.address));
        let call = call.basic_auth(id, Some(secret)).header("content-type", media_type);
        call.body(body).send().await.unwrap()
    }

    /// Creates the request key of a signature that is scanned.
    async fn request_key(&self) -> String {
        let asked = format!("{JANE}<title>Pay?</title>{FIELDS}");
        let made = self.soap("genRequest", &asked).await;
        assert_eq!(status(&made), "STAT_SUCCESS", "{made}");
        text(&made, "requestKey").to_owned()
    }
}

pub(crate) fn envelope(command: &str) -> String {
    format!(
        "<?xml version='1.0'?><s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' \
         xmlns:sig='http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature'><s:Body>{command}\
         </s:Body></s:Envelope>"
    )
}

/// The text of the first element of that name.
fn text<'a>(answer: &'a str, name: &str) -> &'a str {
    let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{answer}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

fn status(answer: &str) -> &str {
    text(answer, "statusCodeEnum")
}

/// The answer of the user's device to the content that it fetched in a sealed message.
fn opened(test_device: &TestDevice, message: &str) -> (TransactionId, String) {
    let sealed = String::from_utf8(hex::decode(message).unwrap()).unwrap();
    let phone = test_device.phone();
    let (device, Purpose::Content(id)) = jwe::peek(&sealed).unwrap() else { panic!("content") };
    assert_eq!(device, phone.device_name().unwrap());
    jwe::open(&phone.payload_key, &device, Purpose::Content(id), &sealed).unwrap();
    let media_type = "application/vnd.countersign.statement+json";
    let code = ocra::code(phone.code_key.as_bytes(), 8, id.0, media_type, STATEMENT);
    (id, code.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_asked_for_by_soap_is_given_on_our_own_channel() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let asked = format!("{JANE}<push><title>Pay?</title>{FIELDS}</push>");
    let (answer, shown) = tokio::join!(server.soap("authSignatureRequest", &asked), jane.signs());
    assert_eq!(shown.bytes(), STATEMENT);
    assert_eq!(status(&answer), "STAT_SUCCESS");
    assert_eq!((text(&answer, "userID"), text(&answer, "domain")), ("jane", "acme"));
    assert_eq!(text(&answer, "serialNumber"), jane.phone().serial_number);
    let signature = BASE64.decode(text(&answer, "signature")).unwrap();
    assert_eq!(openssl_verifies(&signature, &server.tenant_ca()), STATEMENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_fetched_once_and_completed_with_a_code() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let key = server.request_key().await;
    let waiting = format!("{JANE}<requestKey>{key}</requestKey>");
    let waiting = server.soap("authSignatureRequest", &waiting);
    let serial = &jane.phone().serial_number;
    let phone = async {
        let complete = |signature: &str| {
            format!("{JANE}<requestKey>{key}</requestKey><signature>{signature}</signature>")
        };
        let early = server.soap("authSignature", &complete("00000000")).await;
        assert_eq!(status(&early), "STAT_INVCREDENTIALS", "a guess before the fetch");
        let fetch = format!(
            "<componentType>Shop</componentType><serialNumber>{serial}</serialNumber>\
             <requestKey>{key}</requestKey>"
        );
        let fetched = server.soap("getPreparedSignatureRequest", &fetch).await;
        assert_eq!(status(&fetched), "STAT_SUCCESS");
        let again = server.soap("getPreparedSignatureRequest", &fetch).await;
        assert_eq!(status(&again), "STAT_NOT_FOUND", "only once");
        let (_, code) = opened(&jane, text(&fetched, "requestMessage"));
        let wrong = format!("{:08}", (code.parse::<u32>().unwrap() + 1) % 100_000_000);
        let mistaken = server.soap("authSignature", &complete(&wrong)).await;
        assert_eq!(status(&mistaken), "STAT_INVCREDENTIALS");
        let listed = format!(
            "<attributeSet>{}</attributeSet>",
            [
                ("SIGNFLD_COMPONENT_TYPE", "Shop"),
                ("SIGNFLD_USERID", "jane"),
                ("SIGNFLD_REQUEST_KEY", &key),
                ("SIGNFLD_SIGNATURE", &code),
            ]
            .map(|(id, value)| format!(
                "<attributes><value>{value}</value><attributeID>{id}</attributeID></attributes>"
            ))
            .concat()
        );
        let completed = server.soap("authSignature", &listed).await;
        assert_eq!(status(&completed), "STAT_SUCCESS", "{completed}");
        let answered = format!("<value>{serial}</value><attributeID>SIGNFLD_SERIAL_NO<");
        assert!(completed.contains(&answered), "{completed}");
        code
    };
    let (answer, code) = tokio::join!(waiting, phone);
    assert_eq!((status(&answer), text(&answer, "signature")), ("STAT_SUCCESS", code.as_str()));
    let after = format!("{JANE}<requestKey>{key}</requestKey>");
    let after = server.soap("authSignatureRequest", &after).await;
    assert_eq!(text(&after, "signature"), code, "who asks again is answered the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_sealed_by_the_device_ends_the_suspended_call() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let key = server.request_key().await;
    let waiting = format!("{JANE}<requestKey>{key}</requestKey>");
    let waiting = server.soap("authSignatureRequest", &waiting);
    let phone = async {
        let head = format!(
            "<componentType>Shop</componentType><serialNumber>{}</serialNumber>",
            jane.phone().serial_number
        );
        let fetch = format!("{head}<requestKey>{key}</requestKey>");
        let fetched = server.soap("getPreparedSignatureRequest", &fetch).await;
        let (id, _) = opened(&jane, text(&fetched, "requestMessage"));
        let cancel =
            |message: &str| format!("{head}<requestKeyMessage>{message}</requestKeyMessage>");
        let plain = server.soap("cancelAuthSignatureRequest", &cancel(&key)).await;
        assert_eq!(status(&plain), "STAT_INVPARAM", "a plain key proves nothing");
        let device = jane.phone().device_name().unwrap();
        let purpose = Purpose::Information(id);
        let message = jwe::seal(&jane.phone().payload_key, &device, purpose, key.as_bytes());
        let sealed = cancel(&hex::encode(message));
        let cancelled = server.soap("cancelAuthSignatureRequest", &sealed).await;
        assert_eq!(status(&cancelled), "STAT_SUCCESS", "{cancelled}");
    };
    let (answer, ()) = tokio::join!(waiting, phone);
    assert_eq!(status(&answer), "STAT_PERMISSION");
    assert!(!answer.contains("<result>"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_declines_and_who_does_not_answer_are_told_apart() {
    let server = TestServer::configured("[onespan]\nwait_seconds = 3\n");
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let asked = format!("{JANE}<push><title>Pay?</title>{FIELDS}</push>");
    let declined = async {
        let offer = jane.device.next_offer().await.unwrap();
        jane.device.decline(offer.id, DeclineReason::User).await.unwrap();
    };
    let (answer, ()) = tokio::join!(server.soap("authSignatureRequest", &asked), declined);
    assert_eq!(status(&answer), "STAT_PERMISSION");
    let begun = Instant::now();
    let silent = server.soap("authSignatureRequest", &asked);
    let answer = timeout(Duration::from_secs(20), silent).await.unwrap();
    assert_eq!(status(&answer), "STAT_EXP_CHALLENGE");
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let key = server.request_key().await;
    let waiting = format!("{JANE}<requestKey>{key}</requestKey>");
    let answer = server.soap("authSignatureRequest", &waiting).await;
    assert_eq!(status(&answer), "STAT_EXP_CHALLENGE");
    let fetch = format!(
        "<componentType>Shop</componentType><serialNumber>{}</serialNumber>\
         <requestKey>{key}</requestKey>",
        jane.phone().serial_number
    );
    let fetched = server.soap("getPreparedSignatureRequest", &fetch).await;
    assert_eq!(status(&fetched), "STAT_SUCCESS", "a key outlives who waits for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_a_status_and_the_same_for_whoever_is_unknown() {
    let server = TestServer::new();
    server.user("jane");
    let push = format!("<push><title>Pay?</title>{FIELDS}</push>");
    let user = |component: &str, user: &str, domain: &str| {
        format!(
            "<componentType>{component}</componentType><user><userID>{user}</userID>\
             <domain>{domain}</domain></user>"
        )
    };
    for (head, rest, expected) in [
        (JANE.to_owned(), String::new(), "STAT_INVPARAM"),
        (JANE.to_owned(), format!("{push}<requestKey>0000000042</requestKey>"), "STAT_INVPARAM"),
        (user("Another", "jane", "acme"), push.clone(), "STAT_INVPARAM"),
        (user("Shop", "nobody", "acme"), push.clone(), "STAT_NOT_FOUND"),
        (user("Shop", "jane", "other"), push.clone(), "STAT_NOT_FOUND"),
        (user("Shop", "jane", "ACME"), push.clone(), "STAT_NOT_FOUND"),
        (JANE.to_owned(), "<requestKey>0000000042</requestKey>".to_owned(), "STAT_NOT_FOUND"),
        (JANE.to_owned(), "<requestKey>42</requestKey>".to_owned(), "STAT_NOT_FOUND"),
        (JANE.to_owned(), push.clone(), "STAT_NOT_FOUND"),
        (JANE.to_owned(), format!("<serialNumber>x</serialNumber>{push}"), "STAT_NOT_FOUND"),
    ] {
        let answer = server.soap("authSignatureRequest", &format!("{head}{rest}")).await;
        assert_eq!(status(&answer), expected, "{head}{rest}");
        assert_eq!(answer.contains("<errorDesc>"), expected == "STAT_INVPARAM", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_gets_a_fault_with_500() {
    let server = TestServer::new();
    let lol = "<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>";
    let good = envelope("<sig:authSignature/>");
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(10));
    let soap12 =
        good.replace("schemas.xmlsoap.org/soap/envelope/", "www.w3.org/2003/05/soap-envelope");
    for (body, status, code) in [
        (String::new(), 500, "Client"),
        ("{}".into(), 500, "Client"),
        (good.replace("<?xml version='1.0'?>", lol), 500, "Client"),
        (envelope("<sig:authSignature>&a;</sig:authSignature>"), 500, "Client"),
        (envelope(&deep.clone()), 413, "Client"),
        (envelope(&deep[..100_000]), 500, "Client"),
        (envelope("<sig:authsignature/>"), 500, "Client"),
        (envelope(""), 500, "Client"),
        (soap12, 500, "VersionMismatch"),
    ] {
        let shown: String = body.chars().take(200).collect();
        let answer = server.post_soap(&server.client, "text/xml", body).await;
        assert_eq!(answer.status(), status, "{shown}");
        let answer = answer.text().await.unwrap();
        assert_eq!(text(&answer, "faultcode"), format!("soapenv:{code}"), "{shown}");
    }
    let json = server.post_soap(&server.client, "application/json", good.clone()).await;
    assert_eq!(json.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let url = format!("{}/onespan/soap", server.address);
    for (id, secret) in
        [(server.client.0.as_str(), "x"), ("nobody", server.client.1.as_str()), ("", "")]
    {
        let stranger = (id.to_owned(), secret.to_owned());
        let answer = server.post_soap(&stranger, "text/xml", good.clone()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"countersign\"");
    }
    let answer = server.http.request(Method::PUT, &url).body(good).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn starts_beyond_the_clients_rate_are_answered_with_429_and_a_fault() {
    let server = TestServer::configured("[transactions]\nstarts_per_client_per_second = 1\n");
    server.user("jane");
    let _phone = TestDevice::enrolled(&server, "jane", None).await;
    let asked = format!("<sig:genRequest>{JANE}<title>Pay?</title>{FIELDS}</sig:genRequest>");
    let calls = (0..60).map(|_| server.post_soap(&server.client, "text/xml", envelope(&asked)));
    let answers = join_all(calls).await;
    let (refused, answered): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
    assert!(answered.len() >= 10, "{} were within the burst", answered.len());
    assert!(answered.iter().all(|answer| answer.status() == StatusCode::OK));
    assert!(!refused.is_empty());
    for answer in refused {
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        let answer = answer.text().await.unwrap();
        assert_eq!(text(&answer, "faultcode"), "soapenv:Client");
        assert!(text(&answer, "faultstring").contains("quota"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_this_servers_own_address() {
    let server = TestServer::new();
    let answer = server.http.get(format!("{}/onespan/soap?wsdl", server.address)).send();
    let description = answer.await.unwrap().text().await.unwrap();
    assert!(description.contains(&format!("location=\"{}/onespan/soap\"", server.address)));
}
