//! The certificate of a server's own authority, found by its digest in an enrolment's URI.
//!
//! A server without a certificate from a public authority has one of its own. Its digest is in the
//! URI that the person scans, and the server sends the certificate in its chain. So a device trusts
//! exactly that authority, and nobody on the network can replace it.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::uri::EnrolUri;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::error::Error;
use crate::http::CONNECT_TIMEOUT;

/// Finds the certificate of the authority that `uri` names, as PEM for
/// [`Enrolment::server_ca`](crate::Enrolment::server_ca). `None` if the URI names none: the server
/// has a certificate that the system trusts.
///
/// # Errors
/// If the server cannot be reached, or its certificate is not by that authority.
pub async fn authority(uri: &EnrolUri) -> Result<Option<String>, Error> {
    let Some(wanted) = uri.authority else { return Ok(None) };
    let address = Address::parse(&uri.server)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { wanted, provider, found: Mutex::default() });
    let tls = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol's versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
        .with_no_client_auth();
    let host = address.host();
    let name = ServerName::try_from(host.clone()).map_err(|_| Error::Address(host.clone()))?;
    let connecting = async {
        let tcp = TcpStream::connect((host.as_str(), address.port())).await?;
        TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
    };
    let origin = address.origin();
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    let connected = connected.map_err(|_| Error::unreachable(origin, "no answer in time"))?;
    drop(connected.map_err(|error| Error::connection(origin, &error))?);
    let found = verifier.found.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(found.map(|der| pem(&der)))
}

fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// Trusts the one authority in the server's chain that has the wanted digest.
#[derive(Debug)]
struct Pinned {
    wanted: [u8; 32],
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_wanted = |one: &&CertificateDer<'_>| digest(&SHA256, one).as_ref() == self.wanted;
        let authority = intermediates.iter().find(is_wanted);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier =
            verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Some(authority.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
