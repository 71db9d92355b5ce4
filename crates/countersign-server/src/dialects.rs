//! The dialects. Each one translates between its API and the engine; none decides, and none depends
//! on another.

use countersign_core::spec::Dialect;
use countersign_core::transaction::Transaction;

/// A callback's body for a transaction's end, in the format of its dialect: the same bytes each
/// time. `None` before the end.
pub(crate) fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    match transaction.spec.dialect {
        Dialect::Kobil => countersign_kobil::result_body(transaction),
        // OneSpan's clients wait for the response, so there are no callbacks.
        Dialect::OneSpan => None,
        Dialect::TrustedX => countersign_trustedx::result_body(transaction),
    }
}
