//! The user's PIN. Its digest leaves the device once; later only proofs do.

use core::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use countersign_proof::ocra;
use countersign_wire::body::PinProof;
use countersign_wire::id::TransactionId;
use countersign_wire::phone::PhonePin;
use countersign_wire::secret::{CodeKey, PinDigest};
use zeroize::Zeroizing;

use crate::error::Error;

/// The longest PIN, in bytes.
const PIN_BYTES_MAX: usize = 128;

/// A PIN as the user enters it. Wiped when dropped, hidden in `Debug`.
#[derive(Clone)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Takes the entered text.
    ///
    /// # Errors
    /// Refuses a text that is empty, longer than 128 bytes, or has control characters.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = (1..=PIN_BYTES_MAX).contains(&text.len());
        if !fits || text.chars().any(char::is_control) {
            return Err(Error::BadPin);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The digest for the server: SHA-256 of the PIN's Argon2id, which is slow on purpose.
    pub(crate) fn digest(&self, made: PhonePin) -> PinDigest {
        let params = Params::new(PhonePin::MEMORY_KIB, PhonePin::PASSES, PhonePin::LANES, Some(32));
        let params = params.expect("the parameters are valid for Argon2");
        let mut hash = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), &made.salt, &mut *hash)
            .expect("a PIN and a salt of these lengths are valid for Argon2");
        let digest = digest(&SHA256, &*hash);
        let digest: &[u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        PinDigest::from(digest)
    }

    /// Proves the PIN for one transaction (RFC 6287).
    pub(crate) fn prove(&self, made: PhonePin, key: &CodeKey, id: TransactionId) -> PinProof {
        let digest = self.digest(made);
        let proof = ocra::pin_proof(key.as_bytes(), digest.as_bytes(), id.0);
        proof.parse().expect("a whole HMAC-SHA256 in hex")
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> Pin {
        Pin::parse(text).unwrap()
    }

    #[test]
    fn a_digest_equals_the_vector() {
        #[derive(serde::Deserialize)]
        struct Vector {
            pin: String,
            salt: String,
            memory_kib: u32,
            passes: u32,
            lanes: u32,
            digest: PinDigest,
        }
        let text = include_str!("../../../docs/vectors/pin.json");
        let vector: Vector = serde_json::from_str(text).unwrap();
        let parameters = (vector.memory_kib, vector.passes, vector.lanes);
        assert_eq!(parameters, (PhonePin::MEMORY_KIB, PhonePin::PASSES, PhonePin::LANES));
        let made = serde_json::json!({ "version": 1, "salt": vector.salt });
        let made: PhonePin = serde_json::from_value(made).unwrap();
        assert_eq!(pin(&vector.pin).digest(made).as_bytes(), vector.digest.as_bytes());
    }

    #[test]
    fn a_digest_depends_on_the_pin_and_the_salt_only() {
        let made = PhonePin { version: 1, salt: [7; 16] };
        let digest = |text: &str, made| *pin(text).digest(made).as_bytes();
        let base = digest("2468", made);
        assert_eq!(base, digest("2468", PhonePin { version: 9, ..made }));
        assert_ne!(base, digest("2469", made));
        assert_ne!(base, digest("2468", PhonePin { salt: [8; 16], ..made }));
    }

    #[test]
    fn a_proof_equals_the_one_that_the_server_computes() {
        let made = PhonePin { version: 1, salt: [7; 16] };
        let (key, id) = (CodeKey::from(&[1; 32]), TransactionId([2; 16]));
        let proof = pin("2468").prove(made, &key, id);
        let digest = pin("2468").digest(made);
        let check =
            |id| ocra::check_pin_proof(key.as_bytes(), digest.as_bytes(), id, proof.as_str());
        assert!(check(id.0));
        assert!(!check([3; 16]));
    }

    #[test]
    fn a_pin_is_bounded_and_never_in_debug() {
        for bad in ["", "12\n34", &"1".repeat(129)] {
            assert!(matches!(Pin::parse(bad), Err(Error::BadPin)), "{bad:?}");
        }
        assert_eq!(format!("{:?}", pin("2468")), "Pin(…)");
    }
}
