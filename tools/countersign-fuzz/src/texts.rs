//! What people and cameras read: codes, enrolment URIs, statements, names; and OCRA's suites.

use countersign_core::id as core_id;
use countersign_proof::ocra::{Inputs, Suite};
use countersign_wire::code::{ActivationCode, Side};
use countersign_wire::id::{DeviceId, DeviceName, TransactionId};
use countersign_wire::statement::Statement;
use countersign_wire::uri::EnrolUri;
use countersign_wire::webpush::Subscription;

/// What is read is written in one way, which is the way in which it was read wherever it is signed.
pub fn texts(bytes: &[u8]) {
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(statement.to_bytes(), bytes, "a statement has one spelling");
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Ok(code) = ActivationCode::parse(text) {
        assert_eq!(code.as_str(), text, "a code is its bytes");
        let typed = ActivationCode::typed(text).expect("a code can be typed");
        let again = ActivationCode::typed(typed.as_str()).expect("a code can be typed");
        assert_eq!(again.as_str(), typed.as_str());
        let grouped = ActivationCode::typed(&typed.grouped()).expect("groups can be typed");
        assert_eq!(grouped.as_str(), typed.as_str(), "groups change no code");
        assert!(code.check(Side::Request, b"", &code.mac(Side::Request, b"")));
        assert!(!code.check(Side::Answer, b"", &code.mac(Side::Request, b"")));
    }
    if let Ok(uri) = EnrolUri::parse(text) {
        let written = uri.to_text();
        let again = EnrolUri::parse(&written).expect("what is written is read");
        assert_eq!(*again.to_text(), *written);
        assert_eq!((again.user, again.server), (uri.user, uri.server));
    }
    if let Some(subscription) = Subscription::from_json(text) {
        assert_eq!(Subscription::from_json(&subscription.to_json()), Some(subscription));
    }
    if let Ok(id) = text.parse::<TransactionId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<DeviceId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(name) = text.parse::<DeviceName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(user) = text.parse::<core_id::UserName>() {
        let again = user.as_str().parse::<core_id::UserName>();
        assert_eq!(again.as_ref(), Ok(&user), "a name's normal form is its own normal form");
        assert!(!text.is_ascii() || user.as_str() == text, "only what ASCII lacks is normalized");
    }
    let _ = text.parse::<core_id::TenantName>();
    let _ = text.parse::<core_id::RequestKey>();
    let _ = text.parse::<core_id::DeviceId>();
}

/// Lines: a suite, a question, and what else there is. A code has the length that its suite says.
pub fn ocra(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let (Some(suite), question) = (lines.next(), lines.next().unwrap_or_default()) else { return };
    let Ok(parsed) = suite.parse::<Suite>() else { return };
    let rest = lines.next().unwrap_or_default().as_bytes();
    for which in 0..16_u8 {
        let inputs = Inputs {
            counter: (which & 1 != 0).then_some(rest.len() as u64),
            question,
            pin: (which & 2 != 0).then_some(&[7; 20][..]),
            session: (which & 4 != 0).then_some(rest),
            timestamp: (which & 8 != 0).then_some(1),
        };
        if let Ok(code) = parsed.code(b"12345678901234567890", &inputs) {
            assert!(code.len() >= 4 && code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
