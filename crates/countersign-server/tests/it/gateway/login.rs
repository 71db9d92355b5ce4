//! Logins: started over SOAP, fetched, completed and cancelled by phones, and never accepted as
//! signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{Operation, gateway};
use countersign_wire::body::Content;
use serde_json::json;

use super::{FIELDS, Fixture, JANE, now, text, value};
use crate::test_server::openssl_verifies;

impl Fixture {
    /// The request key of a login that is scanned.
    async fn challenge(&self) -> String {
        let made = self.login("getSecureChallenge", &[]).await;
        assert!(value(&made, "CREDFLD_REQUEST_IMAGE").starts_with("iVBOR"), "a PNG: {made}");
        value(&made, "CREDFLD_CHALLENGE_KEY").to_owned()
    }

    async fn fetch_login(&self, way: &str, key: &str) -> Content {
        let body = json!({"challengeKey": key, "serialNumber": self.serial()});
        let call = format!("authentication/{way}/getPreparedSecureChallenge");
        let (status, result) = self.call(&call, &body).await;
        assert_eq!(status, "STAT_SUCCESS");
        gateway::open(self.jane.phone(), result["requestMessage"].as_str().unwrap()).unwrap()
    }

    async fn complete_login(&self, way: &str, key: &str, signature: &str) -> String {
        let body = json!({"userID": "jane", "challengeKey": key, "signature": signature});
        let (status, result) = self.call(&format!("authentication/{way}/authUser"), &body).await;
        let serial = json!(self.serial());
        assert!(status != "STAT_SUCCESS" || result["serialNo"] == serial, "{result}");
        status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_pushed_fetched_and_completed_with_a_code() {
    let fixture = Fixture::new().await;
    let asked = format!("{JANE}<push><title>To the bank?</title>{FIELDS}</push>");
    let phone = async {
        let key = fixture.started().await;
        let content = fixture.fetch_login("push", &key).await;
        assert_eq!(content.bytes, br#"{"message":"To the bank?","rows":[["To","Ann"]]}"#);
        let code = gateway::code(fixture.jane.phone(), &content).unwrap();
        assert_eq!(fixture.complete_login("push", &key, &code).await, "STAT_SUCCESS");
        code
    };
    let (answer, code) = tokio::join!(fixture.soap("authUserRequest", &asked), phone);
    assert_eq!(text(&answer, "statusCodeEnum"), "STAT_SUCCESS");
    assert_eq!((text(&answer, "userID"), text(&answer, "domain")), ("jane", "acme"));
    assert_eq!(
        (text(&answer, "serialNumber"), text(&answer, "signature")),
        (&*fixture.serial(), &*code)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_scanned_and_completed_with_a_cms_that_others_can_verify() {
    let fixture = Fixture::new().await;
    let key = fixture.challenge().await;
    let waiting = format!("{JANE}<challengeKey>{key}</challengeKey>");
    let phone = async {
        let content = fixture.fetch_login("scan", &key).await;
        let cms = BASE64.encode(gateway::cms(fixture.jane.phone(), &content, now()).unwrap());
        assert_eq!(fixture.complete_login("scan", &key, &cms).await, "STAT_SUCCESS");
        cms
    };
    let (answer, cms) = tokio::join!(fixture.soap("authUserRequest", &waiting), phone);
    assert_eq!(text(&answer, "signature"), cms);
    let signed = openssl_verifies(&BASE64.decode(cms).unwrap(), &fixture.server.tenant_ca());
    assert_eq!(signed, br#"{"message":"Log in?","rows":[]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_cancelled_by_the_device_that_fetched_it() {
    let fixture = Fixture::new().await;
    let key = fixture.challenge().await;
    let content = fixture.fetch_login("scan", &key).await;
    let message = gateway::information(fixture.jane.phone(), &content, &key).unwrap();
    let body =
        json!({"challengeKey": message, "requestKey": message, "serialNumber": fixture.serial()});
    for (call, status) in [
        ("signature/scan/cancelAuthSignatureRequest", "STAT_NOT_FOUND"),
        ("authentication/scan/cancelAuthUser", "STAT_SUCCESS"),
        ("authentication/scan/cancelAuthUser", "STAT_NOT_FOUND"),
    ] {
        assert_eq!(fixture.call(call, &body).await.0, status, "{call}");
    }
    assert_eq!(fixture.state(&key), "declined");
    let waits =
        fixture.soap("authUserRequest", &format!("{JANE}<challengeKey>{key}</challengeKey>")).await;
    assert_eq!(text(&waits, "statusCodeEnum"), "STAT_PERMISSION");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_no_signature_and_a_signature_no_login() {
    let fixture = Fixture::new().await;
    let (login, signature) = (fixture.challenge().await, fixture.request().await);
    assert_eq!(fixture.fetch_status(&login, &fixture.serial()).await, "STAT_NOT_FOUND");
    let as_login = json!({"challengeKey": signature, "serialNumber": fixture.serial()});
    let call = "authentication/push/getPreparedSecureChallenge";
    assert_eq!(fixture.call(call, &as_login).await.0, "STAT_NOT_FOUND");
    for (command, key) in [
        ("authSignatureRequest", format!("<requestKey>{login}</requestKey>")),
        ("authUserRequest", format!("<challengeKey>{signature}</challengeKey>")),
    ] {
        let refused = fixture.soap(command, &format!("{JANE}{key}")).await;
        assert_eq!(text(&refused, "statusCodeEnum"), "STAT_NOT_FOUND", "{command}");
    }
    let content = fixture.fetch_login("push", &login).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    assert_eq!(fixture.complete(&login, &code).await.0, "STAT_NOT_FOUND");
    assert_eq!(fixture.complete_login("push", &login, &code).await, "STAT_SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_offered_to_the_device_that_scans_it_as_what_it_is() {
    let mut fixture = Fixture::new().await;
    let key = fixture.challenge().await;
    let offer = fixture.jane.device.scan(&key).await.unwrap();
    assert_eq!(offer.operation, Operation::Login);
    let shown = fixture.jane.device.take(&offer, None).await.unwrap();
    fixture.jane.device.approve(&shown, None).await.unwrap();
    assert_eq!(fixture.state(&key), "finished");
}
