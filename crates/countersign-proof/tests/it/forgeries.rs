//! Forged and unusual messages. Each has one defect and is refused for it.

use aws_lc_rs::signature as aws;
use countersign_proof::ber::element;
use countersign_proof::{Attribute, BadProof, Expected, cms, oid};
use der::asn1::ObjectIdentifier;

use crate::accepted::sha256;
use crate::forger::*;

mod framing;

/// Checks that Ann's valid message is refused for `reason` after `spoil` changed it.
#[track_caller]
fn refused(spoil: impl FnOnce(&mut Forge<'_>), reason: BadProof) {
    let mut forge = Forge::right(&ANN);
    assert!(verify(&forge.build()).is_ok(), "valid before the change");
    spoil(&mut forge);
    assert_eq!(verify(&forge.build()).unwrap_err(), reason);
}

#[test]
fn signed_attributes_are_not_content() {
    // An attacker had the attributes of a message signed as content. The signature is the same, so
    // a verifier that accepts messages without attributes would accept it.
    let message = Forge::right(&ANN);
    let set = element(0x31, &message.attribute_set(false));
    let mut forge = Forge::right(&ANN);
    forge.content = Some(element(0x04, &set));
    forge.attributes = None;
    let signature = forge.scheme.sign(&ANN.key, &set);
    let forged = forge.build_signed(&signature);
    let expected = Expected { content: &set, ..RIGHT };
    let outcome = cms::verify(&forged, &expected, &ANN.signer(), NOW);
    assert_eq!(outcome, Err(BadProof::NoSignedAttributes));
    // OpenSSL without -cades accepts it, because the signature verifies.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m"), &forged).unwrap();
    let root = crate::openssl::pem("CERTIFICATE", &TENANT.root);
    std::fs::write(dir.path().join("ca.pem"), root).unwrap();
    let arguments = "cms -verify -binary -inform DER -in m -CAfile ca.pem";
    assert_eq!(crate::openssl::openssl(dir.path(), arguments).unwrap(), set);
}

#[test]
fn a_signature_over_the_content_is_not_one_over_the_attributes() {
    // The reverse: a raw signature over the content with valid attributes.
    let forge = Forge::right(&ANN);
    let raw = forge.scheme.sign(&ANN.key, CONTENT);
    assert_eq!(verify(&forge.build_signed(&raw)), Err(BadProof::Signature));
    let with_sent_tag = element(0xa0, &forge.attribute_set(false));
    let signature = forge.scheme.sign(&ANN.key, &with_sent_tag);
    assert_eq!(verify(&forge.build_signed(&signature)), Err(BadProof::Signature));
}

#[test]
fn a_message_without_signed_attributes_is_refused() {
    refused(|forge| forge.attributes = None, BadProof::NoSignedAttributes);
    refused(
        |forge| forge.attributes = Some(Vec::new()),
        BadProof::AttributeMissing(Attribute::ContentType),
    );
}

#[test]
fn the_signed_content_type_must_be_the_messages() {
    let other = |forge: &mut Forge<'_>| forge.set(oid::CONTENT_TYPE, &[der(&oid::SIGNED_DATA)]);
    refused(other, BadProof::OtherContentType);
    refused(|forge| forge.content_type = oid::SIGNED_DATA, BadProof::ContentType);
    refused(
        |forge| {
            other(forge);
            forge.content_type = oid::SIGNED_DATA;
        },
        BadProof::ContentType,
    );
}

#[test]
fn every_attribute_must_be_there() {
    for (kind, name) in ATTRIBUTES {
        refused(|forge| forge.set(kind, &[]), BadProof::AttributeMissing(name));
    }
}

#[test]
fn no_attribute_may_be_there_twice_or_have_two_values_or_none() {
    for (kind, name) in ATTRIBUTES {
        let value = |forge: &Forge<'_>| {
            let attributes = forge.attributes.as_ref().unwrap();
            attributes.iter().find(|(known, _)| *known == kind).unwrap().1[0].clone()
        };
        refused(
            |forge| {
                let again = value(forge);
                forge.add(kind, again);
            },
            BadProof::AttributeRepeated(name),
        );
        refused(
            |forge| {
                let twice = [value(forge), value(forge)];
                forge.set(kind, &twice);
            },
            BadProof::AttributeMalformed(name),
        );
        refused(
            |forge| forge.set(kind, &[Vec::new()]), // an empty SET of values
            BadProof::AttributeMalformed(name),
        );
        refused(|forge| forge.set(kind, &[vec![5, 0]]), BadProof::AttributeMalformed(name));
    }
}

#[test]
fn two_message_digests_are_refused_in_both_orders() {
    for first in [true, false] {
        refused(
            |forge| {
                let other = (oid::MESSAGE_DIGEST, vec![element(0x04, &sha256(b"other"))]);
                let attributes = forge.attributes.as_mut().unwrap();
                attributes.insert(if first { 0 } else { 6 }, other);
                (forge.unsorted, forge.sign_unsorted) = (true, true);
            },
            BadProof::AttributeRepeated(Attribute::MessageDigest),
        );
    }
}

#[test]
fn an_unknown_attribute_is_refused() {
    let unknown = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15");
    let reason = BadProof::AttributeUnknown(unknown);
    refused(|forge| forge.add(unknown, element(0x30, &[])), reason);
    assert!(
        reason.to_string().contains("the signed attribute 1.2.840.113549.1.9.15, "),
        "{reason}"
    );
}

/// RFC 6211's attribute: the digest algorithm, and the signature algorithm without its own tag.
fn protection(digest: &[u8], signature: &[u8]) -> Vec<u8> {
    element(0x30, &[digest, &element(0xa1, signature)].concat())
}

#[test]
fn signed_algorithms_must_be_the_messages() {
    let kind = oid::ALGORITHM_PROTECTION;
    let algorithm = |name: &ObjectIdentifier| element(0x30, &der(name));
    let (digest, signature) = (algorithm(&oid::SHA256), der(&oid::ECDSA_SHA256));
    let null = element(0x30, &[der(&oid::SHA256), vec![5, 0]].concat());
    for right in [protection(&digest, &signature), protection(&null, &signature)] {
        let mut forge = Forge::right(&ANN);
        forge.add(kind, right);
        assert!(verify(&forge.build()).is_ok(), "as many libraries write it");
    }
    for wrong in [
        protection(&algorithm(&oid::SHA384), &signature),
        protection(&digest, &der(&oid::ECDSA_SHA384)),
        protection(&digest, &der(&oid::RSA_SHA256)),
        protection(&digest, &[signature.clone(), element(0x30, &[])].concat()),
    ] {
        refused(|forge| forge.add(kind, wrong), BadProof::OtherAlgorithms);
    }
    let mac = element(0xa2, &der(&oid::SHA256));
    for malformed in [
        Vec::from([5, 0]),
        element(0x30, &digest),
        element(0x30, &[digest.clone(), element(0xa1, &algorithm(&oid::ECDSA_SHA256))].concat()),
        element(0x30, &[digest.clone(), element(0xa1, &signature), mac].concat()),
    ] {
        let reason = BadProof::AttributeMalformed(Attribute::AlgorithmProtection);
        refused(|forge| forge.add(kind, malformed), reason);
    }
    refused(
        |forge| {
            forge.add(kind, protection(&digest, &signature));
            forge.add(kind, protection(&digest, &signature));
        },
        BadProof::AttributeRepeated(Attribute::AlgorithmProtection),
    );
}

#[test]
fn unsigned_attributes_and_revocation_lists_are_refused() {
    refused(|forge| forge.unsigned = Some(element(0xa1, &[])), BadProof::UnsignedAttributes);
    refused(|forge| forge.crls = Some(element(0xa1, &[])), BadProof::RevocationLists);
}

#[test]
fn the_digest_must_be_the_contents() {
    refused(
        |forge| forge.set(oid::MESSAGE_DIGEST, &[element(0x04, &sha256(b"other"))]),
        BadProof::OtherDigest,
    );
    refused(
        |forge| forge.set(oid::MESSAGE_DIGEST, &[element(0x04, &sha256(CONTENT)[..31])]),
        BadProof::OtherDigest,
    );
}

#[test]
fn a_good_signature_over_other_content_is_refused() {
    let other = b"pay 50000 EUR to Mallory";
    refused(
        |forge| {
            forge.content = Some(element(0x04, other));
            forge.set(oid::MESSAGE_DIGEST, &[element(0x04, &sha256(other))]);
        },
        BadProof::OtherContent,
    );
}

#[test]
fn a_good_signature_over_another_transaction_is_refused() {
    let other = element(0x04, b"transaction two.");
    refused(|forge| forge.set(oid::CONTENT_IDENTIFIER, &[other]), BadProof::OtherTransaction);
    for length in [0, 15, 17] {
        refused(
            |forge| forge.set(oid::CONTENT_IDENTIFIER, &[element(0x04, &vec![0; length])]),
            BadProof::AttributeMalformed(Attribute::ContentIdentifier),
        );
    }
}

#[test]
fn the_media_type_is_compared_whole() {
    for other in ["text/html; charset=utf-8", "text/plain", "text/plain; charset=UTF-8", ""] {
        refused(
            |forge| forge.set(oid::MIME_TYPE, &[element(0x0c, other.as_bytes())]),
            BadProof::OtherMediaType,
        );
    }
}

#[test]
fn the_signed_certificate_must_be_the_signers() {
    let (issuer, serial) = names(&ANN.certificate);
    let hash = element(0x04, &sha256(&ANN.certificate));
    let other_serial = names(&BOB.certificate).1;
    let id = |fields: &[Vec<u8>]| element(0x30, &element(0x30, &element(0x30, &fields.concat())));
    let issuer_serial = |issuer: &[u8], serial: &[u8]| {
        element(0x30, &[&element(0x30, &element(0xa4, issuer)), serial].concat())
    };
    for wrong in [
        signing_certificate(&BOB.certificate),
        signing_certificate(&TENANT.middle),
        id(&[hash.clone(), issuer_serial(&issuer, &other_serial)]),
        id(&[hash.clone(), issuer_serial(&names(&TENANT.middle).0, &serial)]),
    ] {
        refused(
            |forge| forge.set(oid::SIGNING_CERTIFICATE_V2, &[wrong]),
            BadProof::OtherSigningCertificate,
        );
    }
    let two = element(0x30, &element(0x30, &element(0x30, &hash).repeat(2)));
    let sha1 = id(&[algorithm(SHA1, None), element(0x04, &[0; 20])]);
    for malformed in [two, sha1, element(0x30, &[]), element(0x30, &element(0x30, &[]))] {
        refused(
            |forge| forge.set(oid::SIGNING_CERTIFICATE_V2, &[malformed]),
            BadProof::AttributeMalformed(Attribute::SigningCertificate),
        );
    }
}

#[test]
fn the_signing_time_is_checked_for_form() {
    for right in [element(0x17, b"991231235959Z"), element(0x18, b"20500101000000Z")] {
        let mut forge = Forge::right(&ANN);
        forge.set(oid::SIGNING_TIME, &[right]);
        assert!(verify(&forge.build()).is_ok(), "every well-formed time is accepted");
    }
    for wrong in [&b"2701150800Z"[..], b"270115080000+0100", b"271315080000Z", b"tomorrow"] {
        refused(
            |forge| forge.set(oid::SIGNING_TIME, &[element(0x17, wrong)]),
            BadProof::AttributeMalformed(Attribute::SigningTime),
        );
    }
}

#[test]
fn another_device_of_the_same_tenant_is_refused() {
    // Bob's own valid message, for a transaction that Ann's device took.
    let bobs = Forge::right(&BOB).build();
    assert!(cms::verify(&bobs, &RIGHT, &BOB.signer(), NOW).is_ok());
    assert_eq!(verify(&bobs), Err(BadProof::OtherSigner));
    // The same message with Ann's certificate and name.
    let mut forge = Forge::right(&BOB);
    forge.certificates.push(ANN.certificate.clone());
    forge.signer_id = issuer_and_serial(&ANN.certificate);
    assert_eq!(verify(&forge.build()), Err(BadProof::OtherSigningCertificate));
    forge.set(oid::SIGNING_CERTIFICATE_V2, &[signing_certificate(&ANN.certificate)]);
    assert_eq!(verify(&forge.build()), Err(BadProof::Signature));
}

#[test]
fn a_signer_id_that_names_the_intermediate_is_refused() {
    let middle = issuer_and_serial(&TENANT.middle);
    refused(|forge| forge.signer_id = middle, BadProof::OtherSigner);
    let authority = TENANT.middle_person();
    let mut forge = Forge::right(&authority);
    forge.certificates.push(ANN.certificate.clone());
    assert_eq!(verify(&forge.build()), Err(BadProof::OtherSigner));
    let outcome = cms::inspect(&forge.build(), &TENANT.roots(), NOW);
    assert_eq!(outcome, Err(BadProof::KeyUsage), "the offline verifier refuses an authority too");
}

#[test]
fn an_embedded_certificate_must_be_the_signers_byte_for_byte() {
    // Same issuer and serial number, but another certificate.
    let twin = TENANT.certify(rcgen::KeyPair::generate().unwrap(), &named("Ann's twin", 1));
    refused(|forge| forge.certificates[0] = twin.certificate, BadProof::CertificateAbsent);
    refused(|forge| drop(forge.certificates.remove(0)), BadProof::CertificateAbsent);
    refused(|forge| drop(forge.certificates.remove(1)), BadProof::CertificateAbsent);
    refused(|forge| forge.certificates.clear(), BadProof::CertificateAbsent);
    refused(|forge| forge.certificates.push(element(0xa3, &[])), BadProof::OtherCertificate);
}

#[test]
fn an_unverified_extra_certificate_is_refused() {
    // Found by fuzzing: a byte of the embedded root was changed, the count of unused bits in its
    // signature. OpenSSL could not read the accepted message.
    let mut spoilt = TENANT.root.clone();
    let unused = spoilt.windows(2).rposition(|two| two == [0, 0x30]).unwrap();
    spoilt[unused] = 0xf3;
    for more in [spoilt, element(0x30, &[]), STRANGERS.root.clone(), BOB.certificate.clone()] {
        refused(|forge| forge.certificates.push(more), BadProof::OtherCertificate);
    }
    let roots = vec![TENANT.root.clone(); 6];
    refused(|forge| forge.certificates.extend(roots), BadProof::ManyCertificates);
    assert!(BadProof::ManyCertificates.to_string().ends_with("more than 6 certificates"));
}

#[test]
fn a_detached_signature_is_refused() {
    refused(|forge| forge.content = None, BadProof::Detached);
    refused(|forge| forge.content = Some(element(0x0c, CONTENT)), BadProof::Message);
    refused(|forge| forge.content = Some(element(0x04, CONTENT).repeat(2)), BadProof::Message);
}

#[test]
fn there_is_exactly_one_signer() {
    refused(|forge| forge.signers = 2, BadProof::SeveralSigners);
    refused(|forge| forge.signers = 0, BadProof::NoSigner);
}

#[test]
fn a_version_must_match_its_structure() {
    refused(|forge| forge.signer_version = 3, BadProof::Version);
    for version in [0, 2, 4, 5] {
        refused(|forge| forge.version = version, BadProof::Version);
    }
    refused(|forge| forge.signer_id = element(0x80, b"key"), BadProof::Version);
}

#[test]
fn digests_must_be_strong_and_agree_with_one_another() {
    refused(|forge| forge.digest_algorithm = algorithm(SHA1, None), BadProof::DigestAlgorithm);
    let strange = algorithm(oid::SHA256, Some(vec![4, 0]));
    refused(|forge| forge.digest_algorithm = strange, BadProof::DigestAlgorithm);
    let sha384 = || algorithm(oid::SHA384, None);
    refused(|forge| forge.digest_algorithms = vec![sha384()], BadProof::AlgorithmsDisagree);
    refused(|forge| forge.digest_algorithms.clear(), BadProof::AlgorithmsDisagree);
    refused(
        |forge| {
            forge.digest_algorithms.push(sha384());
            forge.digest_algorithm = sha384();
        },
        BadProof::AlgorithmsDisagree,
    );
}

#[test]
fn signature_algorithms_must_be_known_and_fit_the_key() {
    for (kind, reason) in [
        ("1.2.840.10045.4.1", BadProof::SignatureAlgorithm), // ecdsa-with-SHA1
        ("1.2.840.113549.1.1.5", BadProof::SignatureAlgorithm), // sha1WithRSAEncryption
        ("1.2.840.113549.1.1.4", BadProof::SignatureAlgorithm), // md5WithRSAEncryption
        ("1.2.840.10045.2.1", BadProof::SignatureAlgorithm), // a key's, not a signature's
        ("1.2.840.113549.1.1.11", BadProof::OtherKey),
        ("1.2.840.10045.4.3.3", BadProof::AlgorithmsDisagree),
        ("1.3.101.112", BadProof::AlgorithmsDisagree),
    ] {
        let kind = ObjectIdentifier::new_unwrap(kind);
        refused(|forge| forge.signature_algorithm = algorithm(kind, None), reason);
    }
    let with_null = algorithm(oid::ECDSA_SHA256, Some(vec![5, 0]));
    refused(|forge| forge.signature_algorithm = with_null, BadProof::SignatureAlgorithm);
}

#[test]
fn pss_parameters_must_all_follow_from_the_hash() {
    let person = Person::of(&rcgen::PKCS_RSA_SHA256);
    let signer = person.signer();
    let outcome = |parameters: Vec<u8>| {
        let scheme = Scheme::Rsa(&aws::RSA_PSS_SHA256);
        let forge = Forge::with(&person, scheme, oid::SHA256, parameters);
        cms::verify(&forge.build(), &RIGHT, &signer, NOW).map(|_| ())
    };
    assert_eq!(outcome(pss(oid::SHA256, oid::SHA256, 32, None)), Ok(()));
    for wrong in [
        pss(oid::SHA256, oid::SHA256, 20, None),
        pss(oid::SHA256, oid::SHA256, 32, Some(2)),
        pss(oid::SHA256, oid::SHA384, 32, None),
        pss(oid::SHA256, SHA1, 32, None),
        pss(SHA1, SHA1, 20, None),
        algorithm(oid::RSA_PSS, None),
        algorithm(oid::RSA_PSS, Some(vec![5, 0])),
        algorithm(oid::RSA_PSS, Some(element(0x30, &[]))), // the defaults, which are SHA-1's
    ] {
        assert_eq!(outcome(wrong), Err(BadProof::SignatureAlgorithm));
    }
    let disagreeing = outcome(pss(oid::SHA384, oid::SHA384, 48, None));
    assert_eq!(disagreeing, Err(BadProof::AlgorithmsDisagree));
}

#[test]
fn a_signature_with_the_other_padding_is_refused() {
    let person = Person::of(&rcgen::PKCS_RSA_SHA256);
    let scheme = Scheme::Rsa(&aws::RSA_PKCS1_SHA256);
    let parameters = pss(oid::SHA256, oid::SHA256, 32, None);
    let forge = Forge::with(&person, scheme, oid::SHA256, parameters);
    let outcome = cms::verify(&forge.build(), &RIGHT, &person.signer(), NOW);
    assert_eq!(outcome, Err(BadProof::Signature));
}

const ATTRIBUTES: [(ObjectIdentifier, Attribute); 6] = [
    (oid::CONTENT_TYPE, Attribute::ContentType),
    (oid::MESSAGE_DIGEST, Attribute::MessageDigest),
    (oid::SIGNING_TIME, Attribute::SigningTime),
    (oid::SIGNING_CERTIFICATE_V2, Attribute::SigningCertificate),
    (oid::MIME_TYPE, Attribute::MimeType),
    (oid::CONTENT_IDENTIFIER, Attribute::ContentIdentifier),
];
