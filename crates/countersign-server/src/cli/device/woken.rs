//! A device that does not stay connected, and is woken through a push service of its own choice:
//! `UnifiedPush`, as ntfy serves it. Messages are Web Push, which the service cannot read.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::Device;
use countersign_device::push::{self, Keys, Push, Wake};
use rand::RngCore as _;
use reqwest::{Certificate, Client, Response};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

/// The longest line from a service: one message in base64, and its envelope.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The pause before reconnecting to a service that hung up.
const PAUSE: Duration = Duration::from_secs(5);

/// A receiver of pushes: a topic that cannot be guessed, and keys that only it has.
pub(super) struct Receiver {
    client: Client,
    topic: String,
    keys: Keys,
}

/// A line from the service.
#[derive(Deserialize)]
struct NtfyLine {
    event: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    encoding: String,
}

/// The stream of the service's lines.
pub(super) struct Stream {
    response: Response,
    read: Vec<u8>,
}

impl Receiver {
    /// A receiver at the service `base`; only `ca` is trusted, if it is given.
    ///
    /// # Errors
    /// Names the problem with the CA's file.
    pub(super) fn at(base: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut client = Client::builder().https_only(true);
        if let Some(path) = ca {
            let what = || format!("the CA {} cannot be read", path.display());
            let ca = Certificate::from_pem(&std::fs::read(path).with_context(what)?);
            client = client.tls_certs_only([ca.with_context(what)?]);
        }
        let mut chance = [0; 12];
        rand::rng().fill_bytes(&mut chance);
        let topic = format!("{}/up{}", base.trim_end_matches('/'), hex::encode(chance));
        Ok(Self { client: client.build()?, topic, keys: Keys::generate() })
    }

    /// Subscribes, and registers the device's address.
    ///
    /// # Errors
    /// If the service cannot be reached, or the server cannot send to it.
    pub(super) async fn register(&self, device: &Device) -> anyhow::Result<Stream> {
        let stream = self.open().await?;
        let known = device.push().await?;
        ensure!(
            known.providers.iter().any(|provider| provider == "webpush"),
            "the server has no sender for Web Push: `[[push.sender]]` in its configuration"
        );
        let subscription = self.keys.subscription(format!("{}?up=1", self.topic));
        let (provider, token) = ("webpush".to_owned(), Some(subscription.to_json()));
        device.set_push(Some(Push { provider, token, language: None })).await?;
        Ok(stream)
    }

    /// Forwards every push while `wakes` has a receiver. If the service hangs up, it reconnects,
    /// and reads the messages that it missed.
    pub(super) async fn check(
        &self,
        mut stream: Stream,
        wakes: &UnboundedSender<Wake>,
        mut told: impl FnMut(&Wake),
    ) {
        loop {
            match stream.next().await {
                Ok(event) if event.event == "message" => {
                    let Some(wake) = self.wake(&event) else { continue };
                    told(&wake);
                    if wakes.send(wake).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    let Ok(again) = self.open().await else { continue };
                    stream = again;
                    if wakes.send(Wake::Look).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The content of a message, if it was encrypted for this receiver.
    fn wake(&self, event: &NtfyLine) -> Option<Wake> {
        if event.encoding != "base64" {
            return None;
        }
        let message = BASE64.decode(&event.message).ok()?;
        push::read(&self.keys.open(&message).ok()?).ok()
    }

    async fn open(&self) -> anyhow::Result<Stream> {
        let what = || format!("the push service does not answer at {}", self.topic);
        let asked = self.client.get(format!("{}/json", self.topic)).send().await;
        let response = asked.with_context(what)?;
        ensure!(response.status().is_success(), "{}: {}", what(), response.status());
        let mut stream = Stream { response, read: Vec::new() };
        // All messages after the first line are received.
        while stream.next().await?.event != "open" {}
        Ok(stream)
    }
}

impl Stream {
    async fn next(&mut self) -> anyhow::Result<NtfyLine> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            ensure!(self.read.len() <= LINE_BYTES_MAX, "the push service's line is too long");
            match self.response.chunk().await? {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => bail!("the push service hung up"),
            }
        }
    }
}
