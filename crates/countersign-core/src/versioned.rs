//! Values with a version, for optimistic locking.

/// A value from the ledger, with its version. Versions begin at 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The version, which grows by one with each write.
    pub version: u32,
}
