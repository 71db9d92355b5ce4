//! `docs/vectors/life.json`: one device from the scanned URI to the signature, made by another
//! implementation. Each step is read and verified as server and device do it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_proof::{Expected, Request, Roots, Signer, cms};
use countersign_wire::body::{Content, EnrolmentAnswer, EnrolmentRequest, Signature};
use countersign_wire::code::Side;
use countersign_wire::frame::{FromDevice, FromServer, Message, Request as Asked};
use countersign_wire::jwe::{self, Purpose, secrets};
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::jws;
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::uri::EnrolUri;
use serde_json::Value;

fn vector() -> Value {
    serde_json::from_str(include_str!("../../../../docs/vectors/life.json")).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn decoded(value: &Value, name: &str) -> Vec<u8> {
    BASE64.decode(text(value, name)).unwrap()
}

fn jwk(value: &Value) -> PrivateJwk {
    serde_json::from_value(value.clone()).unwrap()
}

/// The enrolment's answer, after both sides of the enrolment were checked.
fn enrolled(vector: &Value, uri: &EnrolUri) -> EnrolmentAnswer {
    let sent = &vector["enrolment"];
    let body = text(sent, "body").as_bytes();
    assert_eq!(uri.code.mac(Side::Request, body), text(sent, "code_mac"));
    let asked: EnrolmentRequest = serde_json::from_slice(body).unwrap();
    assert_eq!((&asked.tenant, &asked.user), (&uri.tenant, &uri.user));
    let auth_key = jwk(&vector["keys"]["auth_key"]);
    assert_eq!(asked.auth_key.point(), auth_key.public().point());
    jws::verify_enrolment(text(sent, "proof"), &asked.auth_key.verifying(), body).unwrap();
    let mut keys = Vec::new();
    for identity in &asked.identities {
        let request = Request::parse(&identity.csr).unwrap();
        let statement = KeyStatement {
            tenant: &asked.tenant,
            subject: Subject::Enrolment(&asked.user),
            usage: identity.usage,
            auth_key: asked.auth_key.point(),
            csr: &identity.csr,
        };
        request.check_proof(&statement.to_bytes(), &identity.proof).unwrap();
        keys.push(request.public_key().to_vec());
    }

    let got = &vector["answer"];
    let body = text(got, "body").as_bytes();
    assert!(uri.code.check(Side::Answer, body, text(got, "code_mac")));
    let answer: EnrolmentAnswer = serde_json::from_slice(body).unwrap();
    for (issued, key) in answer.identities.iter().zip(keys) {
        assert_eq!(countersign_proof::public_key(&issued.certificate).unwrap(), key);
    }
    answer
}

#[test]
fn one_life_from_the_uri_to_the_cms_is_read_and_verified_step_by_step() {
    let vector = vector();
    let uri = EnrolUri::parse(text(&vector, "uri")).unwrap();
    let answer = enrolled(&vector, &uri);
    let device = answer.device_name(&uri.tenant).unwrap();
    let seal_key = jwk(&vector["keys"]["seal_key"]);
    let secrets = secrets::open(&seal_key, &device, &answer.secrets).unwrap();
    let known = &vector["answer"];
    let shown = serde_json::to_value(&secrets.payload_key).unwrap();
    assert_eq!(shown, known["payload_key"]);
    assert_eq!(serde_json::to_value(&secrets.code_key).unwrap(), known["code_key"]);

    let (mut nonce, mut shown, mut verified) = (None, None, 0);
    for step in vector["channel"].as_array().unwrap() {
        let frame = text(step, "frame");
        if text(step, "from") == "server" {
            match FromServer::parse(frame).unwrap().message {
                Message::Challenge(challenge) => nonce = Some(challenge.nonce),
                Message::Taken(taken) => {
                    let id = "0123456789abcdef0123456789abcdef".parse().unwrap();
                    let purpose = Purpose::Content(id);
                    let key = &secrets.payload_key;
                    let plain = jwe::open(key, &device, purpose, &taken.sealed).unwrap();
                    assert_eq!(&plain[..], text(&vector, "content").as_bytes());
                    shown = Some(serde_json::from_slice::<Content>(&plain).unwrap());
                }
                Message::Welcome(_) | Message::Offer(_) | Message::Finished(_) => {}
                other => panic!("{other:?}"),
            }
            continue;
        }
        match FromDevice::parse(frame).unwrap().request {
            Asked::Hello(hello) => {
                let key = jwk(&vector["keys"]["auth_key"]).public().verifying();
                let (origins, nonce) = ([uri.server.clone()], nonce.as_deref().unwrap());
                jws::verify_hello(&hello.proof, &key, &device, &origins, nonce).unwrap();
            }
            Asked::Take(_) => {}
            Asked::Finish(finish) => {
                let Signature::Cms { value, .. } = finish.signature else { panic!("a CMS") };
                assert_eq!(value, decoded(&vector, "cms"));
                let content = shown.as_ref().unwrap();
                let expected = Expected {
                    transaction: content.id.0,
                    content: &content.bytes,
                    media_type: &content.media_type,
                };
                let now = vector["now"].as_u64().unwrap();
                let root = decoded(&vector, "root");
                let roots = Roots::new([root.as_slice()]).unwrap();
                let certificate = &answer.identities[0].certificate;
                let signer = Signer::new(certificate, &[], &roots, now).unwrap();
                cms::verify(&value, &expected, &signer, now).unwrap();
                verified += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(verified, 1);
}
