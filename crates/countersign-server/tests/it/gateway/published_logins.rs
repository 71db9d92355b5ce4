//! Logins as the vendor publishes them: `getSecureChallenge` and `authUser`, whose parameters are
//! lists of attributes in the namespace of logins.

use countersign_device::gateway;
use reqwest::StatusCode;

use super::{Fixture, other, text, value};
use crate::test_device::TestDevice;

const AUTHENTICATION: &str = "http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Authentication";

impl Fixture {
    /// Sends a command with these attributes, as the vendor's examples write them.
    pub(super) async fn login(&self, command: &str, attributes: &[(&str, &str)]) -> String {
        let one = |(id, value): &(&str, &str)| {
            format!(
                "<attributes><value xsi:type='xsd:string'>{value}</value>\
                 <attributeID>{id}</attributeID></attributes>"
            )
        };
        let head = [("CREDFLD_COMPONENT_TYPE", "Shop"), ("CREDFLD_USERID", "jane")];
        let all: String = head.iter().chain(attributes).map(one).collect();
        let body = format!(
            "<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/envelope/' \
             xmlns:xsd='http://www.w3.org/2001/XMLSchema' \
             xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:aut='{AUTHENTICATION}'>\
             <soapenv:Header/><soapenv:Body><aut:{command}><credentialAttributeSet>{all}\
             </credentialAttributeSet></aut:{command}></soapenv:Body></soapenv:Envelope>"
        );
        let answer = self.server.post_soap(&self.server.client, "text/xml", body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_challenge_is_answered_by_a_device_without_a_network() {
    let fixture = Fixture::new().await;
    let message = ("CREDFLD_CHALLENGE_MESSAGE", "To the bank?");
    let made = fixture.login("getSecureChallenge", &[message]).await;
    assert_eq!(text(&made, "statusCodeEnum"), "STAT_SUCCESS", "{made}");
    assert!(made.contains("<aut:getSecureChallengeRespond><results>"), "{made}");
    assert_eq!(value(&made, "CREDFLD_SERIAL_NO"), fixture.serial());
    assert_eq!((value(&made, "CREDFLD_USERID"), value(&made, "CREDFLD_DOMAIN")), ("jane", "acme"));
    let content = gateway::open(fixture.jane.phone(), value(&made, "CREDFLD_REQUEST_MESSAGE"));
    let content = content.unwrap();
    assert_eq!(content.bytes, br#"{"message":"To the bank?","rows":[]}"#);
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let key = ("CREDFLD_CHALLENGE_KEY", value(&made, "CREDFLD_CHALLENGE_KEY"));
    let format = ("CREDFLD_PASSWORD_FORMAT", "0");
    let wrong = other(&code);
    let refused = fixture.login("authUser", &[format, key, ("CREDFLD_PASSWORD", &wrong)]).await;
    assert_eq!(text(&refused, "statusCodeEnum"), "STAT_INVCREDENTIALS");
    assert_eq!(value(&refused, "CREDFLD_STATUS_MESSAGE"), "the signature is wrong");
    let (waiting, right) = ([format, key], [format, key, ("CREDFLD_PASSWORD", &*code)]);
    let (waited, entered) =
        tokio::join!(fixture.login("authUser", &waiting), fixture.login("authUser", &right));
    for answer in [waited, entered] {
        assert_eq!(text(&answer, "statusCodeEnum"), "STAT_SUCCESS", "{answer}");
        assert!(answer.contains("<aut:authUserResponse><results>"), "{answer}");
        assert_eq!(value(&answer, "CREDFLD_USERID"), "jane");
        // Some clients take any message for a failure.
        assert!(!answer.contains("CREDFLD_STATUS_MESSAGE"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_pushed_by_auth_user_and_a_signature_is_no_login() {
    let fixture = Fixture::new().await;
    let signature = fixture.request().await;
    let format = ("CREDFLD_PASSWORD_FORMAT", "0");
    let key = ("CREDFLD_CHALLENGE_KEY", &*signature);
    let code = ("CREDFLD_PASSWORD", "12345678");
    let refused = fixture.login("authUser", &[format, key, code]).await;
    assert_eq!(text(&refused, "statusCodeEnum"), "STAT_NOT_FOUND", "{refused}");
    assert_eq!(fixture.state(&signature), "waiting");

    let mut tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let message = ("CREDFLD_CHALLENGE_MESSAGE", "To the bank?");
    let pushed = [format, ("CREDFLD_AUTH_TYPE", "PUSH"), message];
    let (answer, shown) = tokio::join!(fixture.login("authUser", &pushed), tablet.signs());
    assert_eq!(shown.bytes(), br#"{"message":"To the bank?","rows":[]}"#);
    assert_eq!(text(&answer, "statusCodeEnum"), "STAT_SUCCESS", "{answer}");
    assert_eq!(value(&answer, "CREDFLD_SERIAL_NO"), tablet.phone().serial_number);
}
