//! How relying parties speak. Each dialect translates into the engine's words and out of them; none
//! decides, and none knows of another.

pub(crate) mod callback_url;
pub(crate) mod caller;
pub(crate) mod discovery;
pub(crate) mod fingerprint;
pub(crate) mod json_members;
pub(crate) mod kobil;
pub(crate) mod oauth;
pub(crate) mod onespan;
pub(crate) mod qr;
pub(crate) mod token;
mod token_key;
pub(crate) mod trustedx;

use countersign_core::spec::Dialect;
use countersign_core::transaction::Transaction;

/// What a callback says of a transaction's end, in the words of the dialect that it was started on:
/// the same bytes each time. `None` before the end.
pub(crate) fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    match transaction.spec.dialect {
        Dialect::Kobil => kobil::result_body(transaction),
        // Its callers wait on the line: nobody is called back.
        Dialect::OneSpan => None,
        Dialect::TrustedX => trustedx::result_body(transaction),
    }
}
