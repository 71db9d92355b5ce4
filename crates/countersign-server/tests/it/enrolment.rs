//! Enrolment: which requests are accepted, which are not, and the effect of a lost answer.

use countersign_device::{Code, Error, KeyKind, PhoneFile, enrol};
use countersign_wire::body::{
    EnrolmentAnswer, EnrolmentRequest, IdentityRequest, NewIdentity, Use,
};
use countersign_wire::code::{self, ActivationCode, Side};
use countersign_wire::jwe::secrets;
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::jws;
use countersign_wire::key_proof::{KeyStatement, Subject};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::json;

use crate::receiver::Authority;
use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{TestServer, program, read, until};
use crate::trustedx::proof_of;

/// An enrolment that is made by hand, to be altered.
struct Draft {
    request: EnrolmentRequest,
    auth_key: PrivateJwk,
    seal_key: PrivateJwk,
    /// The keys of the identities.
    keys: Vec<KeyPair>,
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

impl Draft {
    fn new(user: &str) -> Self {
        let (auth_key, seal_key) = (PrivateJwk::generate(), PrivateJwk::generate());
        let keys = vec![KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
        let identity = |usage, key| IdentityRequest {
            usage,
            csr: csr(key),
            proof: Vec::new(),
            proposed_labels: Vec::new(),
        };
        let request = EnrolmentRequest {
            tenant: "acme".into(),
            user: user.into(),
            identities: vec![identity(Use::Content, &keys[0]), identity(Use::Digest, &keys[1])],
            auth_key: auth_key.public().clone(),
            seal_key: seal_key.public().clone(),
            device: countersign_device::DeviceDescription {
                name: "by hand".into(),
                ..Default::default()
            },
            push: None,
        };
        let mut draft = Self { request, auth_key, seal_key, keys };
        draft.prove();
        draft
    }

    /// Makes each key prove that it is enrolled by this very request.
    fn prove(&mut self) {
        let request = &mut self.request;
        for (identity, key) in request.identities.iter_mut().zip(&self.keys) {
            let statement = KeyStatement {
                tenant: &request.tenant,
                subject: Subject::Enrolment(&request.user),
                usage: identity.usage,
                auth_key: request.auth_key.point(),
                csr: &identity.csr,
            };
            identity.proof = key.sign(&statement.to_bytes()).unwrap();
        }
    }

    /// Puts another key and its request in an identity's place.
    fn put(&mut self, at: usize, key: &KeyPair, csr: Vec<u8>) {
        self.keys[at] = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        self.request.identities[at].csr = csr;
        self.prove();
    }

    fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.request).unwrap()
    }

    async fn send(&self, server: &TestServer, code: &str) -> Response {
        self.send_from(&server.http, server, code).await
    }

    async fn send_from(&self, http: &Client, server: &TestServer, code: &str) -> Response {
        let body = self.body();
        let mac = ActivationCode::parse(code).unwrap().mac(Side::Request, &body);
        let proof = jws::sign_enrolment(&self.auth_key, &body);
        send_by(http, server, body, &mac, &proof).await
    }
}

/// Creates an activation code that jane's bank chose.
async fn choose(server: &TestServer, code: &str) {
    let body = json!({"activationCode": code});
    let (status, body) = server.call(Method::POST, "v3_activationcode/jane/", Some(&body)).await;
    assert!(status.is_success(), "{status} {body}");
}

async fn send(server: &TestServer, body: Vec<u8>, mac: &str, proof: &str) -> Response {
    send_by(&server.http, server, body, mac, proof).await
}

async fn send_by(
    http: &Client,
    server: &TestServer,
    body: Vec<u8>,
    mac: &str,
    proof: &str,
) -> Response {
    let call = http.post(format!("{}/device/v1/enrolments", server.numeric_address()));
    let call = call.header("content-type", "application/json").header(code::HEADER, mac);
    call.header(jws::ENROLMENT_HEADER, proof).body(body).send().await.unwrap()
}

async fn refused(answer: Response) -> String {
    let (status, body) = read(answer).await;
    assert!(!status.is_success(), "{body}");
    format!("{} {}", status.as_u16(), body["error"].as_str().unwrap())
}

#[tokio::test]
async fn a_lost_answer_burns_nothing_and_a_used_code_lets_nobody_else_in() {
    let server = TestServer::new();
    server.user("jane");
    let code = server.code("jane");
    let draft = Draft::new("jane");
    let first = draft.send(&server, &code).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let mac = first.headers()[code::HEADER].to_str().unwrap().to_owned();
    let first = first.bytes().await.unwrap();
    assert!(ActivationCode::parse(&code).unwrap().check(Side::Answer, &first, &mac));
    let again = draft.send(&server, &code).await;
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.bytes().await.unwrap(), first, "the same request, the same answer");

    let answer: EnrolmentAnswer = serde_json::from_slice(&first).unwrap();
    assert_eq!(answer.identities.len(), 2);
    let name = answer.device_name("acme").unwrap();
    assert!(secrets::open(&draft.seal_key, &name, &answer.secrets).is_ok());

    let other = Draft::new("jane").send(&server, &code).await;
    assert_eq!(refused(other).await, "403 enrolment_refused");
    let listed = server.cli(&["device", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_an_enrolment_is_told_to_nobody() {
    let server = TestServer::new();
    server.user("jane");
    server.user("bob");
    let (code, bobs) = (server.code("jane"), server.code("bob"));
    let mut told = Vec::new();
    told.push(refused(Draft::new("jane").send(&server, "WRONG").await).await);
    told.push(refused(Draft::new("jane").send(&server, &bobs).await).await);
    told.push(refused(Draft::new("nobody").send(&server, &code).await).await);
    let mut elsewhere = Draft::new("jane");
    elsewhere.request.tenant = "nowhere".into();
    told.push(refused(elsewhere.send(&server, &code).await).await);
    // A body that was changed on its way, and a key that is not the sender's.
    let draft = Draft::new("jane");
    let mac = ActivationCode::parse(&code).unwrap().mac(Side::Request, &draft.body());
    let proof = jws::sign_enrolment(&draft.auth_key, &draft.body());
    let mut changed = Draft::new("jane");
    changed.auth_key = draft.auth_key.clone();
    changed.request.auth_key = draft.request.auth_key.clone();
    told.push(refused(send(&server, changed.body(), &mac, &proof).await).await);
    let mut thief = Draft::new("jane");
    thief.auth_key = PrivateJwk::generate();
    told.push(refused(thief.send(&server, &code).await).await);
    told.push(refused(send(&server, draft.body(), "", "").await).await);
    told.dedup();
    assert_eq!(told, ["403 enrolment_refused"]);
    // These failures have not used up the code.
    assert_eq!(draft.send(&server, &code).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn keys_that_are_weak_shared_or_not_ones_own_are_refused_and_use_up_no_code() {
    let server = TestServer::new();
    server.user("jane");
    let code = server.code("jane");
    let shared_key = KeyPair::generate().unwrap();
    let shared = csr(&shared_key);
    let mut twice = Draft::new("jane");
    twice.put(0, &shared_key, shared.clone());
    twice.put(1, &shared_key, csr(&shared_key));
    assert_eq!(refused(twice.send(&server, &code).await).await, "400 bad_request");

    let mut forged = Draft::new("jane");
    let last = shared.len() - 1;
    forged.put(0, &shared_key, [&shared[..last], &[shared[last] ^ 1]].concat());
    assert_eq!(refused(forged.send(&server, &code).await).await, "400 bad_request");

    let weak = std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:1024", "-nodes", "-keyout", "/dev/null"])
        .args(["-subj", "/CN=weak", "-outform", "DER"])
        .output()
        .unwrap();
    let mut small = Draft::new("jane");
    small.request.identities[0].csr = weak.stdout;
    assert_eq!(refused(small.send(&server, &code).await).await, "400 bad_request");

    let mut none = Draft::new("jane");
    none.request.identities.clear();
    assert_eq!(refused(none.send(&server, &code).await).await, "400 bad_request");
    let mut many = Draft::new("jane");
    while many.request.identities.len() < 9 {
        let identity = many.request.identities[0].clone();
        many.request.identities.push(identity);
    }
    assert_eq!(refused(many.send(&server, &code).await).await, "400 bad_request");
    assert_eq!(Draft::new("jane").send(&server, &code).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_expired_code_lets_nobody_in() {
    let server = TestServer::configured("[enrolment]\ncode_lifetime_seconds = 1\n");
    server.user("jane");
    let code = server.code("jane");
    // The clock is the server's own: until the code expires, the same request gets the same answer.
    let draft = Draft::new("jane");
    let refused = until("the end of the code", async || {
        let status = draft.send(&server, &code).await.status();
        (status != StatusCode::CREATED).then_some(status)
    });
    assert_eq!(refused.await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_generated_code_lets_its_holder_in_however_often_others_were_wrong() {
    let limits = "tries_per_user_per_minute = 3\ntries_per_user_per_hour = 5\n";
    let server = TestServer::configured(&format!("[enrolment]\n{limits}"));
    server.user("jane");
    let code = server.code("jane");
    for _ in 0..3 {
        let wrong = Draft::new("jane").send(&server, "WRONG").await;
        assert_eq!(refused(wrong).await, "403 enrolment_refused");
    }
    for _ in 0..8 {
        let answer = Draft::new("jane").send(&server, "WRONG").await;
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(refused(answer).await, "429 too_many");
    }
    // The answers do not reveal whether such a user exists.
    for told in ["403 enrolment_refused"; 3].into_iter().chain(["429 too_many"]) {
        let wrong = Draft::new("nobody").send(&server, "WRONG").await;
        assert_eq!(refused(wrong).await, told);
    }
    assert_eq!(Draft::new("jane").send(&server, &code).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_chosen_code_guessed_at_once_gets_no_more_answers_than_the_limit() {
    let server = TestServer::configured("[enrolment]\ntries_per_user_per_minute = 3\n");
    server.user("jane");
    choose(&server, "4711").await;
    let guesses = (0..20).map(async |nth: u32| {
        refused(Draft::new("jane").send(&server, &format!("{nth:04}")).await).await
    });
    let answers = futures_util::future::join_all(guesses).await;
    let told = answers.iter().filter(|answer| *answer == "403 enrolment_refused").count();
    assert_eq!(told, 3, "{answers:?}");
    // The right guess is not checked from this address; the code's holder at another address is
    // enrolled.
    let right = Draft::new("jane").send(&server, "4711").await;
    assert_eq!(refused(right).await, "429 too_many");
    let elsewhere = server.http_from([127, 0, 0, 2]);
    let answer = Draft::new("jane").send_from(&elsewhere, &server, "4711").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn guesses_of_a_chosen_code_from_many_addresses_count_together() {
    let server = TestServer::configured("[enrolment]\ntries_per_user_per_hour = 6\n");
    server.user("jane");
    choose(&server, "4711").await;
    let generated = server.code("jane");
    for nth in 2..8 {
        let stranger = server.http_from([127, 0, 0, nth]);
        let wrong = Draft::new("jane").send_from(&stranger, &server, "WRONG").await;
        assert_eq!(refused(wrong).await, "403 enrolment_refused", "{nth}");
    }
    let right = Draft::new("jane").send(&server, "4711").await;
    assert_eq!(refused(right).await, "429 too_many");
    let answer = Draft::new("jane").send(&server, &generated).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_chosen_code_that_was_used_and_is_made_again_lets_one_more_device_in() {
    let server = TestServer::new();
    server.user("jane");
    let first = Draft::new("jane");
    choose(&server, "BLUE-HORSE").await;
    let answer = first.send(&server, "BLUE-HORSE").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = answer.bytes().await.unwrap();
    choose(&server, "BLUE-HORSE").await;
    // The first request still gets the same answer, and uses up nothing.
    let again = first.send(&server, "BLUE-HORSE").await;
    assert_eq!(again.bytes().await.unwrap(), answer);
    let second = Draft::new("jane").send(&server, "BLUE-HORSE").await;
    assert_eq!(second.status(), StatusCode::CREATED);
    let third = Draft::new("jane").send(&server, "BLUE-HORSE").await;
    assert_eq!(refused(third).await, "403 enrolment_refused");
}

#[tokio::test]
async fn a_person_is_told_what_to_do_about_a_wrong_code() {
    let server = TestServer::new();
    server.user("jane");
    let file = PhoneFile::at(server.path().join("phone.json"));
    let wrong = enrolment(&server, "jane", "WRONG", None, KeyKind::default());
    let error = enrol(&file, &wrong).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::EnrolmentRefused), "{error}");
    assert!(!server.path().join("phone.json").exists());
    let Error::Refused { .. } = error else { panic!("{error}") };
    // Sequence numbers belong to the user, and are never used again.
    let first = TestDevice::enrolled(&server, "jane", None).await;
    let second = TestDevice::enrolled(&server, "jane", None).await;
    let base = first.phone().serial_number.strip_suffix("-1").unwrap().to_owned();
    assert_eq!(second.phone().serial_number, format!("{base}-2"));
}

#[tokio::test]
async fn a_person_whose_device_does_not_trust_the_server_is_told_of_ca_unless_it_was_given() {
    let server = TestServer::new();
    server.user("jane");
    let other = server.path().join("other.pem");
    std::fs::write(&other, Authority::new().pem).unwrap();
    let untrusted = "the server's certificate is not trusted: ";
    let advice = ": give the certificate of that authority with --ca";
    for ca in [None, Some(other)] {
        let mut enrol = program();
        enrol.args(["device", "enrol", "--server", &server.address, "--tenant", "acme"]);
        enrol.args(["--user", "jane", "--code", &server.code("jane"), "--out"]);
        enrol.arg(server.path().join("phone.json"));
        if let Some(ca) = &ca {
            enrol.arg("--ca").arg(ca);
        }
        let output = enrol.output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(untrusted), "{told}");
        assert_eq!(told.trim_end().ends_with(advice), ca.is_none(), "{told}");
        assert_eq!(told.contains("--ca"), ca.is_none(), "{told}");
    }
}

#[tokio::test]
async fn a_request_that_somebody_saw_certifies_its_key_for_nobody_else() {
    let server = TestServer::configured("[enrolment]\ntries_per_user_per_minute = 100\n");
    server.user("jane");
    server.user("mallory");
    let janes = Draft::new("jane");
    let (code, used) = (server.code("mallory"), server.code("jane"));
    // Before Jane's key is known to the server, and after.
    for known in [false, true] {
        let mut thief = Draft::new("mallory");
        thief.request.identities[0] = janes.request.identities[0].clone();
        assert_eq!(refused(thief.send(&server, &code).await).await, "400 bad_request");
        // With a proof by the thief's own key, and without a proof.
        thief.request.identities[0].proof =
            Draft::new("mallory").request.identities[0].proof.clone();
        assert_eq!(refused(thief.send(&server, &code).await).await, "400 bad_request");
        thief.request.identities[0].proof.clear();
        assert_eq!(refused(thief.send(&server, &code).await).await, "400 bad_request");
        // Her proof for the other usage.
        let mut other_use = Draft::new("jane");
        other_use.request.auth_key = janes.request.auth_key.clone();
        other_use.auth_key = janes.auth_key.clone();
        other_use.request.identities[1] = janes.request.identities[0].clone();
        other_use.request.identities[1].usage = Use::Digest;
        if !known {
            assert_eq!(refused(other_use.send(&server, &used).await).await, "400 bad_request");
            assert_eq!(janes.send(&server, &used).await.status(), StatusCode::CREATED);
        }
    }
    let mallory = Draft::new("mallory");
    assert_eq!(mallory.send(&server, &code).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_request_that_somebody_saw_adds_no_identity_to_another_device() {
    let server = TestServer::new();
    server.user("jane");
    server.user("mallory");
    let (jane, mallory) = (
        TestDevice::enrolled(&server, "jane", None).await,
        TestDevice::enrolled(&server, "mallory", None).await,
    );
    let key = KeyPair::generate().unwrap();
    let request = csr(&key);
    let body = |phone: &countersign_device::Phone| {
        let statement = KeyStatement {
            tenant: &phone.tenant,
            subject: Subject::Addition(phone.device_id),
            usage: Use::Content,
            auth_key: phone.auth_key.public().point(),
            csr: &request,
        };
        let proof = key.sign(&statement.to_bytes()).unwrap();
        let (csr, proposed_labels) = (request.clone(), Vec::new());
        let usage = Use::Content;
        let wanted = NewIdentity { usage, csr, proof, proposed_labels, imported: None };
        serde_json::to_vec(&wanted).unwrap()
    };
    let path = "/device/v1/identities";
    let send = async |phone: &countersign_device::Phone, body: Vec<u8>| {
        let token = proof_of(phone, "POST", path, &body);
        let call = server.http.post(format!("{}{path}", server.address)).bearer_auth(token);
        call.header("content-type", "application/json").body(body).send().await.unwrap()
    };
    let seen = body(jane.phone());
    let stolen = send(mallory.phone(), seen.clone()).await;
    assert_eq!(refused(stolen).await, "400 bad_request");
    assert_eq!(send(jane.phone(), seen.clone()).await.status(), StatusCode::CREATED);
    assert_eq!(send(jane.phone(), seen).await.status(), StatusCode::CREATED, "again");
    // Mallory, who could have the key sign one statement, cannot get a second certificate for it.
    let refused_as_used = refused(send(mallory.phone(), body(mallory.phone())).await).await;
    assert_eq!(refused_as_used, "409 key_used");
}

#[tokio::test]
async fn a_key_that_was_enrolled_once_is_enrolled_no_second_time() {
    let server = TestServer::configured("[enrolment]\ntries_per_user_per_minute = 100\n");
    server.user("jane");
    server.user("bob");
    let janes = Draft::new("jane");
    assert_eq!(janes.send(&server, &server.code("jane")).await.status(), StatusCode::CREATED);
    let bobs = server.code("bob");
    // Her content key as a key for digests, and the reverse.
    for (from, to) in [(0, 1), (1, 0), (0, 0)] {
        let mut draft = Draft::new("bob");
        draft.put(to, &janes.keys[from], csr(&janes.keys[from]));
        assert_eq!(refused(draft.send(&server, &bobs).await).await, "409 key_used");
    }
    let (status, answer) = server.call(reqwest::Method::DELETE, "v3_user/jane", None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut draft = Draft::new("bob");
    draft.put(0, &janes.keys[0], csr(&janes.keys[0]));
    assert_eq!(refused(draft.send(&server, &bobs).await).await, "409 key_used");
    // These failures have not used up the code.
    assert_eq!(Draft::new("bob").send(&server, &bobs).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_certificate_has_the_key_of_its_request_whatever_hash_that_is_signed_with() {
    let server = TestServer::configured("[enrolment]\ntries_per_user_per_minute = 100\n");
    server.user("jane");
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(arguments.split_whitespace()).current_dir(directory.path());
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
        output.stdout
    };
    let curves = ["P-256", "P-384", "P-521"].map(|curve| {
        format!("EC -pkeyopt ec_paramgen_curve:{curve} -pkeyopt ec_param_enc:named_curve")
    });
    let kinds = curves.into_iter().chain(["RSA -pkeyopt rsa_keygen_bits:2048".to_owned()]);
    for (kind, hash) in
        kinds.flat_map(|kind| ["sha256", "sha384", "sha512"].map(|hash| (kind.clone(), hash)))
    {
        openssl(&format!("genpkey -algorithm {kind} -out key.pem"));
        let request =
            openssl(&format!("req -new -key key.pem -{hash} -subj /CN=jane -outform DER"));
        let pem = std::fs::read_to_string(directory.path().join("key.pem")).unwrap();
        let mut draft = Draft::new("jane");
        draft.put(0, &KeyPair::from_pem(&pem).unwrap(), request);
        let answer = draft.send(&server, &server.code("jane")).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{kind} {hash}");
        let answer: EnrolmentAnswer = answer.json().await.unwrap();
        std::fs::write(directory.path().join("own.der"), &answer.identities[0].certificate)
            .unwrap();
        let certified = openssl("x509 -inform DER -in own.der -noout -pubkey");
        assert_eq!(certified, openssl("pkey -in key.pem -pubout"), "{kind} {hash}");
    }
}
