use countersign_wire::body::Server;
use countersign_wire::id::DeviceId;
use countersign_wire::jwe::secrets::Secrets;
use countersign_wire::secret::{CodeKey, PayloadKey};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer};

use super::*;

fn enrolment(key: KeyKind) -> Enrolment {
    Enrolment {
        server: "https://sign.example.com".to_owned(),
        server_ca: None,
        tenant: "bank".to_owned(),
        user: "ann".to_owned(),
        code: ActivationCode::parse("7K2M-Q0XR-ZV4C-9HTD").unwrap(),
        proposed_labels: vec!["work".to_owned()],
        device: DeviceDescription { name: "Ann's".to_owned(), ..DeviceDescription::default() },
        pin: None,
        key,
        push: None,
    }
}

/// Answers as a server does. `spoil` changes the answer before the MAC is computed.
fn answer(body: &[u8], spoil: impl FnOnce(&mut EnrolmentAnswer)) -> (Vec<u8>, String) {
    let request: EnrolmentRequest = serde_json::from_slice(body).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&ca_key).unwrap();
    let ca = Issuer::new(params, ca_key);
    let issue = |(at, request): (usize, &IdentityRequest)| {
        let csr = request.csr.as_slice().into();
        let csr = CertificateSigningRequestParams::from_der(&csr).unwrap();
        let certificate = csr.signed_by(&ca).unwrap().der().to_vec();
        let (usage, chain) = (request.usage, vec![root.der().to_vec()]);
        IssuedIdentity { id: format!("id-{at}"), usage, certificate, chain }
    };
    let identities = request.identities.iter().enumerate().map(issue).collect();
    let device_id = DeviceId::new(4711).unwrap();
    let name = DeviceName::new(&request.tenant, device_id).unwrap();
    let made =
        Secrets { payload_key: PayloadKey::from(&[1; 32]), code_key: CodeKey::from(&[2; 32]) };
    let address = "https://sign.example.com".to_owned();
    let mut answer = EnrolmentAnswer {
        device_id,
        serial_number: "CSN0000120-1".to_owned(),
        identities,
        server: Server { name: "Example".to_owned(), address },
        secrets: secrets::seal(&request.seal_key, &name, &made),
    };
    spoil(&mut answer);
    let body = serde_json::to_vec(&answer).unwrap();
    let mac = enrolment(KeyKind::P256).code.mac(Side::Answer, &body);
    (body, mac)
}

fn address() -> Address {
    Address::parse("https://sign.example.com").unwrap()
}

#[test]
fn a_device_of_every_kind_of_key_is_enrolled() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let enrolment = enrolment(kind);
        let request = Request::new(&enrolment).unwrap();
        assert!(enrolment.code.check(Side::Request, &request.body, &request.mac));
        let read: EnrolmentRequest = serde_json::from_slice(&request.body).unwrap();
        let key = read.auth_key.verifying();
        jws::verify_enrolment(&request.proof, &key, &request.body).unwrap();

        let (body, mac) = answer(&request.body, |_| {});
        let phone = request.accept(&enrolment, &address(), &body, &mac).unwrap();
        assert_eq!(phone.device_name().unwrap().to_string(), "bank/4711");
        assert_eq!(phone.payload_key.as_bytes(), &[1; 32]);
        assert_eq!(phone.identity(Use::Digest).unwrap().id, "id-1");
        assert_eq!(phone.reached_at, None);
        for identity in &phone.identities {
            crate::cms::SigningKey::from_pem(&identity.key).unwrap();
        }
    }
}

#[test]
fn an_answer_without_knowledge_of_the_code_is_refused() {
    let enrolment = enrolment(KeyKind::P256);
    let request = Request::new(&enrolment).unwrap();
    let (body, mac) = answer(&request.body, |_| {});
    let other = ActivationCode::parse("another").unwrap().mac(Side::Answer, &body);
    for (body, mac) in [(&body[..], other.as_str()), (&body, ""), (&body[1..], &mac)] {
        let outcome = request.accept(&enrolment, &address(), body, mac);
        assert!(matches!(outcome, Err(Error::Unexpected(_))), "{outcome:?}");
    }
}

#[test]
fn certificates_for_other_keys_are_refused() {
    let enrolment = enrolment(KeyKind::P256);
    let request = Request::new(&enrolment).unwrap();
    let spoils: [fn(&mut EnrolmentAnswer); 4] = [
        |answer| answer.identities.swap(0, 1),
        |answer| answer.identities.truncate(1),
        |answer| answer.identities[0].usage = Use::Digest,
        |answer| answer.identities[0].certificate = answer.identities[1].certificate.clone(),
    ];
    for spoil in spoils {
        let (body, mac) = answer(&request.body, spoil);
        let outcome = request.accept(&enrolment, &address(), &body, &mac);
        assert!(matches!(outcome, Err(Error::Unexpected(_))), "{outcome:?}");
    }
}

#[test]
fn tokens_name_the_public_address_if_it_differs() {
    let enrolment = enrolment(KeyKind::P256);
    let request = Request::new(&enrolment).unwrap();
    let (body, mac) = answer(&request.body, |_| {});
    let inside = Address::parse("https://10.0.0.1:8443").unwrap();
    let phone = request.accept(&enrolment, &inside, &body, &mac).unwrap();
    assert_eq!(phone.server, "https://sign.example.com");
    assert_eq!(phone.reached_at.as_deref(), Some("https://10.0.0.1:8443"));
}

#[test]
fn values_that_the_server_would_refuse_are_not_sent() {
    let good = enrolment(KeyKind::P256);
    for bad in [
        Enrolment { tenant: "ba/nk".to_owned(), ..good.clone() },
        Enrolment { user: String::new(), ..good.clone() },
        Enrolment { proposed_labels: vec![String::new()], ..good.clone() },
        Enrolment { proposed_labels: vec!["l".to_owned(); LABELS_MAX + 1], ..good.clone() },
        Enrolment { proposed_labels: vec!["a\nb".to_owned()], ..good },
    ] {
        assert!(matches!(Request::new(&bad).err(), Some(Error::Name(_))), "{bad:?}");
    }
}
