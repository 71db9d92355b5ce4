//! A tenant's embedded certificate authority: it is created with the tenant, and issues its
//! devices' certificates.

use anyhow::{Context as _, ensure};
use countersign_core::id::{SerialNumber, TenantName, UserName};
use countersign_core::port::{Keys, Signer, SigningRole, StoredKey, TokenKeys};
use countersign_core::tenant::{NewTenant, Tenant, TenantState};
use countersign_core::time::Timestamp;
use countersign_wire::key_proof::KeyStatement;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::log;

/// A serial number is positive (RFC 5280, section 4.1.2.2).
const SERIAL_MIN: u128 = 1;
/// How far validity is dated back, because verifiers' clocks may be late.
const BACK_DATED: Duration = Duration::days(1);

/// Creates a tenant with its authority, which is its only root, and with the key of its access
/// tokens. It exists once it is committed.
///
/// # Errors
/// If no key can be generated.
pub async fn found_tenant(
    keys: &impl Keys,
    name: TenantName,
    terms: Terms,
) -> anyhow::Result<NewTenant> {
    let common_name = format!("Countersign CA of {name}");
    let (certificate, authority_key) = new_authority(keys, &name, &common_name, terms).await?;
    let (tokens, token_key) =
        keys.generate(&name, SigningRole::Tokens).await.context("making the tokens' key")?;
    let tenant = Tenant {
        name,
        roots: vec![certificate.clone()],
        authority_certificate: certificate,
        token_keys: TokenKeys::one(*tokens.public_key()),
        state: TenantState::Active,
        created_at: terms.now,
    };
    Ok(NewTenant { tenant, authority_key, token_key })
}

/// Creates a further authority for a tenant: its certificate, DER, and its private key. Its name
/// has the date, so that a verifier that finds an issuer by its name does not confuse it with the
/// tenant's other authorities.
///
/// # Errors
/// If no key can be generated.
pub async fn further_authority(
    keys: &impl Keys,
    tenant: &TenantName,
    terms: Terms,
) -> anyhow::Result<(Vec<u8>, StoredKey)> {
    let common_name = format!("Countersign CA of {tenant}, {}", moment(terms.now)?.date());
    new_authority(keys, tenant, &common_name, terms).await
}

async fn new_authority(
    keys: &impl Keys,
    tenant: &TenantName,
    common_name: &str,
    terms: Terms,
) -> anyhow::Result<(Vec<u8>, StoredKey)> {
    let making = "making the authority's key";
    let (signer, key) = keys.generate(tenant, SigningRole::Authority).await.context(making)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name, tenant);
    params.serial_number = Some(certificate_serial(terms.serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = terms.validity()?;
    let certificate = params.self_signed(&CertificateSigner(&signer));
    let certificate = certificate.context("signing the authority's certificate")?.der().to_vec();
    Ok((certificate, key))
}

/// The serial number and the lifetime of a new certificate.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The serial number, which is random. A serial number derived from the key would be the same
    /// in two certificates of one key, and a verifier that finds the signer by issuer and serial
    /// number could confuse them.
    pub serial: u128,
    /// The present time.
    pub now: Timestamp,
    /// The time from now to the end of the certificate.
    pub lifetime: std::time::Duration,
}

impl Terms {
    fn validity(&self) -> anyhow::Result<(OffsetDateTime, OffsetDateTime)> {
        let now = moment(self.now)?;
        let end = Duration::try_from(self.lifetime).ok().and_then(|life| now.checked_add(life));
        Ok((now - BACK_DATED, end.context("the lifetime of a certificate is too long")?))
    }
}

/// A tenant's key in the form that `rcgen` signs with.
struct CertificateSigner<'a, S>(&'a S);

impl<S: Signer> PublicKeyData for CertificateSigner<'_, S> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl<S: Signer> SigningKey for CertificateSigner<'_, S> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_der(message).map_err(|fault| {
            log(&fault);
            rcgen::Error::RemoteKeyError
        })
    }
}

/// A device's request for a certificate: its key, which it proved to hold.
#[derive(Debug)]
pub struct Request(countersign_proof::Request);

/// The reason why a request for a certificate is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a request is PKCS#10, signed by its own key: P-256, P-384, P-521, RSA 2048 to 8192 or Ed25519; and its \
     key signed the statement about this enrolment"
)]
pub struct BadRequest;

/// A certificate that the tenant's authority issued.
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// Its serial number.
    pub serial: u128,
    /// The time of its last second.
    pub valid_until: Timestamp,
}

impl Request {
    /// Reads a PKCS#10 request, and verifies that its key signed both the request and the
    /// statement, the latter as `proof`.
    ///
    /// # Errors
    /// Refuses anything else, and weak keys.
    pub fn parse(statement: &KeyStatement<'_>, proof: &[u8]) -> Result<Self, BadRequest> {
        let request = countersign_proof::Request::parse(statement.csr).map_err(|_| BadRequest)?;
        request.check_proof(&statement.to_bytes(), proof).map_err(|_| BadRequest)?;
        Ok(Self(request))
    }

    /// The key that the certificate is for, without its algorithm.
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    /// SHA-256 of the key's `SubjectPublicKeyInfo`.
    pub fn key_digest(&self) -> [u8; 32] {
        self.0.key_digest()
    }

    /// Issues the certificate. Only the key is taken from the request. `signer` is the authority's
    /// key. The certificate ends with the authority's own at the latest.
    ///
    /// # Errors
    /// If the authority's own key or certificate is broken, or the authority was replaced
    /// meanwhile, or has ended.
    pub fn issue(
        &self,
        tenant: &Tenant,
        signer: &impl Signer,
        user: &UserName,
        serial_number: SerialNumber,
        terms: Terms,
    ) -> anyhow::Result<Issued> {
        let authority = &tenant.authority_certificate;
        let is_signers = countersign_proof::public_key(authority)? == signer.public_key();
        ensure!(is_signers, "the authority of tenant {} was replaced meanwhile", tenant.name);
        let (_, authority_end) = countersign_proof::validity(authority)?;
        ensure!(
            terms.now.seconds() <= authority_end,
            "the authority of tenant {name} has ended: `countersign ca renew --tenant {name}`",
            name = tenant.name
        );
        let certificate = CertificateDer::from(tenant.authority_certificate.as_slice());
        let issuer = Issuer::from_ca_cert_der(&certificate, CertificateSigner(signer))
            .context("reading the authority's certificate")?;

        let mut params = CertificateParams::default();
        // X.520's upper bound on a common name is 64 characters; the ledger has the whole name.
        let name: String = user.as_str().chars().take(64).collect();
        params.distinguished_name = subject(&name, &tenant.name);
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial_number.to_string());
        let serial = terms.serial.max(SERIAL_MIN);
        params.serial_number = Some(certificate_serial(serial));
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        let (not_before, not_after) = terms.validity()?;
        let authority_end = moment(Timestamp::of_seconds(authority_end))?;
        (params.not_before, params.not_after) = (not_before, not_after.min(authority_end));
        let valid_until = u64::try_from(params.not_after.unix_timestamp()).unwrap_or(0);
        let key = SubjectPublicKeyInfo::from_der(self.0.key_info()).context("reading the key")?;
        let certificate = params.signed_by(&key, &issuer).context("signing a certificate")?;
        let valid_until = Timestamp::of_seconds(valid_until);
        Ok(Issued { certificate: certificate.der().to_vec(), serial, valid_until })
    }
}

/// 128 bits as a certificate's serial number.
pub fn certificate_serial(drawn: u128) -> rcgen::SerialNumber {
    rcgen::SerialNumber::from_slice(&drawn.max(SERIAL_MIN).to_be_bytes())
}

fn subject(common_name: &str, tenant: &TenantName) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, tenant.as_str());
    name.push(DnType::CommonName, common_name);
    name
}

fn moment(at: Timestamp) -> anyhow::Result<OffsetDateTime> {
    let seconds = i64::try_from(at.seconds()).context("reading the clock")?;
    OffsetDateTime::from_unix_timestamp(seconds).context("reading the clock")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;
    use std::process::{Command, Output};

    use countersign_core::port::{Change, Commit, Ledger as _};
    use countersign_store::{SealedSigner, Store};
    use countersign_wire::body::Use;
    use countersign_wire::key_proof::Subject;
    use der::Decode as _;
    use rcgen::KeyPair;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_296_000_000);

    const YEAR: std::time::Duration = std::time::Duration::from_hours(365 * 24);

    fn terms(serial: u128, years: u32) -> Terms {
        Terms { serial, now: NOW, lifetime: YEAR * years }
    }

    async fn tenant() -> (Tenant, SealedSigner) {
        let (store, name) = (Store::memory(), "acme".parse().unwrap());
        let keys = store.private_keys();
        let new = found_tenant(&keys, name, terms(1, 20)).await.unwrap();
        let tenant = new.tenant.clone();
        let change = Change::CreateTenant(Box::new(new));
        store.commit(Commit { change, events: Vec::new() }).await.unwrap();
        let signer = keys.prepare(&tenant.name, SigningRole::Authority).await.unwrap();
        (tenant, signer)
    }

    fn request(key: &KeyPair) -> Request {
        let csr = CertificateParams::default().serialize_request(key).unwrap();
        let statement = KeyStatement {
            tenant: "acme",
            subject: Subject::Enrolment("jane"),
            usage: Use::Content,
            auth_key: &[4; 65],
            csr: csr.der(),
        };
        Request::parse(&statement, &key.sign(&statement.to_bytes()).unwrap()).unwrap()
    }

    fn issue(
        request: &Request,
        (tenant, signer): &(Tenant, SealedSigner),
        user: &str,
        serial: u128,
    ) -> Vec<u8> {
        let (user, number) = (user.parse().unwrap(), "CSN0000001-1".parse().unwrap());
        let issued = request.issue(tenant, signer, &user, number, terms(serial, 3)).unwrap();
        assert_eq!(issued.serial, serial.max(1));
        issued.certificate
    }

    fn openssl(directory: &Path, arguments: &str) -> Output {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split_whitespace()).current_dir(directory).output().unwrap()
    }

    fn pem(der: &[u8]) -> String {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap()
    }

    #[tokio::test]
    async fn a_serial_number_is_what_was_drawn_and_positive() {
        let (tenant, key) = (tenant().await, KeyPair::generate().unwrap());
        let request = request(&key);
        let mut serials = HashSet::new();
        for drawn in [0, 2, 0xff, 1 << 127, u128::MAX] {
            let certificate = issue(&request, &tenant, "jane", drawn);
            let parsed = x509_cert::Certificate::from_der(&certificate).unwrap();
            let serial = parsed.tbs_certificate.serial_number;
            let bytes = serial.as_bytes();
            assert!(bytes[0] < 0x80, "{drawn}: it is positive");
            let digits = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
            assert_eq!(digits, drawn.max(1));
            assert!(serials.insert(digits));
        }
    }

    #[tokio::test]
    async fn openssl_takes_no_message_with_another_users_certificate_in_it_even_without_cades() {
        let (tenant, key) = (tenant().await, KeyPair::generate().unwrap());
        let request = request(&key);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
        write("ca.pem", &pem(&tenant.0.authority_certificate));
        write("key.pem", &key.serialize_pem());
        write("content", "Pay 5");
        // One key under two names: with one serial number, as it would be if derived from the key,
        // and with two.
        for (janes, mallorys, accepted) in [(7, 7, true), (7, 8, false)] {
            write("jane.pem", &pem(&issue(&request, &tenant, "jane", janes)));
            write("mallory.pem", &pem(&issue(&request, &tenant, "mallory", mallorys)));
            let signed = openssl(
                path,
                "cms -sign -binary -nodetach -nocerts -outform DER -in content -signer jane.pem \
                 -inkey key.pem -out message",
            );
            assert!(signed.status.success(), "{signed:?}");
            let forged = openssl(
                path,
                "cms -verify -binary -inform DER -in message -certfile mallory.pem -CAfile ca.pem \
                 -attime 1795296100",
            );
            assert_eq!(forged.status.success(), accepted, "{forged:?}");
        }
    }

    #[test]
    fn a_request_is_read_only_with_a_proof_over_the_statement() {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let of = |user| KeyStatement {
            tenant: "acme",
            subject: Subject::Enrolment(user),
            usage: Use::Content,
            auth_key: &[4; 65],
            csr: csr.der(),
        };
        let proof = key.sign(&of("jane").to_bytes()).unwrap();
        assert!(Request::parse(&of("jane"), &proof).is_ok());
        assert_eq!(Request::parse(&of("mallory"), &proof).unwrap_err(), BadRequest);
        let others = KeyPair::generate().unwrap().sign(&of("jane").to_bytes()).unwrap();
        assert_eq!(Request::parse(&of("jane"), &others).unwrap_err(), BadRequest);
    }
}
