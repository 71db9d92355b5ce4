//! The device's HTTP calls, each with its own token over exactly the sent bytes.
//!
//! The guarantee: the device calls only the server of its enrolment, every answer has a limit of
//! size and time, and a wrong clock is corrected once.

use core::time::Duration;
use std::sync::Arc;

use countersign_wire::body::{
    Code, Ended, IssuedIdentity, NewIdentity, Offer, Offers, PinAnswer, PinBody, PushAnswer,
    PushBody, RefusalBody, Take, Taken, UserDevice, UserDevices,
};
use countersign_wire::frame::Request;
use countersign_wire::id::DeviceName;
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::jws::{self, Call};
use countersign_wire::limits::FRAME_BYTES_MAX;
use countersign_wire::phone::Phone;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, redirect};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::{self, Address};
use crate::clock::Clock;
use crate::error::Error;

/// The longest time to connect.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for an answer that the server does not delay on purpose.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest time for which the server may delay the offers.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// The longest pause between two tries that a server can require.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The HTTP client of one device.
#[derive(Debug)]
pub struct Http {
    client: Client,
    pub(crate) caller: Arc<Caller>,
}

/// The device's credentials, the server's address and the trusted certificates, shared by HTTP and
/// the channel.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) address: Address,
    pub(crate) tls: ClientConfig,
    pub(crate) device: DeviceName,
    pub(crate) auth_key: PrivateJwk,
    /// The server's public address, for tokens.
    pub(crate) audience: String,
    pub(crate) clock: Clock,
}

/// An answer with its whole body.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Prepares the calls of `phone` without connecting.
    ///
    /// # Errors
    /// Refuses an unusable address or CA.
    pub fn new(phone: &Phone) -> Result<Self, Error> {
        let address = Address::parse(phone.reached_at.as_ref().unwrap_or(&phone.server))?;
        let tls = address::tls(phone.server_ca.as_deref())?;
        let caller = Caller {
            device: phone.device_name().map_err(|_| Error::Name("the tenant"))?,
            auth_key: phone.auth_key.clone(),
            audience: phone.server.clone(),
            clock: Clock::default(),
            address,
            tls,
        };
        Ok(Self { client: client(&caller.tls)?, caller: Arc::new(caller) })
    }

    /// Everything open for this device. Waits up to 30 s if nothing is open.
    ///
    /// # Errors
    /// As for every call: the server's refusal, or no answer.
    pub async fn offers(&self) -> Result<Vec<Offer>, Error> {
        self.offers_within(WAIT).await
    }

    /// Everything open for this device. Waits up to `wait` if nothing is open.
    pub(crate) async fn offers_within(&self, wait: Duration) -> Result<Vec<Offer>, Error> {
        let query = format!("?wait={}", wait.as_secs());
        let timeout = wait + ANSWER_TIMEOUT;
        let path = "/device/v1/offers";
        let offers: Offers = self.call(Method::GET, path, &query, Vec::new(), timeout).await?;
        Ok(offers.offers)
    }

    /// The devices of the user, this one included, in the order of their enrolment.
    ///
    /// # Errors
    /// As for every call.
    pub async fn devices(&self) -> Result<Vec<UserDevice>, Error> {
        let path = "/device/v1/devices";
        let listed: UserDevices =
            self.call(Method::GET, path, "", Vec::new(), ANSWER_TIMEOUT).await?;
        Ok(listed.devices)
    }

    /// The open transaction of this device with this request key, if there is one. Does not wait.
    ///
    /// # Errors
    /// As for every call.
    pub async fn offer_of(&self, request_key: &str) -> Result<Option<Offer>, Error> {
        let query = format!("?request_key={request_key}");
        let path = "/device/v1/offers";
        let offers: Offers =
            self.call(Method::GET, path, &query, Vec::new(), ANSWER_TIMEOUT).await?;
        Ok(offers.offers.into_iter().next())
    }

    /// Takes a transaction.
    ///
    /// # Errors
    /// As for every call.
    pub async fn take(&self, take: &Take) -> Result<Taken, Error> {
        self.request(&Request::Take(take.clone())).await
    }

    /// Ends a transaction with [`Request::Finish`], [`Request::Decline`] or [`Request::Fail`].
    ///
    /// # Errors
    /// As for every call.
    pub async fn end(&self, request: &Request) -> Result<Ended, Error> {
        self.request(request).await
    }

    /// Adds an identity.
    ///
    /// # Errors
    /// As for every call.
    pub async fn add_identity(&self, body: &NewIdentity) -> Result<IssuedIdentity, Error> {
        self.call(Method::POST, "/device/v1/identities", "", json(body), ANSWER_TIMEOUT).await
    }

    /// Renews the certificate of an identity. `body` is a [`countersign_wire::body::Renewal`].
    ///
    /// # Errors
    /// As for every call.
    pub async fn renew(&self, identity: &str, body: Vec<u8>) -> Result<IssuedIdentity, Error> {
        let path = format!("/device/v1/identities/{identity}/certificate");
        self.call(Method::POST, &path, "", body, ANSWER_TIMEOUT).await
    }

    /// Retires this device.
    ///
    /// # Errors
    /// As for every call.
    pub async fn say_goodbye(&self) -> Result<(), Error> {
        let path = "/device/v1/device";
        let answer = self.call(Method::DELETE, path, "", Vec::new(), ANSWER_TIMEOUT).await;
        answer.map(|_: serde_json::Value| ())
    }

    /// Sets or changes the PIN.
    ///
    /// # Errors
    /// As for every call.
    pub async fn put_pin(&self, body: &PinBody) -> Result<PinAnswer, Error> {
        self.call(Method::PUT, "/device/v1/pin", "", json(body), ANSWER_TIMEOUT).await
    }

    /// Registers the push address of the device, or removes it.
    ///
    /// # Errors
    /// As for every call.
    pub async fn put_push(&self, body: &PushBody) -> Result<PushAnswer, Error> {
        self.call(Method::PUT, "/device/v1/push", "", json(body), ANSWER_TIMEOUT).await
    }

    /// Whether the device can be woken, and by which services.
    ///
    /// # Errors
    /// As for every call.
    pub async fn push(&self) -> Result<PushAnswer, Error> {
        self.call(Method::GET, "/device/v1/push", "", Vec::new(), ANSWER_TIMEOUT).await
    }

    /// Sends a request of the channel as an HTTP call.
    pub(crate) async fn request<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        let (id, verb, body) = match request {
            Request::Take(body) => (body.id, "take", json(body)),
            Request::Finish(body) => (body.id, "finish", json(body)),
            Request::Decline(body) => (body.id, "decline", json(body)),
            Request::Fail(body) => (body.id, "fail", json(body)),
            Request::Hello(_) => return Err(Error::Unexpected("hello is for the channel only")),
        };
        let path = format!("/device/v1/transactions/{id}/{verb}");
        self.call(Method::POST, &path, "", body, ANSWER_TIMEOUT).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<T, Error> {
        self.call_reading(refusal, method, path, query, body, timeout).await
    }

    /// Makes a call whose refusals have another format.
    pub(crate) async fn call_in<T: DeserializeOwned>(
        &self,
        refusal: fn(&Address, &HttpAnswer) -> Error,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Error> {
        self.call_reading(refusal, method, path, "", body, ANSWER_TIMEOUT).await
    }

    async fn call_reading<T: DeserializeOwned>(
        &self,
        refusal: fn(&Address, &HttpAnswer) -> Error,
        method: Method,
        path: &str,
        query: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<T, Error> {
        let url = self.caller.address.url(&format!("{path}{query}"));
        let mut corrected = false;
        loop {
            let call = Call { method: method.as_str(), path, body: &body };
            let mut request = self.client.request(method.clone(), &url).timeout(timeout);
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.caller.token(call)));
            if !body.is_empty() {
                request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            }
            let answer = send(&self.caller.address, request).await?;
            if (200..300).contains(&answer.status) {
                return serde_json::from_slice(&answer.body)
                    .map_err(|_| Error::Unexpected("the body is malformed"));
            }
            let refusal = refusal(&self.caller.address, &answer);
            match server_time(&refusal) {
                Some(time) if !corrected => {
                    self.caller.clock.correct(time);
                    corrected = true;
                }
                _ => return Err(refusal),
            }
        }
    }
}

impl Caller {
    fn token(&self, call: Call<'_>) -> String {
        jws::sign_call(&self.auth_key, &self.device, &self.audience, call, self.clock.now())
    }
}

/// A client without redirects and proxies, because its tokens are for one address.
pub(crate) fn client(tls: &ClientConfig) -> Result<Client, Error> {
    client_builder(tls).build().map_err(|error| Error::connection("", &error))
}

/// As [`client`], not yet built.
pub(crate) fn client_builder(tls: &ClientConfig) -> ClientBuilder {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("countersign-device/", env!("CARGO_PKG_VERSION")))
}

/// Sends a request, and reads the answer up to [`FRAME_BYTES_MAX`].
pub(crate) async fn send(
    address: &Address,
    request: reqwest::RequestBuilder,
) -> Result<HttpAnswer, Error> {
    let lost = |error: reqwest::Error| {
        if error.is_timeout() {
            return Error::unreachable(address.origin(), "it did not answer in time");
        }
        Error::connection(address.origin(), &error)
    };
    let mut response = request.send().await.map_err(lost)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > FRAME_BYTES_MAX {
            return Err(Error::Unexpected("the body is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpAnswer { status, headers, body })
}

/// The error for an answer with a status other than 2xx.
pub(crate) fn refusal(address: &Address, answer: &HttpAnswer) -> Error {
    let retry_after = retry_after(answer);
    match serde_json::from_slice::<RefusalBody>(&answer.body) {
        // A newer server's code; the status still gives its kind.
        Ok(body) if body.error == Code::Unknown && answer.status >= 500 => {
            Error::unreachable(address.origin(), format!("it answered {}", answer.status))
        }
        Ok(body) => Error::Refused { body, retry_after },
        // A proxy answers in its own format while the server restarts.
        Err(_) if answer.status >= 500 || answer.status == 429 => {
            Error::unreachable(address.origin(), format!("it answered {}", answer.status))
        }
        Err(_) if answer.status == 404 => Error::Unexpected("there is no such address"),
        Err(_) if (300..400).contains(&answer.status) => {
            Error::Unexpected("it redirects, and a device does not follow redirects")
        }
        Err(_) => Error::Unexpected("the refusal is malformed"),
    }
}

/// The pause before the next try that an answer requires.
pub(crate) fn retry_after(answer: &HttpAnswer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn server_time(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused { body, .. } if body.error == Code::Unauthorised => body.server_time,
        _ => None,
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("bodies are plain JSON")
}
