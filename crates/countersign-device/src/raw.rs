//! Raw signatures: RSA PKCS#1 v1.5 or ECDSA (DER) over a digest.
//!
//! The device chooses the identity: one for text, another for a caller's digest. See the
//! specification, *What a device is*.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_wire::body;

use crate::cms::{CannotSign, Key, SigningKey};
use crate::key;

/// Signs a digest by `algorithm`'s hash.
///
/// # Errors
/// Refuses an algorithm for another kind of key, RSA with SHA-1, and a digest of another length.
pub fn sign(key: &SigningKey, algorithm: Algorithm, digest: &[u8]) -> Result<Vec<u8>, CannotSign> {
    if digest.len() != algorithm.hash().length() {
        return Err(CannotSign::Algorithm);
    }
    let failed = |_| CannotSign::Key;
    match (&key.0, algorithm) {
        (Key::P256(key), Algorithm::Ecdsa(_)) => {
            let digest = fitted(digest, &digest::SHA256);
            Ok(key.sign_digest(&digest).map_err(failed)?.as_ref().to_vec())
        }
        (Key::P384(key), Algorithm::Ecdsa(_)) => {
            let digest = fitted(digest, &digest::SHA384);
            Ok(key.sign_digest(&digest).map_err(failed)?.as_ref().to_vec())
        }
        (Key::Rsa(key), Algorithm::RsaPkcs1(hash)) => {
            let (encoding, made_by) = match hash {
                Hash::Sha1 => return Err(CannotSign::Algorithm),
                Hash::Sha256 => (&signature::RSA_PKCS1_SHA256, &digest::SHA256),
                Hash::Sha384 => (&signature::RSA_PKCS1_SHA384, &digest::SHA384),
                Hash::Sha512 => (&signature::RSA_PKCS1_SHA512, &digest::SHA512),
            };
            let digest = Digest::import_less_safe(digest, made_by).map_err(failed)?;
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign_digest(encoding, &digest, &mut signature).map_err(failed)?;
            Ok(signature)
        }
        _ => Err(CannotSign::Algorithm),
    }
}

/// A digest in the form that the curve signs. ECDSA signs a number (FIPS 186-5 §6.4.1): the first
/// bits of a digest that is longer than the curve's order, and all bits of a shorter one.
fn fitted(digest: &[u8], curves: &'static digest::Algorithm) -> Digest {
    let mut number = vec![0; curves.output_len().saturating_sub(digest.len())];
    number.extend(&digest[..digest.len().min(curves.output_len())]);
    Digest::import_less_safe(&number, curves).expect("it has the curve's length")
}

/// The first of `identities` whose certificate's key supports one of `offered`, and the algorithm
/// that [`choose`] chooses. SHA-1 comes last, whatever the server prefers.
pub(crate) fn choose_signer<'a, I>(
    identities: impl Iterator<Item = (I, &'a [u8])>,
    offered: &[body::Algorithm],
    hash: Option<Hash>,
) -> Option<(I, Algorithm)> {
    let fit = identities.filter_map(|(identity, certificate)| {
        Some((identity, choose(certificate, offered, hash)?))
    });
    fit.min_by_key(|(_, algorithm)| algorithm.hash() == Hash::Sha1)
}

/// The first of `offered` that the key of `certificate` supports, and whose hash is `hash` if that
/// is given. An algorithm with SHA-1 is chosen only if there is no other.
pub(crate) fn choose(
    certificate: &[u8],
    offered: &[body::Algorithm],
    hash: Option<Hash>,
) -> Option<Algorithm> {
    let own = key::algorithm(certificate)?;
    let fits = |algorithm: &Algorithm| match (own, algorithm) {
        (body::Algorithm::EcdsaSha256 | body::Algorithm::EcdsaSha384, Algorithm::Ecdsa(_)) => true,
        (body::Algorithm::RsaSha256, Algorithm::RsaPkcs1(made_by)) => *made_by != Hash::Sha1,
        _ => false,
    };
    let named = offered.iter().filter_map(|one| of_wire(*one)).filter(fits);
    let fit = named.filter(|algorithm| hash.is_none_or(|hash| hash == algorithm.hash()));
    fit.min_by_key(|algorithm| algorithm.hash() == Hash::Sha1)
}

/// The algorithm of this name; `None` if it is not one of raw signatures.
fn of_wire(algorithm: body::Algorithm) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|one| wire(*one) == algorithm)
}

/// The name in the device protocol.
pub(crate) fn wire(algorithm: Algorithm) -> body::Algorithm {
    match algorithm {
        Algorithm::RsaPkcs1(Hash::Sha1) => body::Algorithm::RsaSha1,
        Algorithm::RsaPkcs1(Hash::Sha256) => body::Algorithm::RsaSha256,
        Algorithm::RsaPkcs1(Hash::Sha384) => body::Algorithm::RsaSha384,
        Algorithm::RsaPkcs1(Hash::Sha512) => body::Algorithm::RsaSha512,
        Algorithm::Ecdsa(Hash::Sha1) => body::Algorithm::EcdsaSha1,
        Algorithm::Ecdsa(Hash::Sha256) => body::Algorithm::EcdsaSha256,
        Algorithm::Ecdsa(Hash::Sha384) => body::Algorithm::EcdsaSha384,
        Algorithm::Ecdsa(Hash::Sha512) => body::Algorithm::EcdsaSha512,
    }
}

#[cfg(test)]
mod tests {
    use countersign_proof::raw::Subject;
    use countersign_proof::{Roots, Signer};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;
    use crate::key::KeyKind;

    const NOW: u64 = 1_800_000_000;

    fn certify(key: &KeyPair) -> (Vec<u8>, Signer) {
        let years = |mut params: CertificateParams| {
            (params.not_before, params.not_after) =
                (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
            params
        };
        let mut authority = years(CertificateParams::default());
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = Issuer::new(authority, root_key);
        let params = years(CertificateParams::default());
        let own = params.signed_by(key, &issuer).unwrap().der().to_vec();
        let roots = Roots::new([root.as_slice()]).unwrap();
        let signer = Signer::new(&own, &[], &roots, NOW).unwrap();
        (own, signer)
    }

    #[test]
    fn every_key_signs_exactly_the_digests_of_its_kind() {
        let mut made = 0;
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
            let pair = key::generate(kind).unwrap();
            let (certificate, signer) = certify(&pair);
            let signing = SigningKey::from_der(&pair.serialize_der()).unwrap();
            for algorithm in Algorithm::ALL {
                let digest = vec![0xa5; algorithm.hash().length()];
                let chosen = choose(&certificate, &[wire(algorithm)], None);
                let Ok(signature) = sign(&signing, algorithm, &digest) else {
                    assert_eq!(chosen, None, "{kind:?} {algorithm}");
                    continue;
                };
                assert_eq!(chosen, Some(algorithm));
                let subject = Subject::Digest(&digest);
                countersign_proof::raw::verify(
                    &signature, algorithm, subject, [1; 16], &signer, NOW,
                )
                .unwrap();
                assert!(sign(&signing, algorithm, &digest[1..]).is_err());
                made += 1;
            }
        }
        assert_eq!(made, 4 + 4 + 3);
    }

    #[test]
    fn the_first_offered_algorithm_with_the_hash_is_chosen() {
        let (certificate, _) = certify(&key::generate(KeyKind::P256).unwrap());
        let offered = [
            body::Algorithm::Unknown,
            body::Algorithm::RsaSha256,
            body::Algorithm::EcdsaSha384,
            body::Algorithm::EcdsaSha256,
        ];
        let chosen = |hash| choose(&certificate, &offered, hash);
        assert_eq!(chosen(None), Some(Algorithm::Ecdsa(Hash::Sha384)));
        assert_eq!(chosen(Some(Hash::Sha256)), Some(Algorithm::Ecdsa(Hash::Sha256)));
        assert_eq!(chosen(Some(Hash::Sha512)), None);
        let weak_first = [body::Algorithm::EcdsaSha1, body::Algorithm::EcdsaSha256];
        let chosen = |offered| choose(&certificate, offered, None).map(Algorithm::hash);
        assert_eq!(chosen(&weak_first[..]), Some(Hash::Sha256));
        assert_eq!(chosen(&weak_first[..1]), Some(Hash::Sha1));
    }

    #[test]
    fn an_identity_that_would_sign_with_sha1_comes_last() {
        let [ec, rsa] =
            [KeyKind::P256, KeyKind::Rsa2048].map(|kind| certify(&key::generate(kind).unwrap()).0);
        let chosen = |offered: &[body::Algorithm]| {
            choose_signer([(1, &*ec), (2, &*rsa)].into_iter(), offered, None).map(|(nth, _)| nth)
        };
        let (weak, strong) = (body::Algorithm::EcdsaSha1, body::Algorithm::EcdsaSha256);
        assert_eq!(chosen(&[weak, body::Algorithm::RsaSha256]), Some(2));
        assert_eq!(chosen(&[body::Algorithm::RsaSha256, strong]), Some(1));
        assert_eq!(chosen(&[weak]), Some(1));
    }
}
