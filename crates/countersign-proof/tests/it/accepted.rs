//! Accepted signatures: every allowed scheme and form. OpenSSL accepts each of them too.

use aws_lc_rs::signature as aws;
use countersign_proof::ber::element;
use countersign_proof::{BadProof, Expected, Proof, cms, oid};
use rcgen::KeyPair;

use crate::forger::*;
use crate::openssl;

/// Checks that this crate, its offline verifier and OpenSSL accept a message.
#[track_caller]
fn accepted(forge: &Forge<'_>) -> Proof {
    let message = forge.build();
    let proof = cms::verify(&message, &RIGHT, &forge.signer.signer(), NOW).unwrap();
    assert_eq!(proof.transaction(), TRANSACTION);
    assert_eq!(proof.signer(), Some(forge.signer.signer().fingerprint()));
    let inspected = cms::inspect(proof.evidence(), &TENANT.roots(), NOW).unwrap();
    assert_eq!(inspected.content, CONTENT);
    assert_eq!(inspected.certificate, forge.signer.certificate);
    if matches!(forge.scheme, Scheme::Ed25519) {
        let signed = element(0x31, &forge.attribute_set(false));
        let signature = forge.scheme.sign(&forge.signer.key, &signed);
        openssl::verify_raw(&signed, &signature, &forge.signer.certificate).unwrap();
    } else {
        assert_eq!(openssl::verify(proof.evidence(), &TENANT.root).unwrap(), CONTENT);
    }
    proof
}

#[test]
fn every_ecdsa_curve_and_ed25519_is_accepted() {
    for (algorithm_of_key, scheme, hash, signature) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Scheme::P256, oid::SHA256, oid::ECDSA_SHA256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Scheme::P384, oid::SHA384, oid::ECDSA_SHA384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, Scheme::P521, oid::SHA512, oid::ECDSA_SHA512),
        (&rcgen::PKCS_ED25519, Scheme::Ed25519, oid::SHA512, oid::ED25519),
    ] {
        let person = Person::of(algorithm_of_key);
        accepted(&Forge::with(&person, scheme, hash, algorithm(signature, None)));
    }
}

#[test]
fn rsa_is_accepted_with_either_padding_and_every_digest() {
    let person = Person::of(&rcgen::PKCS_RSA_SHA256);
    let null = || Some(vec![5, 0]);
    for (hash, combined, pkcs1, pss_encoding, salt) in [
        (oid::SHA256, oid::RSA_SHA256, &aws::RSA_PKCS1_SHA256, &aws::RSA_PSS_SHA256, 32),
        (oid::SHA384, oid::RSA_SHA384, &aws::RSA_PKCS1_SHA384, &aws::RSA_PSS_SHA384, 48),
        (oid::SHA512, oid::RSA_SHA512, &aws::RSA_PKCS1_SHA512, &aws::RSA_PSS_SHA512, 64),
    ] {
        let padded = Scheme::Rsa(pkcs1);
        accepted(&Forge::with(&person, padded, hash, algorithm(combined, null())));
        accepted(&Forge::with(&person, padded, hash, algorithm(oid::RSA_ENCRYPTION, null())));
        for trailer in [None, Some(1)] {
            let parameters = pss(hash, hash, salt, trailer);
            accepted(&Forge::with(&person, Scheme::Rsa(pss_encoding), hash, parameters));
        }
    }
}

#[test]
fn a_signer_may_be_named_by_its_key_identifier() {
    let mut params = named("Dora", 4);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let person = TENANT.certify(KeyPair::generate().unwrap(), &params);
    let signer = x509_identifier(&person.certificate);
    let mut forge = Forge::right(&person);
    (forge.version, forge.signer_version) = (3, 3);
    forge.signer_id = element(0x80, &signer);
    accepted(&forge);
}

fn x509_identifier(certificate: &[u8]) -> Vec<u8> {
    use der::Decode;
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    let found = certificate.tbs_certificate.get::<x509_cert::ext::pkix::SubjectKeyIdentifier>();
    found.unwrap().unwrap().1.0.into_bytes()
}

#[test]
fn the_signed_certificate_may_be_named_with_its_issuer_and_any_digest() {
    let (issuer, serial) = names(&ANN.certificate);
    let issuer_serial = element(0x30, &[element(0x30, &element(0xa4, &issuer)), serial].concat());
    for (kind, digest) in [
        (oid::SHA256, &aws_lc_rs::digest::SHA256),
        (oid::SHA384, &aws_lc_rs::digest::SHA384),
        (oid::SHA512, &aws_lc_rs::digest::SHA512),
    ] {
        let hash = aws_lc_rs::digest::digest(digest, &ANN.certificate);
        let id = [algorithm(kind, None), element(0x04, hash.as_ref()), issuer_serial.clone()];
        let mut forge = Forge::right(&ANN);
        let value = element(0x30, &element(0x30, &element(0x30, &id.concat())));
        forge.set(oid::SIGNING_CERTIFICATE_V2, &[value]);
        accepted(&forge);
    }
}

#[test]
fn a_signer_whom_the_root_certified_itself_needs_no_chain() {
    let person = TENANT.certify_by_root(&named("Eve", 7));
    accepted(&Forge::right(&person));
}

#[test]
fn the_root_may_come_along_and_certificates_in_any_order() {
    let person = Person::of(&rcgen::PKCS_RSA_SHA256);
    let scheme = Scheme::Rsa(&aws::RSA_PKCS1_SHA256);
    let signature = algorithm(oid::RSA_SHA256, Some(vec![5, 0]));
    let mut forge = Forge::with(&person, scheme, oid::SHA256, signature);
    forge.certificates.push(TENANT.root.clone());
    let proof = accepted(&forge);
    forge.certificates.reverse();
    assert_eq!(accepted(&forge), proof, "certificates are stored in DER's order");
}

#[test]
fn ber_is_accepted_and_stored_as_der() {
    let der = Forge::right(&ANN).build();
    let kept = verify(&der).unwrap();
    for segment in [1, 7, 1000] {
        let ber = stream(&der, segment);
        assert_ne!(ber, der);
        let proof = verify(&ber).unwrap();
        assert_eq!(proof, kept);
        assert!(kept.repeats(&ber));
    }
    assert_eq!(kept.content_digest(), sha256(CONTENT));
}

#[test]
fn unordered_attributes_are_verified_and_stored_in_order() {
    let mut forge = Forge::right(&ANN);
    forge.attributes.as_mut().unwrap().reverse();
    forge.unsorted = true;
    let message = forge.build();
    let proof = accepted(&forge);
    assert_ne!(proof.evidence(), message);
    // A signature over the sent order is not over DER (RFC 5652 §5.4), although OpenSSL accepts it.
    forge.sign_unsorted = true;
    assert_eq!(verify(&forge.build()), Err(BadProof::Signature));
}

#[test]
fn a_proof_recognises_its_own_message_only() {
    let (first, second) = (Forge::right(&ANN).build(), Forge::right(&ANN).build());
    let proof = verify(&first).unwrap();
    assert!(proof.repeats(&first));
    assert!(!proof.repeats(&second), "a second signature is another message");
    assert!(!proof.repeats(b""));
    let recorded = Proof::recorded(
        proof.transaction(),
        proof.content_digest(),
        proof.signer(),
        proof.evidence().to_vec(),
    );
    assert_eq!(recorded, proof);
}

#[test]
fn debug_hides_the_content() {
    let shown = format!("{:?} {:?}", verify(&Forge::right(&ANN).build()), ANN.signer());
    assert!(!shown.contains("Bob") && !shown.contains("112, 97, 121"), "{shown}");
}

#[test]
fn empty_and_large_contents_are_accepted() {
    for content in [vec![], vec![b'x'; 300_000]] {
        let mut forge = Forge::right(&ANN);
        forge.content = Some(element(0x04, &content));
        forge.set(oid::MESSAGE_DIGEST, &[element(0x04, &sha256(&content))]);
        let expected = Expected { content: &content, ..RIGHT };
        let message = stream(&forge.build(), 4096);
        let proof = cms::verify(&message, &expected, &ANN.signer(), NOW).unwrap();
        assert_eq!(openssl::verify(proof.evidence(), &TENANT.root).unwrap(), content);
    }
}

#[test]
fn an_inspection_returns_the_signed_values() {
    let inspected = cms::inspect_when_signed(&Forge::right(&ANN).build(), &TENANT.roots()).unwrap();
    assert_eq!(inspected.media_type, TEXT);
    assert_eq!(inspected.transaction, TRANSACTION);
    assert_eq!(inspected.signing_time, NOW);
    assert_eq!(inspected.chain, ANN.chain);
    let outcome = cms::inspect(&Forge::right(&ANN).build(), &STRANGERS.roots(), NOW);
    assert_eq!(outcome, Err(BadProof::Untrusted));
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap()
}
