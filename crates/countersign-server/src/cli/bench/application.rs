//! The relying party's side of a cycle: KOBIL's call, whose answer is held until the signature is there.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use countersign_core::id::UserName;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;

use super::connect::Target;
use super::crowd::Crowd;
use crate::task::{Shutdown, Weight};

/// A kept-alive connection of the application's, with one call on it at a time.
pub(super) struct Application {
    sender: SendRequest<Full<Bytes>>,
    pass: Pass,
}

/// What all connections of the application share: where its calls go, and its access token.
#[derive(Clone)]
pub(super) struct Pass {
    realm: Arc<str>,
    token: Arc<Mutex<HeaderValue>>,
    form: Arc<str>,
}

impl Pass {
    /// Gets the first token.
    pub(super) async fn get(
        target: &Target,
        crowd: &Crowd,
        tasks: &Shutdown,
    ) -> anyhow::Result<Self> {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            crowd.client_id, crowd.client_secret
        );
        let pass = Self {
            realm: format!("/auth/realms/{}", crowd.tenant).into(),
            token: Arc::new(Mutex::new(HeaderValue::from_static(""))),
            form: form.into(),
        };
        pass.renew(target, tasks).await?;
        Ok(pass)
    }

    /// Gets the next token, for all who hold this.
    pub(super) async fn renew(&self, target: &Target, tasks: &Shutdown) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        let mut sender = open(target, tasks).await?;
        let request = Request::post(format!("{}/protocol/openid-connect/token", self.realm))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(self.form.to_string()))?;
        let answer = answered(&mut sender, request).await.context("the server gave no token")?;
        let token: Token = serde_json::from_slice(&answer)?;
        *self.token.lock() = format!("Bearer {}", token.access_token).parse()?;
        Ok(())
    }
}

impl Application {
    /// Connects.
    pub(super) async fn connect(
        target: &Target,
        pass: &Pass,
        tasks: &Shutdown,
    ) -> anyhow::Result<Self> {
        Ok(Self { sender: open(target, tasks).await?, pass: pass.clone() })
    }

    /// Asks `user` to sign, and waits for it: the answer's body.
    pub(super) async fn ask(&mut self, user: &UserName, reference: &str) -> anyhow::Result<Bytes> {
        let mut body = String::with_capacity(512);
        write!(
            body,
            r#"{{"transactionId":"{reference}","deviceId":"-1","deviceGoOnlineTimeout":30,"#,
        )?;
        body.push_str(concat!(
            r#""signatureTimeout":60,"signatureMode":"MESSAGE","pinRequired":false,"#,
            r#""signatureMessage":"Pay for your new bicycle?","signatureMessageItems":{"#,
            r#""Amount":"249.00 EUR","Payee":"Blue Bicycle Works","#,
            r#""Account":"DE02 1203 0000 0000 2020 51","Reference":"City bike, order 4711"}}"#,
        ));
        let path = format!("{}/v3_user/digitaniumsignature/{user}", self.pass.realm);
        let request = Request::post(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.pass.token.lock().clone())
            .body(Full::from(body))?;
        answered(&mut self.sender, request).await
    }
}

/// Opens a connection that is driven beside its calls.
async fn open(target: &Target, tasks: &Shutdown) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, driven) = handshake(TokioIo::new(target.connect().await?)).await?;
    tasks.spawn("application", Weight::Passing, async move {
        // What breaks is told to whoever waits for an answer.
        let _ = driven.await;
    });
    Ok(sender)
}

async fn answered(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Bytes> {
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let said = || String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
    ensure!(status == StatusCode::OK, "the server answered {status}: {}", said());
    Ok(body)
}
