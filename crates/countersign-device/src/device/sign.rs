//! Signatures over the shown content, by an identity of the right usage.

use countersign_proof::raw::Hash;
use countersign_wire::body::{Algorithm, Content, Form, Signature, Use};
use countersign_wire::phone::PhoneIdentity;

use super::Device;
use crate::cms::{self, SigningKey};
use crate::error::Error;
use crate::shown::{RenderedContent, View};
use crate::{gateway, key, raw};

impl Device {
    /// Signs exactly the shown bytes, in a form that the transaction accepts.
    pub(super) fn sign(&self, shown: &RenderedContent) -> Result<Signature, Error> {
        let accepts = |form| shown.content.forms.contains(&form);
        let can_sign_cms = accepts(Form::Cms) && self.signer(&shown.content).is_some();
        if accepts(Form::Code) && (self.prefers_codes || !can_sign_cms) {
            let value = gateway::code(&self.phone, &shown.content)?;
            return Ok(Signature::Code { value });
        }
        if accepts(Form::Raw) {
            return self.sign_raw(shown);
        }
        self.sign_cms(shown)
    }

    /// Signs text with an identity for content, or a digest with an identity for digests; never the
    /// reverse.
    fn sign_raw(&self, shown: &RenderedContent) -> Result<Signature, Error> {
        let (usage, hash) = match &shown.view {
            View::Text(_) | View::Html(_) | View::Statement(_) => (Use::Content, None),
            View::Digest(view) => (Use::Digest, Some(view.hash)),
            View::Bytes(_) => return Err(Error::NoIdentity),
        };
        let algorithms = &shown.content.algorithms;
        let identities = self.identities(usage, &shown.content);
        let certified = identities.map(|identity| (identity, &*identity.certificate));
        let chosen = raw::choose_signer(certified, algorithms, hash);
        let (identity, algorithm) = chosen.ok_or(Error::NoIdentity)?;
        if algorithm.hash() == Hash::Sha1 && !self.allows_sha1 {
            return Err(Error::Sha1);
        }
        let key = SigningKey::from_pem(&identity.key)?;
        let digest = match &shown.view {
            View::Digest(view) => view.digest.clone(),
            _ => algorithm.hash().of(shown.bytes()),
        };
        let value = raw::sign(&key, algorithm, &digest)?;
        let (identity, algorithm) = (identity.id.clone(), raw::wire(algorithm));
        let digest = shown.learnt.then_some(digest);
        Ok(Signature::Raw { identity, algorithm, value, digest })
    }

    /// The identities of a usage that may sign the taken transaction, and whose certificates have
    /// not ended.
    fn identities<'a>(
        &'a self,
        usage: Use,
        content: &'a Content,
    ) -> impl Iterator<Item = &'a PhoneIdentity> {
        let now = self.http.caller.clock.now().as_secs();
        self.phone.identities.iter().filter(move |identity| {
            let end = countersign_proof::validity(&identity.certificate);
            let has_ended = end.is_ok_and(|(_, end)| end < now);
            let named = |ids: &Vec<String>| ids.contains(&identity.id);
            !has_ended && identity.usage == usage && content.identities.as_ref().is_none_or(named)
        })
    }

    fn sign_cms(&self, shown: &RenderedContent) -> Result<Signature, Error> {
        let (identity, algorithm) = self.signer(&shown.content).ok_or(Error::NoIdentity)?;
        let key = SigningKey::from_pem(&identity.key)?;
        let now = self.http.caller.clock.now().as_secs();
        let Content { id, media_type, bytes, .. } = &shown.content;
        // Every verifier has the root already.
        let chain: Vec<_> =
            identity.chain.iter().filter(|one| !key::is_root(one)).cloned().collect();
        let certificate = &identity.certificate;
        let value = cms::sign(bytes, media_type, id.0, now, certificate, &chain, &key)?;
        Ok(Signature::Cms { identity: identity.id.clone(), algorithm: Some(algorithm), value })
    }

    /// The identity that may sign content, in a form and with an algorithm that the transaction
    /// accepts.
    fn signer<'a>(&'a self, content: &'a Content) -> Option<(&'a PhoneIdentity, Algorithm)> {
        if !content.forms.contains(&Form::Cms) {
            return None;
        }
        self.identities(Use::Content, content)
            .filter_map(|identity| Some((identity, key::algorithm(&identity.certificate)?)))
            .find(|(_, algorithm)| content.algorithms.contains(algorithm))
    }
}
