//! Simulated users and applications, which repeat requests without an answer.

use std::path::PathBuf;
use std::sync::Arc;

use countersign_device::{Code, DeclineReason, Device, PhoneFile};
use countersign_sim::Prng;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::journal::{Shelf, StartRecord};
use crate::receiver::{Act, Authority, OK, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment};

const USERS: [&str; 4] = ["ann", "bob", "cho", "dee"];
/// Phones of one user, which compete.
const PHONES: usize = 2;

/// A server, its users, and the journal of their answers.
pub(super) struct Cluster {
    pub(super) server: TestServer,
    pub(super) journal: Arc<Shelf>,
    /// The tenant's root.
    pub(super) ca: PathBuf,
    phones: Vec<PathBuf>,
    receiver: Receiver,
    _certificates: TempDir,
}

/// The tasks of all users and applications.
pub(super) struct Load(JoinSet<()>);

/// An application.
#[derive(Clone)]
struct Shop {
    http: Client,
    realm: String,
    token: String,
    callback: String,
    journal: Arc<Shelf>,
}

impl Cluster {
    pub(super) async fn new(seed: u64) -> Self {
        let (certificates, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        std::fs::write(certificates.path().join("ca.pem"), &authority.pem).unwrap();
        let directory = certificates.path().file_name().unwrap().to_str().unwrap();
        let server = TestServer::configured(&format!(
            "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nbackoff_first_seconds = 1\n\
             timeout_seconds = 1\nextra_ca_file = \"../{directory}/ca.pem\"\n\
             [transactions]\nopen_per_user_max = 100\n"
        ));
        let mut phones = Vec::new();
        for user in USERS {
            server.user(user);
            for _ in 0..PHONES {
                phones.push(TestDevice::enrolled(&server, user, None).await.file);
            }
        }
        let journal = Arc::new(Shelf::default());
        let heard = Arc::clone(&journal);
        let receiver = Receiver::new(&authority, move |nth, call| {
            heard.write(|journal| journal.called(call));
            let mut prng = Prng::seeded(seed ^ nth as u64);
            if prng.one_in(8) { Act::Answer("503 Service Unavailable") } else { OK }
        });
        let (ca, receiver) = (server.tenant_ca(), receiver.await);
        Self { server, journal, ca, phones, receiver, _certificates: certificates }
    }

    /// All tasks repeat their unanswered requests, and start new ones.
    pub(super) async fn under_load(&self, round: u64, prng: &mut Prng) -> Load {
        let mut load = self.until_all_is_over(prng).await;
        for user in USERS {
            for is_called_back in [false, true] {
                let name = format!("{round}-{user}-{}", if is_called_back { "c" } else { "h" });
                let shop = self.shop().await;
                load.0.spawn(shop.trades(user, name, is_called_back, prng.fork()));
            }
        }
        load
    }

    /// All tasks repeat their unanswered requests.
    pub(super) async fn until_all_is_over(&self, prng: &mut Prng) -> Load {
        self.journal.new_day();
        let mut load = JoinSet::new();
        for phone in &self.phones {
            load.spawn(lives(phone.clone(), Arc::clone(&self.journal), prng.fork()));
        }
        for (reference, asked) in self.journal.asked(|asked| !asked.is_answered()) {
            let shop = self.shop().await;
            load.spawn(async move {
                shop.asks(&reference, &asked).await;
            });
        }
        Load(load)
    }

    /// Applications repeat some or all of their answered requests, and get the same answers.
    pub(super) async fn asks_again(&self, prng: &mut Prng, most: usize) {
        let mut answered = self.journal.asked(StartRecord::is_answered);
        let shop = self.shop().await;
        for _ in 0..most.min(answered.len()) {
            let (reference, asked) = answered.swap_remove(prng.roll(answered.len()));
            assert!(shop.asks(&reference, &asked).await, "the server is there");
        }
    }

    async fn shop(&self) -> Shop {
        Shop {
            http: self.server.http.clone(),
            realm: format!("{}/auth/realms/acme", self.server.address),
            token: self.server.token().await,
            callback: self.receiver.url(),
            journal: Arc::clone(&self.journal),
        }
    }
}

impl Load {
    /// Stops all tasks. A task that found a contradiction panics.
    pub(super) async fn ended(mut self) {
        self.0.abort_all();
        while let Some(one) = self.0.join_next().await {
            if let Err(error) = one
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

impl Shop {
    /// Starts one transaction after another, until the server no longer answers.
    async fn trades(self, user: &'static str, name: String, is_called_back: bool, mut prng: Prng) {
        for number in 0.. {
            let reference = format!("{name}-{number}");
            let mut body = payment(&reference);
            (body["deviceGoOnlineTimeout"], body["signatureTimeout"]) = (json!(3600), json!(3600));
            body["signatureMessage"] = json!(reference);
            if is_called_back {
                body["callbackUrl"] = json!(self.callback);
            }
            self.journal.write(|journal| journal.asks(&reference, user, &body));
            let asked = self.journal.asked(|asked| asked.body == body).remove(0).1;
            if !self.asks(&reference, &asked).await {
                return;
            }
            if prng.one_in(4) && !self.cancels(user, &reference).await {
                return;
            }
            // If there is a callback, the call itself does not wait for the end.
            let hour = std::time::Duration::from_hours(1);
            self.journal.until(hour, |journal| journal.is_over(&reference)).await;
        }
    }

    /// Sends a request, sometimes twice, and records the answer. Returns whether there was one.
    async fn asks(&self, reference: &str, asked: &StartRecord) -> bool {
        let path = format!("v3_user/digitaniumsignature/{}", asked.user);
        let Some(answer) = self.call(Method::POST, &path, &asked.body).await else { return false };
        self.journal.write(|journal| journal.answered(reference, answer));
        true
    }

    /// Cancels a transaction, if it is still open. Returns whether there was an answer.
    async fn cancels(&self, user: &str, reference: &str) -> bool {
        let path = format!("v3_user/cancelsignature/{user}");
        let body = json!({"deviceId": ["-1"], "transactionId": reference});
        let answer = self.call(Method::DELETE, &path, &body).await;
        if let Some((StatusCode::OK, _)) = answer {
            self.journal.write(|journal| journal.ended(reference, "cancelled"));
        }
        answer.is_some()
    }

    /// An answer, if it arrived whole.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Option<(StatusCode, Value)> {
        let call = self.http.request(method, format!("{}/{path}", self.realm));
        let answer = call.bearer_auth(&self.token).json(body).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"))))
    }
}

/// A running phone: it first sends its stored answer, and then takes whatever is offered, and ends
/// it in some way.
async fn lives(file: PathBuf, journal: Arc<Shelf>, mut prng: Prng) {
    let mut device = Device::open(&PhoneFile::at(&file)).unwrap();
    for kept in device.resume().await.unwrap() {
        journal.write(super::journal::Journal::resumed);
        match kept.outcome {
            Ok(ended) => journal.write(|journal| journal.told(kept.id, ended.state)),
            Err(error) if error.is_transient() || error.code() == Some(Code::Ended) => {}
            Err(error) => panic!("what was kept is refused: {error}"),
        }
    }
    while let Ok(offer) = device.next_offer().await {
        let shown = match device.take(&offer, None).await {
            Ok(shown) => shown,
            Err(error) if error.is_transient() => return,
            Err(error) if error.code() == Some(Code::Ended) => continue,
            Err(error) => panic!("it cannot be opened: {error}"),
        };
        let reference = String::from_utf8(shown.bytes().to_vec()).unwrap();
        journal.write(|journal| journal.shown(offer.id, reference));
        let outcome = if prng.one_in(4) {
            device.decline(offer.id, DeclineReason::User).await
        } else {
            device.approve(&shown, None).await
        };
        match outcome {
            Ok(ended) => journal.write(|journal| journal.told(offer.id, ended.state)),
            Err(error) if error.is_transient() => return,
            Err(error) if error.code() == Some(Code::Ended) => {}
            Err(error) => panic!("it cannot be ended: {error}"),
        }
    }
}
