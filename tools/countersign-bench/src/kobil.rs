//! KOBIL's cycle: a start whose answer is held until the end, an offer on the device's WebSocket, a
//! take, a finish with a CMS, its verification, and the answer.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use countersign_core::id::UserName;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use crate::connect::Target;
use crate::crowd::{Crowd, Keys};
use crate::dialect::{Cycle, Dialect};
use crate::http_connection::HttpConnection;
use crate::phone::Phone;
use crate::task::Tasks;

/// The answer is held until the transaction ends.
const HELD: &str = r#""deviceGoOnlineTimeout":30,"signatureTimeout":60"#;
/// The answer is held for as long as the bench runs.
pub(super) const HELD_LONG: &str = r#""deviceGoOnlineTimeout":3600,"signatureTimeout":3600"#;
/// The answer is given at once; the transaction outlasts the bench.
pub(super) const CALLED_BACK: &str = concat!(
    r#""deviceGoOnlineTimeout":3600,"signatureTimeout":3600,"#,
    r#""callbackUrl":"https://127.0.0.1:9/""#
);

/// The server's address and the application's access token.
#[derive(Clone)]
pub(super) struct Kobil {
    target: Target,
    /// The address for devices, which is another node's in a fleet.
    device_target: Target,
    tasks: Tasks,
    realm: Arc<str>,
    token: Arc<Mutex<HeaderValue>>,
    form: Arc<str>,
}

impl Kobil {
    /// Gets the first access token.
    pub(super) async fn prepare(
        target: &Target,
        crowd: &Crowd,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            crowd.client_id, crowd.client_secret
        );
        let kobil = Self {
            target: target.clone(),
            device_target: target.clone(),
            tasks: tasks.clone(),
            realm: format!("/auth/realms/{}", crowd.tenant).into(),
            token: Arc::new(Mutex::new(HeaderValue::from_static(""))),
            form: form.into(),
        };
        kobil.renew().await?;
        Ok(kobil)
    }

    /// The same application, whose devices connect to another node.
    pub(super) fn with_devices_at(self, device_target: &Target) -> Self {
        Self { device_target: device_target.clone(), ..self }
    }

    /// Asks `user` to sign, in mode `how`. Returns the answer's body.
    pub(super) async fn ask(
        &self,
        line: &mut HttpConnection,
        user: &UserName,
        number: u64,
        how: &str,
    ) -> anyhow::Result<Bytes> {
        let mut body = String::with_capacity(512);
        write!(body, r#"{{"transactionId":"bench-{user}-{number}","deviceId":"-1",{how},"#)?;
        body.push_str(concat!(
            r#""signatureMode":"MESSAGE","pinRequired":false,"#,
            r#""signatureMessage":"Pay for your new bicycle?","signatureMessageItems":{"#,
            r#""Amount":"249.00 EUR","Payee":"Blue Bicycle Works","#,
            r#""Account":"DE02 1203 0000 0000 2020 51","Reference":"City bike, order 4711"}}"#,
        ));
        let path = format!("{}/v3_user/digitaniumsignature/{user}", self.realm);
        let request = Request::post(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.token.lock().clone())
            .body(Full::from(body))?;
        line.call(request).await
    }
}

impl Dialect for Kobil {
    type Application = HttpConnection;
    type Device = Phone;

    async fn application(&self) -> anyhow::Result<HttpConnection> {
        HttpConnection::open(&self.target, &self.tasks).await
    }

    async fn device(&self, keys: &Keys) -> anyhow::Result<Phone> {
        Phone::connect(&self.device_target, keys).await
    }

    async fn cycle(
        &self,
        line: &mut HttpConnection,
        phone: &mut Phone,
        keys: &Keys,
        number: u64,
    ) -> anyhow::Result<Cycle> {
        let asking = async {
            let answer = self.ask(line, &keys.user, number, HELD).await?;
            anyhow::Ok((answer, Instant::now()))
        };
        let ((answer, answered), signed) = tokio::try_join!(asking, phone.sign(keys))?;
        let signature = BASE64.encode(signed.signature);
        let told = answer.windows(signature.len()).any(|bytes| bytes == signature.as_bytes());
        ensure!(told, "the answer does not contain the device's signature");
        let (completed, acknowledged) = (signed.completed, signed.acknowledged);
        Ok(Cycle { completed, acknowledged, answered, polls: 0 })
    }

    async fn look_after(phone: &mut Phone) -> anyhow::Result<()> {
        phone.look_up().await
    }

    async fn renew(&self) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        let request = Request::post(format!("{}/protocol/openid-connect/token", self.realm))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(self.form.to_string()))?;
        let mut line = HttpConnection::open(&self.target, &self.tasks).await?;
        let answer = line.call(request).await.context("the server gave no token")?;
        let token: Token = serde_json::from_slice(&answer)?;
        *self.token.lock() = format!("Bearer {}", token.access_token).parse()?;
        Ok(())
    }
}
