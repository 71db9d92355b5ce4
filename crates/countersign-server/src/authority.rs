//! A tenant's embedded certificate authority: made with the tenant, it issues its devices' certificates.

use anyhow::Context as _;
use countersign_core::id::{SerialNumber, TenantName, UserName};
use countersign_core::secret::Secret;
use countersign_core::tenant::{Authority, Tenant};
use countersign_core::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::{Duration, OffsetDateTime};

/// An authority outlives every device's certificate that it issues.
const AUTHORITY_VALIDITY: Duration = Duration::days(365 * 20);
/// A device's certificate; renewed by enrolling again.
const DEVICE_VALIDITY: Duration = Duration::days(365 * 3);
/// Clocks of those who verify may be behind.
const BACK_DATED: Duration = Duration::days(1);

/// Makes a tenant: its authority, which is its only root, and the key of its access tokens.
///
/// # Errors
/// When no key can be made.
pub(crate) fn found_tenant(name: TenantName, now: Timestamp) -> anyhow::Result<Tenant> {
    let key = KeyPair::generate().context("making the authority's key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&format!("Countersign CA of {name}"), &name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now_at = moment(now)?;
    (params.not_before, params.not_after) = (now_at - BACK_DATED, now_at + AUTHORITY_VALIDITY);
    let certificate = params.self_signed(&key).context("signing the authority's certificate")?;
    let certificate = certificate.der().to_vec();
    let token_key = KeyPair::generate().context("making the tokens' key")?;
    Ok(Tenant {
        name,
        roots: vec![certificate.clone()],
        authority: Authority { certificate, key: Secret::new(key.serialize_der()) },
        token_key: Secret::new(token_key.serialize_der()),
        created_at: now,
    })
}

/// What a device asks a certificate for: its key, proved to be its own.
pub(crate) struct Request(CertificateSigningRequestParams);

/// Why a request for a certificate is turned down.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a request is PKCS#10, signed by its own key: P-256, P-384, P-521, RSA 2048 to 8192 or Ed25519"
)]
pub(crate) struct BadRequest;

impl Request {
    /// Reads a PKCS#10 request and checks that it is signed by its own key.
    ///
    /// # Errors
    /// Refuses whatever else came, and weak keys.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, BadRequest> {
        let der = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|_| BadRequest)?;
        let rsa = [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_RSA_SHA384, &rcgen::PKCS_RSA_SHA512];
        if rsa.contains(&request.public_key.algorithm()) {
            // RFC 8017, A.1.1: a sequence of modulus and exponent; 2048 bits are 270 bytes of it.
            let bytes = request.public_key.der_bytes().len();
            if !(268..=1_040).contains(&bytes) {
                return Err(BadRequest);
            }
        }
        Ok(Self(request))
    }

    /// The key that the certificate is for: identities share none.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.0.public_key.der_bytes()
    }

    /// Issues the certificate, DER. What the request says besides its key is ours to say.
    ///
    /// # Errors
    /// When the authority's own material is broken.
    pub(crate) fn issue(
        mut self,
        tenant: &Tenant,
        user: &UserName,
        serial_number: SerialNumber,
        now: Timestamp,
    ) -> anyhow::Result<Vec<u8>> {
        let key = KeyPair::try_from(tenant.authority.key.expose().as_slice())
            .context("reading the authority's key")?;
        let certificate = CertificateDer::from(tenant.authority.certificate.as_slice());
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .context("reading the authority's certificate")?;

        let params = &mut self.0.params;
        *params = CertificateParams::default();
        // X.520's upper bound on a common name is 64 characters; the whole name is the ledger's.
        let name: String = user.as_str().chars().take(64).collect();
        params.distinguished_name = subject(&name, &tenant.name);
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial_number.to_string());
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        let now = moment(now)?;
        (params.not_before, params.not_after) = (now - BACK_DATED, now + DEVICE_VALIDITY);
        let certificate = self.0.signed_by(&issuer).context("signing a certificate")?;
        Ok(certificate.der().to_vec())
    }
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
