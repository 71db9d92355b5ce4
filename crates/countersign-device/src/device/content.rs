//! What came to be signed, opened: from a seal, or from TrustedX's resource, and with the document that a
//! digest is of.
//!
//! The promise: what is shown is for this transaction, and a digest agrees with all that was said of it.

use core::time::Duration;

use countersign_wire::body::{Content, Document, Form, Offer, Taken};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::phone::Phone;

use super::Device;
use crate::document::{self, Checked, Claim, Limits};
use crate::error::Error;
use crate::shown::{Shown, View};
use crate::trustedx::{self, Process};

/// Opens what came, and checks twice over that it is this transaction's.
pub(super) fn open(phone: &Phone, offer: &Offer, taken: &Taken) -> Result<Content, Error> {
    let name = phone.device_name().map_err(|_| Error::Name("the tenant"))?;
    let purpose = Purpose::Content(offer.id);
    let plain = jwe::open(&phone.payload_key, &name, purpose, &taken.sealed)
        .map_err(|_| Error::BadContent)?;
    let content: Content = serde_json::from_slice(&plain).map_err(|_| Error::BadContent)?;
    if content.id == offer.id { Ok(content) } else { Err(Error::BadContent) }
}

impl Device {
    /// A process, where TrustedX has it, as if it had been taken.
    pub(super) async fn look(&mut self, offer: &Offer) -> Result<(Content, Taken), Error> {
        let process: Process = self.http.process(offer.id).await?;
        let hash = match (&process.content.document, process.hash) {
            (None, None) => Some(self.http.default_hash().await?),
            (_, said) => said,
        };
        let taken = Taken {
            sealed: String::new(),
            deadline: offer.expires_at,
            forms: vec![Form::Raw],
            algorithms: trustedx::algorithms(hash),
            identities: Some(process.identities(&self.phone)),
        };
        Ok((process.content, taken))
    }

    /// Fetches what there is to fetch, and makes of it what is shown and signed.
    pub(super) async fn shown(
        &mut self,
        offer: &Offer,
        mut content: Content,
        taken: Taken,
    ) -> Result<Shown, Error> {
        let (mut length, mut learnt) = (None, false);
        if let Some(document) = &mut content.document
            && (document.digest_url.is_some() || document.document_url.is_some())
        {
            let claim = claim(document, &content.bytes);
            let limits = self.limits(taken.deadline);
            let checked = document::check(&claim, &limits).await.map_err(Error::Document)?;
            learnt = content.bytes.is_empty();
            let Checked { hash, digest, .. } = checked;
            document.digest_algorithm = Some(hash.to_string());
            content.bytes = digest;
            length = checked.length;
        }
        let mut view =
            View::beside(&content.media_type, &content.bytes, content.document.as_ref())?;
        if let View::Digest(view) = &mut view {
            view.length = length;
        }
        Ok(Shown { offer: offer.clone(), content, view, taken, learnt })
    }

    /// Nothing is fetched for longer than there is time to sign.
    fn limits(&self, deadline: Duration) -> Limits {
        let limits = Limits::default();
        Limits { whole: limits.whole.min(self.until(deadline)), ..limits }
    }
}

fn claim(document: &Document, digest: &[u8]) -> Claim {
    Claim {
        // One that is not known will not agree with what is known.
        hash: document.digest_algorithm.as_ref().and_then(|name| name.parse().ok()),
        digest: (!digest.is_empty()).then(|| digest.to_vec()),
        digest_url: document.digest_url.clone(),
        document_url: document.document_url.clone(),
        root_certs: document.root_certs.clone(),
    }
}
