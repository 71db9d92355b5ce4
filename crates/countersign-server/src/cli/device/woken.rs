//! A device that keeps no line to the server, and is woken through a push service that anybody can
//! run: `UnifiedPush`, as ntfy serves it. Messages are Web Push, which the service cannot read.

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

/// The longest line that a service may say: one message in base64, and its envelope.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How long a service that hung up is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// The receiver's end at a push service: a topic that nobody can guess, and keys that nobody else
/// has.
pub(super) struct Receiver {
    client: Client,
    topic: String,
    keys: Keys,
}

/// A service's line.
#[derive(Deserialize)]
struct NtfyLine {
    event: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    encoding: String,
}

/// What the service says from now on.
pub(super) struct Stream {
    response: Response,
    read: Vec<u8>,
}

impl Receiver {
    /// One at the service `base`, which is trusted by `ca` alone where that is given.
    ///
    /// # Errors
    /// Says what is wrong with the file.
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

    /// Listens, and registers the device there.
    ///
    /// # Errors
    /// Where the service is not reached, or the server cannot send there.
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

    /// Hands on every push, for as long as somebody listens. A service that hangs up is asked
    /// again, and what it had to say meanwhile is looked for.
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

    /// What a message says, if it was encrypted to this receiver.
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
        // Whatever is sent from the first line on is heard.
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
