//! One document from an address that a client named, over TLS by the roots that the client named.

use std::time::Duration;

use countersign_core::id::TenantName;
use http::StatusCode;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use url::Url;

use super::names;
use super::outbound::Unanswered;
use super::resolve::Resolver;

/// The limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// The longest that it may take.
    pub wait: Duration,
    /// The largest body.
    pub bytes: usize,
}

/// The reason why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The call was not made, or had no complete answer.
    #[error("{0}")]
    Unanswered(#[from] Unanswered),
    /// The status is not 200.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// The body is larger than the limit.
    #[error("its answer is too long")]
    TooLong,
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unanswered(Unanswered::of(&error))
    }
}

/// Gets a body, if `resolver` allows the address. Trusts only `roots`, and follows no redirect.
/// Look-ups of names count for `tenant`.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(
    resolver: &Resolver,
    tenant: &TenantName,
    url: Url,
    roots: Vec<Certificate>,
    limits: FetchLimits,
) -> Result<Vec<u8>, FetchError> {
    resolver.check_url(&url).map_err(Unanswered::Forbidden)?;
    let client = Client::builder()
        .dns_resolver(resolver.clone())
        .tls_certs_only(roots)
        .redirect(Policy::none())
        .no_proxy()
        .https_only(true)
        .referer(false)
        .timeout(limits.wait)
        .build()?;
    names::on_behalf_of(tenant, async {
        let mut answer = client.get(url).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > limits.bytes {
                return Err(FetchError::TooLong);
            }
        }
        Ok(body)
    })
    .await
}
