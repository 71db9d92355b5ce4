//! Passwords of clients' accounts: hashed with Argon2id, and verified for the grant `password` (RFC
//! 6749, section 4.3).
//!
//! A client authenticates itself first, so that a stranger can neither guess a password nor have
//! one hashed.

use std::net::IpAddr;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use countersign_core::Fault;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{AuthenticatedClient, Authenticator, CLIENTS_PER_ADDRESS};
use crate::tries::{Wrong, network};
use countersign_node::task;

/// The shortest password that an operator may set, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Passwords that are hashed at once; each takes 19 MiB of memory, and a thread.
pub(super) const HASHES_AT_ONCE: usize = 2;
/// The longest wait for a hash to begin.
const HASH_WAIT_MAX: Duration = Duration::from_secs(5);

/// The reason why a password is not accepted.
#[derive(Debug)]
pub enum PasswordError {
    /// The client has no account.
    NotAllowed,
    /// The name or the password is wrong.
    Wrong,
    /// There were too many wrong ones recently; this one was not checked.
    TooManyTries,
    /// Too many passwords are being hashed.
    Busy,
    /// The server failed.
    Failed(Fault),
}

/// The hash of a new password, a PHC string.
///
/// # Errors
/// If the system has no randomness, or no memory.
pub fn hash(password: &str) -> Result<String, Fault> {
    let hashed = argon2().hash_password(password.as_bytes());
    Ok(hashed.map_err(Fault::while_doing("hashing a password"))?.to_string())
}

/// The parameters that OWASP recommends at least: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a password has this hash. `None` if the hash cannot be read.
fn is_right(hash: &str, password: &str) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    Some(argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

impl Authenticator {
    /// The client, if this is the name and the password of its account.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn password(
        &self,
        client: AuthenticatedClient,
        name: &str,
        password: Zeroizing<String>,
        address: IpAddr,
    ) -> Result<AuthenticatedClient, PasswordError> {
        let number = client.client.password.number;
        let Some(account) = client.client.password.account.clone() else {
            return Err(PasswordError::NotAllowed);
        };
        let (id, quota) = (client.client.id.as_str(), self.tries_per_client);
        let counters = [
            self.tries.counter(quota, ("password", id, network(address))),
            self.tries.counter(quota.times(CLIENTS_PER_ADDRESS), ("passwords", id)),
        ];
        let told = |wrong| match wrong {
            Wrong::Guess => PasswordError::Wrong,
            Wrong::TooMany => PasswordError::TooManyTries,
        };
        self.tries.check(&counters, self.core.now()).map_err(told)?;
        let is_named = account.name.as_str() == name;
        let is_right = self.verify(account.hash, password).await?;
        // A wrong name costs the same time.
        let right = (is_named && is_right).then_some(number);
        let judged = self.tries.judge(&counters, self.core.now(), || right);
        if judged == Err(Wrong::Guess) {
            self.note_wrong(Some(&client.client.tenant), id, address, "password");
        }
        let password_number = Some(judged.map_err(told)?);
        Ok(AuthenticatedClient { password_number, ..client })
    }

    /// Verifies a password, beside the threads that serve requests.
    async fn verify(
        &self,
        hash: String,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordError> {
        const VERIFYING: &str = "verifying a password";
        let permit = timeout(HASH_WAIT_MAX, std::sync::Arc::clone(&self.hashing).acquire_owned());
        let permit = permit.await.map_err(|_| PasswordError::Busy)?.expect("never closed");
        let work = move || {
            let _permit = permit;
            if password.len() > PASSWORD_BYTES_MAX {
                Some(false)
            } else {
                is_right(&hash, &password)
            }
        };
        let failed = |error| PasswordError::Failed(Fault::while_doing(VERIFYING)(error));
        let verified = task::blocking(work).await.map_err(failed)?;
        verified.ok_or_else(|| PasswordError::Failed(Fault::new(VERIFYING, "the hash is none")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_a_salted_argon2id_hash() {
        let first = hash("correct horse battery").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse battery").unwrap(), "each has its own salt");
        assert_eq!(is_right(&first, "correct horse battery"), Some(true));
        assert_eq!(is_right(&first, "correct horse batterz"), Some(false));
        assert_eq!(is_right("plain", "plain"), None);
    }
}
