//! The port for private keys: those of tenants' authorities and access tokens, and the secrets of
//! clients' callbacks.
//!
//! No value outside the adapter holds one of these keys. An adapter generates a key, gives it out
//! as a [`StoredKey`], and signs with it. It may keep sealed keys in the ledger, or keys in a
//! hardware security module.

use core::future::Future;

use crate::id::{ClientId, TenantName};
use crate::key::{PublicKey, SigningRole, StoredKey};
use crate::refusal::Fault;
use crate::secret::Key32;

/// A signing key of a tenant that is ready for use. It is an ECDSA key on P-256.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message with ECDSA and SHA-256: r ‖ s, 32 bytes each (RFC 7518, section 3.4).
    ///
    /// It is synchronous, because libraries that write certificates call it so. It takes as long as
    /// the adapter's device does.
    ///
    /// # Errors
    /// Fails if the adapter does.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Fault>;

    /// Signs a message as [`Signer::sign`] does, and writes the signature as a certificate has it:
    /// in DER (RFC 5480, appendix A).
    ///
    /// # Errors
    /// Fails if the adapter does.
    fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let signature = self.sign(message)?;
        let (r, s) = signature.split_at(32);
        let body = [integer(r), integer(s)].concat();
        Ok([&[0x30, body.len() as u8], &body[..]].concat())
    }
}

/// A DER INTEGER of 32 bytes, which is at most 35 bytes long.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let digits = &bytes[zeros..];
    // Without a leading zero, the number would be negative.
    let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
    [&[0x02, (sign.len() + digits.len()) as u8], sign, digits].concat()
}

/// Generates private keys, and uses them.
pub trait Keys: Send + Sync {
    /// A key that is ready to sign.
    type Signer: Signer;

    /// Generates a signing key. It is the tenant's once it is committed with the tenant.
    fn generate(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> impl Future<Output = Result<(Self::Signer, StoredKey), Fault>> + Send;

    /// Prepares a tenant's signing key. Fails if the tenant has none.
    fn prepare(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> impl Future<Output = Result<Self::Signer, Fault>> + Send;

    /// Generates the secret of a client's callbacks. It signs once it is committed. The secret is
    /// given out only here, to be shown once.
    fn generate_callback_key(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> impl Future<Output = Result<(Key32, StoredKey), Fault>> + Send;

    /// HMAC-SHA256 of a callback's message with the client's newest key and, during a rotation,
    /// with the older key too. `None` if there is no such client.
    fn callback_macs(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        message: &[u8],
    ) -> impl Future<Output = Result<Option<CallbackMacs>, Fault>> + Send;
}

/// The MACs of a callback's message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallbackMacs {
    /// With the newest key.
    pub newest: [u8; 32],
    /// With the key before it, during a rotation.
    pub before: Option<[u8; 32]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed([u8; 64]);

    impl Signer for Fixed {
        fn public_key(&self) -> &PublicKey {
            &[4; 65]
        }

        fn sign(&self, _message: &[u8]) -> Result<[u8; 64], Fault> {
            Ok(self.0)
        }
    }

    #[test]
    fn numbers_in_der_are_as_short_as_possible_and_never_negative() {
        let mut signature = [0; 64];
        (signature[31], signature[32]) = (7, 0x80);
        let mut expected = vec![0x30, 38, 2, 1, 7, 2, 33, 0, 0x80];
        expected.extend([0; 31]);
        assert_eq!(Fixed(signature).sign_der(b"").unwrap(), expected);
        assert_eq!(Fixed([0; 64]).sign_der(b"").unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        let longest = Fixed([0xff; 64]).sign_der(b"").unwrap();
        assert_eq!((longest.len(), &longest[..5]), (72, &[0x30, 70, 2, 33, 0][..]));
    }
}
