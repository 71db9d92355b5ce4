//! OneSpan's cycle: a SOAP call that is suspended, a fetch over REST, a completion with a code, and
//! the answer.
//!
//! A phone gets its request's key from a push. Here no push is sent: this process reads the key
//! from the ledger as soon as the start is committed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use countersign_core::id::TenantName;
use countersign_core::port::Ledger as _;
use countersign_device::gateway;
use countersign_store::Store;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::connect::Target;
use crate::crowd::{Crowd, Keys};
use crate::dialect::{Cycle, Dialect};
use crate::http_connection::HttpConnection;
use crate::task::Tasks;

/// The interval of looking for the started request in the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// The server's address, and the credentials of calls.
#[derive(Clone)]
pub(super) struct OneSpan {
    target: Target,
    tasks: Tasks,
    store: Store,
    tenant: TenantName,
    component: Arc<str>,
    /// The credentials of the application and of the phones.
    client: HeaderValue,
    front_end: HeaderValue,
}

impl OneSpan {
    /// Opens the ledger in `data`, which the server has open too.
    pub(super) fn prepare(
        target: &Target,
        crowd: &Crowd,
        data: &Path,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let basic = |name: &str, secret: &str| {
            format!("Basic {}", BASE64.encode(format!("{name}:{secret}")))
        };
        Ok(Self {
            target: target.clone(),
            tasks: tasks.clone(),
            store: Store::sqlite(data, None)?,
            tenant: crowd.tenant.clone(),
            component: crowd.client_name.as_str().into(),
            client: basic(&crowd.client_id, &crowd.client_secret).parse()?,
            front_end: basic("phone", &crowd.front_end_key).parse()?,
        })
    }

    /// Asks a user to sign, and waits for the end. Returns the answer's body.
    async fn ask(&self, line: &mut HttpConnection, keys: &Keys) -> anyhow::Result<Bytes> {
        let (component, user, tenant) = (&self.component, &keys.user, &self.tenant);
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:sig=\"http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature\"><soapenv:Body>\
             <sig:authSignatureRequest><componentType>{component}</componentType>\
             <user><userID>{user}</userID><domain>{tenant}</domain></user>\
             <push><title>Pay for your new bicycle?</title><dataFieldList>\
             <dataField><key>Amount</key><value>249.00 EUR</value></dataField>\
             <dataField><key>Payee</key><value>Blue Bicycle Works</value></dataField>\
             <dataField><key>Account</key><value>DE02 1203 0000 0000 2020 51</value></dataField>\
             <dataField><key>Reference</key><value>City bike, order 4711</value></dataField>\
             </dataFieldList></push></sig:authSignatureRequest></soapenv:Body></soapenv:Envelope>"
        );
        let request = Request::post("/onespan/soap")
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header("SOAPAction", "\"\"")
            .header(AUTHORIZATION, self.client.clone())
            .body(Full::from(body))?;
        line.call(request).await
    }

    /// Fetches the user's request and completes it. Returns the code, and the times of sending and
    /// of the answer.
    async fn complete(
        &self,
        line: &mut HttpConnection,
        keys: &Keys,
    ) -> anyhow::Result<(String, Instant, Instant)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fetched {
            result: FetchedResult,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct FetchedResult {
            request_message: String,
        }
        let key = self.request_key(keys).await?;
        let body = json!({"requestKey": key, "serialNumber": keys.phone.serial_number});
        let fetched = self.call(line, "getPreparedSignatureRequest", &body).await?;
        let fetched: Fetched = serde_json::from_slice(&fetched)?;
        let content = gateway::open(&keys.phone, &fetched.result.request_message)?;
        let code = gateway::code(&keys.phone, &content)?;
        let body = json!({
            "userID": keys.user.as_str(),
            "domain": self.tenant.as_str(),
            "requestKey": key,
            "signature": code,
        });
        let completed = Instant::now();
        self.call(line, "authSignature", &body).await?;
        Ok((code, completed, Instant::now()))
    }

    /// Waits until the user has a request. Returns its key.
    async fn request_key(&self, keys: &Keys) -> anyhow::Result<String> {
        loop {
            sleep(LOOK_EVERY).await;
            if let Some(open) = self.store.read().open(&self.tenant, &keys.user).await?.first() {
                return Ok(open.value.spec.request_key.to_string());
            }
        }
    }

    /// Makes a phone's call. Returns the body, whose status is checked to be success.
    async fn call(
        &self,
        line: &mut HttpConnection,
        call: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<Bytes> {
        let request = Request::post(format!("/rest/v2/signature/push/{call}"))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.front_end.clone())
            .body(Full::from(body.to_string()))?;
        let answer = line.call(request).await?;
        ensure!(holds(&answer, "\"STAT_SUCCESS\""), "{call} was answered {answer:?}");
        Ok(answer)
    }
}

impl Dialect for OneSpan {
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
        phone: &mut HttpConnection,
        keys: &Keys,
        _: u64,
    ) -> anyhow::Result<Cycle> {
        if phone.is_closed() {
            *phone = self.device(keys).await?;
        }
        let asking = async {
            let answer = self.ask(application, keys).await.context("authSignatureRequest")?;
            anyhow::Ok((answer, Instant::now()))
        };
        let completing = self.complete(phone, keys);
        let ((answer, answered), (code, completed, acknowledged)) =
            tokio::try_join!(asking, completing)?;
        let told = holds(&answer, &format!("<signature>{code}</signature>"));
        ensure!(told, "the answer does not contain the phone's code: {answer:?}");
        Ok(Cycle { completed, acknowledged, answered, polls: 0 })
    }

    /// A phone without a request has no connection.
    async fn look_after(_: &mut HttpConnection) -> anyhow::Result<()> {
        Ok(())
    }

    /// Its credentials do not expire.
    async fn renew(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn holds(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}
