//! One more identity of an enrolled device: a new key, or a user's own key with a certificate of
//! another authority.

use countersign_wire::body::{Imported, NewIdentity, Use};
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::limits::{LABEL_BYTES_MAX, LABELS_MAX};
use countersign_wire::phone::{Phone, PhoneIdentity};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::cms::{CannotSign, SigningKey};
use crate::error::Error;
use crate::key::{self, KeyKind};

/// The key of a new identity.
#[derive(Clone, Debug)]
pub enum Source {
    /// A new key of this kind; the server issues its certificate.
    Made(KeyKind),
    /// An existing key.
    Brought {
        /// PKCS#8, PEM.
        key: Zeroizing<String>,
        /// PEM: the key's own certificate first, then the path to a root that the tenant trusts.
        certificates: String,
    },
}

/// The request for an identity, with its private key. Every try sends the same bytes.
#[derive(Debug)]
pub(crate) struct IdentityChoice {
    pub(crate) body: NewIdentity,
    key: KeyPair,
}

impl IdentityChoice {
    /// # Errors
    /// Refuses an unreadable key or certificate, and a certificate of another key.
    pub(crate) fn new(
        phone: &Phone,
        usage: Use,
        proposed_labels: &[String],
        source: &Source,
    ) -> Result<Self, Error> {
        let fits = |label: &String| {
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.chars().any(char::is_control)
        };
        if proposed_labels.len() > LABELS_MAX || !proposed_labels.iter().all(fits) {
            return Err(Error::Name("a label"));
        }
        let (key, imported) = match source {
            Source::Made(kind) => (key::generate(*kind)?, None),
            Source::Brought { key, certificates } => {
                // Refuses an unusable key now and not at the first signature.
                SigningKey::from_pem(key)?;
                let key = KeyPair::from_pem(key).map_err(|_| CannotSign::Key)?;
                let read = CertificateDer::pem_slice_iter(certificates.as_bytes());
                let read =
                    read.map(|one| one.map(|der| der.to_vec())).collect::<Result<Vec<_>, _>>();
                let mut chain = read.map_err(|_| CannotSign::Certificate)?;
                if chain.is_empty() || !key::certifies(&chain[0], &key) {
                    return Err(CannotSign::OtherKey.into());
                }
                let certificate = chain.remove(0);
                (key, Some(Imported { certificate, chain }))
            }
        };
        let csr = key::request(&key, &phone.user)?;
        let statement = KeyStatement {
            tenant: &phone.tenant,
            subject: Subject::Addition(phone.device_id),
            usage,
            auth_key: phone.auth_key.public().point(),
            csr: &csr,
        };
        let proof = key::prove(&key, &statement)?;
        let proposed_labels = proposed_labels.to_vec();
        let body = NewIdentity { usage, csr, proof, proposed_labels, imported };
        Ok(Self { body, key })
    }

    /// The identity that the server issued.
    ///
    /// # Errors
    /// Refuses a certificate of another key.
    pub(crate) fn accept(
        &self,
        issued: countersign_wire::body::IssuedIdentity,
    ) -> Result<PhoneIdentity, Error> {
        if issued.usage != self.body.usage || !key::certifies(&issued.certificate, &self.key) {
            return Err(Error::Unexpected("the certificate is not for the key"));
        }
        Ok(PhoneIdentity {
            id: issued.id,
            usage: issued.usage,
            key: Zeroizing::new(self.key.serialize_pem()),
            certificate: issued.certificate,
            chain: issued.chain,
            imported: self.body.imported.is_some(),
            next: None,
        })
    }
}
