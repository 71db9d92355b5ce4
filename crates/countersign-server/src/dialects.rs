//! How relying parties speak. Each dialect translates into the engine's words and out of them; none
//! decides, and none knows of another.

use countersign_core::spec::Dialect;
use countersign_core::transaction::Transaction;

/// What a callback says of a transaction's end, in the words of the dialect that it was started on:
/// the same bytes each time. `None` before the end.
pub(crate) fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    match transaction.spec.dialect {
        Dialect::Kobil => countersign_kobil::result_body(transaction),
        // Its callers wait on the line: nobody is called back.
        Dialect::OneSpan => None,
        Dialect::TrustedX => countersign_trustedx::result_body(transaction),
    }
}
