//! A tenant's certificate authority, for the duration of a test.

use aws_lc_rs::digest::{SHA256, digest};
use countersign_device::cms::SigningKey;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};

/// A self-signed certificate authority. Its certificate and all that it issues are valid from 2020
/// to 2090.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl Authority {
    /// Creates an authority with a new key.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key();
        let certificate = params.self_signed(&key).expect("the parameters are fit").der().to_vec();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The authority's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Generates a P-256 key, and issues a certificate, DER, for it.
    #[must_use]
    pub fn issue(&self, name: &str) -> (SigningKey, Vec<u8>) {
        let key = new_key();
        let mut params = named(name);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are fit");
        let key = SigningKey::from_der(&key.serialize_der()).expect("rcgen writes PKCS #8");
        (key, certificate.der().to_vec())
    }

    /// Issues a certificate, DER, for a key: from 2020 to the first second of a day.
    #[must_use]
    pub fn certify(&self, key: &KeyPair, name: &str, (year, month, day): (i32, u8, u8)) -> Vec<u8> {
        let mut params = named(&format!("{name} until {year}-{month}-{day}"));
        params.not_after = date_time_ymd(year, month, day);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(key, &self.issuer).expect("the parameters are fit");
        certificate.der().to_vec()
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system gives random bytes")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let serial = digest(&SHA256, name.as_bytes());
    params.serial_number = Some(SerialNumber::from_slice(&serial.as_ref()[..16]));
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    params
}
