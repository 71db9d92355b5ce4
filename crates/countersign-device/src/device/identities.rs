//! The identities of a device: one more, and the renewal of their certificates; and its goodbye.
//!
//! A new key is stored before the request, and the request is repeated byte for byte, so that a
//! lost answer does no harm.

use countersign_wire::body::{Code, Ended, Finish, IssuedIdentity, Renewal, Signature, Use};
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::phone::{Phone, PhoneIdentity, PhoneRenewal};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{AFTER_DEADLINE, Device, ReconnectPolicy, TRIES};
use crate::backoff::Backoff;
use crate::cms::CannotSign;
use crate::error::Error;
use crate::http::Http;
use crate::identity::{IdentityChoice, Source};
use crate::key::{self, KeyKind};
use crate::shown::RenderedContent;

/// The renewal of one identity's certificate, when it was due.
#[derive(Debug)]
pub struct Renewed {
    /// The identity.
    pub id: String,
    /// The end of the new certificate, in seconds since the Unix epoch; or the reason why there is
    /// none.
    pub outcome: Result<u64, Error>,
}

impl Device {
    /// Adds an identity to this device and stores it. Returns its id.
    ///
    /// # Errors
    /// Refuses unusable values before anything is sent; then the server's refusal, or no answer.
    pub async fn add_identity(
        &mut self,
        usage: Use,
        proposed_labels: &[String],
        source: &Source,
    ) -> Result<String, Error> {
        let wanted = IdentityChoice::new(&self.phone, usage, proposed_labels, source)?;
        let mut backoff = Backoff::default();
        let mut tries = 0;
        let issued = loop {
            tries += 1;
            match self.http.add_identity(&wanted.body).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(backoff.next()).await;
                }
                outcome => break outcome?,
            }
        };
        let added = wanted.accept(issued)?;
        let id = added.id.clone();
        self.phone.identities.retain(|identity| identity.id != id);
        self.phone.identities.push(added);
        self.file.replace(&self.phone)?;
        Ok(id)
    }

    /// Renews each certificate of which two thirds have passed, for the key that it has, and
    /// completes renewals whose answers were lost. A certificate of another authority is not
    /// renewed: its owner brings a new one. Tells what became of each.
    pub async fn renew_due(&mut self) -> Vec<Renewed> {
        let now = self.http.caller.clock.now().as_secs();
        let due = |identity: &&PhoneIdentity| {
            identity.next.is_some() || (!identity.imported && is_due(&identity.certificate, now))
        };
        let due: Vec<_> =
            self.phone.identities.iter().filter(due).map(|one| one.id.clone()).collect();
        let mut renewed = Vec::new();
        for id in due {
            let outcome = Box::pin(self.renew_identity(&id, None)).await;
            renewed.push(Renewed { id, outcome });
        }
        renewed
    }

    /// Renews the certificate of an identity: for a new key of that kind, or for the key that it
    /// has. A renewal whose answer was lost is completed instead. Returns the end of the new
    /// certificate, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] if the device has no such identity; then the server's refusal, or no
    /// answer, after which the call may be repeated.
    pub async fn renew_identity(&mut self, id: &str, key: Option<KeyKind>) -> Result<u64, Error> {
        let place = self.phone.identities.iter().position(|one| one.id == id);
        let place = place.ok_or(Error::NoIdentity)?;
        let identity = &self.phone.identities[place];
        let (next, request) = match (&identity.next, key) {
            (Some(next), _) => (Some(next.key.clone()), next.request.clone()),
            (None, None) => (None, request(&self.phone, identity, None)?),
            (None, Some(kind)) => {
                let new = key::generate(kind)?;
                let request = request(&self.phone, identity, Some(&new))?;
                let key = Zeroizing::new(new.serialize_pem());
                let next = PhoneRenewal { key: key.clone(), request: request.clone() };
                self.phone.identities[place].next = Some(next);
                self.file.replace(&self.phone)?;
                (Some(key), request)
            }
        };
        let issued = send(&self.http, id, request).await;
        let is_wrong = |code| matches!(code, Code::BadRequest | Code::KeyUsed);
        if issued.as_ref().is_err_and(|error| error.code().is_some_and(is_wrong)) && next.is_some()
        {
            // The same request would always be refused.
            self.phone.identities[place].next = None;
            self.file.replace(&self.phone)?;
        }
        let issued = issued?;
        let identity = &mut self.phone.identities[place];
        let key = next.unwrap_or_else(|| identity.key.clone());
        let pair = KeyPair::from_pem(&key).map_err(|_| CannotSign::Key)?;
        let is_same = issued.id == identity.id && issued.usage == identity.usage;
        if !is_same || !key::certifies(&issued.certificate, &pair) {
            return Err(Error::Unexpected("the certificate is not for the key"));
        }
        let (_, end) = countersign_proof::validity(&issued.certificate)
            .map_err(|_| Error::Unexpected("the certificate is malformed"))?;
        (identity.key, identity.next) = (key, None);
        (identity.certificate, identity.chain) = (issued.certificate, issued.chain);
        self.file.replace(&self.phone)?;
        Ok(end)
    }

    /// Signs the shown content once more after the server has refused `signature`: the certificate
    /// may have ended since, or its authority was taken back. So it is renewed first.
    pub(super) async fn approve_renewed(
        &mut self,
        shown: &RenderedContent,
        match_code: Option<&str>,
        signature: &Signature,
        refused: Error,
    ) -> Result<Ended, Error> {
        let identity = match signature {
            Signature::Cms { identity, .. } | Signature::Raw { identity, .. } => identity,
            Signature::Code { .. } => return Err(refused),
        };
        let is_own = |one: &PhoneIdentity| one.id == *identity && !one.imported;
        let is_own = self.phone.identities.iter().any(is_own);
        if !is_own || self.renew_identity(identity, None).await.is_err() {
            return Err(refused);
        }
        let signature = self.sign(shown)?;
        let match_code = match_code.map(str::to_owned);
        let finish = Finish { id: shown.id(), signature, match_code };
        self.file.keep(&finish)?;
        let reconnect = ReconnectPolicy::Until(shown.deadline() + AFTER_DEADLINE);
        self.finish(finish, &reconnect).await
    }

    /// Tells the server that this device is given up. Its keys prove nothing afterwards, and its
    /// file may be removed. The call may be repeated.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn say_goodbye(&mut self) -> Result<(), Error> {
        self.line.close().await;
        let (mut backoff, mut tries) = (Backoff::default(), 0);
        loop {
            tries += 1;
            match self.http.say_goodbye().await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(backoff.next()).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// Sends the request, again after transient errors.
async fn send(http: &Http, id: &str, request: Vec<u8>) -> Result<IssuedIdentity, Error> {
    let (mut backoff, mut tries) = (Backoff::default(), 0);
    loop {
        tries += 1;
        match http.renew(id, request.clone()).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tokio::time::sleep(backoff.next()).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether two thirds of the certificate's life have passed.
fn is_due(certificate: &[u8], now: u64) -> bool {
    countersign_proof::validity(certificate)
        .is_ok_and(|(from, until)| now >= from + until.saturating_sub(from) / 3 * 2)
}

/// The request for a new certificate: for the new key, or for the one that the identity has.
fn request(
    phone: &Phone,
    identity: &PhoneIdentity,
    new: Option<&KeyPair>,
) -> Result<Vec<u8>, Error> {
    let present = KeyPair::from_pem(&identity.key).map_err(|_| CannotSign::Key)?;
    let key = new.unwrap_or(&present);
    let csr = key::request(key, &phone.user)?;
    let statement = KeyStatement {
        tenant: &phone.tenant,
        subject: Subject::Renewal(&identity.id),
        usage: identity.usage,
        auth_key: phone.auth_key.public().point(),
        csr: &csr,
    };
    let proof = key::prove(key, &statement)?;
    let present_proof = new.map(|_| key::prove(&present, &statement)).transpose()?;
    let body = Renewal { proof, present_proof, imported: None, csr: csr.clone() };
    Ok(serde_json::to_vec(&body).expect("a request is plain JSON"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_due_when_two_thirds_of_its_life_have_passed() {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 1, 31));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let day = |day: u64| 1_767_225_600 + day * 86_400;
        assert!(!is_due(certificate.der(), day(20) - 1));
        assert!(is_due(certificate.der(), day(20)));
        assert!(is_due(certificate.der(), day(40)), "also after its end");
        assert!(!is_due(b"no certificate", day(40)));
    }
}
