//! A device without a network: the application shows it the sealed content of `genRequest`, and the
//! person types its code.

use countersign_device::gateway;
use serde_json::json;

use super::{FIELDS, Fixture, JANE, other, text, value};

const HEAD: [(&str, &str); 3] =
    [("SIGNFLD_COMPONENT_TYPE", "Shop"), ("SIGNFLD_USERID", "jane"), ("SIGNFLD_DOMAIN", "acme")];

/// A list of attributes, each with its value first.
fn listed(attributes: &[(&str, &str)]) -> String {
    let one = |(id, value): &(&str, &str)| {
        format!("<attributes><value>{value}</value><attributeID>{id}</attributeID></attributes>")
    };
    let all: String = HEAD.iter().chain(attributes).map(one).collect();
    format!("<attributeSet>{all}</attributeSet>")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_typed_off_a_device_that_fetched_nothing_over_the_network_is_validated() {
    let fixture = Fixture::new().await;
    let asked = format!("{}{FIELDS}", listed(&[("SIGNFLD_CRYPTO_APP_NAME", "SIGN")]));
    let made = fixture.soap("genRequest", &asked).await;
    assert_eq!(text(&made, "statusCodeEnum"), "STAT_SUCCESS", "{made}");
    assert_eq!(value(&made, "SIGNFLD_SERIAL_NO"), fixture.serial());
    let (key, message) =
        (value(&made, "SIGNFLD_REQUEST_KEY"), value(&made, "SIGNFLD_REQUEST_MESSAGE"));

    // The device reads the message from the application's screen, and has no network.
    let content = gateway::open(fixture.jane.phone(), message).unwrap();
    assert_eq!(content.bytes, br#"{"message":"","rows":[["To","Ann"]]}"#);
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();

    assert_eq!(fixture.complete(key, &code).await.0, "STAT_NOT_FOUND", "a gateway must fetch");
    let typed = async |code: &str, serial: &str| {
        let given = listed(&[
            ("SIGNFLD_REQUEST_KEY", key),
            ("SIGNFLD_SIGNATURE", code),
            ("SIGNFLD_SERIAL_NO", serial),
            ("SIGNFLD_REQUEST_CONFIRM_CODE", "1"),
            ("SIGNFLD_DATA_FIELD_1", "Ann"),
            ("SIGNFLD_DEFERRED_DATETIME", "2026-01-01T00:00:00Z"),
        ]);
        fixture.soap("authSignature", &given).await
    };
    let stranger = typed(&code, "CSN9999999-1").await;
    assert_eq!(text(&stranger, "statusCodeEnum"), "STAT_NOT_FOUND");
    let wrong = typed(&other(&code), &fixture.serial()).await;
    assert_eq!(text(&wrong, "statusCodeEnum"), "STAT_INVCREDENTIALS");
    assert_eq!(value(&wrong, "SIGNFLD_STATUS_MESSAGE"), "the signature is wrong");
    assert!(!wrong.contains("SIGNFLD_AUXILIARY_MESSAGE"), "{wrong}");
    assert_eq!(fixture.state(key), "waiting", "a wrong code is no fetch");
    let waiting = format!("{JANE}<requestKey>{key}</requestKey>");
    let waiting = fixture.soap("authSignatureRequest", &waiting);
    let serial = fixture.serial();
    let (ended, right) = tokio::join!(waiting, typed(&code, &serial));
    assert_eq!(text(&right, "statusCodeEnum"), "STAT_SUCCESS", "{right}");
    assert_eq!(value(&right, "SIGNFLD_SERIAL_NO"), serial);
    assert!(!right.contains("SIGNFLD_STATUS_MESSAGE"), "{right}");
    assert_eq!((text(&ended, "signature"), text(&ended, "serialNumber")), (&*code, &*serial));
    let again = typed(&code, &serial).await;
    assert_eq!(text(&again, "statusCodeEnum"), "STAT_NOT_FOUND", "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_for_elements_and_a_login_is_typed_too_and_a_sealed_request_can_still_be_fetched() {
    let fixture = Fixture::new().await;
    let made = fixture.soap("genRequest", &format!("{JANE}{FIELDS}")).await;
    let (key, message) = (text(&made, "requestKey"), text(&made, "requestMessage"));
    assert_eq!(text(&made, "serialNumber"), fixture.serial());
    let content = gateway::open(fixture.jane.phone(), message).unwrap();
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let given = |serial: &str| {
        format!(
            "{JANE}<serialNumber>{serial}</serialNumber><requestKey>{key}</requestKey>\
             <signature>{code}</signature>"
        )
    };
    let stranger = fixture.soap("authSignature", &given("CSN9999999-1")).await;
    assert_eq!(text(&stranger, "statusCodeEnum"), "STAT_NOT_FOUND");
    assert_eq!(fixture.fetch(key).await.id, content.id, "the same request");
    let typed = fixture.soap("authSignature", &given(&fixture.serial())).await;
    assert_eq!(text(&typed, "statusCodeEnum"), "STAT_SUCCESS", "{typed}");

    let made = fixture.login("getSecureChallenge", &[]).await;
    let message = value(&made, "CREDFLD_REQUEST_MESSAGE");
    let content = gateway::open(fixture.jane.phone(), message).unwrap();
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let key = value(&made, "CREDFLD_CHALLENGE_KEY");
    let body = json!({"userID": "jane", "challengeKey": key, "signature": code});
    let (status, _) = fixture.call("authentication/scan/authUser", &body).await;
    assert_eq!(status, "STAT_NOT_FOUND", "a gateway must fetch");
}
