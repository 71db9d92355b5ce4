//! Opens content to sign, from a seal or from TrustedX's resource, and fetches the document of a
//! digest.
//!
//! The guarantee: the shown content is for this transaction, and a digest agrees with everything
//! that the application and its URLs say about it.

use core::time::Duration;

use countersign_wire::body::{Content, Document, Offer, Taken};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::phone::Phone;

use super::Device;
use crate::document::{self, BadDocument, Claim, Limits};
use crate::error::Error;
use crate::shown::{DIGEST_MEDIA_TYPE, RenderedContent, View};
use crate::trustedx::{self, Process};

/// Opens the sealed content, and checks its transaction in the seal's header and in the content.
pub(super) fn open(phone: &Phone, offer: &Offer, taken: &Taken) -> Result<Content, Error> {
    let name = phone.device_name().map_err(|_| Error::Name("the tenant"))?;
    let purpose = Purpose::Content(offer.id);
    let plain = jwe::open(&phone.payload_key, &name, purpose, &taken.sealed)
        .map_err(|_| Error::BadContent)?;
    let content: Content = serde_json::from_slice(&plain).map_err(|_| Error::BadContent)?;
    if content.id == offer.id { Ok(content) } else { Err(Error::BadContent) }
}

impl Device {
    /// Reads a process from TrustedX's resource, in the form of a take's answer.
    pub(super) async fn look(&mut self, offer: &Offer) -> Result<Content, Error> {
        let process: Process = self.http.process(offer.id).await?;
        let hash = match (&process.content.document, process.hash) {
            (None, None) => Some(self.http.default_hash().await?),
            (_, said) => said,
        };
        let identities = Some(process.identities(&self.phone));
        let algorithms = trustedx::algorithms(hash);
        Ok(Content { algorithms, identities, ..process.content })
    }

    /// Fetches the document of a digest, if there is one, and builds the shown and signed content.
    pub(super) async fn shown(
        &mut self,
        offer: &Offer,
        mut content: Content,
        deadline: Duration,
    ) -> Result<RenderedContent, Error> {
        let (mut length, mut learnt) = (None, false);
        if content.media_type == DIGEST_MEDIA_TYPE
            && let Some(document) = &mut content.document
        {
            // No fetch takes longer than the time that is left to sign.
            let whole = self.limits.whole.min(self.until(deadline));
            let claim = claim(document, &content.bytes)?;
            let limits = Limits { whole, ..self.limits };
            let checked = document::check(&claim, &limits, &self.fetch_policy).await?;
            learnt = content.bytes.is_empty();
            length = checked.length;
            document.digest_algorithm = Some(checked.hash.to_string());
            content.bytes = checked.digest;
        }
        let mut view =
            View::beside(&content.media_type, &content.bytes, content.document.as_ref())?;
        if let View::Digest(view) = &mut view {
            view.length = length;
        }
        Ok(RenderedContent { offer: offer.clone(), content, view, deadline, learnt })
    }
}

fn claim(document: &Document, digest: &[u8]) -> Result<Claim, BadDocument> {
    let hash = document.digest_algorithm.as_deref().map(str::parse).transpose();
    Ok(Claim {
        hash: hash.map_err(|_| BadDocument::NoHash)?,
        digest: (!digest.is_empty()).then(|| digest.to_vec()),
        digest_url: document.digest_url.clone(),
        document_url: document.document_url.clone(),
        root_certs: document.root_certs.clone(),
    })
}
