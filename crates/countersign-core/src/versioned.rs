//! What is changed only if nothing changed it in between.

/// Something read from the ledger, and the version that it was read at. Versions begin at 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// What was read.
    pub value: T,
    /// Grows by one with each write.
    pub version: u32,
}
