//! `TrustedX`'s cycle: the application creates a process, a device ends it by its link with a raw
//! signature, and the application polls the result.
//!
//! A device learns of a process from its channel or from a push. Here no notification is sent: the
//! device gets the link and the text directly. Its call is authenticated like every device's call.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use countersign_device::raw;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_wire::jws::{self, Call};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::connect::Target;
use crate::crowd::{Crowd, Keys};
use crate::dialect::{Cycle, Dialect};
use crate::http_connection::HttpConnection;
use crate::task::Tasks;

const PREFIX: &str = "/trustedx-resources/esigp/v1";
/// The interval of polls. Public clients poll at once and then every two seconds, about the time of
/// a user's decision. A device of the bench needs some 20 ms, with others in progress, so this
/// interval gives a cycle as many polls as a real one. The cost depends on the number of polls, not
/// on the time between them.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// The HTML that is shown to the user.
const DATA: &str = "<h1>Pay for your new bicycle?</h1><table>\
    <tr><td>Amount</td><td>249.00 EUR</td></tr><tr><td>Payee</td><td>Blue Bicycle Works</td></tr>\
    <tr><td>Account</td><td>DE02 1203 0000 0000 2020 51</td></tr>\
    <tr><td>Reference</td><td>City bike, order 4711</td></tr></table>";

/// The server's address and the application's access token.
#[derive(Clone)]
pub(super) struct TrustedX {
    target: Target,
    tasks: Tasks,
    token_path: Arc<str>,
    basic: HeaderValue,
    token: Arc<Mutex<HeaderValue>>,
}

/// A process, as far as the bench needs it.
#[derive(Deserialize)]
struct Process {
    id: String,
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    finish: String,
}

impl TrustedX {
    /// Gets the first access token.
    pub(super) async fn prepare(
        target: &Target,
        crowd: &Crowd,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let credentials = BASE64.encode(format!("{}:{}", crowd.client_id, crowd.client_secret));
        let trustedx = Self {
            target: target.clone(),
            tasks: tasks.clone(),
            token_path: format!("/trustedx-authserver/oauth/{}/token", crowd.tenant).into(),
            basic: format!("Basic {credentials}").parse()?,
            token: Arc::new(Mutex::new(HeaderValue::from_static(""))),
        };
        trustedx.renew().await?;
        Ok(trustedx)
    }

    /// Asks the holder of this identity to sign.
    async fn create(&self, line: &mut HttpConnection, keys: &Keys) -> anyhow::Result<Process> {
        #[derive(Deserialize)]
        struct Created {
            signature: Process,
        }
        let body = json!({
            "input": {"data": DATA},
            "sign_identities": [{"id": keys.identity.to_string()}],
        });
        let request = Request::post(format!("{PREFIX}/signatures/device/commitment/transaction"))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.token.lock().clone())
            .body(Full::from(body.to_string()))?;
        let answer = line.call_for(StatusCode::CREATED, request).await.context("a creation")?;
        Ok(serde_json::from_slice::<Created>(&answer)?.signature)
    }

    /// Polls the result once. `None` before the end.
    async fn poll(
        &self,
        line: &mut HttpConnection,
        process: &Process,
    ) -> anyhow::Result<Option<Bytes>> {
        let request = Request::get(format!("{PREFIX}/signatures/{}/result", process.id))
            .header(HOST, "localhost")
            .header(AUTHORIZATION, self.token.lock().clone())
            .body(Full::default())?;
        let (status, answer) = line.send(request).await?;
        let ended = status == StatusCode::OK;
        ensure!(ended || status == StatusCode::NOT_FOUND, "/result was answered {status}");
        Ok(ended.then_some(answer))
    }

    /// Polls from the second time on. Returns the answer, its time, and the number of polls.
    async fn result(
        &self,
        line: &mut HttpConnection,
        process: &Process,
    ) -> anyhow::Result<(Bytes, Instant, u32)> {
        let mut next = interval_at(Instant::now() + POLL_EVERY, POLL_EVERY);
        // A client that got a late answer sleeps for the whole interval again.
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls = 0;
        loop {
            next.tick().await;
            polls += 1;
            if let Some(answer) = self.poll(line, process).await? {
                return Ok((answer, Instant::now(), polls));
            }
        }
    }

    /// Signs the text and sends the signature. Returns the signature, and the times of sending and
    /// of the answer.
    async fn finish(
        &self,
        line: &mut HttpConnection,
        keys: &Keys,
        process: &Process,
    ) -> anyhow::Result<(String, Instant, Instant)> {
        let algorithm = Algorithm::Ecdsa(Hash::Sha256);
        let digest = digest::digest(&digest::SHA256, DATA.as_bytes());
        let value = BASE64.encode(raw::sign(&keys.key, algorithm, digest.as_ref())?);
        let body = json!({
            "value": value,
            "signature_algorithm": algorithm.as_str(),
            "sign_identity": {"id": keys.identity.to_string()},
        });
        let body = body.to_string();
        let origin = &*self.target.origin;
        let path =
            process.links.finish.strip_prefix(origin).context("the link is for another server")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let call = Call { method: "PUT", path, body: body.as_bytes() };
        let proof = jws::sign_call(&keys.phone.auth_key, &keys.name, origin, call, now);
        let request = Request::put(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {proof}"))
            .body(Full::from(body))?;
        let completed = Instant::now();
        line.call(request).await.context("a finish")?;
        Ok((value, completed, Instant::now()))
    }
}

impl Dialect for TrustedX {
    type Application = HttpConnection;
    type Device = HttpConnection;

    async fn application(&self) -> anyhow::Result<HttpConnection> {
        HttpConnection::open(&self.target, &self.tasks).await
    }

    async fn device(&self, _: &Keys) -> anyhow::Result<HttpConnection> {
        HttpConnection::open(&self.target, &self.tasks).await
    }

    async fn cycle(
        &self,
        application: &mut HttpConnection,
        device: &mut HttpConnection,
        keys: &Keys,
        _: u64,
    ) -> anyhow::Result<Cycle> {
        if device.is_closed() {
            *device = self.device(keys).await?;
        }
        let process = self.create(application, keys).await?;
        // The device signs only after the first poll is answered.
        let early = self.poll(application, &process).await?;
        ensure!(early.is_none(), "the process ended before the signature");
        let ((answer, answered, polls), (value, completed, acknowledged)) = tokio::try_join!(
            self.result(application, &process),
            self.finish(device, keys, &process)
        )?;
        let told = answer.windows(value.len()).any(|bytes| bytes == value.as_bytes());
        ensure!(told, "the result does not contain the device's signature: {answer:?}");
        Ok(Cycle { completed, acknowledged, answered, polls: polls + 1 })
    }

    /// A device without a process has no connection.
    async fn look_after(_: &mut HttpConnection) -> anyhow::Result<()> {
        Ok(())
    }

    async fn renew(&self) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct TokenBody {
            access_token: String,
        }
        let request = Request::post(&*self.token_path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, self.basic.clone())
            .body(Full::from("grant_type=client_credentials"))?;
        let answer = self.application().await?.call(request).await;
        let token: TokenBody =
            serde_json::from_slice(&answer.context("the server gave no token")?)?;
        *self.token.lock() = format!("Bearer {}", token.access_token).parse()?;
        Ok(())
    }
}
