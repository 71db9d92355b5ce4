//! Builds CMS messages with chosen defects, and their certificates.
//!
//! [`Forge::right`] describes a valid message. A test introduces one defect, and `build` signs the
//! result, so that the defect is the only one.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature as aws;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use countersign_proof::ber::element;
use countersign_proof::{BadProof, Expected, Proof, Roots, Signer, cms, oid};
use der::Encode;
use der::asn1::ObjectIdentifier;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// A time in 2027; the certificates are valid from 2020 to 2090.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const TRANSACTION: [u8; 16] = *b"transaction one.";
pub(crate) const CONTENT: &[u8] = b"pay 5 EUR to Bob";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const RIGHT: Expected<'_> =
    Expected { transaction: TRANSACTION, content: CONTENT, media_type: TEXT };
pub(crate) const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// A tenant: a root, an intermediate, and the certificates that they issued.
pub(crate) struct Tenant {
    pub(crate) root: Vec<u8>,
    pub(crate) middle: Vec<u8>,
    root_key: KeyPair,
    middle_key: KeyPair,
    middle_issuer: Issuer<'static, KeyPair>,
    root_issuer: Issuer<'static, KeyPair>,
}

/// A person with a key and a certificate.
pub(crate) struct Person {
    pub(crate) key: KeyPair,
    pub(crate) certificate: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
}

pub(crate) static TENANT: LazyLock<Tenant> = LazyLock::new(|| Tenant::new("Tenant"));
pub(crate) static STRANGERS: LazyLock<Tenant> = LazyLock::new(|| Tenant::new("Strangers"));
pub(crate) static ANN: LazyLock<Person> =
    LazyLock::new(|| TENANT.certify(KeyPair::generate().unwrap(), &named("Ann", 1)));
/// Another device of the same tenant.
pub(crate) static BOB: LazyLock<Person> =
    LazyLock::new(|| TENANT.certify(KeyPair::generate().unwrap(), &named("Bob", 2)));

pub(crate) fn named(name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

pub(crate) fn authority(name: &str, serial: u8) -> CertificateParams {
    let mut params = named(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.serialized_der())).unwrap()
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(authority(name, 1), authority(&format!("{name} devices"), 2))
    }

    pub(crate) fn with(root: CertificateParams, middle: CertificateParams) -> Self {
        let (root_key, middle_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root, copy(&root_key));
        let middle_der = middle.signed_by(&middle_key, &root_issuer).unwrap().der().to_vec();
        let middle_issuer = Issuer::new(middle, copy(&middle_key));
        Self {
            root: root_der,
            middle: middle_der,
            root_key,
            middle_key,
            middle_issuer,
            root_issuer,
        }
    }

    pub(crate) fn certify(&self, key: KeyPair, params: &CertificateParams) -> Person {
        let certificate = params.signed_by(&key, &self.middle_issuer).unwrap().der().to_vec();
        Person { key, certificate, chain: vec![self.middle.clone()] }
    }

    /// A person with a certificate directly by the root.
    pub(crate) fn certify_by_root(&self, params: &CertificateParams) -> Person {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.root_issuer).unwrap().der().to_vec();
        Person { key, certificate, chain: Vec::new() }
    }

    pub(crate) fn root_key(&self) -> &KeyPair {
        &self.root_key
    }

    /// The intermediate as a signer of messages.
    pub(crate) fn middle_person(&self) -> Person {
        let key = copy(&self.middle_key);
        Person { key, certificate: self.middle.clone(), chain: Vec::new() }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::new([self.root.as_slice()]).unwrap()
    }
}

impl Person {
    pub(crate) fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        TENANT.certify(key, &named("Carol", 3))
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::new(&self.certificate, &self.chain, &TENANT.roots(), NOW).unwrap()
    }
}

/// The signature scheme of a forged message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme {
    P256,
    P384,
    P521,
    Rsa(&'static aws::RsaSignatureEncoding),
    Ed25519,
}

impl Scheme {
    pub(crate) fn sign(self, key: &KeyPair, message: &[u8]) -> Vec<u8> {
        let pkcs8 = key.serialized_der();
        let random = SystemRandom::new();
        let ecdsa = |algorithm| {
            let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap();
            key.sign(&random, message).unwrap().as_ref().to_vec()
        };
        match self {
            Self::P256 => ecdsa(&aws::ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::P384 => ecdsa(&aws::ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::P521 => ecdsa(&aws::ECDSA_P521_SHA512_ASN1_SIGNING),
            Self::Rsa(encoding) => {
                let key = rsa::KeyPair::from_pkcs8(pkcs8).unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ed25519 => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).unwrap();
                key.sign(message).as_ref().to_vec()
            }
        }
    }
}

/// The description of a message. Fields for elements are encoded; `None` leaves the element out.
#[derive(Clone)]
pub(crate) struct Forge<'a> {
    pub(crate) signer: &'a Person,
    pub(crate) scheme: Scheme,
    pub(crate) version: u8,
    pub(crate) digest_algorithms: Vec<Vec<u8>>,
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) crls: Option<Vec<u8>>,
    pub(crate) signer_version: u8,
    pub(crate) signer_id: Vec<u8>,
    pub(crate) digest_algorithm: Vec<u8>,
    pub(crate) attributes: Option<Vec<(ObjectIdentifier, Vec<Vec<u8>>)>>,
    /// Sends the attributes in their order here, instead of DER's.
    pub(crate) unsorted: bool,
    /// Signs them in that order too.
    pub(crate) sign_unsorted: bool,
    pub(crate) signature_algorithm: Vec<u8>,
    pub(crate) unsigned: Option<Vec<u8>>,
    /// The number of times that the signer is written.
    pub(crate) signers: usize,
}

impl<'a> Forge<'a> {
    /// A valid message by a P-256 key.
    pub(crate) fn right(signer: &'a Person) -> Self {
        Self::with(signer, Scheme::P256, oid::SHA256, algorithm(oid::ECDSA_SHA256, None))
    }

    pub(crate) fn with(
        signer: &'a Person,
        scheme: Scheme,
        hash: ObjectIdentifier,
        signature_algorithm: Vec<u8>,
    ) -> Self {
        let content_digest = match hash {
            oid::SHA384 => digest(&SHA384, CONTENT),
            oid::SHA512 => digest(&SHA512, CONTENT),
            _ => digest(&SHA256, CONTENT),
        };
        let mut certificates = signer.chain.clone();
        certificates.insert(0, signer.certificate.clone());
        Self {
            signer,
            scheme,
            version: 1,
            digest_algorithms: vec![algorithm(hash, None)],
            content_type: oid::DATA,
            content: Some(element(0x04, CONTENT)),
            certificates,
            crls: None,
            signer_version: 1,
            signer_id: issuer_and_serial(&signer.certificate),
            digest_algorithm: algorithm(hash, None),
            attributes: Some(vec![
                (oid::CONTENT_TYPE, vec![der(&oid::DATA)]),
                (oid::MESSAGE_DIGEST, vec![element(0x04, content_digest.as_ref())]),
                (oid::SIGNING_TIME, vec![element(0x17, b"270115080000Z")]),
                (oid::SIGNING_CERTIFICATE_V2, vec![signing_certificate(&signer.certificate)]),
                (oid::MIME_TYPE, vec![element(0x0c, TEXT.as_bytes())]),
                (oid::CONTENT_IDENTIFIER, vec![element(0x04, &TRANSACTION)]),
            ]),
            unsorted: false,
            sign_unsorted: false,
            signature_algorithm,
            unsigned: None,
            signers: 1,
        }
    }

    /// Replaces the values of a signed attribute. An empty list removes the attribute.
    pub(crate) fn set(&mut self, kind: ObjectIdentifier, values: &[Vec<u8>]) {
        let attributes = self.attributes.as_mut().unwrap();
        let place = attributes.iter().position(|(known, _)| *known == kind).unwrap();
        if values.is_empty() {
            attributes.remove(place);
        } else {
            attributes[place].1 = values.to_vec();
        }
    }

    pub(crate) fn add(&mut self, kind: ObjectIdentifier, value: Vec<u8>) {
        self.attributes.as_mut().unwrap().push((kind, vec![value]));
    }

    /// The content of the SET of signed attributes, in DER's order or in the order here.
    pub(crate) fn attribute_set(&self, unsorted: bool) -> Vec<u8> {
        let attribute = |(kind, values): &(ObjectIdentifier, Vec<Vec<u8>>)| {
            element(0x30, &[der(kind), element(0x31, &values.concat())].concat())
        };
        let mut set: Vec<_> = self.attributes.as_ref().unwrap().iter().map(attribute).collect();
        if !unsorted {
            set.sort();
        }
        set.concat()
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let signed = match (&self.attributes, &self.content) {
            (Some(_), _) => element(0x31, &self.attribute_set(self.sign_unsorted)),
            // Without attributes, the signature is over the content's value (RFC 5652 §5.4).
            (None, Some(content)) => content[2..].to_vec(),
            (None, None) => CONTENT.to_vec(),
        };
        self.build_signed(&self.scheme.sign(&self.signer.key, &signed))
    }

    pub(crate) fn build_signed(&self, signature: &[u8]) -> Vec<u8> {
        let mut one =
            [der(&self.signer_version), self.signer_id.clone(), self.digest_algorithm.clone()]
                .concat();
        if self.attributes.is_some() {
            one.extend(element(0xa0, &self.attribute_set(self.unsorted)));
        }
        one.extend([self.signature_algorithm.clone(), element(0x04, signature)].concat());
        one.extend(self.unsigned.iter().flatten());
        let signers = element(0x30, &one).repeat(self.signers);

        let mut inside = der(&self.content_type);
        inside.extend(self.content.iter().flat_map(|content| element(0xa0, content)));
        let mut data = [
            der(&self.version),
            element(0x31, &self.digest_algorithms.concat()),
            element(0x30, &inside),
        ]
        .concat();
        if !self.certificates.is_empty() {
            data.extend(element(0xa0, &self.certificates.concat()));
        }
        data.extend(self.crls.iter().flatten());
        data.extend(element(0x31, &signers));
        wrap(&element(0x30, &data))
    }
}

/// A `ContentInfo` around a `SignedData`.
pub(crate) fn wrap(signed_data: &[u8]) -> Vec<u8> {
    element(0x30, &[der(&oid::SIGNED_DATA), element(0xa0, signed_data)].concat())
}

pub(crate) fn der(value: &impl Encode) -> Vec<u8> {
    value.to_der().unwrap()
}

pub(crate) fn algorithm(kind: ObjectIdentifier, parameters: Option<Vec<u8>>) -> Vec<u8> {
    element(0x30, &[der(&kind), parameters.unwrap_or_default()].concat())
}

/// RSASSA-PSS-params.
pub(crate) fn pss(
    hash: ObjectIdentifier,
    mask_hash: ObjectIdentifier,
    salt: u8,
    trailer: Option<u8>,
) -> Vec<u8> {
    let null = || Some(vec![5, 0]);
    let mut fields = [
        element(0xa0, &algorithm(hash, null())),
        element(0xa1, &algorithm(oid::MGF1, Some(algorithm(mask_hash, null())))),
        element(0xa2, &der(&salt)),
    ]
    .concat();
    fields.extend(trailer.map(|trailer| element(0xa3, &der(&trailer))).into_iter().flatten());
    algorithm(oid::RSA_PSS, Some(element(0x30, &fields)))
}

/// The issuer and the serial number as elements, by another parser than the verifier's.
pub(crate) fn names(certificate: &[u8]) -> (Vec<u8>, Vec<u8>) {
    use der::Decode;
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap().tbs_certificate;
    (der(&certificate.issuer), der(&certificate.serial_number))
}

pub(crate) fn issuer_and_serial(certificate: &[u8]) -> Vec<u8> {
    let (issuer, serial) = names(certificate);
    element(0x30, &[issuer, serial].concat())
}

/// `SigningCertificateV2` by SHA-256, without issuer.
pub(crate) fn signing_certificate(certificate: &[u8]) -> Vec<u8> {
    let hash = element(0x04, digest(&SHA256, certificate).as_ref());
    element(0x30, &element(0x30, &element(0x30, &hash)))
}

/// Verifies as signer Ann, with the expected content, at [`NOW`].
pub(crate) fn verify(message: &[u8]) -> Result<Proof, BadProof> {
    cms::verify(message, &RIGHT, &ANN.signer(), NOW)
}

/// The same message as a streaming signer sends it: indefinite lengths except inside certificates,
/// and every OCTET STRING of the message in segments of at most `segment` bytes.
pub(crate) fn stream(der: &[u8], segment: usize) -> Vec<u8> {
    fn header(der: &[u8]) -> (usize, usize) {
        match der[1] {
            short @ 0..0x80 => (2, usize::from(short)),
            long => {
                let octets = usize::from(long & 0x7f);
                let length =
                    der[2..2 + octets].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
                (2 + octets, length)
            }
        }
    }
    let mut rest = der;
    let mut ber = Vec::new();
    while !rest.is_empty() {
        let (start, length) = header(rest);
        let (tag, content) = (rest[0], &rest[start..start + length]);
        if tag == 0x04 && length > segment {
            ber.extend([0x24, 0x80]);
            ber.extend(content.chunks(segment).flat_map(|chunk| element(0x04, chunk)));
            ber.extend([0, 0]);
        } else if tag & 0x20 != 0 {
            ber.extend([tag, 0x80]);
            ber.extend(stream(content, segment));
            ber.extend([0, 0]);
        } else {
            ber.extend(&rest[..start + length]);
        }
        rest = &rest[start + length..];
    }
    ber
}
