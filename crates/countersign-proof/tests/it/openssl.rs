//! OpenSSL as the second implementation: it accepts every message that this crate accepts, and this
//! crate reads its streamed messages.

use std::path::Path;
use std::process::Command;

use countersign_proof::{Attribute, BadProof, Signer, ber, cms};
use der::asn1::ObjectIdentifier;
use der::pem::LineEnding;

use crate::forger::*;

/// Verifies DER with one root; returns the content, or OpenSSL's error message.
pub(crate) fn verify(message: &[u8], root: &[u8]) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), pem("CERTIFICATE", root)).unwrap();
    std::fs::write(dir.path().join("message.p7m"), message).unwrap();
    openssl(dir.path(), "cms -verify -cades -binary -inform DER -in message.p7m -CAfile ca.pem")
}

/// Verifies a bare signature. OpenSSL 3.0 does not support CMS with Ed25519: it requires a digest,
/// but the scheme allows only its internal one (RFC 8419 §3.1).
pub(crate) fn verify_raw(signed: &[u8], signature: &[u8], own: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("signed"), signed).unwrap();
    std::fs::write(dir.path().join("signature"), signature).unwrap();
    std::fs::write(dir.path().join("own.pem"), pem("CERTIFICATE", own)).unwrap();
    let arguments = "pkeyutl -verify -rawin -in signed -sigfile signature -certin -inkey own.pem";
    openssl(dir.path(), arguments).map(|_| ())
}

pub(crate) fn openssl(dir: &Path, arguments: &str) -> Result<Vec<u8>, String> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, LineEnding::LF, der).unwrap()
}

/// A message by OpenSSL, which cannot write our attributes.
fn sign(person: &Person, content: &[u8], options: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).unwrap();
    write("content", content);
    write("key.pem", person.key.serialize_pem().as_bytes());
    write("own.pem", pem("CERTIFICATE", &person.certificate).as_bytes());
    write("chain.pem", pem("CERTIFICATE", &person.chain[0]).as_bytes());
    let arguments = format!(
        "cms -sign -binary -nodetach -outform DER -in content -signer own.pem -inkey key.pem \
         -certfile chain.pem {options}"
    );
    openssl(dir.path(), &arguments).unwrap()
}

#[test]
fn a_message_that_openssl_streamed_is_normalised_to_one_that_it_verifies() {
    let content: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let person = Person::of(algorithm);
        for content in [&content, b"short".as_slice()] {
            let streamed = sign(&person, content, "-stream -indef -nosmimecap -cades");
            assert!(streamed.starts_with(&[0x30, 0x80]), "the message is streamed");
            let der = ber::to_der(&streamed).unwrap();
            assert!(der.len() < streamed.len());
            assert_eq!(verify(&der, &TENANT.root).unwrap(), content);
        }
    }
}

#[test]
fn a_message_by_openssl_is_refused_for_its_attributes_only() {
    let person = Person::of(&rcgen::PKCS_ECDSA_P256_SHA256);
    let signer = person.signer();
    let refused = |options: &str| {
        cms::verify(&sign(&person, CONTENT, options), &RIGHT, &signer, NOW).unwrap_err()
    };
    let missing = BadProof::AttributeMissing;
    let capabilities = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15");
    assert_eq!(refused("-stream -indef"), BadProof::AttributeUnknown(capabilities));
    assert_eq!(refused("-nosmimecap"), missing(Attribute::SigningCertificate));
    assert_eq!(refused("-nosmimecap -cades -stream"), missing(Attribute::MimeType));
    assert_eq!(refused("-noattr"), BadProof::NoSignedAttributes);
    assert_eq!(refused("-nosmimecap -cades -nocerts"), BadProof::CertificateAbsent);
    assert_eq!(refused("-nosmimecap -cades -md sha1"), BadProof::DigestAlgorithm);
}

/// Forgeries that OpenSSL accepts. They are the reason for a policy on top of a parser.
#[test]
fn openssl_accepts_forgeries_that_are_refused_here() {
    let mut forge = Forge::right(&ANN);
    forge.set(countersign_proof::oid::CONTENT_IDENTIFIER, &[]);
    forge.unsigned = Some(ber::element(
        0xa1,
        &ber::element(0x30, &[der(&SHA1), ber::element(0x31, &[5, 0])].concat()),
    ));
    let message = forge.build();
    assert_eq!(verify(&message, &TENANT.root).unwrap(), CONTENT);
    assert_eq!(crate::forger::verify(&message), Err(BadProof::UnsignedAttributes));

    let mut trailing = Forge::right(&ANN).build();
    trailing.extend(b"and more");
    assert_eq!(verify(&trailing, &TENANT.root).unwrap(), CONTENT);
    let refusal = Err(BadProof::Encoding(ber::BadBer::Trailing));
    assert_eq!(crate::forger::verify(&trailing), refusal);
}

#[test]
fn weak_keys_and_keys_of_other_kinds_are_refused_before_they_sign() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("ca.key", &TENANT.root_key().serialize_pem());
    write("ca.pem", &pem("CERTIFICATE", &TENANT.root));
    write("ext", "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\n");
    let outcome = |algorithm: &str| {
        for arguments in [
            &format!("genpkey -out own.key -algorithm {algorithm}"),
            "req -new -key own.key -subj /CN=Odd -out own.csr",
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -set_serial 77 -days 9000 \
             -extfile ext -outform DER -out own.der",
        ] {
            openssl(dir.path(), arguments).unwrap();
        }
        let own = std::fs::read(dir.path().join("own.der")).unwrap();
        Signer::new(&own, &[], &TENANT.roots(), NOW).map(|_| ())
    };
    for weak in [
        "RSA -pkeyopt rsa_keygen_bits:1024",
        "RSA -pkeyopt rsa_keygen_bits:2047",
        "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
        "EC -pkeyopt ec_paramgen_curve:P-224",
        "EC -pkeyopt ec_paramgen_curve:secp256k1",
        "ED448",
    ] {
        assert_eq!(outcome(weak), Err(BadProof::Key), "{weak}");
    }
    assert_eq!(outcome("RSA -pkeyopt rsa_keygen_bits:2048"), Ok(()));
}
