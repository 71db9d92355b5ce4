//! Authentication of callers by API keys.

use std::net::IpAddr;

use countersign_core::event::{EventKind, Subject};
use countersign_core::tenant::{ApiKey, KeyKind};
use http::HeaderMap;
use subtle::ConstantTimeEq as _;

use super::{AuthError, Authenticator, secret_digest};
use crate::authorization::key_spellings;
use crate::tries::{Wrong, network};

impl Authenticator {
    /// The client whose API key of that kind is in HTTP Basic: as the password with any user name,
    /// as the user name with an empty password, or as the bare payload. A request without a key is
    /// not counted as a guess.
    ///
    /// # Errors
    /// As [`Authenticator::credentials`]. A wrong key is recorded in the history: as an event of
    /// its tenant if it exists but is not accepted, else as one of the whole server.
    pub async fn api_key(
        &self,
        headers: &HeaderMap,
        kind: KeyKind,
        address: IpAddr,
    ) -> Result<ApiKey, AuthError> {
        let spellings = key_spellings(headers);
        if spellings.is_empty() {
            return Err(AuthError::NotAuthenticated);
        }
        let counters = [self.tries.counter(self.tries_per_client, ("key", network(address)))];
        let now = self.core.now();
        self.tries.check(&counters, now)?;
        let (mut right, mut known) = (None, None);
        for text in spellings {
            // The look-up is by digest, so its time reveals nothing about the right key.
            let digest = secret_digest(&text);
            let found = self.core.read().api_key(&digest).await?;
            let Some(key) = found.filter(|key| key.digest.ct_eq(&digest).into()) else { continue };
            if key.kind == kind && key.is_valid(now) {
                right = Some(key);
                break;
            }
            known = Some(key);
        }
        let key = self.tries.judge(&counters, now, || right).inspect_err(|wrong| {
            if let Wrong::Guess = wrong {
                let tenant = known.as_ref().and_then(|key| key.tenant.as_ref());
                let subject =
                    known.as_ref().map_or(Subject::ApiKeys, |key| Subject::ApiKey(key.id));
                let details = vec![("address", address.to_string())];
                self.note_refused(EventKind::ApiKeyRefused, tenant, subject, details);
            }
        })?;
        self.known.remember(address);
        Ok(key)
    }
}
