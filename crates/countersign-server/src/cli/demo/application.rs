//! The demo's application: it calls the server over HTTPS, like any application for KOBIL's
//! dialect.

use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::statement::Statement;
use reqwest::{Certificate, Client};
use serde::{Deserialize, Serialize};

use crate::cli::client::Credentials;

const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Longer than both clocks of the transaction together.
pub(super) const SIGNATURE_WAIT: Duration = Duration::from_secs(150);
const GO_ONLINE_SECONDS: u32 = 30;
const SIGN_SECONDS: u32 = 90;

/// A client application.
pub(super) struct Application {
    pub(super) http: Client,
    realm: String,
    pub(super) credentials: Credentials,
}

/// A payment to be signed, as KOBIL's request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payment {
    transaction_id: String,
    device_id: &'static str,
    device_go_online_timeout: u32,
    signature_timeout: u32,
    pin_required: bool,
    signature_mode: &'static str,
    signature_message: &'static str,
    signature_message_items: Items,
}

/// In the order in which they are shown and signed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Items {
    amount: &'static str,
    payee: &'static str,
    account: &'static str,
    reference: &'static str,
}

/// KOBIL's envelope around a result.
#[derive(Deserialize)]
struct KobilEnvelope {
    status: Option<String>,
    message: Option<String>,
    data: Option<serde_json::Value>,
}

impl Application {
    /// Trusts only `ca`, PEM.
    pub(super) fn new(server: &str, ca: &[u8], credentials: Credentials) -> anyhow::Result<Self> {
        let ca = Certificate::from_pem(ca).context("the server's CA cannot be read")?;
        let http = Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .connect_timeout(ANSWER_WAIT)
            .build()
            .context("TLS cannot be set up")?;
        let realm = format!("{server}/auth/realms/{}", credentials.tenant);
        Ok(Self { http, realm, credentials })
    }

    /// Gets an access token.
    pub(super) async fn token(&self) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct TokenBody {
            access_token: String,
        }
        let response = self
            .http
            .post(format!("{}/protocol/openid-connect/token", self.realm))
            .basic_auth(&self.credentials.client_id, Some(&self.credentials.client_secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .timeout(ANSWER_WAIT)
            .send()
            .await
            .context("the server gave no token")?;
        let status = response.status();
        let token: TokenBody = response
            .json()
            .await
            .with_context(|| format!("the server answered {status} instead of a token"))?;
        Ok(token.access_token)
    }

    /// The address at which a signature by `user` is requested.
    pub(super) fn address(&self, user: &str) -> String {
        format!("{}/v3_user/digitaniumsignature/{user}", self.realm)
    }

    /// Asks `user` to sign, and waits for the signature: the PKCS#7, DER.
    pub(super) async fn ask(
        &self,
        token: &str,
        user: &str,
        payment: &Payment,
    ) -> anyhow::Result<Vec<u8>> {
        let response = self
            .http
            .post(self.address(user))
            .bearer_auth(token)
            .json(payment)
            .timeout(SIGNATURE_WAIT)
            .send()
            .await
            .context("the server did not answer")?;
        let status = response.status();
        let envelope: KobilEnvelope =
            response.json().await.with_context(|| format!("the server answered {status}"))?;
        let signature = envelope.data.as_ref().and_then(|data| data.get("signature")?.as_str());
        let Some(signature) = signature.filter(|_| status.is_success()) else {
            let (said, why) = (envelope.status.unwrap_or_default(), envelope.message);
            bail!("the server answered {status}, {said}: {}", why.unwrap_or_default());
        };
        BASE64.decode(signature).context("the signature is not base64")
    }
}

impl Payment {
    pub(super) fn new(transaction_id: String) -> Self {
        Self {
            transaction_id,
            device_id: "-1",
            device_go_online_timeout: GO_ONLINE_SECONDS,
            signature_timeout: SIGN_SECONDS,
            pin_required: true,
            signature_mode: "MESSAGE",
            signature_message: "Pay for your new bicycle?",
            signature_message_items: Items {
                amount: "249.00 EUR",
                payee: "Blue Bicycle Works",
                account: "DE02 1203 0000 0000 2020 51",
                reference: "City bike, order 4711",
            },
        }
    }

    /// The bytes that are signed.
    pub(super) fn statement(&self) -> Vec<u8> {
        let Items { amount, payee, account, reference } = &self.signature_message_items;
        let rows =
            [("Amount", amount), ("Payee", payee), ("Account", account), ("Reference", reference)];
        let rows = rows.map(|(label, value)| (label.to_owned(), (*value).to_owned()));
        Statement { message: self.signature_message.to_owned(), rows: rows.to_vec() }.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_has_to_be_signed() {
        let payment = Payment::new("demo".to_owned());
        let asked = serde_json::to_string(&payment).unwrap();
        let statement = Statement::parse(&payment.statement()).unwrap();
        let mut from = 0;
        for (label, value) in statement.rows {
            let item = format!("\"{label}\":\"{value}\"");
            let at = asked[from..].find(&item).expect("each row is an item, in order");
            from += at + item.len();
        }
    }
}
