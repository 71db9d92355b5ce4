//! A certificate authority of the server's own, for operators who have no certificate.
//!
//! The first start creates it in `DIR/tls`. Each start makes sure that the server's certificate has
//! the right names and does not expire soon; a running server renews it in a handshake, when it is
//! due. Clients trust `ca.pem`, which does not change while the directory exists.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::digest;
use countersign_config::CertificatesConfig;
use countersign_core::port::{Clock as _, Entropy as _};
use der::oid::AssociatedOid as _;
use der::{Decode as _, DecodePem as _};
use parking_lot::{Mutex, RwLock};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tracing::{error, info};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints as PkixConstraints, SubjectAltName};

use super::UsedCertificates;
use countersign_node::authority::certificate_serial;
use countersign_node::clock::{System, system_time};

const DAY: Duration = Duration::from_hours(24);
/// A clock that is late by less than this accepts a new certificate.
const BACKDATED: Duration = DAY;
/// The server's certificate is renewed if less than this is left of it, or less than a third.
pub(super) const SERVER_LIFE_LEFT: Duration = Duration::from_hours(90 * 24);
/// The pause after a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_hours(1);

/// The addresses that the certificate on disk is for.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The file of the CA certificate.
const CA: &str = "ca.pem";

/// The path of the CA certificate that clients trust, with `tls = "own"`.
pub fn own_ca(data: &Path) -> PathBuf {
    data.join("tls").join(CA)
}

/// The authority's certificate in a file, PEM.
fn own_authority(ca: &Path) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(ca).with_context(|| format!("{} cannot be read", ca.display()))
}

/// SHA-256 of the certificate, DER, of the authority below this directory, with `tls = "own"`.
///
/// # Errors
/// If the file cannot be read.
pub fn own_ca_digest(data: &Path) -> anyhow::Result<[u8; 32]> {
    let certificate = own_authority(&own_ca(data))?;
    let digest = digest::digest(&digest::SHA256, &certificate);
    Ok(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The authority on disk. A certificate is written after its key, so that an interrupted start
/// leaves no files that a later start would accept as complete.
pub(super) struct Own {
    directory: PathBuf,
    ca: PathBuf,
    ca_key: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    lifetimes: CertificatesConfig,
}

impl Own {
    pub(super) fn in_directory(directory: &Path, lifetimes: &CertificatesConfig) -> Self {
        Self {
            lifetimes: lifetimes.clone(),
            directory: directory.to_owned(),
            ca: directory.join(CA),
            ca_key: directory.join("ca.key"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        }
    }

    /// Creates what is missing or expires soon, loads it, and keeps it valid.
    pub(super) fn open(self, hostname: &str, now: SystemTime) -> anyhow::Result<OwnCertificates> {
        let current = self.load(hostname, now)?;
        Ok(OwnCertificates {
            own: self,
            hostname: hostname.to_owned(),
            clock: System::default(),
            next_renewal: Mutex::new(current.renew_at),
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// Creates what is missing or expires soon, and loads it.
    fn load(&self, hostname: &str, now: SystemTime) -> anyhow::Result<Current> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).with_context(
            || format!("cannot make {}; may this user write there?", self.directory.display()),
        )?;
        if self.ca_key.exists() {
            super::check_private(&self.ca_key)?;
        }
        if self.ca.exists() {
            self.check_constraints(hostname)?;
            if !self.is_fit(hostname, now)? {
                self.make_certificate(hostname, now)?;
            }
        } else {
            self.make_ca(hostname, now)?;
            self.make_certificate(hostname, now)?;
        }
        let mut shared = super::load(&self.certificate, &self.key)?;
        let end = end_of(&shared.cert[0])?;
        // Devices find the authority in the chain, by the digest in an enrolment's URI.
        shared.cert.push(own_authority(&self.ca)?);
        Ok(Current {
            shared: Arc::new(shared),
            key: KeyPair::from_pem(&read(&self.key)?)?,
            issuer: self.issuer().ok(),
            parents: dns_parents(hostname),
            not_before: now - BACKDATED,
            not_after: now + self.lifetimes.server,
            renew_at: end.min(now + self.lifetimes.server) - self.life_left(),
        })
    }

    /// The server's certificate is renewed if less than this is left of it.
    fn life_left(&self) -> Duration {
        SERVER_LIFE_LEFT.min(self.lifetimes.server / 3)
    }

    fn is_fit(&self, hostname: &str, now: SystemTime) -> anyhow::Result<bool> {
        if !self.certificate.exists() || !self.key.exists() {
            return Ok(false);
        }
        let certificate = x509_cert::Certificate::from_pem(read(&self.certificate)?)
            .map_err(|error| anyhow!("{}: {error}", self.certificate.display()))
            .context("delete this file, and the next start makes another")?;
        let ends = certificate.tbs_certificate.validity.not_after.to_system_time();
        Ok(ends >= now + self.life_left() && dns_names_of(&certificate) == dns_names(hostname))
    }

    /// Refuses an authority that may not issue for these names. Clients rely on its constraints
    /// when they trust it, so it is not replaced silently.
    fn check_constraints(&self, hostname: &str) -> anyhow::Result<()> {
        let parsed = x509_cert::Certificate::from_pem(read(&self.ca)?)
            .map_err(|error| anyhow!("{}: {error}", self.ca.display()))?;
        if permitted_names_of(&parsed) == dns_parents(hostname) {
            return Ok(());
        }
        let directory = self.directory.display();
        bail!(
            "the CA in {directory} was made for other names than {hostname}, and may issue for no others; \
             delete {directory}, start again, and give the new ca.pem to every client"
        )
    }

    fn make_ca(&self, hostname: &str, now: SystemTime) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Countersign TLS CA of this server");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(certificate_serial(System::default().random_u128()));
        params.name_constraints = Some(name_constraints(hostname));
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + self.lifetimes.authority).into();
        let certificate = params.self_signed(&key)?;
        write(&self.ca_key, &key.serialize_pem(), 0o600)?;
        write(&self.ca, &certificate.pem(), 0o644)
    }

    fn make_certificate(&self, hostname: &str, now: SystemTime) -> anyhow::Result<()> {
        let issuer = self.issuer().with_context(|| {
            let directory = self.directory.display();
            format!(
                "the server's certificate must be renewed, and its CA cannot be used; restore ca.pem and \
                 ca.key in {directory}, or delete {directory} and give the new ca.pem to every client"
            )
        })?;
        let key = KeyPair::generate()?;
        let end = now + self.lifetimes.server;
        let mut params = server_params(dns_names(hostname), now - BACKDATED, end)?;
        params.distinguished_name.push(DnType::CommonName, hostname);
        for address in ADDRESSES {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        let certificate = params.signed_by(&key, &issuer)?;
        // The old certificate is removed first, because a key without its certificate is made anew,
        // but a pair that does not match is not.
        if self.certificate.exists() {
            fs::remove_file(&self.certificate)?;
        }
        write(&self.key, &key.serialize_pem(), 0o600)?;
        write(&self.certificate, &certificate.pem(), 0o644)
    }

    fn issuer(&self) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&read(&self.ca_key)?)?;
        Ok(Issuer::from_ca_cert_pem(&read(&self.ca)?, key)?)
    }
}

/// The certificate for a client: the one on disk, or, for `tenant.localhost`, one made for that
/// name.
///
/// The wildcard `*.localhost` does not work there: OpenSSL, curl and rustls accept no wildcard
/// right below a name of one label. Making a certificate costs one signature, as the handshake
/// does.
pub(super) struct Current {
    shared: Arc<CertifiedKey>,
    key: KeyPair,
    /// `None` if an operator has removed the authority's key.
    issuer: Option<Issuer<'static, KeyPair>>,
    parents: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// When the certificates are made anew.
    renew_at: SystemTime,
}

/// The certificates of a running server, which renews them when they are due.
pub(super) struct OwnCertificates {
    own: Own,
    hostname: String,
    clock: System,
    current: RwLock<Arc<Current>>,
    /// When the next renewal is due. It is locked while one is being made.
    next_renewal: Mutex<SystemTime>,
}

impl ResolvesServerCert for OwnCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current(system_time(self.clock.now()));
        let named = hello.server_name().and_then(|name| current.certificate_for(name));
        Some(named.map_or_else(|| current.shared.clone(), Arc::new))
    }
}

impl UsedCertificates for OwnCertificates {
    fn shared(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().shared)
    }
}

impl OwnCertificates {
    /// The present certificates, renewed if that is due. Only the handshake that renews them waits
    /// for the renewal.
    pub(super) fn current(&self, now: SystemTime) -> Arc<Current> {
        if let Some(mut next) = self.next_renewal.try_lock()
            && now >= *next
        {
            match self.own.load(&self.hostname, now) {
                Ok(renewed) => {
                    *next = renewed.renew_at;
                    *self.current.write() = Arc::new(renewed);
                    info!("The server's certificate is renewed");
                }
                Err(error) => {
                    *next = now + RENEWAL_PAUSE;
                    error!("The server's certificate cannot be renewed: {error:#}");
                }
            }
        }
        Arc::clone(&self.current.read())
    }

    /// The certificate on disk, at a time.
    #[cfg(test)]
    pub(super) fn shared_at(&self, now: SystemTime) -> Vec<u8> {
        self.current(now).shared.cert[0].to_vec()
    }
}

impl Current {
    pub(super) fn certificate_for(&self, name: &str) -> Option<CertifiedKey> {
        let (label, parent) = name.split_once('.')?;
        let is_beyond_wildcards = !parent.contains('.') && !label.is_empty();
        if !is_beyond_wildcards || !self.parents.iter().any(|known| known == parent) {
            return None;
        }
        let params = server_params(vec![name.to_owned()], self.not_before, self.not_after).ok()?;
        let certificate = params.signed_by(&self.key, self.issuer.as_ref()?).ok()?;
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.shared.cert.last().cloned());
        Some(CertifiedKey::new(chain, self.shared.key.clone()))
    }
}

impl std::fmt::Debug for OwnCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCertificates").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

fn server_params(
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    // Not derived from the key, because the certificates for tenants' names share one key.
    params.serial_number = Some(certificate_serial(System::default().random_u128()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    Ok(params)
}

/// The names of the certificate on disk, besides the loopback addresses. It has no wildcard below a
/// name of one label: rustls-webpki refuses a whole certificate with such a wildcard if its issuer
/// has name constraints.
fn dns_names(hostname: &str) -> Vec<String> {
    let mut names = Vec::new();
    for name in dns_parents(hostname) {
        let wildcard = name.contains('.').then(|| format!("*.{name}"));
        names.push(name);
        names.extend(wildcard);
    }
    names
}

/// The names below which tenants' names are.
fn dns_parents(hostname: &str) -> Vec<String> {
    let mut parents = vec!["localhost".to_owned()];
    if hostname != "localhost" {
        parents.push(hostname.to_owned());
    }
    parents
}

/// The names for which the authority may issue (RFC 5280, section 4.2.1.10): these names, the names
/// below them, and the loopback addresses. A thief of its key cannot impersonate other servers.
fn name_constraints(hostname: &str) -> NameConstraints {
    let names = dns_parents(hostname).into_iter().map(GeneralSubtree::DnsName);
    let addresses = ADDRESSES.map(|address| {
        GeneralSubtree::IpAddress(match address {
            IpAddr::V4(address) => CidrSubnet::V4(address.octets(), [u8::MAX; 4]),
            IpAddr::V6(address) => CidrSubnet::V6(address.octets(), [u8::MAX; 16]),
        })
    });
    NameConstraints {
        permitted_subtrees: names.chain(addresses).collect(),
        excluded_subtrees: Vec::new(),
    }
}

/// The DNS names in an authority's constraints, in their order.
fn permitted_names_of(authority: &x509_cert::Certificate) -> Vec<String> {
    let extensions = authority.tbs_certificate.extensions.iter().flatten();
    extensions
        .filter(|extension| extension.extn_id == PkixConstraints::OID)
        .filter_map(|extension| PkixConstraints::from_der(extension.extn_value.as_bytes()).ok())
        .flat_map(|constraints| constraints.permitted_subtrees.unwrap_or_default())
        .filter_map(|subtree| match subtree.base {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        })
        .collect()
}

pub(super) fn dns_names_of(certificate: &x509_cert::Certificate) -> Vec<String> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    extensions
        .filter(|extension| extension.extn_id == SubjectAltName::OID)
        .filter_map(|extension| SubjectAltName::from_der(extension.extn_value.as_bytes()).ok())
        .flat_map(|names| names.0)
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        })
        .collect()
}

/// The end of a certificate, DER.
pub(super) fn end_of(certificate: &[u8]) -> anyhow::Result<SystemTime> {
    let parsed = x509_cert::Certificate::from_der(certificate).map_err(|error| anyhow!(error))?;
    Ok(parsed.tbs_certificate.validity.not_after.to_system_time())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file atomically and durably, also in case of a power cut.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let draft = path.with_added_extension("draft");
    let doing = || format!("cannot write {}", path.display());
    if draft.exists() {
        fs::remove_file(&draft).with_context(doing)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .with_context(doing)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(doing)?;
    fs::rename(&draft, path).with_context(doing)
}
