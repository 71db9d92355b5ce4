//! A small fake server: TLS, one device, a list of transactions, and faults on request.

mod front;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_proof::{Expected, Roots, Signer, cms, ocra};
use countersign_wire::body::{
    Algorithm, Code, Content, Decline, Ended, EnrolmentAnswer, EnrolmentRequest, Fail, Finish,
    Form, IssuedIdentity, Match, Offer, Operation, PinAnswer, PinBody, PinChange, RefusalBody,
    Server, Signature, State, Take, Taken,
};
use countersign_wire::frame::{Close, Message, Request, Withdrawn};
use countersign_wire::id::{DeviceId, DeviceName, TransactionId};
use countersign_wire::jwe::secrets::{self, Secrets};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::{CodeKey, PayloadKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use front::Tls;

pub(crate) const CODE: &str = "7K2M-Q0XR-ZV4C-9HTD";

/// A command of a test to every open channel.
#[derive(Clone, Debug)]
enum Say {
    Frame(Message),
    Close(Close),
}

/// A handle for the running server, which ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<FakeServerState>>,
    say: broadcast::Sender<Say>,
    pub(crate) address: String,
    pub(crate) ca_pem: String,
}

pub(crate) struct FakeServerState {
    ca: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    address: String,
    device: Option<Enrolled>,
    transactions: BTreeMap<TransactionId, Transaction>,
    /// The number of next calls that get 503 without being handled.
    pub(crate) unavailable: u32,
    /// The number of next finishes that are handled and then not answered.
    pub(crate) lost_answers: u32,
    /// The time by which the server's clock is ahead of the system's.
    pub(crate) ahead: Duration,
    /// The time by which it is behind.
    pub(crate) behind: Duration,
    /// Whether the user is locked because of wrong PINs.
    pub(crate) locked: bool,
    /// The body of every enrolment and every finish, as received.
    pub(crate) enrolments: Vec<Vec<u8>>,
    pub(crate) finishes: Vec<Finish>,
    /// The number of opened channels.
    pub(crate) welcomes: u32,
    /// The reasons of the device's failures.
    pub(crate) fails: Vec<String>,
}

struct Enrolled {
    name: DeviceName,
    request: EnrolmentRequest,
    secrets: Secrets,
    certificates: Vec<Vec<u8>>,
    pin: Option<PinChange>,
}

struct Transaction {
    offer: Offer,
    content: Content,
    taken: bool,
    ended: Option<State>,
    finish: Option<Finish>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "the fake's CA");
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let root = params.self_signed(&ca_key).unwrap();
        let ca = Issuer::new(params, ca_key);

        let tcp = TcpListener::bind("localhost:0").await.unwrap();
        let address = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
        let state = FakeServerState {
            ca,
            root: root.der().to_vec(),
            address: address.clone(),
            device: None,
            transactions: BTreeMap::new(),
            unavailable: 0,
            lost_answers: 0,
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            locked: false,
            enrolments: Vec::new(),
            finishes: Vec::new(),
            welcomes: 0,
            fails: Vec::new(),
        };
        let ca_pem = root.pem();
        let fake = Self {
            state: Arc::new(Mutex::new(state)),
            say: broadcast::Sender::new(16),
            address,
            ca_pem,
        };
        let listener = Tls::new(tcp, &fake.tables().ca);
        let router = front::router(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, FakeServerState> {
        self.state.lock().unwrap()
    }

    /// Starts a transaction and offers it to every open channel.
    pub(crate) fn offer(
        &self,
        media_type: &str,
        bytes: &[u8],
        pin_required: bool,
    ) -> TransactionId {
        let offer = self.tables().start(media_type, bytes, pin_required);
        let id = offer.id;
        let _ = self.say.send(Say::Frame(Message::Offer(offer)));
        id
    }

    /// Cancels a transaction for the application.
    pub(crate) fn cancel(&self, id: TransactionId) {
        self.tables().transactions.get_mut(&id).unwrap().ended = Some(State::Cancelled);
        let withdrawn = Withdrawn { id, why: State::Cancelled };
        let _ = self.say.send(Say::Frame(Message::Withdrawn(withdrawn)));
    }

    /// Closes every channel.
    pub(crate) fn close(&self, close: Close) {
        let _ = self.say.send(Say::Close(close));
    }

    /// Makes the transaction accept only a raw signature by this algorithm.
    pub(crate) fn accept_raw(&self, id: TransactionId, algorithm: Algorithm) {
        let mut state = self.tables();
        let content = &mut state.transactions.get_mut(&id).unwrap().content;
        (content.forms, content.algorithms) = (vec![Form::Raw], vec![algorithm]);
    }

    pub(crate) fn state(&self, id: TransactionId) -> Option<State> {
        self.tables().transactions[&id].ended
    }
}

impl FakeServerState {
    fn now(&self) -> Duration {
        (SystemTime::now() + self.ahead).duration_since(UNIX_EPOCH + self.behind).unwrap()
    }

    fn start(&mut self, media_type: &str, bytes: &[u8], pin_required: bool) -> Offer {
        let id = TransactionId([self.transactions.len() as u8 + 1; 16]);
        let offer = Offer {
            id,
            operation: Operation::Sign,
            client: "Example Bank".to_owned(),
            expires_at: Duration::from_millis(
                (self.now() + Duration::from_mins(1)).as_millis() as u64
            ),
            pin_required,
            matching: Match::None,
        };
        let (client, media_type) = (offer.client.clone(), media_type.to_owned());
        let (forms, code_digits) = (vec![Form::Cms], None);
        let (algorithms, identities) = (vec![Algorithm::EcdsaSha256], None);
        let bytes = bytes.to_vec();
        let document = None;
        let content = Content {
            id,
            client,
            media_type,
            bytes,
            forms,
            algorithms,
            identities,
            code_digits,
            document,
        };
        let transaction =
            Transaction { offer: offer.clone(), content, taken: false, ended: None, finish: None };
        self.transactions.insert(id, transaction);
        offer
    }

    fn open(&self) -> Vec<Offer> {
        let open = self.transactions.values().filter(|transaction| transaction.ended.is_none());
        open.map(|transaction| transaction.offer.clone()).collect()
    }

    fn enrol(&mut self, body: &[u8]) -> EnrolmentAnswer {
        let request: EnrolmentRequest = serde_json::from_slice(body).unwrap();
        let name = DeviceName::new(&request.tenant, DeviceId::new(7).unwrap()).unwrap();
        if self.device.is_none() {
            let issue = |csr: &Vec<u8>| {
                let csr =
                    CertificateSigningRequestParams::from_der(&csr.as_slice().into()).unwrap();
                csr.signed_by(&self.ca).unwrap().der().to_vec()
            };
            let certificates = request.identities.iter().map(|one| issue(&one.csr)).collect();
            let secrets =
                Secrets { payload_key: PayloadKey::generate(), code_key: CodeKey::generate() };
            let name = name.clone();
            self.device = Some(Enrolled { name, request, secrets, certificates, pin: None });
        }
        let device = self.device.as_ref().unwrap();
        let identity = |(at, certificate): (usize, &Vec<u8>)| IssuedIdentity {
            id: format!("identity-{at}"),
            usage: device.request.identities[at].usage,
            certificate: certificate.clone(),
            chain: vec![self.root.clone()],
        };
        EnrolmentAnswer {
            device_id: name.device(),
            serial_number: "CSN0000007-1".to_owned(),
            identities: device.certificates.iter().enumerate().map(identity).collect(),
            server: Server { name: "Fake".to_owned(), address: self.address.clone() },
            secrets: secrets::seal(&device.request.seal_key, &device.name, &device.secrets),
        }
    }

    /// Handles a request of either transport.
    fn decide(&mut self, request: Request) -> Result<Message, RefusalBody> {
        if self.unavailable > 0 {
            self.unavailable -= 1;
            return Err(RefusalBody::new(Code::Unavailable));
        }
        match request {
            Request::Hello(_) => Err(RefusalBody::new(Code::BadRequest)),
            Request::Take(take) => self.take(&take),
            Request::Finish(finish) => self.finish(finish),
            Request::Decline(Decline { id, .. }) => {
                Ok(Message::Declined(self.end(id, State::Declined)))
            }
            Request::Fail(Fail { id, reason }) => {
                self.fails.push(reason);
                Ok(Message::Failed(self.end(id, State::Failed)))
            }
        }
    }

    fn take(&mut self, take: &Take) -> Result<Message, RefusalBody> {
        let device = self.device.as_ref().unwrap();
        let transaction = self.transactions.get_mut(&take.id).unwrap();
        if let Some(state) = transaction.ended {
            return Err(RefusalBody { state: Some(state), ..RefusalBody::new(Code::Ended) });
        }
        if transaction.offer.pin_required {
            let pin = device.pin.as_ref().ok_or(RefusalBody::new(Code::PinNotSet))?;
            let proof = take.pin_proof.as_ref().ok_or(RefusalBody::new(Code::PinRequired))?;
            let (key, digest) = (device.secrets.code_key.as_bytes(), pin.digest.as_bytes());
            if !ocra::check_pin_proof(key, digest, take.id.0, proof.as_str()) {
                return Err(RefusalBody {
                    tries_left: Some(4),
                    ..RefusalBody::new(Code::WrongPin)
                });
            }
        }
        transaction.taken = true;
        let plain = serde_json::to_vec(&transaction.content).unwrap();
        let purpose = Purpose::Content(take.id);
        Ok(Message::Taken(Taken {
            sealed: jwe::seal(&device.secrets.payload_key, &device.name, purpose, &plain),
            deadline: transaction.offer.expires_at,
        }))
    }

    fn finish(&mut self, finish: Finish) -> Result<Message, RefusalBody> {
        self.finishes.push(finish.clone());
        let device = self.device.as_ref().unwrap();
        let now = self.now().as_secs();
        let transaction = self.transactions.get_mut(&finish.id).unwrap();
        if transaction.finish.as_ref() == Some(&finish) {
            return Ok(Message::Finished(Ended { state: State::Finished }));
        }
        if let Some(state) = transaction.ended {
            return Err(RefusalBody { state: Some(state), ..RefusalBody::new(Code::Ended) });
        }
        if !transaction.taken {
            return Err(RefusalBody::new(Code::NotTaken));
        }
        let Signature::Cms { identity, value, .. } = &finish.signature else {
            return Err(RefusalBody::new(Code::WrongForm));
        };
        assert_eq!(identity, "identity-0", "the identity for content signs content");
        let roots = Roots::new([self.root.as_slice()]).unwrap();
        let chain = [self.root.clone()];
        let signer = Signer::new(&device.certificates[0], &chain, &roots, now).unwrap();
        let Content { media_type, bytes, .. } = &transaction.content;
        let expected = Expected { transaction: finish.id.0, content: bytes, media_type };
        cms::verify(value, &expected, &signer, now)
            .map_err(|_| RefusalBody::new(Code::BadSignature))?;
        transaction.ended = Some(State::Finished);
        transaction.finish = Some(finish);
        Ok(Message::Finished(Ended { state: State::Finished }))
    }

    fn end(&mut self, id: TransactionId, state: State) -> Ended {
        self.transactions.get_mut(&id).unwrap().ended = Some(state);
        Ended { state }
    }

    fn put_pin(&mut self, body: &[u8]) -> Result<PinAnswer, RefusalBody> {
        if self.locked {
            return Err(RefusalBody::new(Code::Locked));
        }
        let body: PinBody = serde_json::from_slice(body).unwrap();
        let device = self.device.as_mut().unwrap();
        let key = &device.secrets.payload_key;
        let plain = jwe::open(key, &device.name, Purpose::Pin, &body.pin).unwrap();
        let change: PinChange = serde_json::from_slice(&plain).unwrap();
        let version = change.version;
        if let Some(before) = &device.pin
            && before.version != version
        {
            let proof = change.proof.as_ref().ok_or(RefusalBody::new(Code::PinRequired))?;
            let (key, digest) = (device.secrets.code_key.as_bytes(), before.digest.as_bytes());
            if !ocra::check_pin_proof(key, digest, [0; 16], proof.as_str()) {
                return Err(RefusalBody::new(Code::WrongPin));
            }
        }
        device.pin = Some(change);
        Ok(PinAnswer { version })
    }

    fn loses(&mut self, message: &Result<Message, RefusalBody>) -> bool {
        let loses = self.lost_answers > 0 && matches!(message, Ok(Message::Finished(_)));
        self.lost_answers -= u32::from(loses);
        loses
    }
}
