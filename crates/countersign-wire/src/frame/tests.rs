use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::body::{Algorithm, Code, Match, Operation};
use crate::id::DeviceId;

const ID: TransactionId = TransactionId([0xab; 16]);

/// Reads a device's frame and compares the outcome with `expected`.
#[track_caller]
fn device(text: &str, expected: &Expect) {
    expected.assert_eq(&match FromDevice::parse(text) {
        Ok(frame) => frame.to_text(),
        Err(BadFrame { n: Some(n) }) => format!("refused under {n}"),
        Err(BadFrame { n: None }) => "closed".to_owned(),
    });
}

/// Writes a server's frame, compares it with `expected`, and reads it again.
#[track_caller]
fn server(frame: &FromServer, expected: &Expect) {
    let text = frame.to_text();
    expected.assert_eq(&text);
    assert_eq!(FromServer::parse(&text).expect(&text).to_text(), text);
}

#[test]
fn a_devices_frames_round_trip() {
    let id = ID.to_string();
    for body in [
        r#"{"n":1,"hello":{"device":"bank/4711","proof":"a.b.c"}}"#.to_owned(),
        format!(r#"{{"n":2,"take":{{"id":"{id}"}}}}"#),
        format!(
            r#"{{"n":9007199254740991,"take":{{"id":"{id}","pin_proof":"{}"}}}}"#,
            "0a".repeat(32)
        ),
        format!(
            r#"{{"n":3,"finish":{{"id":"{id}","signature":{{"form":"cms","value":"MAA=","identity":"i"}},"match_code":"42"}}}}"#
        ),
        format!(
            r#"{{"n":3,"finish":{{"id":"{id}","signature":{{"form":"raw","value":"MAA=","algorithm":"ecdsa-sha256","identity":"i"}}}}}}"#
        ),
        format!(
            r#"{{"n":3,"finish":{{"id":"{id}","signature":{{"form":"code","value":"12345678"}}}}}}"#
        ),
        format!(r#"{{"n":4,"decline":{{"id":"{id}","reason":"not-me"}}}}"#),
        format!(r#"{{"n":5,"fail":{{"id":"{id}","reason":"media_type"}}}}"#),
    ] {
        assert_eq!(FromDevice::parse(&body).expect(&body).to_text(), body);
    }
}

#[test]
fn a_frame_without_a_number_closes_and_one_with_a_number_is_refused() {
    device("", &expect!["closed"]);
    device("[]", &expect!["closed"]);
    device("{}", &expect!["closed"]);
    device(r#"{"n":-1,"take":{}}"#, &expect!["closed"]);
    device(r#"{"n":1.5,"take":{}}"#, &expect!["closed"]);
    device(r#"{"n":9007199254740992,"take":{}}"#, &expect!["closed"]);
    device(r#"{"n":0,"take":{}}"#, &expect!["closed"]);
    device(r#"{"n":1,"n":2,"take":{}}"#, &expect!["closed"]);
    device(r#"{"n":1,"take":{}} x"#, &expect!["closed"]);
    device(r#"{"n":1}"#, &expect!["refused under 1"]);
    device(r#"{"n":1,"dance":{}}"#, &expect!["refused under 1"]);
    device(r#"{"n":1,"take":{},"finish":{}}"#, &expect!["refused under 1"]);
    device(r#"{"take":{},"n":7}"#, &expect!["refused under 7"]);
}

#[test]
fn a_body_with_any_deviation_is_refused() {
    let id = ID.to_string();
    let frames = [
        format!(r#"{{"n":1,"take":{{"id":"{}"}}}}"#, id.to_uppercase()),
        format!(r#"{{"n":1,"take":{{"id":"{id}","id":"{id}"}}}}"#),
        format!(r#"{{"n":1,"take":{{"id":"{id}","more":1}}}}"#),
        format!(r#"{{"n":1,"take":{{"id":"{id}","pin_proof":"AA"}}}}"#),
        format!(r#"{{"n":1,"decline":{{"id":"{id}","reason":"bored"}}}}"#),
        format!(r#"{{"n":1,"fail":{{"id":"{id}","reason":""}}}}"#),
        format!(r#"{{"n":1,"fail":{{"id":"{id}","reason":"{}"}}}}"#, "x".repeat(1025)),
        format!(r#"{{"n":1,"fail":{{"id":"{id}","reason":"a\u0000b"}}}}"#),
        r#"{"n":1,"hello":{"device":"bank/04711","proof":"a"}}"#.to_owned(),
    ];
    for frame in frames {
        assert_eq!(FromDevice::parse(&frame).err(), Some(BadFrame { n: Some(1) }), "{frame}");
    }
}

#[test]
fn a_frame_that_is_refused_is_told_its_member() {
    let id = ID.to_string();
    for (frame, complaint) in [
        (r#"{"n":1,"take":{}}"#.to_owned(), "`id` is missing"),
        (format!(r#"{{"n":1,"fail":{{"id":"{id}","reason":7}}}}"#), "`reason` is not as the"),
        (r#"{"n":1,"steal":{}}"#.to_owned(), "there is no such verb"),
        (r#"{"n":1,"take":{},"fail":{}}"#.to_owned(), "a frame has exactly one verb"),
        (format!(r#"{{"n":1,"take":["{id}"]}}"#), "the body is not an object"),
    ] {
        let BadFrame { n } = FromDevice::parse(&frame).unwrap_err();
        assert_eq!(n, Some(1), "{frame}");
        let message = FromDevice::refusal(&frame).message;
        assert!(message.contains(complaint), "{frame}: {message}");
    }
}

#[test]
fn a_signature_without_a_member_of_its_form_is_refused() {
    let id = ID.to_string();
    for signature in [
        r#"{"form":"cms","value":"MAA="}"#,
        r#"{"form":"raw","value":"MAA=","identity":"i"}"#,
        r#"{"form":"raw","value":"MAA","algorithm":"ecdsa-sha256","identity":"i"}"#,
        r#"{"form":"code","value":"12345678901"}"#,
        r#"{"form":"code","value":"12345"}"#,
        r#"{"form":"code","value":"1234567a"}"#,
        r#"{"form":"smoke","value":"MAA=","identity":"i"}"#,
        r#"{"form":"cms","value":"","identity":"i"}"#,
    ] {
        let frame = format!(r#"{{"n":1,"finish":{{"id":"{id}","signature":{signature}}}}}"#);
        assert_eq!(FromDevice::parse(&frame).err(), Some(BadFrame { n: Some(1) }), "{signature}");
    }
}

#[test]
fn the_largest_signature_fits_a_frame_and_nothing_longer_is_read() {
    let signature = crate::body::Signature::Cms {
        identity: "i".repeat(255),
        algorithm: Some(Algorithm::EcdsaSha256),
        value: vec![0x30; crate::limits::SIGNATURE_BYTES_MAX],
    };
    let finish = Finish { id: ID, signature, match_code: Some("12345678".to_owned()) };
    let text = FromDevice { n: FRAME_NUMBER_MAX, request: Request::Finish(finish) }.to_text();
    assert!(FromDevice::parse(&text).is_ok());
    let longer = format!("{text}{}", " ".repeat(FRAME_BYTES_MAX + 1 - text.len()));
    assert_eq!(FromDevice::parse(&longer).err(), Some(BadFrame { n: None }));
}

#[test]
fn the_servers_frames_are_as_in_the_specification() {
    let time = core::time::Duration::from_millis(1_795_296_300_001);
    let offer = Offer {
        id: ID,
        operation: Operation::Sign,
        client: "Example Bank".to_owned(),
        expires_at: time,
        pin_required: true,
        matching: Match::None,
    };
    let challenge = Challenge { nonce: "ICEi".to_owned() };
    server(
        &FromServer::push(Message::Challenge(challenge)),
        &expect![[r#"{"n":0,"challenge":{"nonce":"ICEi"}}"#]],
    );
    server(
        &FromServer::answer(1, Message::Welcome(Welcome { open: vec![offer] })),
        &expect![[
            r#"{"n":1,"welcome":{"open":[{"id":"abababababababababababababababab","operation":"sign","client":"Example Bank","expires_at":1795296300001,"pin_required":true,"match":"none"}]}}"#
        ]],
    );
    server(
        &FromServer::push(Message::Withdrawn(Withdrawn { id: ID, why: State::Cancelled })),
        &expect![[
            r#"{"n":0,"withdrawn":{"id":"abababababababababababababababab","why":"cancelled"}}"#
        ]],
    );
    let added = UserDevice {
        id: DeviceId::new(4711).unwrap(),
        name: "Jane's tablet".to_owned(),
        platform: "android".to_owned(),
        app: "Acme Sign".to_owned(),
        enrolled_at: time,
    };
    server(
        &FromServer::push(Message::DeviceAdded(added)),
        &expect![[
            r#"{"n":0,"device_added":{"id":"4711","name":"Jane's tablet","platform":"android","app":"Acme Sign","enrolled_at":1795296300001}}"#
        ]],
    );
    let taken = Taken { sealed: "a..b.c.d".to_owned(), deadline: time };
    server(
        &FromServer::answer(2, Message::Taken(taken)),
        &expect![[r#"{"n":2,"taken":{"sealed":"a..b.c.d","deadline":1795296300001}}"#]],
    );
    server(
        &FromServer::answer(3, Message::Finished(Ended { state: State::Finished })),
        &expect![[r#"{"n":3,"finished":{"state":"finished"}}"#]],
    );
    let refused = RefusalBody { tries_left: Some(3), ..RefusalBody::new(Code::WrongPin) };
    server(
        &FromServer::answer(4, Message::Refused(refused)),
        &expect![[
            r#"{"n":4,"refused":{"error":"wrong_pin","message":"the PIN is wrong","tries_left":3}}"#
        ]],
    );
}

#[test]
fn a_device_ignores_what_a_newer_server_adds() {
    let text =
        r#"{"v":2,"n":0,"withdrawn":{"id":"abababababababababababababababab","why":"lost","x":1}}"#;
    let frame = FromServer::parse(text).unwrap();
    let Message::Withdrawn(Withdrawn { why: State::Unknown, .. }) = frame.message else {
        panic!("{frame:?}");
    };
    let frame = FromServer::parse(r#"{"n":0,"sing":{"song":"…"}}"#).unwrap();
    assert!(matches!(frame.message, Message::Unknown), "{frame:?}");
    assert!(FromServer::parse(r#"{"n":0,"withdrawn":{}}"#).is_err());
}

#[test]
fn each_challenge_is_new() {
    assert_ne!(Challenge::generate(), Challenge::generate());
    assert_eq!(Challenge::generate().nonce.len(), 43);
}

proptest! {
    #[test]
    fn a_frame_that_was_read_round_trips(
        n in 0..4_u64,
        id in "[0-9a-f]{31,32}",
        verb in "(take|decline|fail|finish)",
        rest in r#"(,"reason":"(user|not-me|x)"|,"pin_proof":"[0-9a-f]{64}"|)(,"x":1|)"#,
    ) {
        let text = format!(r#"{{"{verb}":{{"id":"{id}"{rest}}},"n":{n}}}"#);
        if let Ok(frame) = FromDevice::parse(&text) {
            prop_assert!(frame.n == n && n != 0);
            let again = frame.to_text();
            prop_assert_eq!(FromDevice::parse(&again).unwrap().to_text(), again);
        }
    }

    #[test]
    fn arbitrary_text_is_refused(text: String, cut in 0..200_usize) {
        let good = r#"{"n":1,"finish":{"id":"abababababababababababababababab","signature":{}}}"#;
        let cut: String = good.chars().take(cut).chain(text.chars()).collect();
        for text in [text, cut] {
            prop_assert!(FromDevice::parse(&text).is_err());
        }
    }
}
