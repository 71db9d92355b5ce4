//! How relying parties speak. Each surface translates into the engine's words and out of them; none
//! decides, and none knows of another.

pub(crate) mod caller;
pub(crate) mod discovery;
pub(crate) mod field;
pub(crate) mod fingerprint;
pub(crate) mod kobil;
pub(crate) mod oauth;
pub(crate) mod onespan;
pub(crate) mod order;
pub(crate) mod picture;
pub(crate) mod token;
mod token_key;
pub(crate) mod trustedx;

use countersign_core::terms::Surface;
use countersign_core::transaction::Transaction;

/// What a callback says of a transaction's end, in the words of the surface that it was started on: the
/// same bytes each time. `None` before the end.
pub(crate) fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    match transaction.terms.surface {
        Surface::Kobil => kobil::result_body(transaction),
        // Its callers wait on the line: nobody is called back.
        Surface::OneSpan => None,
        Surface::TrustedX => trustedx::result_body(transaction),
    }
}
